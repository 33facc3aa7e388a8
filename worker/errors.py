"""Every error of the contract, each named after its cause.

    DeploymentError
    ├── Transient                 a later try of the very same thing can succeed
    │   ├── EngineUnavailable
    │   └── RegistryUnavailable
    └── Permanent                 somebody has to change something first
        ├── SpecInvalid           the arguments
        ├── PolicyDenied          the arguments, or this worker's policy
        ├── CredentialMissing     the stored credentials, or the keys that open them
        ├── ImageNotFound         the image's name, or the registry
        ├── PullDenied            the credential, or its rights
        ├── NameConflict          the project or stage, or the container that has the name
        ├── PortInUse             the port, or what listens on it
        ├── NetworkNotFound       the network's name
        ├── ContainerNotFound     the container's name
        ├── NotManaged            the container's name
        ├── StartFailed           the image or its command
        ├── Unhealthy             the image or its health check
        ├── DiskFull              the disk
        ├── DeadlineExceeded      the deadline, or what took so long
        ├── DeploymentCancelled   nothing: somebody asked for it
        ├── DeploymentSuperseded  nothing: a newer one runs
        └── CutoverFailed         what answers the cut-over hook

An error is a sentence and its facts. Both go to `Exception.args`, because Celery's JSON result backend stores
the class's name and `args` and nothing else: whoever imports this module gets the same error back from
`AsyncResult.get()`, and whoever doesn't finds the sentence in `args[0]` and the facts in `args[1]`.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, Self

_type_names: dict[str, "type[DeploymentError]"] = {}


class DeploymentError(Exception):
    """A failure that the contract names.

    `message` is one sentence: what failed, on which container or image, and what to do.
    `facts` is JSON: `step`, `image`, `container`, `field`, `exit_code`, `logs`, … as far as known.
    """

    is_transient: ClassVar[bool] = False

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        self.message = message
        self.facts = {"retryable": self.is_transient, **(facts or {})}
        super().__init__(message, self.facts)

    def __init_subclass__(cls) -> None:
        _type_names[cls.__name__] = cls

    @property
    def retryable(self) -> bool:
        """Whether a later try of the very same thing can succeed."""
        return bool(self.facts["retryable"])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.message}"

    def to_json(self) -> str:
        return json.dumps({"type": type(self).__name__, "message": self.message, "facts": self.facts})

    @classmethod
    def from_json(cls, text: str) -> "DeploymentError":
        """Rebuild what `to_json` gave."""
        stored = json.loads(text)
        # One that only another version of this code knows is still an error, and of that name to whoever hears of it.
        named: type[DeploymentError] = _type_names.get(stored["type"]) or type(stored["type"], (DeploymentError,), {})
        return named(stored["message"], stored["facts"])

    def with_facts(self, **facts: object) -> Self:
        """Return the same error knowing more: what it already says stays as it is."""
        return type(self)(self.message, {**facts, **self.facts})


def is_named(name: str) -> bool:
    """Whether an error of the contract has this name."""
    return name in _type_names


class Transient(DeploymentError):
    """A later try of the same thing can succeed."""

    is_transient = True


class Permanent(DeploymentError):
    """The same thing will fail again until somebody changes something."""


class EngineUnavailable(Transient):
    """The engine can't be reached, doesn't answer in time, or failed inside itself."""


class RegistryUnavailable(Transient):
    """The registry can't be reached, is overloaded, stalls, or sent something broken."""


class SpecInvalid(Permanent):
    """The arguments are wrong; `facts["fields"]` says which, and why."""


class PolicyDenied(Permanent):
    """This worker's policy doesn't allow what was asked for."""


class CredentialMissing(Permanent):
    """There is no such stored credential, it is for another registry, or no key opens it."""


class ImageNotFound(Permanent):
    """The registry, or the engine where nothing was pulled, doesn't have the image."""


class PullDenied(Permanent):
    """The registry refuses to hand out the image with the credential used, or without one."""


class NameConflict(Permanent):
    """Another container has the name."""


class PortInUse(Permanent):
    """Another container or process has the host port."""


class NetworkNotFound(Permanent):
    """The engine has no network of that name."""


class ContainerNotFound(Permanent):
    """The engine has no container of that id or name."""

    @classmethod
    def in_stage(cls, where: str) -> Self:
        """The error for a stage that has none at all."""
        return cls(f"Stage {where} has no container: see `dw ps --all`.", {"stage": where})


class NotManaged(Permanent):
    """The container isn't docker-watcher's, or is another installation's."""


class StartFailed(Permanent):
    """The container doesn't start, or ended before it was proven; carries `exit_code`, `oom_killed`, `logs`."""


class Unhealthy(Permanent):
    """The container runs and isn't healthy in time; carries `exit_code`, `oom_killed`, `logs`, `health_log`."""


class DiskFull(Permanent):
    """The engine's disk is full; in a pull it carries the bytes `current`, `total`, `freed` and `images`."""


class DeadlineExceeded(Permanent):
    """The deployment's own deadline has passed."""


class DeploymentCancelled(Permanent):
    """Somebody cancelled the deployment."""


class DeploymentSuperseded(Permanent):
    """A newer deployment of the same stage took the place of this one while it waited."""


class CutoverFailed(Permanent):
    """The cut-over hook didn't answer 2xx; one that is away or overloaded may do so later."""


KINDS: tuple[type[DeploymentError], ...] = (*Transient.__subclasses__(), *Permanent.__subclasses__())
"""All of the contract, those first that a later try helps against."""


class Unanswered(Exception):
    """None of the contract, but of who asks: nobody took what was sent, it hasn't ended in time, or can't be sent."""
