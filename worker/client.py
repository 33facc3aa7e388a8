"""For programs that ask for deployments, as a registry's poller or a webhook does.

    from worker.client import Client

    with Client("redis://127.0.0.1:6379/0") as client:
        deployment = client.deploy("shop", "staging", "registry.example.com/acme/shop:1.4.2")
        for progress in deployment.progress():
            print(progress.step)
        print(deployment.result().ports)

What fails raises one of `worker.errors`: arguments that are wrong at once, as nothing wrong is sent. Nothing of a
worker's settings is needed. Threads may share a client.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from worker.calls import Calls, Sign
from worker.errors import Unanswered
from worker.results import DeploymentResult, ListedContainer, Progress
from worker.spec import SENT, DeploymentSpec, RollbackArguments, parse

__all__ = ["Client", "Deployment", "DeploymentResult", "ListedContainer", "Progress", "Unanswered"]

_ANSWER_WITHIN = 30.0


class DeploymentOptions(TypedDict, total=False):
    """What a deployment can be given besides project, stage and image: see `worker.spec.DeploymentSpec`."""

    credential: str | None
    policy: Literal["always", "missing"]
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    ports: Mapping[str, int | Literal["keep"] | None]
    network: str | None
    aliases: list[str]
    labels: Mapping[str, str]
    command: list[str] | None
    user: str | None
    volumes: Mapping[str, str | Mapping[str, object]]
    memory: int | None
    cpus: float | None
    pids: int | None
    read_only: bool
    init: bool
    stop_timeout: int | None
    restart: str
    instance_id: str | None
    host: str | None
    strategy: Literal["start-first", "stop-first"] | None
    keep: int
    timeout: float | None
    health: Mapping[str, float]
    cutover: Mapping[str, object] | None
    force: bool


class Deployment:
    """One that was asked for; whoever has its id can have another such handle, in another process too."""

    def __init__(self, calls: Calls, deployment_id: str, task: str = "docker.deploy") -> None:
        self.id = deployment_id
        self._calls = calls
        self._task = task

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    def has_ended(self) -> bool:
        """Whether there is a result, or an error.

        Raises Unanswered.
        """
        return self._calls.has_ended_within(self.id, 0)

    def progress(self, taken_within: float = _ANSWER_WITHIN) -> Iterator[Progress]:
        """Yield how far it is whenever that changes, until it has ended.

        Raises Unanswered where no worker takes it within `taken_within` seconds: what was enqueued stays so.
        """
        for told in self._calls.follow(self.id, self._task, taken_within):
            yield Progress.model_validate(told)

    def result(self, timeout: float | None = None) -> DeploymentResult:
        """Wait for its end, `timeout` seconds at the most.

        Raises the deployment's DeploymentError; Unanswered where it hasn't ended by then, and goes on.
        """
        return DeploymentResult.model_validate(self._calls.answer(self.id, self._task, timeout))

    def cancel(self, timeout: float = _ANSWER_WITHIN) -> str:
        """Have it ended, and what it made removed; return its state, as `docker.cancel` has it.

        Raises Unanswered.
        """
        answer: dict[str, Any] = self._calls.ask("docker.cancel", {"deployment_id": self.id}, timeout)
        return str(answer["state"])


class Client:
    """Asks the workers of one Redis for something.

    With a RabbitMQ as the broker that is `broker_url`. With `producer` and `signing_key_file`, an Ed25519 private key
    in PEM, whatever is sent is signed.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        broker_url: str | None = None,
        result_backend: str | None = None,
        producer: str | None = None,
        signing_key_file: Path | str | None = None,
    ) -> None:
        """Raises ValueError where an address or the key is wrong; connects to nothing yet."""
        self._calls = Calls(
            redis_url,
            broker_url=broker_url,
            result_backend=result_backend,
            sign=_signer(producer, signing_key_file),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; what was asked for goes on."""
        self._calls.close()

    def deploy(
        self,
        project: str,
        stage: str,
        image: str,
        *,
        deployment_id: str | None = None,
        expires: float | None = None,
        **options: Unpack[DeploymentOptions],
    ) -> Deployment:
        """Ask for a deployment, and return as soon as that is enqueued.

        Asked for again under the same `deployment_id` it is done once, so that who doesn't know whether something was
        sent can send it again. One that no worker takes within `expires` seconds is not done.

        Raises SpecInvalid, before anything is sent; Unanswered where it can't be sent.
        """
        arguments = {"project": project, "stage": stage, "image": image, **options}
        parse(DeploymentSpec, "docker.deploy", _given(arguments), SENT)
        return self._send("docker.deploy", arguments, deployment_id, expires)

    def rollback(
        self,
        project: str,
        stage: str,
        *,
        to: str | None = None,
        deployment_id: str | None = None,
        expires: float | None = None,
    ) -> Deployment:
        """Ask for what was live before, or for what the deployment `to` had brought; the rest is as with `deploy`.

        Raises SpecInvalid, Unanswered.
        """
        arguments = {"project": project, "stage": stage, "to": to}
        parse(RollbackArguments, "docker.rollback", _given(arguments), SENT)
        return self._send("docker.rollback", arguments, deployment_id, expires)

    def deployment(self, deployment_id: str) -> Deployment:
        """One that was asked for before, by whomever."""
        return Deployment(self._calls, deployment_id)

    def list(
        self,
        project: str | None = None,
        stage: str | None = None,
        *,
        all: bool = False,  # noqa: A002  # as the task has it
        timeout: float = _ANSWER_WITHIN,
    ) -> list[ListedContainer]:
        """The managed containers, newest first; with `all`, stopped ones too.

        Raises DeploymentError, Unanswered.
        """
        found = self.ask("docker.list", timeout, project=project, stage=stage, all=all)
        return [ListedContainer.model_validate(each) for each in found["containers"]]

    def logs(self, container: str, *, tail: int | None = None, timeout: float = _ANSWER_WITHIN) -> Any:
        """The last lines that a container, named by id or name, has written.

        Raises DeploymentError, Unanswered.
        """
        return self.ask("docker.logs", timeout, container=container, tail=tail)["lines"]

    def ask(self, task: str, timeout: float = _ANSWER_WITHIN, /, **arguments: object) -> Any:
        """Run any task of the contract, less arguments that are None, and return its result as it is.

        Raises DeploymentError, Unanswered.
        """
        return self._calls.ask(task, arguments, timeout)

    def _send(
        self, task: str, arguments: Mapping[str, object], deployment_id: str | None, expires: float | None
    ) -> Deployment:
        sent = self._calls.send(task, arguments, task_id=deployment_id, expires=expires)
        return Deployment(self._calls, sent, task)


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if value is not None}


def _signer(producer: str | None, key_file: Path | str | None) -> Sign | None:
    if (producer is None) != (key_file is None):
        raise ValueError("producer and signing_key_file go together: give both, or neither")
    if producer is None or key_file is None:
        return None
    from worker.signature import read_key, signature_of  # noqa: PLC0415  # who has no key needs none of what signs

    key = read_key(Path(key_file))
    return lambda task, task_id, arguments: signature_of(key, producer, task, task_id, arguments)
