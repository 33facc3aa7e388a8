"""Containers, from creating to removing, each claim checked with the SDK's raw answer."""

import socket
import tempfile
import time
import urllib.request
import uuid
from dataclasses import replace

import pytest

from tests.engine_proxy import EngineProxy
from tests.services import required
from worker.engine import ContainerRef, ContainerSpec, Engine
from worker.errors import (
    ContainerNotFound,
    ImageNotFound,
    NameConflict,
    NetworkNotFound,
    NotManaged,
    PortInUse,
    SpecInvalid,
    StartFailed,
)

GONE = ContainerRef("0123456789abcdef", "gone")


def test_all_that_is_asked_for_is_applied(raw, engine, create, network, name):
    volume = f"{name}-data"
    made = create(
        environment={"A": "b=c"},
        ports={"8080/tcp": None, "9090/udp": 29_090},
        aliases=["web"],
        command=["/bin/busybox", "sleep", "60"],
        user="1000:1000",
        volumes={volume: "/data"},
        memory=64 * 1024**2,
        cpus=0.5,
        pids=50,
        read_only=True,
        init=True,
        stop_timeout=7,
        restart="on-failure:3",
    )
    seen = raw.inspect_container(made.id)
    config, host = seen["Config"], seen["HostConfig"]
    assert "A=b=c" in config["Env"]
    assert config["Cmd"] == ["/bin/busybox", "sleep", "60"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["docker-watcher.project"] == "shop"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/udp"}
    assert host["PortBindings"]["9090/udp"][0]["HostPort"] == "29090"
    assert host["PortBindings"]["8080/tcp"][0]["HostPort"] in {"", "0"}
    assert host["Binds"] == [f"{volume}:/data"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 1024**2, 500_000_000, 50)
    assert host["ReadonlyRootfs"] is True
    assert host["Init"] is True
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert config["StopTimeout"] == engine.containers.inspect(made.id).stop_timeout == 7
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["LogConfig"]["Config"]["max-size"]
    assert host["Privileged"] is False
    assert list(seen["NetworkSettings"]["Networks"]) == [network]
    raw.remove_container(made.id)
    raw.remove_volume(volume)


def test_what_is_made_anew_has_all_that_the_one_before_had(engine, raw, create, network, name):
    other, volume = engine.networks.create(f"{name}-other").name, f"{name}-data"
    address = str(engine.networks.get(network).spare[77])
    made = create(
        labels={**engine.containers.labels.select(project="shop"), "a": "b"},
        environment={"A": "b=c"},
        ports={"8080/tcp": None, "9090/udp": 29_093},
        aliases=["web"],
        address=address,
        command=["/bin/busybox", "sleep", "60"],
        user="1000:1000",
        volumes={volume: "/data"},
        memory=64 * 1024**2,
        cpus=0.5,
        pids=50,
        read_only=True,
        init=True,
        stop_timeout=7,
        restart="on-failure:3",
    )
    engine.networks.connect(other, made, ["web2"])
    before = raw.inspect_container(made.id)
    anew = ContainerRef(engine.containers.make_anew(made, f"{name}-anew"), f"{name}-anew")
    engine.containers.remove(made, force=True)
    after = raw.inspect_container(anew.id)
    assert {**after["Config"], "Hostname": ""} == {**before["Config"], "Hostname": ""}
    assert {**after["HostConfig"], "VolumesFrom": None} == before["HostConfig"]
    assert after["Image"] == before["Image"]
    started = engine.containers.start(anew)
    assert after["Config"]["Hostname"] == anew.id[:12]
    assert started.addresses[network] == address
    assert {"web"} <= set(started.aliases[network])
    assert {"web2"} <= set(started.aliases[other])
    engine.containers.remove(anew, force=True)
    raw.remove_network(other)
    raw.remove_volume(volume)


def test_what_is_made_anew_has_the_anonymous_volumes_and_takes_them_along(engine, raw, shop, network, name):
    host_config = raw.create_host_config(network_mode=network)
    old = raw.create_container(shop.id, name=name, volumes=["/anonymous"], host_config=host_config)["Id"]
    for number in range(2):
        anew = engine.containers.make_anew(ContainerRef(old, name), f"{name}-{number}")
        (volume,) = raw.inspect_container(old)["Mounts"]
        engine.containers.remove(ContainerRef(old, name), force=True)
        assert [each["Name"] for each in raw.inspect_container(anew)["Mounts"]] == [volume["Name"]]
        old = anew
    engine.containers.remove(ContainerRef(old, name), force=True)
    assert raw.volumes(filters={"name": volume["Name"]})["Volumes"] in (None, [])


def test_a_refusal_to_make_it_anew_repeats_no_secret(engine, create, name):
    made = create(
        labels=engine.containers.labels.select(project="shop", secrets="TOKEN"), secrets={"TOKEN": "canary-77"}
    )
    with tempfile.TemporaryDirectory(prefix="dw-") as folder:
        proxy = EngineProxy(f"{folder}/engine.sock", required("DOCKER_HOST"))
        proxy.once = ("POST /containers/create", "400 echo")
        with (
            Engine(labels=engine.containers.labels, host=f"unix://{folder}/engine.sock") as proxied,
            pytest.raises(SpecInvalid) as refused,
        ):
            proxied.containers.make_anew(made, f"{name}-anew")
        proxy.close()
    assert "canary-77" not in f"{refused.value} {refused.value.facts} {refused.value.__cause__}"
    engine.containers.remove(made, force=True)


def test_a_started_container_is_reached_on_the_port_that_is_reported(engine, create):
    started = engine.containers.start(create(ports={"8080/tcp": None}))
    assert started.state == "running"
    assert page(started.ports["8080/tcp"]) == "shop v1"
    engine.containers.remove(started, force=True)


def page(port, seconds=10):
    """What is served there; a container runs a moment before its server listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
                return answer.read().decode().strip()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_fixed_host_port_is_bound(engine, create):
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    started = engine.containers.start(create(ports={"8080/tcp": port}))
    assert started.ports == {"8080/tcp": port}
    assert page(port) == "shop v1"
    engine.containers.remove(started, force=True)


def test_the_workers_own_proxies_stay_out(engine, raw, shop, network, name, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://127.0.0.1:1"}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Engine(labels=engine.containers.labels) as with_proxies:
        made = with_proxies.containers.create(
            ContainerSpec(name=name, image="shop:v1", image_id=shop.id, network=network)
        )
    assert "127.0.0.1:1" not in str(raw.inspect_container(made)["Config"]["Env"])
    raw.remove_container(made)


def test_it_is_on_the_network_asked_for_with_its_aliases_and_on_no_other(engine, create, network):
    started = engine.containers.start(create(aliases=["web"]))
    assert list(started.addresses) == [network]
    assert "web" in started.aliases[network]
    engine.containers.remove(started, force=True)


def test_a_name_that_is_taken(engine, create, spec, name):
    create()
    with pytest.raises(NameConflict, match=name):
        engine.containers.create(spec())


def test_renaming_to_a_name_that_is_taken(engine, create, name):
    create()
    other = create(name=f"{name}-other")
    with pytest.raises(NameConflict, match=f"{name}-other"):
        engine.containers.rename(other, name)
    engine.containers.rename(other, f"{name}-third")
    assert engine.containers.inspect(other.id).name == f"{name}-third"


def test_an_image_that_the_engine_does_not_have(engine, spec, name):
    with pytest.raises(ImageNotFound, match=f"{name} of image the-shop:v1"):
        engine.containers.create(spec(image_id="sha256:" + "0" * 64))


def test_a_network_that_does_not_exist(engine, create, name):
    with pytest.raises(NetworkNotFound, match=name):
        engine.containers.start(create(network=f"nowhere-{name}"))


def test_a_host_port_that_is_taken(engine, create, name):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        made = create(ports={"8080/tcp": taken.getsockname()[1]})
        with pytest.raises(PortInUse, match=name):
            engine.containers.start(made)


def test_a_host_port_that_another_container_has(engine, create, name):
    first = engine.containers.start(create(name=f"{name}-first", ports={"8080/tcp": None}))
    with pytest.raises(PortInUse, match=name):
        engine.containers.start(create(ports={"8080/tcp": first.ports["8080/tcp"]}))


@pytest.mark.parametrize(
    "changed",
    [{"command": ["/no/such/program"]}, {"command": ["/www"]}, {"user": "nobody-of-this-name"}],
    ids=["missing", "not-executable", "user"],
)
def test_what_cannot_be_run(engine, create, name, changed):
    with pytest.raises(StartFailed, match=name) as caught:
        engine.containers.start(create(**changed))
    assert "\n" not in caught.value.message


def test_a_malformed_argument_is_final(engine, spec):
    with pytest.raises(SpecInvalid):
        engine.containers.create(spec(name="not a name"))


def test_a_volume_that_would_hide_all_of_the_image_is_final(engine, spec, name):
    """The engine answers 500, as if it were its own fault."""
    with pytest.raises(SpecInvalid, match=name):
        engine.containers.create(spec(volumes={f"{name}-data": "/"}))


def test_starting_stopping_and_removing_twice(engine, create):
    made = create()
    first = engine.containers.start(made)
    assert engine.containers.start(made).started_at == first.started_at
    engine.containers.stop(made, 5)
    assert engine.containers.inspect(made.id).state == "exited"
    engine.containers.stop(made, 5)
    assert engine.containers.inspect(made.id).exit_code == 0
    assert engine.containers.remove(made, force=False) is True
    assert engine.containers.remove(made, force=False) is False


def test_a_running_container_is_removed_only_by_force(engine, create, name):
    started = engine.containers.start(create())
    with pytest.raises(SpecInvalid, match=name):
        engine.containers.remove(started, force=False)
    assert engine.containers.remove(started, force=True)


def test_a_container_that_does_not_stop_is_killed(engine, create):
    command = ["/bin/busybox", "sh", "-c", "echo up; exec /bin/busybox sleep 60"]
    started = engine.containers.start(create(command=command))
    # Until then a signal meets the engine's own program, which ends otherwise.
    deadline = time.monotonic() + 20
    while engine.containers.logs(started, 1) != ["up"]:
        assert time.monotonic() < deadline
    engine.containers.stop(started, 0)
    assert engine.containers.inspect(started.id).exit_code == 137


def test_a_restart_reports_the_ports_anew(engine, create):
    started = engine.containers.start(create(ports={"8080/tcp": None}))
    restarted = engine.containers.restart(started, 5)
    assert restarted.started_at != started.started_at
    assert page(restarted.ports["8080/tcp"]) == "shop v1"
    engine.containers.remove(started, force=True)


def test_output_and_exit_code_are_read(engine, raw, create):
    made = create(command=["/bin/busybox", "sh", "-c", "echo one; echo two >&2; printf '\\377'; exit 7"])
    engine.containers.start(made)
    raw.wait(made.id)
    ended = engine.containers.inspect(made.id)
    assert (ended.state, ended.exit_code, ended.oom_killed) == ("exited", 7, False)
    assert sorted(engine.containers.logs(ended, 10)) == ["one", "two", "\ufffd"]
    assert len(engine.containers.logs(ended, 1)) == 1
    engine.containers.remove(ended, force=True)
    with pytest.raises(ContainerNotFound, match=ended.name):
        engine.containers.logs(ended, 1)


def test_what_a_container_says_is_shown_without_its_secrets(engine, raw, create):
    labels = engine.containers.labels.select(project="shop", stage="test", secrets="TOKEN,SHORT")
    made = create(
        labels=labels,
        environment={"TOKEN": "hunter2", "SHORT": "e", "OPEN": "sesame"},
        command=["/bin/busybox", "sh", "-c", "echo $TOKEN and $OPEN"],
    )
    engine.containers.start(made)
    raw.wait(made.id)
    assert engine.containers.logs(engine.containers.managed(made.id), 10) == ["*** and sesame"]
    assert "hunter2" not in repr(made)


def test_a_restart_policy_can_be_given_later(engine, raw, create):
    made = create()
    engine.containers.set_restart_policy(made, "unless-stopped")
    assert raw.inspect_container(made.id)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_lists_are_by_label_and_newest_first(engine, create, name):
    marked = {**engine.containers.labels.select(project="shop", stage="test"), "mark": name}
    older = create(name=f"{name}-1", labels=marked)
    newer = engine.containers.start(create(name=f"{name}-2", labels=marked, ports={"8080/tcp": None}))
    create(name=f"{name}-3")
    found = engine.containers.labelled({"mark": name})
    assert {each.id for each in found} == {older.id, newer.id}
    assert [each.created for each in found] == sorted((each.created for each in found), reverse=True)
    (running,) = engine.containers.labelled({"mark": name}, every_state=False)
    assert (running.name, running.ports) == (f"{name}-2", newer.ports)
    engine.containers.remove(newer, force=True)


def test_a_name_is_found_exactly(engine, create, name):
    made = create(name=f"{name}.1")
    create(name=f"{name}x1")
    assert engine.containers.find_named(f"{name}.1").id == made.id
    assert engine.containers.find_named(name) is None


def test_a_managed_container_is_found_by_id_or_exact_name(engine, create, name):
    made = create()
    assert engine.containers.managed(made.id[:12]).id == made.id
    assert engine.containers.managed(name).id == made.id
    assert engine.containers.managed(f"/{name}").id == made.id
    for reference in (made.id[:11], "no-such-name"):
        with pytest.raises(ContainerNotFound, match=reference):
            engine.containers.managed(reference)


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"docker-watcher.project": "shop", "docker-watcher.stage": "live"},
        {"docker-watcher.namespace": "other", "docker-watcher.project": "shop", "docker-watcher.stage": "live"},
    ],
    ids=["none", "no-namespace", "other-namespace"],
)
def test_a_container_that_is_not_ours_is_refused(engine, raw, shop, labels):
    name = f"unmanaged-{uuid.uuid4().hex[:8]}"
    theirs = raw.create_container(shop.id, name=name, labels=labels)["Id"]
    try:
        with pytest.raises(NotManaged, match=name):
            engine.containers.managed(name)
    finally:
        raw.remove_container(theirs)


@pytest.mark.parametrize(
    "call",
    [
        lambda containers: containers.start(GONE),
        lambda containers: containers.stop(GONE, 1),
        lambda containers: containers.restart(GONE, 1),
        lambda containers: containers.rename(GONE, "other"),
        lambda containers: containers.set_restart_policy(GONE, "no"),
    ],
)
def test_no_such_container(engine, call):
    with pytest.raises(ContainerNotFound, match="gone"):
        call(engine.containers)


def test_the_engine_can_be_asked_after_many_answers_were_streamed(engine, create):
    """The SDK's adapter keeps the pools of so many addresses only, and closes the others."""
    container = engine.containers.inspect(create().id)
    for number in range(30):
        with pytest.raises(ContainerNotFound):
            engine.containers.logs(replace(container, id=f"{number:064x}"), 1)
    assert engine.containers.inspect(container.id).id == container.id
