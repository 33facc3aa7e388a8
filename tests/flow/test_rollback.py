"""Going back to what was live before: the same image and arguments, wherever its tag points by now."""

import contextlib
import json
import signal

import pytest

from compose.jobimage import build_job_image
from tests.engine.registry_proxy import RegistryProxy
from tests.flow.conftest import page
from tests.flow.doomed import Doom, start_worker

SECRET = "canary-9b21"


def rollback(stage, **arguments):
    return stage.ask("docker.rollback", project=stage.project, stage=stage.name, **arguments)


def refused(stage, **arguments):
    sent = stage.send("docker.rollback", project=stage.project, stage=stage.name, **arguments)
    error = sent.get(timeout=60, propagate=False)
    assert isinstance(error, Exception), error
    return error


def ids(stage):
    return [each["Id"] for each in stage.containers()]


@pytest.fixture
def proxied(installation, worker):
    """The registry under a name of its own, which can go away."""
    proxy = RegistryProxy(installation.registry)
    name = f"proxy-{proxy.host.rpartition(':')[2]}"
    login = ("--username", installation.username, "--password-stdin")
    added = installation.dw("credential", "add", name, "--registry", proxy.host, *login, input=installation.password)
    assert added.returncode == 0, added.stderr
    yield proxy
    proxy.close()
    installation.dw("credential", "rm", name)


@pytest.fixture
def moved(stage, images, proxied, installation):
    """Two versions of one tag, both of which were deployed; the first one's result."""
    reference = images("rolling", "latest", page="one")
    image = reference.replace(installation.registry, proxied.host)
    first = stage.deploy(image)
    images("rolling", "latest", page="two")
    second = stage.deploy(image)
    assert (page(second), second["digest"] != first["digest"]) == ("two", True)
    return first


@contextlib.contextmanager
def working(stage):
    """A worker that is killed at the end."""
    process = start_worker(stage.installation.environment, stage.installation.folder / "worker.log")
    try:
        yield
    finally:
        process.kill()
        process.join()


def forget_image(engine, image_id):
    """Remove an image with all its names."""
    engine.remove_image(image_id, force=True)
    assert image_id not in {each["Id"] for each in engine.images()}


def test_a_tag_that_has_moved_brings_back_the_old_digest(stage, moved):
    result = rollback(stage)
    assert (result["state"], page(result)) == ("live", "one")
    assert [result[key] for key in ("image_id", "digest")] == [moved[key] for key in ("image_id", "digest")]
    assert result["image"] == f"{moved['image']}@{moved['digest']}"
    assert result["container_name"] == moved["container_name"]
    assert ids(stage) == [result["container_id"]]
    assert stage.record(result["deployment_id"])["rollback_to"] == moved["deployment_id"]


def test_a_registry_that_is_down_is_not_asked(stage, moved, proxied):
    proxied.close()
    result = rollback(stage)
    assert (page(result), result["digest"]) == ("one", moved["digest"])


def test_an_image_that_is_gone_from_the_engine_is_pulled_by_its_digest(stage, moved, proxied):
    forget_image(stage.engine, moved["image_id"])
    result = rollback(stage)
    assert (page(result), result["digest"]) == ("one", moved["digest"])


def test_an_image_that_can_be_had_nowhere_costs_nothing(stage, moved, proxied):
    before = ids(stage)
    forget_image(stage.engine, moved["image_id"])
    proxied.close()
    assert type(refused(stage)).__name__ == "RegistryUnavailable"
    assert ids(stage) == before


@pytest.fixture
def local(stage, installation):
    """Two versions of an image that no registry has, under one name; the first one's result."""
    image = installation.image("local", "latest")
    build_job_image(stage.engine, image, page="one")
    first = stage.deploy(image, policy="missing")
    assert first["digest"] is None
    build_job_image(stage.engine, image, page="two")
    stage.deploy(image, policy="missing")
    return first


def test_an_image_without_a_digest_is_found_by_its_id(stage, local):
    result = rollback(stage)
    assert (page(result), result["image_id"], result["digest"]) == ("one", local["image_id"], None)


def test_an_image_without_a_digest_that_is_gone_is_not_confused_with_its_name_s_newest(stage, local):
    before = ids(stage)
    forget_image(stage.engine, local["image_id"])
    error = refused(stage)
    assert type(error).__name__ == "ImageNotFound"
    assert local["image"] in error.args[0]
    assert ids(stage) == before


def test_arguments_and_secrets_are_those_of_the_version(stage, installation):
    sealed = installation.dw("seal", f"{stage.project}/staging", "TOKEN", input=SECRET).stdout.strip()
    arguments = {"env": {"COLOUR": "blue"}, "secret_env": {"TOKEN": sealed}, "labels": {"team": "a"}, "memory": 2**26}
    first = stage.deploy("shop:v1", aliases=[stage.alias], instance_id="blue", **arguments)
    stage.deploy("shop:v2")
    result = rollback(stage)
    assert result["instance_id"] == first["instance_id"] == "blue"
    container = stage.engine.inspect_container(result["container_id"])
    assert {"COLOUR=blue", f"TOKEN={SECRET}"} <= set(container["Config"]["Env"])
    assert container["Config"]["Labels"]["team"] == "a"
    assert container["HostConfig"]["Memory"] == 2**26
    assert stage.alias in container["NetworkSettings"]["Networks"][installation.network]["Aliases"]
    listed = str(stage.ask("docker.list", project=stage.project))
    assert "docker-watcher.previous" not in listed
    assert SECRET not in listed + str(container["Config"]["Labels"]) + str(stage.record(result["deployment_id"]))


def test_twice_is_there_and_back(stage):
    stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    assert [page(rollback(stage)) for _ in range(3)] == ["shop v1", "shop v2", "shop v1"]
    assert len(stage.containers()) == 1


def test_the_same_version_deployed_again_is_none_to_go_back_to(stage):
    stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    stage.deploy("shop:v2", force=True)
    assert page(rollback(stage)) == "shop v1"


def test_a_failed_one_is_none_to_go_back_to(stage):
    stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    stage.send("docker.deploy", **stage.deployment("shop:v9")).get(timeout=60, propagate=False)
    assert page(rollback(stage)) == "shop v1"


def test_a_version_is_gone_back_to_by_its_deployment(stage):
    first = stage.deploy("shop:v1", force=True)
    stage.deploy("shop:v2")
    third = stage.deploy("shop:v2", env={"A": "b"}, force=True)
    assert page(rollback(stage, to=first["deployment_id"])) == "shop v1"
    again = rollback(stage, to=third["deployment_id"])
    unchanged = rollback(stage, to=again["deployment_id"])
    assert (unchanged["state"], unchanged["container_id"]) == ("unchanged", again["container_id"])


def test_what_was_never_live_here_is_refused(stage):
    error = refused(stage)
    assert type(error).__name__ == "SpecInvalid"
    assert "nothing to go back to" in error.args[0]
    first = stage.deploy("shop:v1")
    error = refused(stage)
    assert (type(error).__name__, list(error.args[1]["fields"])) == ("SpecInvalid", ["stage"])
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=60, propagate=False)
    error = refused(stage, to=failed.id)
    assert (type(error).__name__, list(error.args[1]["fields"])) == ("SpecInvalid", ["to"])
    assert first["deployment_id"] in error.args[0]
    assert ids(stage) == [first["container_id"]]


@pytest.mark.parametrize("how", ["docker.remove", "docker.stage"])
def test_what_somebody_removed_is_the_first_to_go_back_to(stage, how):
    stage.deploy("shop:v1")
    second = stage.deploy("shop:v2")
    stage.until(lambda: stage.record(second["deployment_id"])["step"] == "ended")
    whole = {"project": stage.project, "stage": stage.name, "action": "remove"}
    stage.ask(how, **({"container": second["container_id"]} if how == "docker.remove" else whole), force=True)
    assert stage.containers() == []
    assert page(rollback(stage)) == "shop v2"


def test_the_target_is_chosen_once(stage):
    """Whoever comes again, after it was recorded, changes nothing: not even though another version is live by then."""
    stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    arguments = {"project": stage.project, "stage": stage.name}
    first = stage.send("docker.rollback", **arguments)
    stage.send("docker.rollback", task_id=first.id, **arguments)
    result = first.get(timeout=60)
    stage.until(lambda: stage.record(first.id)["step"] == "ended")
    assert stage.send("docker.rollback", task_id=first.id, **arguments).get(timeout=60) == result
    assert stage.ask("docker.cancel", deployment_id=first.id)["state"] == "live"
    assert page(result) == "shop v1"
    assert ids(stage) == [result["container_id"]]


@pytest.fixture
def slow(images):
    return images("slow", "v1", command=["/bin/busybox", "sleep", "600"], healthcheck=None)


@pytest.mark.parametrize("wins", ["docker.rollback", "docker.deploy"])
def test_the_last_one_asked_for_wins(stage, slow, wins):
    stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    running = stage.send("docker.deploy", **stage.deployment(slow, health={"stable": 4}))
    stage.until(lambda: stage.record(running.id).get("step") == "prove")
    asked = {
        "docker.rollback": {"project": stage.project, "stage": stage.name},
        "docker.deploy": stage.deployment("shop:v2", env={"A": "b"}),
    }
    loses = next(each for each in asked if each != wins)
    first, last = stage.send(loses, **asked[loses]), stage.send(wins, **asked[wins])
    error = first.get(timeout=60, propagate=False)
    assert (type(error).__name__, error.args[1]["by"]) == ("DeploymentSuperseded", last.id)
    assert page(last.get(timeout=60)) == ("shop v1" if wins == "docker.rollback" else "shop v2")


def test_its_place_among_deployments_is_that_of_its_message(unserved_stage):
    """Whichever is accepted first; a rollback takes longer, as it asks the engine."""
    stage = unserved_stage
    with working(stage):
        stage.deploy("shop:v1", policy="missing")
        live = stage.deploy("shop:v2", policy="missing")
        stage.until(lambda: stage.record(live["deployment_id"])["step"] == "ended")
    back = stage.send("docker.rollback", project=stage.project, stage=stage.name)
    last = stage.send("docker.deploy", **stage.deployment("shop:v2", policy="missing", env={"A": "b"}))
    with working(stage):
        assert last.get(timeout=60)["state"] == "live"
        back.get(timeout=60, propagate=False)
        stage.until(lambda: {stage.record(each.id)["step"] for each in (back, last)} == {"ended"})
    assert ids(stage) == [last.get()["container_id"]]


@pytest.mark.parametrize("by", ["docker.cancel", "revoke"])
def test_one_that_is_cancelled_leaves_what_is_live(stage, slow, by):
    stage.deploy(slow, health={"stable": 1, "timeout": 60})
    stage.deploy("shop:v1", health={"stable": 1})
    slow_again = stage.deploy(slow, health={"stable": 3}, force=True)
    live = stage.deploy("shop:v2")
    sent = stage.send("docker.rollback", project=stage.project, stage=stage.name, to=slow_again["deployment_id"])
    stage.until(lambda: stage.record(sent.id).get("step") == "prove")
    if by == "revoke":
        stage.client.control.revoke(sent.id)
    else:
        stage.ask("docker.cancel", deployment_id=sent.id)
    assert type(sent.get(timeout=30, propagate=False)).__name__ == "DeploymentCancelled"
    stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    assert ids(stage) == [live["container_id"]]


@pytest.mark.parametrize(
    ("moment", "effect"),
    [
        ("before", "accept"),
        ("after", "accept"),
        ("after", "POST /containers/create"),
        ("after", "POST /containers/[^/]+/start"),
    ],
)
def test_a_worker_that_is_killed_in_the_middle_leaves_what_is_live_and_another_goes_on(unserved_stage, moment, effect):
    stage, doom = unserved_stage, Doom(moment, effect)
    doomed = start_worker(stage.installation.environment, stage.installation.folder / "doomed.log", doom)
    stage.deploy("shop:v1", policy="missing")
    live = stage.deploy("shop:v2", policy="missing")
    stage.until(lambda: stage.record(live["deployment_id"])["step"] == "ended")
    doom.armed.set()
    sent = stage.send("docker.rollback", project=stage.project, stage=stage.name)
    doomed.join(30)
    assert doomed.exitcode == -signal.SIGKILL
    assert {"Id": live["container_id"], "State": "running"}.items() <= stage.containers()[-1].items()
    assert page(live) == "shop v2"
    with working(stage):
        result = sent.get(timeout=60)
        stage.until(lambda: stage.record(sent.id)["step"] == "ended")
    assert page(result) == "shop v1"
    assert ids(stage) == [result["container_id"]]


def test_dw_goes_back_and_follows(stage, installation):
    first = stage.deploy("shop:v1")
    stage.deploy("shop:v2")
    ended = installation.dw("rollback", f"{stage.project}/staging")
    assert (ended.returncode, "prove" in ended.stderr) == (0, True), ended.stderr
    assert first["digest"] in ended.stdout
    live = stage.containers()[0]["Labels"]["docker-watcher.deployment-id"]
    ended = installation.dw("rollback", f"{stage.project}/staging", "--to", live, "--json")
    assert json.loads(ended.stdout)["state"] == "unchanged"
    ended = installation.dw("rollback", f"{stage.project}/staging", "--to", "never-was")
    assert ended.returncode == 1
    assert "never-was" in ended.stderr
    assert live in ended.stderr
    for wrong in (("shop",), (f"{stage.project}/staging", "--to", "")):
        ended = installation.dw("rollback", *wrong, "--json")
        assert json.loads(ended.stdout)["error"]["type"] == "SpecInvalid"


def test_ctrl_c_in_dw_cancels_where_that_is_asked_for(stage, installation, slow):
    first = stage.deploy(slow, health={"stable": 4})
    live = stage.deploy("shop:v2")
    arguments = [f"{stage.project}/staging", "--to", first["deployment_id"], "--cancel-on-interrupt"]
    said = stage.installation.interrupt_dw("rollback", *arguments)
    assert "is cancelled" in said
    assert ids(stage) == [live["container_id"]]
