"""What this Debian release lacks, a newer engine or Valkey: from the next release, unpacked beside the system.

It comes from wherever the machine's own packages come from: its apt sources are copied with this release's name
replaced by the next one's. The system's own packages and lists stay as they are.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compose import packages
from compose.errors import UnavailableError

NEXT = {"bullseye": "bookworm", "bookworm": "trixie", "trixie": "forky"}
SUITES = ("", "-updates", "-security")
ENGINE = ("docker.io", "containerd")
#: Options of a one-line source that deb822 spells otherwise.
DEB822 = {"arch": "architectures", "lang": "languages", "target": "targets"}
SOURCES = Path("/etc/apt")


def matches(version: str, wanted: str) -> bool:
    """Whether 26.1.5 is a 26.1, but not a 26.10."""
    parts = wanted.split(".")
    return version.partition("+")[0].split(".")[: len(parts)] == parts


def programs(wanted: str, engines: Path) -> Path | None:
    """The folder with that engine's programs, fetched if need be; none where the system's own is that one."""
    if matches(_version_of("dockerd"), wanted):
        return None
    folder = engines / wanted
    unpacked(folder, ENGINE)
    found = _version_of(str(folder / "usr/sbin/dockerd"))
    if not matches(found, wanted):
        shutil.rmtree(folder)
        raise UnavailableError(
            f"ENGINE={wanted} cannot be had: this Debian release has {_version_of('dockerd')}, the next one {found}."
        )
    return folder


def unpacked(folder: Path, wanted: Sequence[str]) -> None:
    """See that these packages of the next release are in a folder, fetched if need be."""
    with _alone(folder.parent):
        if not folder.exists():
            _fetch(folder, wanted)


def tool(folder: Path, package: str, path: str) -> Path:
    """A program of the next release's package, which is fetched to this folder if need be."""
    unpacked(folder, (package,))
    return folder / path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time fetches."""
    folder.mkdir(parents=True, exist_ok=True)
    # `make lock` has a folder of that name here.
    with (folder / "fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version_of(dockerd: str) -> str:
    answer = _run([dockerd, "--version"], "ask dockerd for its version")
    found = re.search(r"version ([^,\s]+)", answer)
    return found[1] if found else "unknown"


def _fetch(folder: Path, wanted: Sequence[str]) -> None:
    """Download and unpack the packages; the folder only appears once it is complete."""
    if not packages.is_debian():
        raise UnavailableError(
            f"{wanted[0]} comes from Debian's packages only: start it yourself, and set DOCKER_HOST or DW_REDIS_URL."
        )
    release = _codename()
    following = NEXT.get(release)
    if following is None:
        raise UnavailableError(f"{wanted[0]}: which Debian release follows {release} is not known here.")
    print(f"packages  fetching {' '.join(wanted)} of {following}", file=sys.stderr, flush=True)
    work = folder.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    for part in ("apt/lists/partial", "apt/cache/archives/partial", "debs", "root"):
        (work / part).mkdir(parents=True)
    (work / "apt/sources.sources").write_text(next_sources(release, following, SOURCES))
    _download(work, following, wanted)
    for package in (work / "debs").glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(work / "root")], f"unpack {package.name}")
    (work / "root").rename(folder)
    shutil.rmtree(work)


def _download(work: Path, following: str, wanted: Sequence[str]) -> None:
    options = {
        "Dir::Etc::sourcelist": work / "apt/sources.sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": work / "apt/lists",
        "Dir::Cache": work / "apt/cache",
        "APT::Sandbox::User": "root",  # the folder is not the _apt user's
        "APT::Default-Release": following,
    }
    apt = ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"], f"read the package lists of {following}")
    _run([*apt, "download", *wanted], f"download {' and '.join(wanted)} of {following}", work / "debs")


def _run(argv: list[str], purpose: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        raise UnavailableError(f"Could not {purpose}:\n{done.stdout.strip()}")
    return done.stdout


def _codename() -> str:
    found = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else "an unnamed release"


def next_sources(release: str, following: str, folder: Path) -> str:
    """This release's own sources (not third parties'), as deb822 stanzas that name the next release."""
    old = [release + suite for suite in SUITES]
    stanzas = [*_stanzas(folder), *_lines_as_stanzas(folder)]
    chosen = []
    for stanza in stanzas:
        suites = stanza.get("suites", "").split()
        if suites and all(suite in old for suite in suites):
            renamed = " ".join(following + suite.removeprefix(release) for suite in suites)
            chosen.append({**stanza, "types": "deb", "suites": renamed})
    if not chosen:
        raise UnavailableError(f"The apt sources of this machine name no suite of {release}.")
    return "\n".join("".join(f"{key}: {value}\n" for key, value in stanza.items()) for stanza in chosen)


def _stanzas(folder: Path) -> Iterator[dict[str, str]]:
    for file in sorted(folder.glob("sources.list.d/*.sources")):
        text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)
        for block in re.split(r"\n\s*\n", text):
            fields = re.findall(r"^([\w-]+):\s*(.*(?:\n[ \t].*)*)", block, re.MULTILINE)
            yield {key.lower(): value for key, value in fields}


def _lines_as_stanzas(folder: Path) -> Iterator[dict[str, str]]:
    for file in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        text = file.read_text() if file.exists() else ""
        for options, uri, suite, components in re.findall(
            r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+?)\s*(?:#.*)?$", text, re.MULTILINE
        ):
            settings = [option.partition("=") for option in options.split()]
            named = {DEB822.get(key, key): value for key, _, value in settings}
            yield {"types": "deb", "uris": uri, "suites": suite, "components": components, **named}
