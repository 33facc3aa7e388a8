"""The decisions of a deployment, by equality."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from cryptography.fernet import Fernet

from worker import plan
from worker.engine import Container, Listed
from worker.errors import ContainerNotFound, NameConflict, PortInUse, SpecInvalid
from worker.keyring import Keyring
from worker.labels import Label, Labels
from worker.record import Version
from worker.spec import DeploymentSpec, RollbackArguments, StageOrder, parse

OURS = Labels("docker-watcher", "prod")
SPEC = parse(DeploymentSpec, "docker.deploy", {"project": "shop", "stage": "staging", "image": "acme/shop:1"})


FIRST, SECOND = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def changed(**arguments):
    return parse(DeploymentSpec, "docker.deploy", {**SPEC.model_dump(exclude_defaults=True), **arguments})


def fingerprint(spec=SPEC, *, image_id="sha256:1", network="net", secrets=None):
    return plan.fingerprints(Keyring([FIRST]), spec, image_id, network, secrets or {})[0]


def listed(identity, *, name="dw-shop-staging-1", state="running", **labels):
    return Listed(
        id=identity,
        name=name,
        image="acme/shop:1",
        image_id="sha256:1",
        labels=OURS.select(**{"project": "shop", "stage": "staging", **labels}),
        state=state,
        status="",
        created=0,
        ports={},
    )


def container(*, state="running", health=None, restart_count=0):
    return Container(
        id="1",
        name="dw-shop-staging-1",
        image="acme/shop:1",
        image_id="sha256:1",
        labels={},
        state=state,
        health=health,
        health_log=(),
        exit_code=0,
        oom_killed=False,
        restart="no",
        restart_count=restart_count,
        created="",
        started_at="",
        ports={},
        addresses={},
        aliases={},
    )


def test_the_same_arguments_have_the_same_fingerprint_and_others_another():
    mark = fingerprint()
    assert mark == fingerprint(changed(timeout=5, credential="other", force=True))
    others = [
        fingerprint(image_id="sha256:2"),
        fingerprint(network="other"),
        fingerprint(changed(env={"A": "b"})),
        fingerprint(secrets={"A": "b"}),
        fingerprint(secrets={"A": "c"}),
        fingerprint(changed(aliases=["shop"])),
    ]
    assert len({mark, *others}) == len(others) + 1


def order(action, **arguments):
    return parse(StageOrder, "docker.stage", {"project": "shop", "stage": "staging", "action": action, **arguments})


@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
def test_what_runs_is_removed_by_force_only(state):
    found = [listed("2", name="stopped", state="exited"), listed("1", name="busy", state=state)]
    with pytest.raises(SpecInvalid, match="busy failed: it runs") as refused:
        plan.check_order(order("remove"), found)
    assert refused.value.facts["fields"].keys() == {"force"}
    plan.check_order(order("remove", force=True), found)
    plan.check_order(order("remove"), found[:1])
    plan.check_order(order("stop"), found)


def test_an_order_to_a_stage_without_containers_is_refused():
    with pytest.raises(ContainerNotFound, match="Stage shop/staging has no container"):
        plan.check_order(order("restart"), [])


def test_a_fingerprint_knows_a_secret_by_its_value_however_it_is_sealed():
    marks = {fingerprint(changed(secret_env={"A": sealed}), secrets={"A": "b"}) for sealed in ("one", "another")}
    assert len(marks) == 1


def test_an_argument_that_has_its_default_is_in_no_fingerprint():
    """So it can't tell versions that know it from versions that don't."""
    assert fingerprint(changed(restart="always", read_only=False, env={}, memory=None)) == fingerprint()
    assert fingerprint(changed(restart="no")) != fingerprint()


def test_a_fingerprint_is_written_with_the_first_key_and_known_with_any():
    before, after, dropped = (
        plan.fingerprints(Keyring(keys), SPEC, "sha256:1", "net", {}) for keys in ([FIRST], [SECOND, FIRST], [SECOND])
    )
    assert plan.live_twin(OURS, [listed("a", fingerprint=before[0])], after)
    assert after[0] == dropped[0] != before[0]
    assert plan.live_twin(OURS, [listed("a", fingerprint=before[0])], dropped) is None


def planned(spec):
    return plan.container_spec(
        spec,
        deployment_id="d1",
        labels=OURS,
        name="dw-shop-staging-1",
        network="net",
        image_id="sha256:1",
        digest="sha256:9",
        ports=plan.published_ports(spec, ["8080/tcp"], [20_000]),
        stop_timeout=10,
    )


def test_labels_of_the_caller_never_hide_ours():
    assert planned(changed(labels={"team": "a"})).labels == {
        "team": "a",
        "docker-watcher.namespace": "prod",
        "docker-watcher.project": "shop",
        "docker-watcher.stage": "staging",
        "docker-watcher.instance-id": "d1",
        "docker-watcher.deployment-id": "d1",
        "docker-watcher.image": "docker.io/acme/shop:1",
        "docker-watcher.digest": "sha256:9",
        "docker-watcher.secret-variables": "",
        "docker-watcher.restart": "always",
        "docker-watcher.displaced": "",
        "docker-watcher.kept-ports": "",
        "docker-watcher.aliases": "",
        # Empty, not absent: an image may have labels of these names.
        "docker-watcher.fingerprint": "",
        "docker-watcher.spec": "",
        "docker-watcher.previous": "",
    }


def test_a_candidate_is_not_restarted_and_lacks_aliases_that_an_older_instance_may_hold():
    asked = planned(changed(aliases=["web"]))
    first = plan.candidate(
        asked, name="x", labels=OURS, remembered={Label.SPEC: "{}"}, mark="f1", withhold_aliases=False
    )
    assert (first.name, first.restart, first.aliases) == ("x", "no", ["web"])
    assert (first.labels["docker-watcher.fingerprint"], first.labels["docker-watcher.spec"]) == ("f1", "{}")
    later = plan.candidate(
        asked, name="x", labels=OURS, remembered={Label.SPEC: "{}"}, mark="f1", withhold_aliases=True
    )
    assert later.aliases == ()
    assert asked.restart == "always"


def test_every_exposed_port_is_random_unless_it_is_asked_for():
    spec = changed(ports={"8080/tcp": 18080, "53/udp": None})
    assert plan.published_ports(spec, ["8080/tcp", "9000/tcp"]) == {
        "8080/tcp": 18080,
        "9000/tcp": None,
        "53/udp": None,
    }


def test_a_port_to_be_kept_is_one_of_those_that_are_free():
    spec = changed(ports={"8080/tcp": "keep", "9000/tcp": "keep", "53/udp": None})
    ports = {"8080/tcp": 20_001, "9000/tcp": 20_003, "53/udp": None}
    assert plan.published_ports(spec, [], [20_000, 20_001, 20_002, 20_003], [20_000, 20_002]) == ports
    with pytest.raises(PortInUse, match="DW_PORT_RANGE"):
        plan.published_ports(spec, [], [20_000])


def test_the_ports_that_a_container_keeps_are_in_a_label():
    assert planned(changed(ports={"8080/tcp": "keep"})).labels["docker-watcher.kept-ports"] == "20000"


def older(**changed):
    return replace(listed("old"), **{"ports": {"8080/tcp": 18_080}, "volumes": ["data"], **changed})


@pytest.mark.parametrize(
    ("arguments", "state", "makes_room"),
    [
        ({}, "running", False),
        ({"ports": {"8080/tcp": 18_080}}, "running", True),
        ({"ports": {"9090/tcp": 18_080}}, "running", True),
        ({"ports": {"9090/udp": 18_080}}, "running", False),
        ({"ports": {"8080/tcp": "keep"}}, "running", False),
        ({"ports": {"8080/tcp": 18_080}}, "restarting", True),
        ({"ports": {"8080/tcp": 18_080}}, "exited", False),
        ({"ports": {"8080/tcp": 18_080}, "strategy": "start-first"}, "running", False),
        ({"volumes": {"data": "/data"}}, "running", False),
        ({"volumes": {"data": {"path": "/data", "exclusive": True}}}, "running", True),
        ({"volumes": {"other": {"path": "/data", "exclusive": True}}}, "running", False),
        ({"strategy": "stop-first"}, "running", True),
        ({"strategy": "stop-first"}, "exited", False),
        ({"strategy": "stop-first", "keep": 2}, "running", False),
    ],
)
def test_an_older_instance_makes_room_where_both_cannot_be(arguments, state, makes_room):
    found = plan.displaced(changed(**arguments), [older(state=state)])
    assert [each.id for each in found] == (["old"] if makes_room else [])


def test_of_several_that_make_room_the_oldest_goes_first():
    instances = [replace(older(), id=each) for each in ("newest", "old", "oldest")]
    kept = plan.displaced(changed(strategy="stop-first", keep=2), instances)
    assert [each.id for each in kept] == ["oldest", "old"]


def test_a_free_name_is_taken():
    assert plan.choose_name("dw-shop-staging-1", [older(name="dw-shop-staging-0")], "d1") == "dw-shop-staging-1"


def test_a_name_that_an_older_instance_holds_waits_for_promotion():
    names = {
        plan.choose_name("dw-shop-staging-1", [older()], deployment) for deployment in ("deployment-1", "deployment-10")
    }
    assert len(names) == 2
    assert all(name.startswith("dw-shop-staging-1-") for name in names)


def version(deployment_id, image_id="sha256:1", spec=SPEC):
    return Version(deployment_id=deployment_id, spec=spec, image_id=image_id, digest=f"sha256:{'1' * 64}", created=0)


def back(lives, present, **arguments):
    asked = RollbackArguments(project="shop", stage="staging", **arguments)
    return plan.rollback_target(asked, lives, present).deployment_id


def test_the_newest_version_that_was_live_and_is_another_is_gone_back_to():
    lives = [version("d4", "sha256:2"), version("d3", "sha256:2"), version("d2"), version("d1", spec=changed(user="a"))]
    assert back(lives, lives[0]) == "d2"
    assert back(lives[2:], lives[2]) == "d1"
    assert back(lives, None) == "d4"
    assert back(lives, lives[0], to="d3") == "d3"


@pytest.mark.parametrize(("lives", "arguments"), [([], {}), (["d1"], {}), (["d1"], {"to": "d2"})])
def test_where_there_is_none_the_ones_that_can_be_gone_back_to_are_named(lives, arguments):
    versions = [version(each) for each in lives]
    with pytest.raises(SpecInvalid, match="d1" if arguments else "no version that was live"):
        back(versions, versions[0] if versions else None, **arguments)


def test_a_version_is_asked_for_by_its_digest_and_without_force():
    arguments = {
        "keep": 2,
        "timeout": 5.5,
        "health": {"stable": 1.0},
        "ports": {"8080/tcp": "keep", "53/udp": None},
        "volumes": {"data": {"path": "/data", "exclusive": True}},
        "cutover": {"url": "http://proxy.example.com/"},
    }
    asked = plan.rollback_arguments(version("d1", spec=changed(force=True, **arguments)))
    image = f"docker.io/acme/shop:1@sha256:{'1' * 64}"
    assert asked == {**SPEC.model_dump(exclude_defaults=True), "image": image, "policy": "missing", **arguments}
    assert parse(DeploymentSpec, "docker.rollback", asked) == changed(image=image, policy="missing", **arguments)


@pytest.mark.parametrize(
    ("holder", "owner"),
    [
        (listed("x", project="shop-staging", stage="1"), "another stage"),
        (listed("x", namespace="other"), "something else"),
    ],
)
def test_a_name_that_somebody_else_holds_is_a_conflict(holder, owner):
    with pytest.raises(NameConflict, match=owner):
        plan.check_holder("dw-shop-staging-1", OURS, SPEC, holder)


def test_only_the_newest_running_instance_makes_a_deployment_unnecessary():
    twin, stopped = listed("a", fingerprint="f1"), listed("b", fingerprint="f1", state="exited")
    other = listed("c", fingerprint="f2")
    assert plan.live_twin(OURS, [stopped, twin, other], ["f1"]) is twin
    assert plan.live_twin(OURS, [stopped], ["f1"]) is None
    # An older version that is kept beside the newest is not the one that is asked for.
    assert plan.live_twin(OURS, [other, twin], ["f1"]) is None


def test_what_is_beyond_keep_goes_oldest_first():
    newest_first = [listed("c"), listed("b"), listed("a")]
    assert [each.id for each in plan.surplus(newest_first, 1)] == ["a", "b", "c"]
    assert [each.id for each in plan.surplus(newest_first, 3)] == ["a"]
    assert plan.surplus(newest_first, 9) == []


@pytest.mark.parametrize(
    ("seen", "running_for", "verdict"),
    [
        (container(health="starting"), 99, None),
        (container(health="healthy"), 0, "healthy"),
        (container(health="unhealthy"), 0, "unhealthy"),
        (container(), 1, None),
        (container(), 3, "running"),
        (container(state="exited"), 99, "failed"),
        (container(state="restarting"), 99, "failed"),
        (container(restart_count=1, health="healthy"), 99, "failed"),
    ],
)
def test_a_container_is_proven_by_health_or_by_running_stably(seen, running_for, verdict):
    assert plan.verdict(seen, stable=3, running_for=running_for) == verdict


def test_a_spare_address_is_nobody_s_and_not_the_broadcast():
    spare = IPv4Network("10.0.0.128/25")
    free = str(spare[77])
    taken = {str(each) for each in spare} - {free, "10.0.0.255"}
    assert plan.spare_address(spare, taken) == free
    assert plan.spare_address(spare, taken | {free}) is None
