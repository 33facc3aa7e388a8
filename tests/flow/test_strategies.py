"""How a new version takes the place of an old one that it can't run beside; and who is told of it."""

import json

from tests.flow.test_replace import page


def started_at(stage, result):
    return stage.engine.inspect_container(result["container_id"])["State"]["StartedAt"]


def test_a_fixed_port_has_the_old_version_stopped_first(stage, free_port):
    first = stage.deploy("shop:v1", ports={"8080/tcp": free_port})
    second = stage.deploy("shop:v2", ports={"8080/tcp": free_port})
    assert second["ports"]["8080/tcp"] == free_port
    assert page(second) == "shop v2"
    assert "displace" in second["seconds"]
    assert second["replaced"] == [first["container_id"]]
    (container,) = stage.containers()
    assert container["Names"] == [f"/{second['container_name']}"]


def test_start_first_where_that_cannot_be_fails_and_costs_nothing(stage, free_port):
    before = stage.deploy("shop:v1", ports={"8080/tcp": free_port})
    started = started_at(stage, before)
    error = stage.send(
        "docker.deploy", **stage.deployment("shop:v2", ports={"8080/tcp": free_port}, strategy="start-first")
    ).get(timeout=90, propagate=False)
    assert type(error).__name__ == "PortInUse"
    assert started_at(stage, before) == started
    assert page(before) == "shop v1"


def test_an_exclusive_volume_is_never_in_two_containers_at_once(stage, images, installation):
    volume = f"{installation.namespace}-data"
    script = (
        "[ -e /data/lock ] && exit 9; touch /data/lock; "
        "trap 'rm /data/lock; exit 0' TERM; while true; do sleep 1 & wait; done"
    )
    image = images("single", "v1", healthcheck=None, command=["/bin/busybox", "sh", "-c", script])
    volumes = {volume: {"path": "/data", "exclusive": True}}
    first = stage.deploy(image, volumes=volumes, init=False)
    second = stage.deploy(image, volumes=volumes, init=False, force=True)
    assert second["replaced"] == [first["container_id"]]
    stage.ask("docker.remove", container=second["container_id"], force=True)
    stage.engine.remove_volume(volume)


def test_a_port_to_be_kept_stays_over_restarts_and_is_no_other_containers(stage):
    first = stage.deploy("shop:v1", ports={"8080/tcp": "keep"})
    port = first["ports"]["8080/tcp"]
    assert 20_000 <= port <= 29_999
    assert stage.ask("docker.restart", container=first["container_id"])["ports"]["8080/tcp"] == port
    second = stage.deploy("shop:v2", ports={"8080/tcp": "keep"})
    assert second["ports"]["8080/tcp"] != port
    assert page(second) == "shop v2"


def test_the_hook_is_told_before_anything_old_is_touched_and_once_it_is_gone(stage, hook):
    first = stage.deploy("shop:v1", aliases=[stage.alias])
    seen = []
    hook.on_told = lambda told: seen.append((told["event"], page(told), page(first) if len(seen) < 1 else None))
    second = stage.deploy("shop:v2", aliases=[stage.alias], cutover={"url": hook.url})
    stage.until(lambda: len(seen) == 2)
    assert seen == [("cutover", "shop v2", "shop v1"), ("retired", "shop v2", None)]
    cutover, retired = hook.told
    assert cutover["reason"] == "deployed"
    for key in ("deployment_id", "container_id", "container_name", "ports", "digest", "project", "stage"):
        assert cutover[key] == retired[key] == second[key]
    assert retired["replaced"] == [first["container_id"]]


def test_a_hook_that_is_overloaded_is_asked_again(stage, hook):
    hook.statuses = [503, 429]
    result = stage.deploy("shop:v1", cutover={"url": hook.url})
    assert result["state"] == "live"
    assert [each["reason"] for each in hook.told] == ["deployed"] * 3


def test_the_hook_is_told_where_the_old_version_is_once_it_is_started_again(stage, images, hook):
    image = images("broken", "exits", command=["/bin/busybox", "sh", "-c", "exit 3"])
    stage.deploy("shop:v1")
    asked = stage.deployment(image, strategy="stop-first", cutover={"url": hook.url})
    error = stage.send("docker.deploy", **asked).get(timeout=90, propagate=False)
    assert type(error).__name__ == "StartFailed"
    (told,) = hook.told
    assert told["reason"] == "reverted"
    assert page(told) == "shop v1"


def test_a_hook_that_is_away_is_told_of_as_worth_a_retry(stage, free_port):
    asked = stage.deployment("shop:v1", cutover={"url": f"http://127.0.0.1:{free_port}/"})
    error = stage.send("docker.deploy", **asked).get(timeout=90, propagate=False)
    assert type(error).__name__ == "CutoverFailed"
    assert error.args[1]["retryable"] is True
    assert stage.containers() == []


def test_reconciling_notices_ports_that_changed_and_leads_requests_there(stage, hook):
    live = stage.deploy("shop:v1", cutover={"url": hook.url})
    # As by the engine's own restart, or the restart policy: nobody of docker-watcher is asked.
    stage.engine.restart(live["container_id"], timeout=1)
    hook.statuses = [503]
    stage.ask("docker.reconcile")
    stage.until(lambda: len(hook.told) >= 2)
    stage.ask("docker.reconcile")
    refused, moved = hook.told[1:]
    assert (refused["reason"], moved["reason"]) == ("ports-changed", "ports-changed")
    assert moved["ports"] != live["ports"]
    assert page(moved) == "shop v1"
    assert moved["container_id"] == live["container_id"]
    assert json.loads(stage.record(live["deployment_id"])["found"])["ports"] == moved["ports"]
    stage.ask("docker.reconcile")
    assert len(hook.told) == 3
