"""Faults put into the product on purpose: a simulation that doesn't find each of them would miss what is like it."""

import ast
import inspect
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from unittest.mock import patch

from tasks import create, reconcile
from tasks.deploy import candidate, closing, compensation, instances, machine, move, takeover
from tests.simulation import seams
from worker import plan, record, rescue, store
from worker.record import ON_FAILURE, ON_SUCCESS, Step
from worker.settings import Settings

_SCRIPTS = Path(store.__file__).parent


@dataclass(frozen=True)
class Script:
    """A text in one of the records' Lua scripts, and what takes its place."""

    name: str
    old: str
    new: str

    @contextmanager
    def done(self):
        text = "".join((_SCRIPTS / f"{each}.lua").read_text() for each in ("common", self.name))
        assert self.old in text, f"{self.name}.lua has changed: {self.old!r} isn't in it"
        with patch.dict(seams.ground.rewrites, {self.name: (self.old, self.new)}):
            seams.forget()
            yield
        seams.forget()


@dataclass(frozen=True)
class Code:
    """A text in a function, and what takes its place."""

    function: FunctionType
    old: str
    new: str

    @contextmanager
    def done(self):
        honest = self.function.__code__
        self.function.__code__ = self._rewritten()
        try:
            yield
        finally:
            self.function.__code__ = honest

    def _rewritten(self):
        source = textwrap.dedent(inspect.getsource(self.function))
        assert self.old in source, f"{self.function.__name__} has changed: {self.old!r} isn't in it"
        tree = ast.parse(source.replace(self.old, self.new))
        # The function is registered already; only what it does is replaced.
        tree.body[0].decorator_list = []
        namespace = dict(self.function.__globals__)
        exec(compile(tree, self.function.__code__.co_filename, "exec"), namespace)
        return namespace[self.function.__name__].__code__


@dataclass(frozen=True)
class Table:
    """Entries of one of the record's tables."""

    table: dict
    entries: dict

    @contextmanager
    def done(self):
        with patch.dict(self.table, self.entries):
            yield


ALL = {
    "commit without a look at the fence": Script(
        "commit", "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then", "if false then"
    ),
    "close without a look at the fence": Script(
        "close", "if record[1] ~= ARGV[3] or record[2] == 'ended' then", "if record[2] == 'ended' then"
    ),
    "renew without a look at the fence": Script("renew", "record[1] ~= ARGV[2] or", ""),
    "claim what somebody holds": Script("claim", "or tonumber(record[2]) > time", ""),
    "claim without a new fence": Script("claim", "redis.call('HINCRBY', KEYS[1], 'fence', 1)", ""),
    "let go of a stage that another one has": Script("close", "if stage[1] ~= id then", "if false then"),
    "hand a stage on without saying so": Script("close", "redis.call('HSET', stage, 'running', waiting)", ""),
    "forget the one that waits": Script(
        "close", "make_due(prefix, waiting, step, patience)", "redis.call('HGET', record_of(prefix, waiting), 'host')"
    ),
    "record a deployment twice": Script("accept", "if known[1] then", "if false then"),
    "leave the one that is superseded": Script("accept", "if not waiting then", "if true then"),
    "set no alarm after it has rung": Script(
        "ring",
        "redis.call('ZADD', KEYS[1], time + ARGV[3] * 2 ^ math.min(copies - 1, 6), id)",
        "redis.call('ZREM', KEYS[1], id)",
    ),
    "hand a stage to one that no longer waits": Script(
        "close", "if not waiting or not is_waiting(prefix, waiting) then", "if not waiting then"
    ),
    "accept whatever comes as the newest": Script("accept", "return other and other ~= ''", "return false"),
    "let go of a stage that is held": Script(
        "mend", "if (stage[1] and not is_under_way(prefix, stage[1])) or", "if stage[1] or"
    ),
    "commit what was cancelled": Script("commit", "if ARGV[10] == '1' and", "if false and"),
    "keep a cancel from who holds the step": Script(
        "cancel",
        "redis.call('HSET', KEYS[1], 'cancel', 1)\nlocal time = now()\n",
        "local time = now()\nif not record[4] or tonumber(record[2]) <= time then "
        "redis.call('HSET', KEYS[1], 'cancel', 1) end\n",
    ),
    "forget that one was cancelled before it came": Script("accept", "redis.call('HSET', KEYS[1], 'cancel', 1)", ""),
    "reconcile what is under way": Code(
        plan.is_leftover,
        "if standing.outcome is None:\n        return False",
        "if standing.outcome is None: return True",
    ),
    "reconcile nothing": Code(reconcile.leftovers, "if not _is_young(each) and", "if False and"),
    "undo by name": Code(
        compensation._restore,  # noqa: SLF001
        "for each in own_containers(claim):",
        "from tasks.create import wanted_name\n"
        "    for each in filter(None, [containers.find_named(wanted_name(claim.spec))]):",
    ),
    "leave an older one without the name that was taken from it": Code(
        compensation.undo, "for each in older_instances(claim):", "for each in ():"
    ),
    "undo nothing once it was started": Table(ON_FAILURE, {Step.PROVE: Step.REPORT}),
    "commit the start before it": Code(
        candidate.start,
        "containers = engine().containers",
        "from worker.store import deployments\n"
        "    containers = engine().containers; deployments().advance(claim, Step.PROVE, claim.found)",
    ),
    "make without a look for what was made": Code(
        create._made_by,  # noqa: SLF001  # what is private is to be broken as well
        "return ContainerRef(made[0].id, made[0].name) if made else None",
        "return None",
    ),
    "make room for a name": Code(
        candidate._candidate,  # noqa: SLF001
        "return plan.candidate(",
        "containers = engine().containers\n"
        "    [containers.remove(each, force=True) for each in filter(None, [containers.find_named(container.name)])]\n"
        "    return plan.candidate(",
    ),
    "retire before proven": Code(
        candidate.prove,
        "asked, containers = claim.spec.health, engine().containers",
        "asked, containers = claim.spec.health, engine().containers; "
        "[containers.remove(each, force=True) for each in older_instances(claim)]",
    ),
    "retire nothing": Code(instances.retire_all, "engine().containers.remove(each, force=True)", "pass"),
    "promote what isn't proven": Code(
        candidate.prove, 'verdict in {"healthy", "running"}', 'container.state == "running"'
    ),
    "promote without a restart policy": Code(
        takeover.promote, "containers.set_restart_policy(container_of(claim), spec.restart)", "pass"
    ),
    "promote without aliases": Code(
        takeover.alias, "container = attach(network, container, claim.spec.aliases)", "pass"
    ),
    "promote what has ended": Code(takeover._still_proven, 'container.state != "running" or', "False or"),  # noqa: SLF001
    "start beside what must make room": Table(ON_SUCCESS, {Step.CONNECT: Step.START}),
    "have all make room": Code(
        plan.displaced,
        "if each.id in replaced or stands_in_the_way(spec, each)",
        "",
    ),
    "forget who made room": Code(
        compensation._restore,  # noqa: SLF001
        "if each.id in claim.found.displaced:",
        "if False:",
    ),
    "start again what made room without its restart policy": Code(
        compensation._restore,  # noqa: SLF001
        "containers.set_restart_policy(each, containers.labels.restart_policy_of(each))",
        "pass",
    ),
    "make nothing anew of what made room": Code(
        compensation._start_displaced,  # noqa: SLF001
        "if is_half_started(error):",
        "if False:",
    ),
    "keep beside it what was made anew": Code(
        compensation._restore,  # noqa: SLF001
        "elif containers.labels.deployment_of(each) in restored:",
        "elif False:",
    ),
    "note only where it serves what was made anew": Script("anew", "redis.call('HSET', KEYS[1], 'found', ARGV[2])", ""),
    "note only where it made room what was made anew": Script("anew", "if own then", "if false then"),
    "leave a restart policy to what made room": Code(
        takeover.promote, 'containers.set_restart_policy(each, "no")', "pass"
    ),
    "promote beside what made room and came back": Code(takeover.promote, "halt(each)", "pass"),
    "give aliases before proof": Code(
        candidate._candidate,  # noqa: SLF001
        "withhold_aliases=bool(older)",
        "withhold_aliases=False",
    ),
    "give aliases before proof on the further network": Code(
        candidate.connect, "[] if claim.found.withheld_aliases else claim.spec.aliases", "claim.spec.aliases"
    ),
    "tell the hook when the old one is gone": Table(
        ON_SUCCESS, {Step.ALIAS: Step.PROMOTE, Step.RETIRE: Step.CUTOVER, Step.CUTOVER: Step.REPORT}
    ),
    "revert without a word to the hook": Code(compensation.revert, "if back_to:", "if False:"),
    "revert nothing": Table(ON_FAILURE, {Step.ALIAS: Step.UNDO, Step.CUTOVER: Step.UNDO, Step.PROMOTE: Step.UNDO}),
    "retire one more than asked": Code(takeover.promote, "plan.surplus(older, spec.keep)", "plan.surplus(older, 1)"),
    "close before the result is stored": Code(
        closing.report,
        "outcome.store(claim)\n    closed = deployments().close(claim)",
        "closed = deployments().close(claim)\n    outcome.store(claim)",
    ),
    "abandon without a look at the fence": Script(
        "abandon", "redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] or", "false or"
    ),
    "take a host for away that was heard of a moment ago": Code(
        Settings.away_seconds.fget, "self.lease_seconds", "0.01"
    ),
    "abandon in the host's own place": Script("abandon", "move_to(prefix, id, ARGV[5])", ""),
    "abandon what is not over": Code(rescue._is_over, "claim.step in {Step.REPORT, Step.VACATE}", "True"),  # noqa: SLF001
    "abandon nothing": Code(rescue.look_after_those_away, "if _is_over(claim) and", "if False and"),
    "vacate where the new version is": Code(
        record.place_of, "found.moves_from[0] if step is Step.VACATE else host", "host"
    ),
    "vacate nothing": Code(move.hosts_with, "return sorted(known - {settings().host})", "return []"),
    "vacate before the new version is proven": Table(ON_SUCCESS, {Step.START: Step.VACATE}),
    "go on where it vacates": Code(machine._committed, "place == settings().host", "True"),  # noqa: SLF001
    "leave what a stage has where it was": Code(reconcile.leftovers, "moved.get(labels.stage_of(each))", "None"),
    "start nothing again that others have abandoned": Code(
        reconcile._restore_abandoned,  # noqa: SLF001
        "api.start(each)",
        "pass",
    ),
}
