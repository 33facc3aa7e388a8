"""The workers, their hosts and engines, and the queues between them and who asks."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from amqp.exceptions import NotFound
from kombu.exceptions import ChannelError, OperationalError

from worker import about
from worker.celery import Lane, app
from worker.cli.client import calls
from worker.cli.doctor import store
from worker.cli.doctor.finding import FAIL, OK, WARN, Finding, looked
from worker.errors import DeploymentError, Unanswered
from worker.keyring import keyring
from worker.settings import settings
from worker.store import Host, hosts

_LITTLE_DISK = 5e9
_NO_DISK = 1e9
_MANY_MESSAGES = 1000
_UNREADABLE = "dw.unreadable"
_START = "start one: `celery -A worker worker`, with the same DW_REDIS_URL and DW_NAMESPACE"
Told = Mapping[str, Mapping[str, Any]]
"""What each worker process says of itself, by its name."""


def look(patience: float) -> list[Finding]:
    """All that can be told from here, and what workers tell within `patience` seconds."""
    there: list[Host] = []
    answers: Told = {}

    def ask() -> Iterator[Finding]:
        nonlocal answers
        answers = _asked()
        yield from _workers(answers)

    def look_at_hosts() -> Iterator[Finding]:
        known = hosts().all()
        there.extend(each for each in known if not each.is_away)
        yield from _hosts(known)

    return [
        *looked("workers", ask),
        *looked("hosts", look_at_hosts),
        *looked("answers", lambda: _answers(there, patience)),
        *looked("queues", lambda: _queues(there)),
        *looked("keys", lambda: _keys(answers)),
    ]


def _asked() -> Told:
    try:
        replies = app.control.broadcast(about.CONTROL_COMMAND, reply=True, timeout=1)
    except (OperationalError, RuntimeError) as error:
        broker = "DW_BROKER_URL" if settings().broker_url else "DW_REDIS_URL"
        raise Unanswered(f"the broker can't be reached ({error}): check {broker}") from None
    return {name: told for reply in replies or () for name, told in reply.items()}


def _workers(answers: Told) -> Iterator[Finding]:
    if not answers:
        yield Finding("workers", FAIL, "no worker answers", _START)
        return
    yield Finding("workers", OK, f"{len(answers)} answer: {', '.join(sorted(answers))}")
    others = sorted(name for name, told in answers.items() if told.get("namespace") not in {None, settings().namespace})
    if others:
        yield Finding(
            "workers",
            FAIL,
            f"{', '.join(others)} have another DW_NAMESPACE at the same queues, and take what is meant for this one",
            "give each installation a Redis database of its own",
        )
    ours = about.versions()
    for name in ("version", "celery"):
        seen = Counter(str(told.get(name, "an older one")) for told in answers.values())
        if set(seen) == {ours[name]}:
            yield Finding("versions", OK, f"{_called(name)} {ours[name]}, here and at all workers")
            continue
        shown = ", ".join(f"{version} at {count}" for version, count in sorted(seen.items()))
        yield Finding(
            "versions",
            WARN,
            f"{_called(name)} is {ours[name]} here, {shown} of the workers",
            "well while workers are being replaced; bring all to one version then (docs/upgrading.md)",
        )


def _called(name: str) -> str:
    return "docker-watcher" if name == "version" else "Celery"


def _hosts(known: Sequence[Host]) -> Iterator[Finding]:
    if not known:
        yield Finding("hosts", FAIL, "no worker has ever served this installation", _START)
    for each in known:
        yield from _host(each)


def _host(host: Host) -> Iterator[Finding]:
    name = host.name
    if host.is_away:
        yield Finding(
            "host",
            FAIL,
            f"{name} was heard of {host.silent_for:.0f} s ago for the last time, and has {host.under_way} under way",
            f"start its worker again; if it is gone for good: dw forget {name}",
            name,
        )
        return
    if host.is_drained:
        yield Finding("host", WARN, f"{name} takes on nothing new", f"to end that: dw drain {name} --end", name)
    else:
        yield Finding("host", OK, f"{name} is there, with {host.under_way} under way", host=name)
    yield _engine(host)
    if host.told.engine:
        yield from _disk(host)
        yield from _network(host)
    if host.clock_ahead is not None:
        yield store.clock(f"the clock of {name}", host.clock_ahead, name)


def _engine(host: Host) -> Finding:
    if host.told.engine:
        running = f"{host.told.containers} containers run"
        return Finding("engine", OK, f"{host.name} has version {host.told.engine}; {running}", host=host.name)
    return Finding(
        "engine",
        FAIL,
        host.told.trouble or f"the engine of {host.name} doesn't answer",
        f"on {host.name}: see that it runs (systemctl status docker), and that the worker may use DOCKER_HOST",
        host.name,
    )


def _disk(host: Host) -> Iterator[Finding]:
    free = host.told.free_disk
    if free is None:
        return
    status = FAIL if free < _NO_DISK else WARN if free < _LITTLE_DISK else OK
    hint = "`dw prune` removes images that nothing needs; `docker system df` says what else is there"
    yield Finding(
        "disk",
        status,
        f"{free / 1e9:.1f} GB are free for the engine of {host.name}",
        None if status == OK else hint,
        host.name,
    )


def _network(host: Host) -> Iterator[Finding]:
    if host.told.network == "plain":
        yield Finding(
            "network",
            WARN,
            f"the shared network of {host.name} wasn't made by docker-watcher: requests may be cut when aliases move",
            "once nothing runs on it: `docker network rm` it, and the next deployment makes it",
            host.name,
        )
    elif host.told.network:
        is_there = "is there" if host.told.network == "spare" else "will be made by the first deployment"
        yield Finding("network", OK, f"the shared network of {host.name} {is_there}", host=host.name)


def _answers(there: Sequence[Host], patience: float) -> Iterator[Finding]:
    """Whether something that is asked comes back, by way of broker, worker, engine and result backend."""
    queues = {each.name: Lane.QUICK.queue(settings().namespace, each.name) for each in there}
    has_engine = {each.name: each.told.engine is not None for each in there}
    began = time.monotonic()
    sent = {name: calls().send("docker.list", {}, queue=queue) for name, queue in queues.items()}
    for name, task_id in sent.items():
        try:
            found = calls().answer(task_id, "docker.list", patience)
        except DeploymentError as error:
            yield Finding("answers", FAIL, f"{name}: {error.message}", host=name)
        except Unanswered as error:
            hint = "see the workers' logs, and DW_RESULT_BACKEND" if has_engine[name] else "see the line on its engine"
            yield Finding("answers", FAIL, f"{name}: {error}", hint, name)
        else:
            took = time.monotonic() - began
            said = f"{name} has {len(found['containers'])} containers of ours, told in {took:.2f} s"
            yield Finding("answers", OK, said, host=name)


def _queues(there: Sequence[Host]) -> Iterator[Finding]:
    names = {known.name for known in hosts().all()}
    queues = {Lane.SHARED.queue("", ""): None} | {
        lane.queue(settings().namespace, name): name for name in sorted(names) for lane in list(Lane)[1:]
    }
    with app.connection_for_write() as connection:
        waiting = {queue: _count(connection, queue) for queue in queues}
        unreadable = _unreadable(connection)
    served = {each.name for each in there}
    for queue, count in waiting.items():
        host = queues[queue]
        if count and not (host in served if host else served):
            yield Finding("queues", FAIL, f"{count} messages are in {queue}, which no worker takes from", _START, host)
        elif count > _MANY_MESSAGES:
            hint = "start more workers there, or raise DW_CONCURRENCY; `dw events` shows what they are at"
            yield Finding("queues", WARN, f"{count} messages are in {queue}", hint, host)
    yield Finding("queues", OK, f"{sum(waiting.values())} messages wait in {len(waiting)} queues")
    if unreadable:
        hint = f"`redis-cli LRANGE {_UNREADABLE} 0 -1` shows them; whoever sends them is no Celery client"
        yield Finding("queues", WARN, f"{unreadable} messages that nobody can read were set aside", hint)


def _count(connection: Any, queue: str) -> int:
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except (ChannelError, NotFound):
        return 0


def _unreadable(connection: Any) -> int:
    if not (settings().broker_url or settings().redis_url).startswith("redis"):
        return 0
    with connection.channel() as channel:
        return int(channel.client.llen(_UNREADABLE))


def _keys(answers: Told) -> Iterator[Finding]:
    ours = keyring().identities
    known = {name: tuple(told["keys"]) for name, told in answers.items() if "keys" in told}
    without = sorted(name for name, keys in known.items() if not keys)
    if without:
        yield Finding(
            "keys",
            FAIL,
            f"{', '.join(without)} have no key, and can open no credential",
            "set DW_KEYS or DW_KEYS_FILE there to the same as elsewhere, and start them again",
        )
    if len(sets := {keys for keys in known.values() if keys}) > 1:
        shown = "; ".join(", ".join(keys) for keys in sorted(sets))
        yield Finding(
            "keys",
            WARN,
            f"workers have different keys ({shown})",
            "give all the same, the newest first, and then run `dw rekey`",
        )
    if not ours:
        yield Finding("keys", WARN, "there is none here: `dw seal` and `dw credential add` need one", "set DW_KEYS")
    elif sets and ours not in sets:
        yield Finding(
            "keys",
            WARN,
            f"those here ({', '.join(ours)}) are not the workers'",
            "give DW_KEYS the workers' keys: what is sealed here is to be opened there",
        )
    elif not without:
        yield Finding("keys", OK, f"{len(ours)} here" + (", the same as the workers'" if sets else ""))
