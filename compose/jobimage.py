"""A job image of 2 MB that serves one page on port 8080: from Debian's static busybox, nothing pulled."""

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
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
    """Build it under this name; return its id.

    `layers` adds layers of so many random bytes each, for pulls that take a while.
    """
    files = {"www/index.html": page.encode()}
    base, busybox = _base()
    if busybox:
        files["bin/busybox"] = busybox
    files |= {f"layer{number}/data": os.urandom(size) for number, size in enumerate(layers)}
    dockerfile = _dockerfile(base, command, healthcheck, health_seconds, expose, {LABEL: "job-image", **(labels or {})})
    dockerfile += "".join(f"COPY layer{number} /layer{number}\n" for number in range(len(layers)))
    api = _api(client)
    stream = api.build(
        fileobj=_context(dockerfile, files),
        custom_context=True,
        tag=reference,
        rm=True,
        forcerm=True,
        # Images that share parents in the build cache can't be built and removed at the same time.
        nocache=True,
        decode=True,
    )
    _read(stream, reference)
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


def _base() -> tuple[str, bytes | None]:
    """The image to start from, and the busybox to put into it."""
    if BUSYBOX.is_file():
        program = BUSYBOX.read_bytes()
        if b"/ld-" not in program[:4096]:  # a program that is not static names its loader there
            return "scratch", program
    return PUBLIC_BASE, None


def _dockerfile(
    base: str,
    command: Sequence[str],
    healthcheck: Sequence[str] | None,
    health_seconds: int,
    expose: Sequence[str],
    labels: Mapping[str, str],
) -> str:
    lines = [f"FROM {base}"]
    if base == "scratch":
        lines.append("COPY bin /bin")
    lines.append("COPY www /www")
    lines += [f"EXPOSE {port}" for port in expose]
    lines += [f"LABEL {_quoted(key)}={_quoted(value)}" for key, value in labels.items()]
    if healthcheck:
        lines.append(f"HEALTHCHECK --interval=1s --timeout={health_seconds}s --retries=3 CMD {_exec_form(healthcheck)}")
    lines.append(f"CMD {_exec_form(command)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _exec_form(command: Sequence[str]) -> str:
    return json.dumps(list(command))


def _context(dockerfile: str, files: Mapping[str, bytes]) -> io.BytesIO:
    """A build context in memory."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in {"Dockerfile": dockerfile.encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(content))
    context.seek(0)
    return context


def _read(stream: Iterable[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """All lines of an engine's answer; one that tells an error raises."""
    lines = list(stream)
    for line in lines:
        if "error" in line:
            raise JobImageError(f"{reference}: {line['error']}")
    return lines
