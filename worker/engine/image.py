"""Images: pulling with progress and a stall limit, and inspecting (R2, R3)."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

import docker
import docker.errors
from docker.auth import encode_header

from worker.engine.connection import messages, streamed
from worker.engine.errors import Subject, engine_errors, refused
from worker.engine.transport import AddressUnknown, exposed, is_this_machine
from worker.errors import EngineUnavailable, ImageNotFound, PolicyDenied, RegistryUnavailable
from worker.interrupt import Interrupt
from worker.reference import ImageReference
from worker.wire import Deadline

MOST_LAYERS = 1000
_LONGEST_ID = 100
_AT_WORK = {"Downloading": "downloading", "Verifying Checksum": "verifying", "Extracting": "extracting"}
_DONE = {"Pull complete", "Already exists"}
_YET_TO_COME = {"Pulling fs layer", "Waiting", "Download complete"}
"""What the engine says of a layer that it isn't at just now."""


@dataclass(frozen=True)
class Image:
    """What an image says of itself."""

    id: str
    digest: str | None
    """`sha256:…` as the registry has it; None for an image that no registry has (`RepoDigests`)."""
    size: int
    """Bytes, as the engine counts them (`Size`)."""
    platform: str
    """What its programs are said to be made for, as in `linux/arm64` (`Os`, `Architecture`)."""
    ports: tuple[str, ...]
    """EXPOSEd, as in `8080/tcp`."""
    healthcheck: Mapping[str, object] | None
    """`Config.Healthcheck`; None where the image has none, or switches it off."""
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ListedImage:
    """An image as a list shows it (`GET /images/json`)."""

    id: str
    tags: Sequence[str]
    """As in `registry/repository:tag`, normalised."""
    digests: Sequence[str]
    """As in `registry/repository@sha256:…`, normalised."""
    size: int
    """Bytes, as the engine counts them (`Size`): also of layers that other images have."""
    parent: str
    """The id of the image that it was built from on this engine; empty for one that was pulled."""

    @property
    def name(self) -> str:
        """What people may know it by."""
        return next(iter([*self.tags, *self.digests]), self.id)


@dataclass(frozen=True)
class Login:
    """User and password for one pull; the user's own `docker login` is never used."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Layer:
    """A layer that the engine is at."""

    id: str
    doing: str
    """`downloading`, `verifying` or `extracting`."""
    current: int
    """Bytes; both are 0 where the engine tells none."""
    total: int


@dataclass
class PullProgress:
    """Bytes of all layers known so far; `total` grows while the engine learns of layers.

    No more than `MOST_LAYERS` are known, whatever the engine tells of.
    """

    current: int = 0
    total: int = 0
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    _said: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    _at_work: dict[str, Layer] = field(default_factory=dict, repr=False)
    _is_done: dict[str, bool] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> int:
        """How many layers are known so far."""
        return len(self._is_done)

    @property
    def layers_done(self) -> int:
        """How many of them are there, and unpacked."""
        return sum(self._is_done.values())

    def at_work(self, most: int) -> list[Layer]:
        """The layers that the engine is at, so many of them at the most."""
        return list(islice(self._at_work.values(), most))

    def take(self, line: Mapping[str, Any]) -> bool:
        """Read a line of the engine's stream, and tell whether something has moved on."""
        layer, status = str(line.get("id"))[:_LONGEST_ID], str(line.get("status"))
        detail = line.get("progressDetail") or {}
        if layer not in self._said and len(self._said) >= MOST_LAYERS:
            return False
        known = self._layers.get(layer)
        if status == "Downloading" and detail.get("total"):
            self._count(layer, int(detail.get("current", 0)), int(detail["total"]))
        elif status in {"Download complete", "Pull complete"} and known:
            self._count(layer, known[1], known[1])
        self._note(layer, status, detail)
        said = (status[:_LONGEST_ID], str(detail)[:_LONGEST_ID])
        # The engine's own retries say `Retrying in 5 seconds`; a layer that waits for a download slot, `Waiting`.
        has_moved = self._said.get(layer) != said and not status.startswith(("Retrying in", "Waiting"))
        self._said[layer] = said
        return has_moved

    def _note(self, layer: str, status: str, detail: Mapping[str, Any]) -> None:
        if status in _AT_WORK:
            current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
            self._at_work[layer] = Layer(layer, _AT_WORK[status], current, total)
        elif status in _DONE | _YET_TO_COME:
            self._at_work.pop(layer, None)
        else:
            return
        self._is_done[layer] = status in _DONE

    def _count(self, layer: str, current: int, total: int) -> None:
        current_before, total_before = self._layers.get(layer, (0, 0))
        self._layers[layer] = (current, total)
        self.current += current - current_before
        self.total += total - total_before


@dataclass(frozen=True)
class Pulled:
    """What a pull brought."""

    digest: str
    """`sha256:…`, as the registry has it: with it the image is found, wherever its tag points by now."""
    downloaded: bool
    """False where it was there already, under this very name."""


class _InUseError(Exception):
    """A container or another image needs the image."""


class Images:
    """The images of one engine."""

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api

    def pull(
        self,
        reference: ImageReference,
        *,
        login: Login | None = None,
        stall_timeout: float = 120,
        on_progress: Callable[[PullProgress], None] | None = None,
        interrupt: Interrupt | None = None,
    ) -> Pulled:
        """Pull an image and read the stream to its end, where the engine hides the errors of an answer 200.

        `stall_timeout` is how many seconds may pass without progress, whatever is said meanwhile; a line has 1 MiB at
        the most. A second run finds the layers present.
        `on_progress` may raise to break the pull off: that closes the stream, and so cancels it at the engine. So
        does `interrupt`, from another thread and also while the engine says nothing.

        Raises ImageNotFound, PullDenied, RegistryUnavailable, DiskFull, EngineUnavailable; Interrupted. PolicyDenied
        where the engine would offer the login over plain HTTP, or unverified TLS, off its own machine.
        """
        subject = Subject("pull", image=str(reference), secrets=[login.password] if login else [])
        if login and not is_this_machine(reference.registry):
            self._check_not_exposed(subject, reference.registry)
        digest, downloaded, progress = None, False, PullProgress()
        last, several = "", False
        deadline = Deadline(stall_timeout)
        with closing(self._pull_stream(subject, reference, login, deadline, interrupt or Interrupt())) as stream:
            for line in stream:
                with engine_errors("pull", image=subject.image):
                    has_moved = progress.take(line)
                if has_moved:
                    deadline.put_off()
                if on_progress:
                    on_progress(progress)
                status = str(line.get("status", ""))
                if status.startswith("Digest: "):
                    digest = status.removeprefix("Digest: ")
                downloaded = downloaded or status.startswith("Status: Downloaded")
                if status == "Download complete":
                    layer = str(line.get("id"))[:_LONGEST_ID]
                    last, several = layer, several or last not in {"", layer}
        if digest is None:
            digest, downloaded = reference.digest or self._digest_of(reference, last), downloaded or several
        if digest is None:
            raise EngineUnavailable(
                f"{subject} failed: the engine's answer ended too soon; try again.", subject.facts()
            )
        return Pulled(digest, downloaded)

    def _digest_of(self, reference: ImageReference, brought: str) -> str | None:
        # Podman tells none. What it says to have brought last is the image; of Docker, that is a layer.
        image = self.find(str(reference)) if brought else None
        return image.digest if image and image.id.removeprefix("sha256:").startswith(brought) else None

    def _check_not_exposed(self, subject: Subject, registry: str) -> None:
        with engine_errors("pull", image=subject.image):
            config = self._api.info()["RegistryConfig"]
        try:
            host = exposed(config, registry)
        except AddressUnknown as error:
            raise RegistryUnavailable(
                f"{subject} failed: the address of {registry} can't be told ({error}), nor so whether the engine would "
                "send its password in clear; see that the worker can resolve the name.",
                subject.facts(),
            ) from error
        if host:
            raise PolicyDenied(
                f"{subject} failed: the engine calls {host} insecure, and would send it the password of {registry} in "
                "clear; give it a certificate and take it from the engine's insecure registries and mirrors, or "
                "remove the credential.",
                subject.facts(),
            )

    def inspect(self, image: str, called: str | None = None) -> Image:
        """Read an image by reference or id; `called` is its name in errors.

        Raises ImageNotFound, EngineUnavailable.
        """
        with engine_errors("inspect", image=called or image):
            return _image(self._api.inspect_image(image), image)  # type: ignore[no-untyped-call]  # so are its stubs

    def find(self, image: str) -> Image | None:
        """As `inspect`, or None where the engine doesn't have the image."""
        try:
            return self.inspect(image)
        except ImageNotFound:
            return None

    def list(self) -> list[ListedImage]:
        """All images, also those without a name that others were built from.

        Raises EngineUnavailable.
        """
        with engine_errors("images"):
            return [_listed(data) for data in self._api.images(all=True)]

    def remove(self, image: ListedImage) -> bool:
        """Remove an image by each of its names; False if it is gone already, or a container or another image needs it.

        With a name that somebody gives it meanwhile it stays, under that name. Its layers go unless others have them.

        Raises EngineUnavailable.
        """
        gone = False
        for name in [*image.tags, *image.digests] or [image.id]:
            try:
                with engine_errors("prune", image=name):
                    gone = self._removes(name) or gone
            except ImageNotFound:
                # It went with the name before this one.
                continue
            except _InUseError:
                break
        return gone

    def _removes(self, name: str) -> bool:
        try:
            # Not with what it was built from, which may be somebody else's.
            answer = self._api.remove_image(name, noprune=True)
        except docker.errors.APIError as error:
            if error.status_code == HTTPStatus.CONFLICT:
                raise _InUseError from error
            raise
        return any("Deleted" in each for each in answer)

    def _pull_stream(
        self,
        subject: Subject,
        reference: ImageReference,
        login: Login | None,
        deadline: Deadline,
        interrupt: Interrupt,
    ) -> Generator[Mapping[str, Any], None, None]:
        # The SDK's own pull() has no timeout at all (it passes None): an engine that says nothing would hold
        # the thread for ever. And it reads ~/.docker/config.json unless it is given a header.
        auth = {"username": login.username, "password": login.password} if login else {}
        with (
            engine_errors("pull", image=subject.image, secrets=subject.secrets),
            streamed(
                self._api,
                "POST",
                "/images/create",
                params={"fromImage": reference.name, "tag": reference.version},
                headers={"X-Registry-Auth": encode_header(auth)},
                deadline=deadline,
                interrupt=interrupt,
            ) as answer,
        ):
            for message in messages(subject, answer):
                if "error" in message:
                    raise refused(subject, 0, str(message["error"]))
                yield message


def _image(data: Mapping[str, Any], asked_for: str) -> Image:
    config = data.get("Config") or {}
    healthcheck = config.get("Healthcheck") or {}
    return Image(
        id=data["Id"],
        digest=_digest(data.get("RepoDigests") or [], asked_for),
        size=data["Size"],
        platform=f"{data['Os']}/{data['Architecture']}",
        ports=tuple(sorted(config.get("ExposedPorts") or {})),
        healthcheck=healthcheck if healthcheck.get("Test", ["NONE"])[:1] != ["NONE"] else None,
        labels=config.get("Labels") or {},
    )


def _listed(data: Mapping[str, Any]) -> ListedImage:
    return ListedImage(
        id=data["Id"],
        tags=_names(data.get("RepoTags")),
        digests=_names(data.get("RepoDigests")),
        size=data["Size"],
        parent=data.get("ParentId", ""),
    )


def _names(listed: Sequence[str] | None) -> list[str]:
    # `<none>:<none>` is how older engines say that there is none.
    return [_normal(each) for each in listed or () if not each.startswith("<none>")]


def _normal(name: str) -> str:
    try:
        return str(ImageReference.parse(name))
    except ValueError:
        # The engine may know names, as with other kinds of digests, that are refused here: no pull of ours gave it.
        return name


def _digest(repo_digests: Sequence[str], asked_for: str) -> str | None:
    # One image can have several manifests, each with a digest of its own, in several repositories and in one.
    if "@" in asked_for:
        return asked_for.partition("@")[2]
    known = [ImageReference.parse(each) for each in repo_digests]
    same = [each for each in known if re.match(rf"{re.escape(each.name)}[:@]", asked_for)]
    return next((each.digest for each in same or known), None)
