"""What callers are told, as `worker.client` reads it, and the cut-over hook of a stage."""

from pydantic import BaseModel, ConfigDict


class Told(BaseModel):
    """The base of these; what a newer worker adds is left out by who doesn't know it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Instance(Told):
    """A version of a stage, as the cut-over hook is told where it is."""

    deployment_id: str
    project: str
    stage: str
    instance_id: str
    host: str
    """The name of the engine that it is on; `ports` are that one's."""
    container_id: str
    container_name: str
    image: str
    """As it was asked for, in full: `nginx` is docker.io/library/nginx:latest."""
    image_id: str
    digest: str | None
    """None of an image that no registry has."""
    network: str
    ports: dict[str, int]
    """The host's port of each port of the container's that is published, as in `{"8080/tcp": 32768}`."""
    health: str | None
    """As the engine has it; None of one that was adopted."""
    state: str
    """`live`, or `unchanged`: the same image with the same arguments was live already, and nothing was touched."""
    replaced: list[str] = []
    """Ids of the containers that were retired."""
    seconds: dict[str, float] = {}
    """How long each step took."""


class DeploymentResult(Instance):
    """What a deployment has brought: the result of `docker.deploy` and `docker.rollback`."""

    health: str
    """`healthy`, or `running`: what has no health check, and has run stably."""
    replaced: list[str]
    seconds: dict[str, float]


class Progress(Told):
    """How far a deployment is."""

    step: str
    current: int | None = None
    """Of a pull, the bytes that are there, of `total` as far as that is known."""
    total: int | None = None
    layers: int | None = None
    """How many layers the image has, as far as that is known."""
    layers_done: int | None = None
    """How many of them are there, and unpacked."""
    waits_for: str | None = None
    """What it waits for, in words: a host that is away, or another deployment's pull of the same image."""


class ListedContainer(Told):
    """A managed container."""

    container_id: str
    name: str
    project: str
    stage: str
    instance_id: str
    deployment_id: str
    host: str
    image: str
    image_id: str
    digest: str
    state: str
    status: str
    created: str
    ports: dict[str, int]
    labels: dict[str, str]
    host_away: bool = False
    """Whether nothing is heard of its host: then the rest is what that has told last."""
    older_key: bool
    """Whether what its labels keep sealed takes another key than the first, which is so until its next deployment."""

    @property
    def where(self) -> str:
        """Its stage, as people write it: `shop/staging`."""
        return f"{self.project}/{self.stage}"
