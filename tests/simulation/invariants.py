"""The promises, looked at after each effect and once all is quiet."""

import json
from collections import Counter

import greenlet
import redis

from tests.simulation.seams import LEASE
from worker import rescue
from worker.errors import DeploymentError
from worker.labels import Label, Labels, container_name
from worker.record import Step
from worker.reference import ImageReference

_PREFIX = "dw:simulated:"
_FENCED = {"commit", "renew", "close", "abandon"}
_MOST_ATTEMPTS = 5
_MADE = {Step.CONNECT, Step.DISPLACE, Step.START}
_PROMOTED = {Step.DRAIN, Step.RETIRE, Step.VACATE, Step.REPORT}
_PROVEN = {Step.ALIAS, Step.CUTOVER, Step.PROMOTE}


def _container_of(record):
    return json.loads(record["found"]).get("container_id")


def _displaced_of(record):
    return json.loads(record.get("found", "{}")).get("displaced", [])


class Violation(AssertionError):
    """A promise is broken."""


class Invariants:
    """Watches one world."""

    def __init__(self, world):
        self._world = world
        self._labels = Labels("docker-watcher", "simulated")
        self._asked = {each.id: each for each in world.asked}
        self._broken = None
        self._seen = -1
        """How many changes of the engine were looked at; anything else has all be looked at again."""
        self.accepted = []
        """Ids of deployments in the order in which they were accepted."""
        self._proven = set()
        """Containers that were found healthy once."""
        self._promoted = {}
        """Containers that were proven and promoted, to their stages."""
        self._made_anew = {}
        """Containers that the engine had lost track of, to those that took their places."""
        self._late = {}
        """By a container's id: whether it was made when its deployment was done with making it."""
        self._cancelled = {}
        """Deployments that are to end, to whether that was certain: nobody was at them, who could have failed."""
        self._abandoned = set()
        """Deployments that others ended while their host was away, and that may have left something there."""
        self._left_behind = set()
        """Containers of hosts that were away when their stage moved."""
        self._redis_was_lost = False
        self._answers = []
        """Deployments, and what somebody who wanted to cancel them was told."""

    # While it runs

    def watched(self, system, what, action):  # noqa: C901  # one for each script
        """Do an effect under watch."""
        if system != "redis" or len(what) < 2 or not what[1].startswith(f"{_PREFIX}deployment:"):
            return action()
        deployment_id = what[1].rpartition(":")[2]
        before = dict(self._record(deployment_id))
        waiting = what[0] == "close" and self._stage_hash(self._asked[deployment_id].stage).get("waiting")
        waits = waiting and self._record(waiting).get("step") == "expire"
        answer = action()
        if waiting and not waits and answer[1] == waiting:
            self._fail(f"{waiting} was given its stage, and no longer waited for it")
        if what[0] == "cancel" and answer[0] in {"cancelling", "unknown"}:
            # Who has lost its lease, and doesn't know, may fail all the same.
            is_certain = "holder" not in before
            self._cancelled[deployment_id] = is_certain or self._cancelled.get(deployment_id, False)
        record = self._record(deployment_id)
        if what[0] in _FENCED and record != before and what[what.index(deployment_id) + 1] != before["fence"]:
            self._fail(f"{what[0]} by an earlier holder changed {deployment_id}")
        if what[0] == "claim" and "holder" in before and float(before["due"]) > self._world.clock.now and answer:
            self._fail(f"{record['holder']} claimed {deployment_id}, which {before['holder']} holds")
        if what[0] in {"claim", "abandon"} and answer:
            self._note_taken(what[0], deployment_id, before, record)
        if what[0] == "accept" and record and not before:
            self.accepted.append(deployment_id)
        if what[0] == "anew" and answer:
            if what[3] != before["fence"]:
                self._fail(f"an earlier holder noted what it made anew for {deployment_id}")
            self._note_made_anew(_displaced_of(before), _displaced_of(record))
        if record.get("step") != before.get("step"):
            self._note_step(deployment_id, before.get("step"), record)
        return answer

    def _note_step(self, deployment_id, before, record):
        """A deployment has come from one step to another."""
        step = record["step"]
        self._world.note_step(deployment_id, step, record.get("at") or record["host"])
        if before == "prove" and step in _PROVEN:
            self._proven.add(_container_of(record))
        if before == "create" and step in _MADE:
            self._check_displaced(deployment_id, record)
        if before == "promote" and step in _PROMOTED and not record.get("error"):
            self._note_promoted(deployment_id, record)
        if step == "ended":
            self._check_left(deployment_id, record)

    def _note_taken(self, how, deployment_id, before, record):
        if how == "claim":
            self._check_place(deployment_id, record)
        else:
            self._note_abandoned(deployment_id, before, record)

    def _check_place(self, deployment_id, record):
        """Only the workers of the host that a step is for do it."""
        here, place = greenlet.getcurrent().process.host.name, record.get("at") or record["host"]
        if here != place:
            self._fail(f"{deployment_id} is for {place}, and {here} claimed its step {record['step']}")
        # What ends one is done by whoever sees that it is over.
        is_wrong = (here == record["host"]) == (record["step"] == Step.VACATE)
        if is_wrong and record["step"] not in {Step.EXPIRE, Step.REPORT}:
            self._fail(f"{deployment_id} is {record['host']}'s, and {here} does its step {record['step']}")

    def _note_abandoned(self, deployment_id, before, record):
        """A deployment was ended by another host than the one that was at it."""
        away, clock = before.get("at") or before["host"], self._world.clock.now
        silent_for = clock - (self._world.keyspace.peek(f"{_PREFIX}hosts:seen") or {}).get(away, 0)
        if silent_for < LEASE:
            self._fail(f"{deployment_id} was taken from {away}, which was heard of {silent_for:.1f} s ago")
        if record["error"]:
            self._abandoned.add(deployment_id)
            self._late |= {each.id: True for each in self._managed() if self._deployment_of(each) == deployment_id}
        else:
            self._left_behind |= {each.id for each in self._managed() if each.host != record["host"]}
        hook = self._hook_of(self._asked[deployment_id])
        if hook:
            hook.is_left = True

    def _note_made_anew(self, before, after):
        for old, new in zip(before, after, strict=True):
            if old != new:
                self._made_anew[old] = new
                self._proven.add(new)
                self._promoted = {new if each == old else each: stage for each, stage in self._promoted.items()}
                self._late |= {old: True, new: self._late[old]}

    def _present(self, container_id):
        """The id by which a container goes by now."""
        while container_id in self._made_anew:
            container_id = self._made_anew[container_id]
        return container_id

    def _check_left(self, deployment_id, record):
        """Of what a deployment has made, only what is live stays; without a record, nobody can tell."""
        if self._redis_was_lost or deployment_id in self._abandoned:
            return
        if not record["error"]:
            self._check_moved(deployment_id, record)
        made = [each for each in self._managed() if self._deployment_of(each) == deployment_id]
        left = [each.name for each in made if not self._late.get(each.id) and each.id != _container_of(record)]
        if record["error"]:
            left = [each.name for each in made if not self._late.get(each.id)]
        if left:
            self._fail(f"G1: {deployment_id} ended, and has left {left}")
        if record["error"] and _container_of(record):
            self._check_names(self._asked[deployment_id].stage)
            self._check_restored(deployment_id, record)

    def _check_moved(self, deployment_id, record):
        """Of what a stage had on other hosts nothing stays, unless it could not be removed or its host was away."""
        kept = {*self._left_behind, *json.loads(record["found"]).get("unretired", ())}
        for each in self._managed():
            is_elsewhere = each.host != record["host"] and self._stage_of(each) == self._asked[deployment_id].stage
            is_left = (
                each.id in self._promoted and each.id not in kept and each.host not in self._world.places.forgotten
            )
            if is_elsewhere and is_left:
                self._fail(f"G1: {deployment_id} is live on {record['host']}, and {each.name} still on {each.host}")

    def _check_displaced(self, deployment_id, record):
        """None is stopped for one that could run beside it, unless that was asked for."""
        asked = self._asked[deployment_id]
        for each in self._managed():
            is_why = asked.arguments.get("strategy") == "stop-first" or self._exclude(asked, self._asked_for(each))
            if each.id in _displaced_of(record) and not is_why:
                self._fail(f"{each.name} is to make room for {deployment_id}, and could stay")

    def _check_restored(self, deployment_id, record):
        """What was stopped for one that failed runs again as it did, or as the engine has left it that restarted."""
        for each in self._managed():
            if each.id not in _displaced_of(record) or self._is_down(each):
                continue
            policy = self._asked_for(each).arguments.get("restart", "always")
            if each.policy != policy or (each.state != "running" and not self._world.weather.engine_restarts):
                self._fail(f"G2: {each.name} made room for {deployment_id}, and is {each.state}, {each.policy} now")

    def note_answer(self, message, answer):
        if message.task == "docker.cancel":
            self._answers.append((answer["deployment_id"], answer["state"]))
        if message.task == "docker.reconcile" and not self._redis_was_lost:
            for what in ("released", "resumed", *(() if self._world.places.forgotten else ("adopted",))):
                if answer[what]:
                    self._fail(f"{answer[what]} had to be {what}, and nothing was lost")

    def forget(self):
        """Redis was lost: of what was asked for until now, only what was promoted matters still."""
        self._redis_was_lost = True
        # With the record goes who was stopped for whom.
        unknown = {stage for stage in self._promoted.values() if self._displaced_by_running(stage)}
        self._promoted = {each: stage for each, stage in self._promoted.items() if stage not in unknown}
        self.accepted.clear()
        self._cancelled.clear()
        self._answers.clear()
        self._late.update({each.id: True for each in self._managed()})

    def _check_names(self, stage):
        """A deployment that made a container and failed has given back the name that it took, if it took one."""
        for each in self._managed():
            asked = self._asked[self._deployment_of(each)]
            # One that was made too late is for reconcile to remove.
            is_exempt = self._late.get(each.id) or asked.stage != stage or self._may_clash(asked)
            # One that is kept beside a live one of the same name has another.
            is_free = all(other.name != self._name_of(asked) for other in self._managed() if other.host == each.host)
            if is_free and not is_exempt:
                self._fail(f"{each.name} was not given back the name {self._name_of(asked)}")

    def _note_promoted(self, deployment_id, record):
        asked = self._asked[deployment_id]
        if not asked.image.good:
            self._fail(f"{deployment_id} was promoted, and its image is no good")
        for each in self._managed():
            if each.host != record["host"]:
                continue
            is_older = self._stage_of(each) == asked.stage and each.id != _container_of(record)
            excluded = is_older and not self._late.get(each.id) and self._exclude(asked, self._asked_for(each))
            if excluded and each.state == "running":
                self._fail(f"{each.name} runs beside {deployment_id}, which excludes it, for good")
        # The newest is the last.
        self._promoted.pop(_container_of(record), None)
        self._promoted[_container_of(record)] = asked.stage
        self._seen = -1

    def check(self):
        """Raise what is broken by now."""
        is_only_one_down = len(self._world.hosts) == 1 and self._world.hosts[0].engine_down
        if self._world.engine_changes != self._seen and not is_only_one_down:
            self._seen = self._world.engine_changes
            self._check_containers()
        if self._broken:
            raise Violation(self._broken)

    def _check_containers(self):
        engines = [each.engine for each in self._world.hosts]
        for touched in (name for each in engines for name in each.touched):
            self._fail(f"G7: {touched}, which isn't ours, was touched")
        managed = self._managed()
        for each in managed:
            if each.id not in self._late:
                self._late[each.id] = self._record(self._deployment_of(each)).get("step") != "create"
        self._check_numbers([each for each in managed if not self._late[each.id]])
        serving = {
            self._stage_of(each)
            for each in managed
            if each.id in self._promoted and (each.state == "running" or self._is_down(each))
        }
        for stage in self._promoted.values():
            if stage not in serving and not self._displaced_by_running(stage) and not self._waits_for_host(stage):
                self._fail(f"G2: nothing serves {stage} any more")
        for beside in (text for each in engines for text in each.beside):
            if not self._redis_was_lost:
                self._fail(f"{beside} was started, and both have the same volume")
        self._check_aliases([each for each in managed if not self._late[each.id]])
        self._check_hooks()

    def _check_numbers(self, in_time):
        for deployment_id, count in Counter(map(self._deployment_of, in_time)).items():
            if count > 1:
                self._fail(f"G5: {deployment_id} has {count} containers")
        for stage, count in Counter(self._stage_of(each) for each in in_time if each.id not in self._promoted).items():
            if count > 1:
                self._fail(f"{stage} has {count} candidates at once")

    def _check_aliases(self, in_time):
        """None is on what was never proven while an older one may have it, and all are on the live one."""
        live = {stage: container for container, stage in self._promoted.items()}
        for each in in_time:
            stage, aliases = self._stage_of(each), set(self._asked_for(each).arguments.get("aliases", ()))
            has_older = any(
                self._stage_of(other) == stage and other.host == each.host and other.created < each.created
                for other in in_time
            )
            held = aliases & {alias for aliases in each.aliases.values() for alias in aliases}
            if held and has_older and each.id not in self._proven:
                self._fail(f"{each.name} has aliases {sorted(held)} beside an older one, and isn't proven")
            if live.get(stage) == each.id and not aliases <= set(each.aliases.get("shared", ())):
                self._fail(f"{each.name} is live, and has lost its aliases")

    def _check_hooks(self):
        """None leads to what is gone, unless the one to lead it back to was stopped and is being started."""
        ids = {each.id for each in self._managed()}
        for asked in self._asked.values():
            hook = self._hook_of(asked)
            if hook is None or hook.is_astray or hook.is_left or hook.leads_to in {None, *ids} or self._redis_was_lost:
                continue
            if asked.stage in self._promoted.values() and not self._displaced_by_running(asked.stage):
                self._fail(f"the hook of {asked.stage} leads to a container that is gone")

    # Once all is quiet

    def check_ended(self):
        """All have ended, also those of a host that is still away."""
        for each in self.accepted:
            step = self._record(each).get("step")
            if step != "ended":
                self._fail(f"G3: {each} isn't ended: {step}")
        if self._broken:
            raise Violation(self._broken)

    def check_end(self):
        """Raise Violation unless all has come to a right end."""
        for deployment_id in self.accepted:
            self._check_outcome(self._asked[deployment_id], self._record(deployment_id))
        self._check_cancels()
        for stage in dict.fromkeys(each.stage for each in self._world.asked):
            self._check_stage(stage)
        for each in self._world.hosts:
            if self._world.keyspace.peek(f"{_PREFIX}alarms:{each.name}"):
                self._fail("an alarm is left")
            if self._world.keyspace.peek(f"{_PREFIX}abandoned:{each.name}") and not self.has_hopeless:
                self._fail(f"{each.name} has something to start again still")
        if self._broken:
            raise Violation(self._broken)

    def _check_outcome(self, asked, record):
        if record.get("step") != "ended":
            self._fail(f"{asked.id} isn't ended: {record.get('step')}")
            return
        error = self._error_of(asked.id)
        state, result = self._world.results.stored.get(asked.id, (None, None))
        if error is None:
            same = self._present(result["container_id"]) == self._present(_container_of(record))
            consistent = state == "SUCCESS" and same
        else:
            # A copy of the message that finds no Redis at each of its tries fails of that, whatever it is a copy of.
            consistent = state == "FAILURE" and isinstance(result, (type(error), redis.RedisError))
        if not consistent:
            self._fail(f"{asked.id} ended with {error!r}, and its result is {state} {result!r}")
        if error is None and not asked.image.good:
            self._fail(f"{asked.id} is live, and its image is no good")
        if error is not None and asked.image.good and not self._has_excuse(asked, record, type(error).__name__):
            self._fail(f"{asked.id} could have gone live, and ended with {error!r}")

    def _check_cancels(self):
        for deployment_id, was_certain in self._cancelled.items():
            error = self._error_of(deployment_id)
            if deployment_id not in self.accepted:
                continue
            if error is None:
                self._fail(f"{deployment_id} was cancelled, and has succeeded")
            if was_certain and type(error).__name__ not in {"DeploymentCancelled", "DeploymentSuperseded"}:
                self._fail(f"{deployment_id} was cancelled while nobody was at it, and ended with {error!r}")
        for deployment_id, told in self._answers:
            outcome = self._record(deployment_id).get("outcome")
            error = type(self._error_of(deployment_id)).__name__
            ended = {"DeploymentCancelled": "cancelled", "DeploymentSuperseded": "superseded"}.get(error, outcome)
            if told not in {"cancelling", "unknown", ended}:
                self._fail(f"{deployment_id} was told to be {told}, and is {ended}")

    def _error_of(self, deployment_id):
        error = self._record(deployment_id).get("error")
        return DeploymentError.from_json(error) if error else None

    def _has_excuse(self, asked, record, error):  # noqa: PLR0911, C901  # one for each excuse
        weather = self._world.weather
        if error == "DeploymentSuperseded":
            return self.accepted_of(asked.stage)[-1] != asked.id
        if error == "DeploymentCancelled":
            return asked.id in self._cancelled
        if error == "EngineUnavailable" and rescue.ABANDONED in self._error_of(asked.id).facts:
            return asked.id in self._world.places.given_up
        if error in {"DeadlineExceeded", "EngineUnavailable"} and asked.id in self._world.places.given_up:
            return True
        if error == "SpecInvalid":
            # A stage that can't be moved.
            return len(self._world.hosts) > 1 and (
                "volumes" in asked.arguments or asked.arguments.get("strategy") == "stop-first"
            )
        if error == "DeadlineExceeded":
            return "timeout" in asked.arguments and float(record["ended"]) >= float(record["deadline"])
        if (error == "Unhealthy" and asked.image.life.fades) or (error == "StartFailed" and asked.image.life.ends):
            return True
        if error in {"StartFailed", "Unhealthy"}:
            return weather.engine_restarts > 0
        if error == "PortInUse":
            return asked.arguments.get("strategy") == "start-first" or weather.engine_restarts > 0
        if error == "CutoverFailed":
            return self._hook_of(asked).failures > 0 or weather.suffered >= _MOST_ATTEMPTS
        if error == "NameConflict":
            return self._may_clash(asked)
        return error in {"EngineUnavailable", "RegistryUnavailable"} and weather.suffered >= _MOST_ATTEMPTS

    def accepted_of(self, stage):
        """Ids of a stage's deployments, the newest last."""
        accepted = [each for each in self.accepted if self._asked[each].stage == stage]
        return sorted(accepted, key=lambda each: int(self._record(each)["order"]))

    def _may_clash(self, asked):
        name = self._name_of(asked)
        others = [each for each in self._world.asked if each.stage != asked.stage]
        foreign = [each.name for each in self._containers() if each.foreign]
        return name in foreign or any(self._name_of(each) == name for each in others)

    def _check_stage(self, stage):
        hash_ = self._stage_hash(stage)
        if hash_.get("running") or hash_.get("waiting"):
            self._fail(f"{stage} is still held: {hash_}")
        succeeded = [each for each in self.accepted_of(stage) if not self._record(each)["error"]]
        found = {each.id: each for each in self._managed() if self._stage_of(each) == stage}
        # One that changed nothing has the container of the one before it.
        ids = (self._present(_container_of(self._record(each))) for each in reversed(succeeded))
        went_live = list(dict.fromkeys(ids))
        if succeeded:
            keep = self._asked[succeeded[-1]].arguments["keep"]
            # Of those that were on another host none is kept, nor of those before them.
            here = [each for each in succeeded if self._host_of(each) == self._host_of(succeeded[-1])]
            has_moved = len(here) < len(succeeded)
            is_right = went_live[0] in found and set(went_live[:keep]) == found.keys()
            if has_moved:
                kept_here = {self._present(_container_of(self._record(each))) for each in here}
                is_right = went_live[0] in found and found.keys() <= kept_here and len(found) <= keep
            if self._redis_was_lost:
                is_right = went_live[0] in found and len(found) <= keep
        else:
            is_right = not found or self._redis_was_lost
        if not is_right:
            names = [f"{each.name} of {self._deployment_of(each)}" for each in found.values()]
            self._fail(f"G1, G6: {stage} has {names}, and these succeeded: {succeeded}")
        if succeeded and is_right:
            live = found.pop(went_live[0])
            self._check_live(live)
            if not self._redis_was_lost:
                self._check_kept(found.values(), self._asked_for(live))

    def _check_kept(self, kept, live):
        for each in kept:
            asked = self._asked_for(each)
            runs = "running", asked.arguments.get("restart", "always")
            right = ("exited", "no") if self._exclude(live, asked) else runs
            if (each.state, each.policy) != right:
                self._fail(f"{each.name} is kept beside {live.id}, and is {each.state}, {each.policy}")

    @property
    def has_hopeless(self):
        """Whether a container can't be started that was stopped for a deployment of a host that was away.

        Only a deployment's own undoing makes such a one anew; reconciling tries again and again.
        """
        return bool(self._abandoned) and any(each.half_started for each in self._managed())

    def _check_live(self, container):
        asked = self._asked[self._deployment_of(container)]
        if container.half_started and self.has_hopeless:
            return
        if container.state != "running" or container.policy != asked.arguments.get("restart", "always"):
            self._fail(f"{container.name} is {container.state}, and its restart policy {container.policy}")
        if container.name != self._name_of(asked) and not self._may_clash(asked):
            self._fail(f"{container.name} should be called {self._name_of(asked)}")
        for network in filter(None, ("shared", asked.arguments.get("network"))):
            missing = set(asked.arguments.get("aliases", ())) - set(container.aliases.get(network, ()))
            if missing or network not in container.aliases:
                self._fail(f"{container.name} lacks {network} or its aliases there")
        hook = self._hook_of(asked)
        if hook is None or hook.is_astray or self._redis_was_lost:
            return
        if hook.leads_to != container.id:
            self._fail(f"the hook of {asked.stage} doesn't lead to {container.name}")
        elif hook.ports != {"8080/tcp": container.port} and not self._world.weather.engine_restarts:
            self._fail(f"the hook of {asked.stage} leads to {hook.ports}, and {container.name} has {container.port}")

    # What these share

    def _stage_hash(self, stage):
        return self._world.keyspace.peek(f"{_PREFIX}stage:{'/'.join(stage)}") or {}

    def _asked_for(self, container):
        return self._asked[self._deployment_of(container)]

    def _hook_of(self, asked):
        """The cut-over hook of a deployment, or None."""
        cutover = asked.arguments.get("cutover")
        return self._world.hooks.by_url[cutover["url"]] if cutover else None

    @staticmethod
    def _exclude(one, other):
        """Whether the containers of two deployments of a stage can't run at once."""
        return any(name in one.arguments and name in other.arguments for name in ("ports", "volumes"))

    def _displaced_by_running(self, stage):
        """Ids of containers that are stopped, or about to be, for a deployment that is under way."""
        return _displaced_of(self._record(self._stage_hash(stage).get("running")))

    def _fail(self, text):
        self._broken = self._broken or text

    def _record(self, deployment_id):
        return self._world.keyspace.peek(f"{_PREFIX}deployment:{deployment_id}") or {}

    def _managed(self):
        return [each for each in self._containers() if self._labels.are_ours(each.labels)]

    def _containers(self):
        return [each for host in self._world.hosts for each in host.engine.containers_by_id.values()]

    def _is_down(self, container):
        """Whether its engine is."""
        return any(each.engine_down for each in self._world.hosts if each.name == container.host)

    def _host_of(self, deployment_id):
        return self._record(deployment_id).get("host")

    def _waits_for_host(self, stage):
        """Whether something of it was stopped for a deployment that others have ended, and its host is to see to it."""
        abandoned = (self._world.keyspace.peek(f"{_PREFIX}abandoned:{each.name}") or () for each in self._world.hosts)
        return any(self._asked[each].stage == stage for ids in abandoned for each in ids)

    def _stage_of(self, container):
        return self._labels.value_of(container, Label.PROJECT), self._labels.value_of(container, Label.STAGE)

    def _deployment_of(self, container):
        return self._labels.deployment_of(container)

    @staticmethod
    def _name_of(asked):
        return container_name("dw", *asked.stage, ImageReference.parse(asked.image.reference))
