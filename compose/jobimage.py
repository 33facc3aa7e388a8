"""A job image of 2 MB that serves one page on port 8080: from Debian's static busybox, nothing pulled."""

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

BUSYBOX = Path("/bin/busybox")
#: Where there is no static busybox (no root, not Debian) the engine pulls this.
PUBLIC_BASE = "busybox:stable-musl"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
#: What says that an image is one of these, so that a run can remove its own.
LABEL = "docker-watcher.services"

HEALTHCHECK = ("/bin/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/")
#: As process 1 a shell hears SIGTERM; httpd alone would not, and each stop would take its whole timeout.
SERVE = (
    "/bin/busybox",
    "sh",
    "-c",
    "trap 'exit 0' TERM INT; /bin/busybox httpd -f -p 8080 -h /www & wait",
)
_SECOND = 1_000_000_000
"""In nanoseconds, as images have it."""


class JobImageError(Exception):
    """The engine could not build or push a job image; the text is the engine's."""


def build_job_image(
    client: docker.DockerClient | docker.APIClient,
    reference: str,
    *,
    page: str,
    command: Sequence[str] = SERVE,
    healthcheck: Sequence[str] | None = HEALTHCHECK,
    health_seconds: int = 3,
    expose: Sequence[str] = ("8080/tcp",),
    labels: Mapping[str, str] | None = None,
    layers: Sequence[int] = (),
) -> str:
    """Make it under this name; return its id.

    `layers` adds layers of so many random bytes each, for pulls that take a while.
    """
    api = _api(client)
    config = {
        "Cmd": list(command),
        "ExposedPorts": {port: {} for port in expose},
        "Labels": {LABEL: "job-image", **(labels or {})},
        **({"Healthcheck": _healthcheck(healthcheck, health_seconds)} if healthcheck else {}),
    }
    content = {"www/index.html": page.encode()}
    content |= {f"layer{number}/data": os.urandom(size) for number, size in enumerate(layers)}
    busybox = _static_busybox()
    if busybox:
        _load(api, reference, config, {"bin/busybox": busybox, **content})
    else:
        _build(api, reference, config, content)
    return str(api.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call]


def push(client: docker.DockerClient | docker.APIClient, reference: str, username: str, password: str) -> str:
    """Push it with this login, never the user's own; return the digest it has in the registry."""
    repository, _, tag = reference.rpartition(":")
    login = {"username": username, "password": password}
    stream = _api(client).push(repository, tag=tag, auth_config=login, stream=True, decode=True)
    for _ in _read(stream, reference):
        pass
    # Of the engines, only Docker tells.
    host, _, path = repository.partition("/")
    told = requests.head(
        f"http://{host}/v2/{path}/manifests/{tag}",
        headers={"Accept": MANIFEST},
        auth=(username, password),
        timeout=10,
    )
    told.raise_for_status()
    return told.headers["Docker-Content-Digest"]


def remove_all(client: docker.DockerClient | docker.APIClient, registry: str = "") -> None:
    """Remove every job image, or every one that was named after this registry."""
    api = _api(client)
    with contextlib.suppress(DockerException, requests.RequestException):
        for image in api.images(filters={"label": LABEL}):
            for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())):
                if name.startswith(registry):
                    with contextlib.suppress(APIError):
                        api.remove_image(name, force=True)


def _api(client: docker.DockerClient | docker.APIClient) -> docker.APIClient:
    return client.api if isinstance(client, docker.DockerClient) else client


def _static_busybox() -> bytes | None:
    if not BUSYBOX.is_file():
        return None
    program = BUSYBOX.read_bytes()
    # One that is not static names its loader there.
    return None if b"/ld-" in program[:4096] else program


def _healthcheck(command: Sequence[str], seconds: int) -> dict[str, Any]:
    return {"Test": ["CMD", *command], "Interval": _SECOND, "Timeout": seconds * _SECOND, "Retries": 3}


def _load(api: docker.APIClient, reference: str, config: Mapping[str, Any], content: Mapping[str, bytes]) -> None:
    """Give the engine the image whole, with a layer for each file: a build takes ten times as long."""
    layers = [_tar({path: file}) for path, file in content.items()]
    whole = {
        "architecture": api.version()["Arch"],
        "os": "linux",
        "created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]},
    }
    named = {f"{number}/layer.tar": each for number, each in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": list(named)}]
    archive = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(whole).encode(), **named}
    for line in api.load_image(_tar(archive), quiet=True):  # type: ignore[no-untyped-call]
        if "error" in line:
            raise JobImageError(f"{reference}: {line['error']}")


def _build(api: docker.APIClient, reference: str, config: Mapping[str, Any], content: Mapping[str, bytes]) -> None:
    """Have the engine build the image on the public one."""
    files = {"Dockerfile": _dockerfile(config, content).encode(), **content}
    stream = api.build(
        fileobj=io.BytesIO(_tar(files)), custom_context=True, tag=reference, rm=True, forcerm=True, decode=True
    )
    _read(stream, reference)


def _dockerfile(config: Mapping[str, Any], content: Iterable[str]) -> str:
    lines = [f"FROM {PUBLIC_BASE}", *(f"COPY {path} /{path}" for path in content)]
    lines += [f"EXPOSE {port}" for port in config["ExposedPorts"]]
    lines += [f"LABEL {_quoted(key)}={_quoted(value)}" for key, value in config["Labels"].items()]
    if check := config.get("Healthcheck"):
        timeout = check["Timeout"] // _SECOND
        lines.append(f"HEALTHCHECK --interval=1s --timeout={timeout}s --retries=3 CMD {json.dumps(check['Test'][1:])}")
    lines.append(f"CMD {json.dumps(config['Cmd'])}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _tar(files: Mapping[str, bytes]) -> bytes:
    """The same bytes for the same files: images share the layers that are alike."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for folder in dict.fromkeys(name.rpartition("/")[0] for name in files if "/" in name):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _read(stream: Iterable[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """All lines of an engine's answer; one that tells an error raises."""
    lines = list(stream)
    for line in lines:
        if "error" in line:
            raise JobImageError(f"{reference}: {line['error']}")
    return lines
