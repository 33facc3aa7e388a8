"""Settings: environment variables with prefix `DW_`, or the same names in a file `.env`.

The engine's own variables (`DOCKER_HOST`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`) are read by the Docker SDK.
"""

from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker import address

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


def _user_defined(network: str) -> str:
    if network in {"host", "none", "default", "bridge", "container"}:
        raise ValueError(f"is {network}, which means no network of its own to the engine")
    return network


NetworkName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,126}$"), AfterValidator(_user_defined)
]
QUICK_THREADS = 8
HIGHEST_PORT = 65_535
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsInvalid(ValueError):
    """A setting is wrong; the message names the variable."""


def _if_redis(url: str | None) -> str | None:
    return address.checked(url) if url and url.startswith("redis") else url


def _broker(url: str | None) -> str | None:
    return address.checked_broker(url) if url else url


def _comma_separated(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def port_range(text: object) -> object:
    if not isinstance(text, str):
        return text
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= HIGHEST_PORT):
        raise ValueError("must be two ports, the lower one first, as in 20000-29999")
    return int(first), int(last)


PortRange = Annotated[tuple[int, int], NoDecode, BeforeValidator(port_range)]
CommaSeparated = (NoDecode, BeforeValidator(_comma_separated))
"""`NoDecode`: pydantic-settings would otherwise read such a variable as JSON."""


class Settings(BaseSettings):
    """All settings of a worker and of `dw`; times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="DW_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[str, AfterValidator(address.checked)] = "redis://127.0.0.1:6379/0"
    """Records and credentials; broker and results too, unless the next two say otherwise.

    Installations that share a Redis need a database each. `rediss://` is TLS, always verified: its parameters
    `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` name files.
    """
    broker_url: Annotated[str | None, AfterValidator(_broker)] = None
    """Another Redis, or a RabbitMQ (`amqp://`, `amqps://`), for the messages."""
    result_backend: Annotated[str | None, AfterValidator(_if_redis)] = None
    """Another Redis for the results."""

    host: Name = "local"
    """This engine's name: what a deployment's `host` means, and the name of its queue. Of several, each needs its
    own."""
    namespace: Name = "default"
    """This installation's name: containers of another one are never touched."""
    network: NetworkName = "staging-net"
    """The network that all managed containers are on; made where it is missing."""
    name_prefix: Name = "dw"
    """What containers' names begin with."""
    label_prefix: Name = "docker-watcher"
    """What the names of containers' labels begin with."""

    keys: Annotated[tuple[SecretStr, ...], *CommaSeparated] = ()
    """Fernet keys, comma-separated: the first seals, all open. Without the key that it was made with, what runs counts
    as changed. The worker's user can read this in `/proc/PID/environ`, so the next one is better."""
    keys_file: Path | None = None
    """A file with the same, one key a line, instead of `DW_KEYS`: the worker's user's, and open to nobody else."""
    allowed_images: Annotated[tuple[str, ...], *CommaSeparated] = ("**",)
    """Shell patterns over the normalised repository, comma-separated, as in
    `docker.io/library/*,registry.example.com/acme/**`: `*` stops at `/`, `**` doesn't."""
    policy_file: Path | None = None
    """What else is allowed, in TOML: digests, stages, networks, aliases, labels, volumes, host ports, hooks, ceilings,
    capabilities, and whose signatures are taken."""
    publish_address: IPv4Address | None = None
    """Where containers' ports are published on this host, as in `127.0.0.1`; unless given, where the engine does by
    itself: everywhere."""

    message_bytes: Annotated[int, Field(ge=1024)] = 2**20
    """The longest message that is read; a longer one is refused before it is kept in memory."""
    require_signature: bool = False
    """Take only messages that a producer of the policy file has signed."""
    signature_seconds: Annotated[float, Field(ge=60, le=30 * 86_400)] = 86_400
    """For how long a signed message is taken: as long as it may wait for a worker."""
    producer: Name | None = None
    """Who this process signs as; goes with the next one."""
    signing_key_file: Path | None = None
    """An Ed25519 private key (PEM): what `dw` and beat sign what they send with."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """How many pulls a worker process does at a time, and how many other jobs beside them. Listing, cancelling, reading
    logs and taking deployments on have threads of their own."""
    engine_timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    """The longest that one engine call may take, to the last byte of its answer; a pull, or a stop's own wait,
    aside."""
    pull_stall_timeout: Seconds = 120
    """The longest that a pull may go without progress; the engine's `Retrying in …` is none."""
    deploy_timeout: Seconds = 1800
    """A deployment's deadline, and that of a `docker.pull`."""
    health_timeout: Seconds = 60
    """How long a container may take to become healthy."""
    stable_seconds: Annotated[float, Field(ge=0, le=3600)] = 3
    """How long a container without HEALTHCHECK must run to count as proven."""
    stop_timeout: Annotated[int, Field(ge=0, le=3600)] = 10
    """How long a container may take to stop before the engine kills it, unless its deployment says otherwise."""
    lease_seconds: Seconds = 15
    """How long a step or a message stays with a worker that no longer renews it: what a `kill -9` costs.

    All workers that share a Redis need the same: one with less takes away what another one is at.
    """
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 1
    """How long an older instance that nothing leads to any more goes on, for the requests that it is at."""
    port_range: PortRange = (20_000, 29_999)
    """The first and the last host port that a container's port which is to be kept may get."""
    cutover_key: SecretStr | None = None
    """What the cut-over hook's bodies are signed with (HMAC-SHA256)."""
    record_ttl: Annotated[int, Field(gt=0)] = 30 * 86_400
    """How long the record of an ended deployment stays once it is no longer history; its result stays as long as
    Celery's `result_expires`."""
    history: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many deployments of each stage are history, and how many of those that were live: their records stay."""
    reconcile_seconds: Seconds = 60
    """How often each host's records and containers are compared."""
    reconcile_grace: Seconds = 60
    """The least age of a container that reconciling removes."""
    prune_keep: Annotated[int, Field(ge=2, le=1000)] = 3
    """Of how many versions of each stage that were live, the last ones, images stay: the present one, and what can be
    gone back to. `DW_HISTORY` bounds it, as nothing is known of older ones."""
    prune_age: Annotated[float, Field(ge=0, le=365 * 86_400)] = 86_400
    """For how long at least no deployment has used an image that is removed."""
    prune_seconds: Seconds = 86_400
    """How often Celery beat has this host's unneeded images removed."""
    shutdown_seconds: Seconds = 30
    """How long a worker that is told to end waits for what it is at; another one goes on with the rest."""

    log_format: Literal["console", "json"] = "console"
    """Log lines for people, or as one JSON object each."""
    metrics_port: Annotated[int, Field(ge=1, le=HIGHEST_PORT)] | None = None
    """Where each worker process answers Prometheus; without it there are no metrics. Several workers of one machine
    need a port each, or `PROMETHEUS_MULTIPROC_DIR`: then they share one, and each answers for all."""
    metrics_address: IPv4Address | IPv6Address = IPv4Address("127.0.0.1")
    """The address of that port. Who reaches it needs no password, and learns what hosts and errors there are."""

    @property
    def heartbeat_seconds(self) -> float:
        """How often a host's workers say that they are there."""
        return self.lease_seconds / 3

    @property
    def away_seconds(self) -> float:
        """How long nothing is heard of a host that counts as away."""
        return self.lease_seconds

    @property
    def threads(self) -> int:
        """How many a worker process has: for its pulls, its other jobs, and for what is quick."""
        return 2 * self.concurrency + QUICK_THREADS


@cache
def settings() -> Settings:
    """Read the settings, once per process.

    Raises SettingsInvalid.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"DW_{'_'.join(str(part) for part in problem['loc'][:1]).upper()}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsInvalid(f"Wrong settings: {problems}.") from None
