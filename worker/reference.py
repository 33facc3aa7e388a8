"""Image references, written and read as Docker writes and reads them."""

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_HUB_ALIASES = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io"}

# The grammar of github.com/distribution/reference; 255 characters is the engine's bound for a repository.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DOMAIN_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_REPOSITORY = 255


def short(text: str) -> str:
    """What people call an image, whatever it is: `acme/shop:1.4.2`, without the registry and most of the digest."""
    name, at, digest = text.partition("@sha256:")
    first, slash, rest = name.partition("/")
    has_registry = slash and (not {".", ":"}.isdisjoint(first) or first == "localhost")
    return f"{rest if has_registry else name}{at}{digest[:12]}"


@dataclass(frozen=True)
class ImageReference:
    """`registry/repository:tag`, `…@sha256:…`, or both, in its normalised form."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Read a reference; `nginx` is `docker.io/library/nginx:latest`.

        Raises ValueError, saying which part is wrong.
        """
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError("the digest after @ must be sha256: and 64 hexadecimal digits")
        name, colon, tag = _split_tag(name)
        if colon and not _TAG.fullmatch(tag):
            raise ValueError("the tag must be 1 to 128 letters, digits, dots, dashes or underscores")
        registry, repository = _split_registry(name)
        if not _REPOSITORY.fullmatch(repository) or len(name) > _LONGEST_REPOSITORY:
            raise ValueError("must be an image's name: lower-case, as in registry/repository:tag")
        return cls(registry, repository, tag or (None if at else "latest"), digest or None)

    @property
    def name(self) -> str:
        """The repository with its registry: what policies are matched against."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What the engine's pull calls the tag: the digest where there is one, as a tag may move."""
        return self.digest or self.tag or "latest"

    @property
    def label(self) -> str:
        """What tells this version from others in a container's name: the tag, or the digest's beginning."""
        return self.tag or (self.digest or "").removeprefix("sha256:")[:12]

    def pinned(self, digest: str) -> str:
        """The same image by digest."""
        return f"{self.name}@{digest}"

    def names_of(self, digest: str | None) -> set[str]:
        """What an engine calls this image once it has it; `digest` is what the pull told, where that is known."""
        digests = {self.pinned(each) for each in (self.digest or digest,) if each}
        return digests if self.digest else {str(self), *digests}

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def normal_registry(host: str) -> str:
    """One name for each registry: Docker Hub has several.

    Raises ValueError.
    """
    if not _REGISTRY.fullmatch(host):
        raise ValueError("the registry must be a host's name, with or without a port, and no more")
    host = host.lower()
    return DOCKER_HUB if host in _HUB_ALIASES else host


def _split_tag(name: str) -> tuple[str, str, str]:
    # A colon before the last slash is a registry's port.
    head, slash, last = name.rpartition("/")
    repository, colon, tag = last.partition(":")
    return head + slash + repository, colon, tag


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = normal_registry(first), rest
    else:
        registry, repository = DOCKER_HUB, name
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository
