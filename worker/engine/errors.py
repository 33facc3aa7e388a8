"""Every answer of the engine, or of a registry through it, as one of the contract's errors.

Read by HTTP status and step first, and by the engine's text only where nothing else tells: texts differ between
engines (20.10 and 26.1 are tested) and rot. The first rule that fits counts.
"""

import http.client
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker.errors
import requests
import urllib3.exceptions

from worker.errors import (
    ContainerNotFound,
    DeploymentError,
    DiskFull,
    EngineUnavailable,
    ImageNotFound,
    NameConflict,
    NetworkNotFound,
    PortInUse,
    PullDenied,
    RegistryUnavailable,
    SpecInvalid,
    StartFailed,
)
from worker.secrecy import without

_LONGEST_TEXT = 300
_LONGEST_READ = 10_000
"""Characters that are looked at: what an engine means is among the first."""
_WAY_DOWN = re.compile(
    r".*(unable to start container process: |on endpoint \S+ \([0-9a-f]{64}\): )(Error starting userland proxy: )?"
)
"""Through which of the engine's parts its answer has come, which says nothing to who reads it."""
_GERUNDS = {
    "connect": "Connecting to the engine",
    "pull": "Pulling image {image}",
    "inspect": "Inspecting image {image}",
    "images": "Listing images",
    "prune": "Removing image {image}",
    "create": "Creating container {container} of image {image}",
    "start": "Starting container {container}",
    "stop": "Stopping container {container}",
    "restart": "Restarting container {container}",
    "remove": "Removing container {container}",
    "rename": "Renaming container {container}",
    "update": "Changing the restart policy of container {container}",
    "look": "Looking at container {container}",
    "logs": "Reading the logs of container {container}",
    "list": "Listing containers",
    "events": "Listening to what happens to containers",
    "attach": "Connecting container {container} to network {network}",
    "detach": "Disconnecting container {container} from network {network}",
    "network": "Looking for network {network}",
}


@dataclass(frozen=True)
class Subject:
    """What an engine call is about: the step, and the names that its error must give (R15)."""

    step: str
    image: str | None = None
    container: str | None = None
    network: str | None = None
    secrets: Sequence[str] = field(default=(), repr=False)
    """What is secret in the request: an answer may repeat it, and no error does."""

    def facts(self) -> dict[str, object]:
        return {name: value for name, value in self._names().items() if value is not None}

    def __str__(self) -> str:
        return _GERUNDS[self.step].format_map({name: value or "?" for name, value in self._names().items()})

    def _names(self) -> dict[str, str | None]:
        return {"step": self.step, "image": self.image, "container": self.container, "network": self.network}


@dataclass(frozen=True)
class _Rule:
    error: type[DeploymentError]
    advice: str
    steps: frozenset[str] | None = None
    statuses: range | None = None
    text: re.Pattern[str] | None = None

    def fits(self, step: str, status: int, text: str) -> bool:
        return (
            (self.steps is None or step in self.steps)
            and (self.statuses is None or status in self.statuses)
            and (self.text is None or bool(self.text.search(text)))
        )


def _rule(
    error: type[DeploymentError],
    advice: str,
    steps: str = "",
    status: int | range | None = None,
    text: str = "",
) -> _Rule:
    return _Rule(
        error,
        advice,
        frozenset(steps.split()) or None,
        range(status, status + 1) if isinstance(status, int) else status,
        re.compile(text, re.IGNORECASE) if text else None,
    )


_ANY_5XX = range(500, 600)
# An engine that is killed while it starts a container can leave it to its containerd and forget it: by these words, on
# 20.10, it refuses each further start.
_HALF_STARTED = r"task \S+: already exists|id already in use"
_RULES = (
    _rule(DiskFull, "free disk space on the engine's host", text=r"no space left on device"),
    # A pull's status tells little: 500 for most, or 200 with the error in the stream (status 0 here). The texts
    # hold names that callers choose, as in `manifest for …/denied:429 not found`: those aren't to match.
    _rule(
        RegistryUnavailable,
        "the registry limits how often it may be asked; try again later",
        "pull",
        text=r"(^|: )toomanyrequests|too many requests|HTTP 429|: 429 ",
    ),
    _rule(
        PullDenied,
        "check that the image exists and that the credential may pull it",
        "pull",
        text=r"(^|(?<!for)\s)(unauthorized|denied|forbidden)\b|no basic auth|authentication required|"
        r"HTTP 40[13]|: 40[13] ",
    ),
    _rule(
        ImageNotFound,
        "this image isn't made for the platform of the engine's host",
        "pull",
        text=r"no matching manifest",
    ),
    _rule(
        ImageNotFound,
        "check the image's name and tag",
        "pull",
        text=r"manifest unknown|name unknown|unknown blob|not found",
    ),
    _rule(SpecInvalid, "check the image's name", "pull", 400),
    _rule(RegistryUnavailable, "check that the registry is up and can be reached from the engine's host", "pull"),
    _rule(ImageNotFound, "pull it first", "inspect prune", 404),
    _rule(ImageNotFound, "pull it first", "create", 404, r"image"),
    # 500, on 20.10 and on 26.1.
    _rule(
        SpecInvalid, "correct the volumes' paths", "create", _ANY_5XX, r"invalid (volume specification|mount config)"
    ),
    _rule(NameConflict, "remove or rename the container that has the name", "create rename", 409),
    _rule(
        PortInUse,
        "free the host port or ask for another one",
        "start restart attach",
        text=r"port is already allocated|address already in use|failed to bind (host )?port",
    ),
    _rule(
        NetworkNotFound,
        "check the network's name, or make it",
        "create start restart attach detach",
        404,
        r"network",
    ),
    _rule(NetworkNotFound, "check the network's name, or make it", "network", 404),
    # Two that make it at once: a later try finds it.
    _rule(EngineUnavailable, "another worker is making it; try again", "network", 409, r"already exists"),
    _rule(EngineUnavailable, "deploy it anew, should this last", "start restart", text=_HALF_STARTED),
    _rule(
        StartFailed,
        "check the image's command, user and mounts",
        "start restart",
        text=r"oci runtime|runc|executable file not found|exec format error|unable to find (user|group)|"
        r"failed to create (shim )?task|error while creating mount",
    ),
    # It waits for its next start, and has no network until then.
    _rule(EngineUnavailable, "stop it, or try again", "rename", 404, r"sandbox \S+ not found"),
    _rule(
        ContainerNotFound,
        "check the container's id or name",
        "start stop restart remove rename update look logs attach detach",
        404,
    ),
    _rule(EngineUnavailable, "look into the engine's own log", status=_ANY_5XX),
    # What is left is the engine's word that the request itself is wrong: a retry brings the same.
    _rule(SpecInvalid, "correct the arguments"),
)

_NO_ANSWER = (
    # Of a request through the SDK; the rest also of a pull, which reads its connection itself.
    docker.errors.DockerException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
_NO_SENSE = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
"""What reading an answer raises that isn't of the form that the Engine API has it in, and an address that is none."""


@contextmanager
def engine_errors(
    step: str,
    *,
    image: str | None = None,
    container: str | None = None,
    network: str | None = None,
    secrets: Sequence[str] = (),
) -> Iterator[None]:
    """Run an engine call and read its answer; whatever that raises comes out as one of the contract's errors.

    None repeats what is secret; nor does its cause, whose text a traceback, which Celery stores, has as well.
    """
    subject = Subject(step, image, container, network, secrets)
    try:
        yield
    except docker.errors.APIError as error:
        error.explanation = without(secrets, str(error.explanation or error))
        raise refused(subject, error.status_code or 0, error.explanation) from error
    except _NO_ANSWER as error:
        raise _unanswered(subject, error) from (None if secrets else error)
    except _NO_SENSE as error:
        raise EngineUnavailable(
            f"{subject} failed: nothing that can be read comes from the engine "
            f"({_short(without(secrets, repr(error)))}); check that DOCKER_HOST leads to one.",
            subject.facts(),
        ) from (None if secrets else error)


def refused(subject: Subject, status: int, text: str) -> DeploymentError:
    """The error for an answer that isn't a success; status 0 stands for an error line in a pull's stream."""
    # Before anything is cut: half of a secret isn't found.
    text = without(subject.secrets, text)[:_LONGEST_READ]
    rule = next(rule for rule in _RULES if rule.fits(subject.step, status, text))
    return rule.error(f"{subject} failed: {_short(text)}; {rule.advice}.", subject.facts())


def _unanswered(subject: Subject, error: Exception) -> DeploymentError:
    # The SDK keeps of the error only its text when it asks for the engine's version.
    timed_out = isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError) or "timed out" in str(error)
    if timed_out and subject.step == "pull":
        return RegistryUnavailable(
            f"{subject} failed: no progress within the stall timeout; see whether the registry is up or other pulls "
            "hold the engine's download slots, or raise DW_PULL_STALL_TIMEOUT.",
            subject.facts(),
        )
    what = "the engine doesn't answer in time" if timed_out else "the engine can't be reached or broke off"
    text = _short(without(subject.secrets, str(error)))
    return EngineUnavailable(
        f"{subject} failed: {what} ({text}); check that it runs and that DOCKER_HOST is right.",
        subject.facts(),
    )


def is_half_started(error: DeploymentError) -> bool:
    """Whether a container's start failed as any further one will, since the engine was killed in the middle of one."""
    return isinstance(error, EngineUnavailable) and bool(re.search(_HALF_STARTED, error.message))


def _short(text: str) -> str:
    line = _WAY_DOWN.sub("", " ".join(text.split())).removesuffix(": unknown").rstrip(".")
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"
