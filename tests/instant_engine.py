"""An engine that answers at once: the Engine API over unix sockets, many engines in one process, nothing behind them.

What is measured against it is what a deployment costs besides its engine. It knows the calls of a plain deployment, of
`docker.list` and of reconciling, and answers them as a real one does; containers run from their start on.

    python -m tests.instant_engine SOCKET...
"""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime
from itertools import count
from urllib.parse import parse_qs, unquote, urlsplit

IMAGE = {
    "Id": f"sha256:{'1' * 64}",
    "RepoDigests": [],
    "RepoTags": [],
    "Size": 2_000_000,
    "Os": "linux",
    "Architecture": "amd64",
    "Config": {"ExposedPorts": {"8080/tcp": {}}, "Labels": {}},
}
DIGEST = f"sha256:{'2' * 64}"
_PULLED = b'{"status":"Digest: %s"}\r\n{"status":"Status: Image is up to date for it"}\r\n' % DIGEST.encode()
_STARTED_AT = datetime.now(UTC).isoformat()
_REASONS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 404: "Not Found", 409: "Conflict"}


class Refused(Exception):
    """An answer that is an error: status and text."""


class InstantEngine:
    """One engine's containers, found by their id, their name, and each of their labels."""

    def __init__(self):
        self._numbers = count(1)
        self._containers = {}
        self._by_name = {}
        self._by_label = {}
        self._networks = {}

    def answer(self, method, path, query, body):
        """The status and the body of an answer."""
        for wanted, pattern, function in _ROUTES:
            if method == wanted and (found := re.fullmatch(pattern, path)):
                return function(self, *map(unquote, found.groups()), query, body)
        raise Refused(404, f"page not found: {method} {path}")

    def version(self, _query, _body):
        return 200, {
            "Version": "20.10.24",
            "ApiVersion": "1.41",
            "MinAPIVersion": "1.12",
            "Os": "linux",
            "Arch": "amd64",
        }

    def inspect_image(self, name, _query, _body):
        return 200, {**IMAGE, "RepoDigests": [f"{re.sub('[:@][^/]*$', '', name)}@{DIGEST}"]}

    def list_images(self, _query, _body):
        return 200, []

    def list_containers(self, query, _body):
        wanted = json.loads(query.get("filters", "{}"))
        found = self._named(wanted["name"]) if "name" in wanted else self._labelled(wanted.get("label", []))
        return 200, [each["Listed"] for each in found]

    def create(self, query, body):
        asked, name = json.loads(body), query["name"]
        if name in self._by_name:
            raise Refused(409, f'Conflict. The container name "/{name}" is already in use')
        number = next(self._numbers)
        made = _container(f"{number:064x}", name, asked, 32_768 + number % 30_000)
        self._containers[made["Id"]] = self._by_name[name] = made
        for label in _labels(made):
            self._by_label.setdefault(label, {})[made["Id"]] = made
        return 201, {"Id": made["Id"], "Warnings": []}

    def inspect(self, key, _query, _body):
        return 200, {name: value for name, value in self._get(key).items() if name != "Listed"}

    def change(self, key, _query, _body):
        self._get(key)
        return 204, None

    def start(self, key, _query, _body):
        self._run(self._get(key), "running")
        return 204, None

    def stop(self, key, _query, _body):
        self._run(self._get(key), "exited")
        return 204, None

    def rename(self, key, query, _body):
        found, name = self._get(key), query["name"]
        if name in self._by_name:
            raise Refused(409, f'Conflict. The container name "/{name}" is already in use')
        del self._by_name[found["Name"][1:]]
        self._by_name[name] = found
        found["Name"], found["Listed"]["Names"] = f"/{name}", [f"/{name}"]
        return 204, None

    def update(self, key, _query, body):
        self._get(key)["HostConfig"]["RestartPolicy"] = json.loads(body)["RestartPolicy"]
        return 200, {"Warnings": None}

    def remove(self, key, _query, _body):
        found = self._get(key)
        del self._containers[found["Id"]], self._by_name[found["Name"][1:]]
        for label in _labels(found):
            del self._by_label[label][found["Id"]]
        return 204, None

    def list_networks(self, query, _body):
        names = json.loads(query.get("filters", "{}")).get("name")
        return 200, [each for name, each in self._networks.items() if not names or name in names]

    def create_network(self, _query, body):
        name = json.loads(body)["Name"]
        # Without labels: nobody looks for spare addresses on such a one.
        self._networks[name] = {"Id": f"{next(self._numbers):064x}", "Name": name, "Created": _STARTED_AT, "Labels": {}}
        return 201, {"Id": self._networks[name]["Id"], "Warning": ""}

    def inspect_network(self, _key, _query, _body):
        return 200, {"IPAM": {"Config": [{"Subnet": "10.0.0.0/16", "Gateway": "10.0.0.1"}]}}

    def remove_network(self, key, _query, _body):
        self._networks.pop(key, None)
        return 204, None

    def _get(self, key):
        found = self._containers.get(key) or self._by_name.get(key)
        if not found:
            raise Refused(404, f"No such container: {key}")
        return found

    def _named(self, patterns):
        return [found for each in patterns if (found := self._by_name.get(each.removeprefix("^/").removesuffix("$")))]

    def _labelled(self, labels):
        if not labels:
            return self._containers.values()
        # As many looks as the rarest label has containers, and not as the engine has.
        first, *others = sorted((self._by_label.get(each, {}) for each in labels), key=len)
        return [each for key, each in first.items() if all(key in other for other in others)]

    def _run(self, container, state):
        port = container["Port"]
        container["State"]["Status"] = container["Listed"]["State"] = container["Listed"]["Status"] = state
        is_up = state == "running"
        container["NetworkSettings"]["Ports"] = (
            {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]} if is_up else {}
        )
        container["Listed"]["Ports"] = (
            [{"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": port, "Type": "tcp"}] if is_up else []
        )


_ROUTES = (
    ("GET", "/version", InstantEngine.version),
    ("GET", "/images/json", InstantEngine.list_images),
    ("GET", "/images/(.+)/json", InstantEngine.inspect_image),
    ("GET", "/containers/json", InstantEngine.list_containers),
    ("POST", "/containers/create", InstantEngine.create),
    ("GET", "/containers/([^/]+)/json", InstantEngine.inspect),
    ("POST", "/containers/([^/]+)/start", InstantEngine.start),
    ("POST", "/containers/([^/]+)/stop", InstantEngine.stop),
    ("POST", "/containers/([^/]+)/rename", InstantEngine.rename),
    ("POST", "/containers/([^/]+)/update", InstantEngine.update),
    ("DELETE", "/containers/([^/]+)", InstantEngine.remove),
    ("GET", "/networks", InstantEngine.list_networks),
    ("POST", "/networks/create", InstantEngine.create_network),
    ("GET", "/networks/([^/]+)", InstantEngine.inspect_network),
    ("DELETE", "/networks/([^/]+)", InstantEngine.remove_network),
)


def _container(container_id, name, asked, port):
    labels, host = asked.get("Labels") or {}, asked["HostConfig"]
    networks = {host["NetworkMode"]: {"IPAddress": "10.0.0.2", "Aliases": None}}
    return {
        "Id": container_id,
        "Name": f"/{name}",
        "Image": IMAGE["Id"],
        "Created": _STARTED_AT,
        "RestartCount": 0,
        "HostConfig": {"RestartPolicy": host["RestartPolicy"], "NetworkMode": host["NetworkMode"]},
        "Config": {"Image": asked["Image"], "Labels": labels, "Env": asked.get("Env") or []},
        "State": {"Status": "created", "ExitCode": 0, "OOMKilled": False, "StartedAt": _STARTED_AT},
        "NetworkSettings": {"Ports": {}, "Networks": networks},
        "Port": port,
        "Listed": {
            "Id": container_id,
            "Names": [f"/{name}"],
            "Image": asked["Image"],
            "ImageID": IMAGE["Id"],
            "Labels": labels,
            "State": "created",
            "Status": "Created",
            "Created": int(datetime.now(UTC).timestamp()),
            "Ports": [],
            "Mounts": [],
            "NetworkSettings": {"Networks": networks},
        },
    }


def _labels(container):
    labels = container["Config"]["Labels"]
    return [*labels, *(f"{name}={value}" for name, value in labels.items())]


class Connection(asyncio.Protocol):
    """A connection to one engine, kept open from request to request."""

    def __init__(self, engine):
        self._engine = engine
        self._received = b""

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._received += data
        while request := self._next_request():
            self._transport.write(_answered(self._engine, *request))

    def _next_request(self):
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        size = int(length[1]) if length else 0
        if not end or len(rest) < size:
            return None
        self._received = rest[size:]
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        return method, target, rest[:size]


def _answered(engine, method, target, body):
    parts = urlsplit(target)
    path = re.sub(r"^/v[0-9.]+", "", parts.path)
    if path == "/events":
        # What it would tell of never happens.
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    if path == "/images/create":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_PULLED), _PULLED)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    try:
        status, answer = engine.answer(method, path, query, body)
    except Refused as refused:
        status, answer = refused.args[0], {"message": refused.args[1]}
    text = b"" if answer is None else json.dumps(answer).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


async def serve(sockets):
    """Answer on each of these sockets, as an engine of its own, until cancelled."""
    loop = asyncio.get_running_loop()
    for path in sockets:
        engine = InstantEngine()
        await loop.create_unix_server(lambda engine=engine: Connection(engine), path, backlog=128)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
