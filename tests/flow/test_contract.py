"""Each task of the contract's table, by name, from a plain client."""

import json
import urllib.request
import uuid

import pytest


def page(port):
    """What is served; nothing where the container, just started, isn't ready for it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            return answer.read().decode().strip()
    except OSError:
        return ""


def test_each_operation_gives_the_contracts_json(stage, installation):
    image = stage.image("shop:v1")
    pulled = stage.ask("docker.pull", image=image)
    assert pulled["digest"].startswith("sha256:")
    assert pulled["image_id"].startswith("sha256:")
    assert pulled["size"] > 0
    assert pulled["pulled"] in {True, False}

    inspected = stage.ask("docker.inspect", image=image)
    assert (inspected["image_id"], inspected["digest"]) == (pulled["image_id"], pulled["digest"])
    assert inspected["ports"] == ["8080/tcp"]
    assert inspected["healthcheck"]["Test"]
    assert isinstance(inspected["labels"], dict)

    name = f"{installation.namespace}-extra"
    made = stage.ask("docker.ensure_network", network=name)
    assert stage.ask("docker.ensure_network", network=name) == {**made, "created": False}
    assert made["created"] is True

    created = stage.ask("docker.create", **stage.deployment("shop:v1", env={"A": "b"}))
    assert created["name"] == f"{installation.namespace}-{stage.project}-staging-v1"
    container = created["container_id"]

    started = stage.ask("docker.start", container=created["name"])
    assert list(started["ports"]) == ["8080/tcp"]
    assert started["started_at"]
    assert stage.until(lambda: page(started["ports"]["8080/tcp"])) == "shop v1"

    connected = stage.ask("docker.connect", network=name, container=container[:12], aliases=["web"])
    assert connected["network_id"] == made["network_id"]
    assert len(connected["addresses"]) == 1
    assert stage.ask("docker.connect", network=name, container=container, aliases=["web"]) == connected

    listed = stage.ask("docker.list", project=stage.project, stage="staging")["containers"]
    assert [each["container_id"] for each in listed] == [container]
    assert listed[0]["ports"] == connected["ports"]
    assert json.dumps(listed)

    restarted = stage.ask("docker.restart", container=container, timeout=1)
    assert list(restarted["ports"]) == ["8080/tcp"]
    assert stage.ask("docker.logs", container=container, tail=5)["lines"] == []
    assert stage.ask("docker.stop", container=container, timeout=5)["exit_code"] == 0
    assert stage.ask("docker.list", project=stage.project)["containers"] == []
    assert len(stage.ask("docker.list", project=stage.project, all=True)["containers"]) == 1
    assert stage.ask("docker.remove", container=container)["removed"] is True
    assert stage.ask("docker.remove", container=container)["removed"] is False


def test_a_deployment_gives_the_contracts_result(stage, installation):
    sent = stage.send("docker.deploy", **stage.deployment("shop:v1", instance_id="blue"))
    result = sent.get(timeout=60)
    (container,) = stage.containers()
    assert set(result.pop("seconds")) >= {"pull", "inspect", "create", "start", "prove"}
    port = next(each["PublicPort"] for each in container["Ports"] if each["IP"] == "0.0.0.0")
    assert result == {
        "deployment_id": sent.id,
        "project": stage.project,
        "stage": "staging",
        "instance_id": "blue",
        "host": "local",
        "container_id": container["Id"],
        "container_name": f"{installation.namespace}-{stage.project}-staging-v1",
        "image": stage.image("shop:v1"),
        "image_id": container["ImageID"],
        "digest": result["digest"],
        "network": installation.network,
        "ports": {"8080/tcp": port},
        "health": "healthy",
        "state": "live",
        "replaced": [],
    }
    assert result["digest"].startswith("sha256:")


def test_every_exposed_port_is_published_and_every_label_set(stage, installation):
    result = stage.deploy("shop:v2", labels={"team": "a"}, env={"COLOUR": "blue"})
    assert set(result["ports"]) == {"8080/tcp", "9090/tcp"}
    container = stage.engine.inspect_container(result["container_id"])
    labels = container["Config"]["Labels"]
    assert labels["team"] == "a"
    assert labels["docker-watcher.project"] == stage.project
    assert labels["docker-watcher.stage"] == "staging"
    assert labels["docker-watcher.instance-id"] == result["instance_id"]
    assert labels["docker-watcher.namespace"] == installation.namespace
    assert labels["docker-watcher.deployment-id"] == result["deployment_id"]
    assert "COLOUR=blue" in container["Config"]["Env"]
    assert list(container["NetworkSettings"]["Networks"]) == [installation.network]
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "always"


def test_racing_deployments_make_the_shared_network_once(installation, client, engine, worker, images):
    network = f"{installation.namespace}-raced"
    sent = [client.send_task("docker.ensure_network", kwargs={"network": network}) for _ in range(16)]
    made = [each.get(timeout=60) for each in sent]
    assert sum(each["created"] for each in made) == 1
    assert len(engine.networks(filters={"name": f"^{network}$"})) == 1


def test_a_message_delivered_twice_makes_one_container(stage):
    task_id = str(uuid.uuid4())
    first = stage.send("docker.deploy", task_id=task_id, **stage.deployment("shop:v1"))
    stage.send("docker.deploy", task_id=task_id, **stage.deployment("shop:v1"))
    result = first.get(timeout=60)
    again = stage.send("docker.deploy", task_id=task_id, **stage.deployment("shop:v1")).get(timeout=60)
    assert again == result
    assert [each["Id"] for each in stage.containers()] == [result["container_id"]]


@pytest.mark.parametrize("task", ["docker.create"])
def test_a_creation_delivered_twice_makes_one_container(stage, task):
    task_id = str(uuid.uuid4())
    made = [stage.ask(task, task_id=task_id, **stage.deployment("shop:v1")) for _ in range(2)]
    assert len(stage.containers()) == 1
    assert made[0]["container_id"] == stage.containers()[0]["Id"]


def test_progress_is_seen_while_a_deployment_runs(stage, images):
    images("slow", "v1", command=["/bin/busybox", "sleep", "60"], healthcheck=None)
    sent = stage.send("docker.deploy", **stage.deployment("slow:v1", health={"stable": 3}))
    stage.until(lambda: sent.state == "PROGRESS" and sent.info.get("step") == "prove")
    assert sent.get(timeout=60)["health"] == "running"
