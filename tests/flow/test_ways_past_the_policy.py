"""Ways to slip by the policy, or by "only ours", each sent to a real worker: refused, and nothing comes of it."""

import pytest
from celery import Celery

from tests.flow.conftest import Installation, Stage

POLICY = """
images = ["{repository}/*"]
stages = ["p*/staging"]
networks = ["{{project}}-*"]
aliases = ["{{project}}-*", "www"]
labels = ["team", "traefik.http.routers.{{project}}.*"]
volumes = ["{{project}}.*"]
host_ports = ["18000-18099"]
hooks = ["http://127.0.0.1:9/hooks/*"]
memory = "64MiB"
cpus = 0.5
pids = 64
"""
DIGEST = "sha256:" + 64 * "0"


@pytest.fixture(scope="module")
def guarded(second_redis_url, tmp_path_factory, engine, images, installation):
    """A stage of an installation that has a policy, and its worker."""
    folder = tmp_path_factory.mktemp("policy")
    another = Installation(second_redis_url, folder, namespace=installation.namespace)
    policy = folder / "policy.toml"
    policy.write_text(POLICY.format(repository=f"{another.registry}/{another.namespace}"))
    another.environment |= {"DW_POLICY_FILE": str(policy), "DW_PUBLISH_ADDRESS": "127.0.0.1"}
    another.add_credential()
    with Celery(broker=second_redis_url, backend=second_redis_url, set_as_current=False) as client:
        stage = Stage(client, engine, another)
        with another.worker(client):
            yield stage
            stage.clear()


@pytest.fixture(scope="module")
def theirs(guarded, engine):
    """A container that says to be of this stage, by its name and its labels, and is another installation's."""
    name = f"{guarded.installation.namespace}-{guarded.project}-staging-v0"
    labels = {"docker-watcher.project": guarded.project, "docker-watcher.stage": "staging"}
    made = engine.create_container(
        guarded.image("shop:v1"),
        name=name,
        labels={**labels, "docker-watcher.namespace": "other"},
        host_config=engine.create_host_config(network_mode="none"),
    )
    engine.start(made["Id"])
    yield {"id": made["Id"], "name": name}
    engine.remove_container(made["Id"], force=True)


def refused(asked, task, **arguments):
    error = asked.send(task, **arguments).get(timeout=30, propagate=False)
    assert isinstance(error, Exception), f"it was done: {error}"
    return type(error).__name__


def made_for(stage):
    """What docker-watcher has made for a stage, and not somebody who only says so."""
    ours = f"docker-watcher.namespace={stage.installation.namespace}"
    return stage.engine.containers(all=True, filters={"label": [ours, f"docker-watcher.project={stage.project}"]})


IMAGES = {
    "a short name of Docker Hub": ("shop:v1", "PolicyDenied"),
    "Docker Hub by its name": ("docker.io/library/shop:v1", "PolicyDenied"),
    "Docker Hub by its other name": ("index.docker.io/{ns}/shop:v1", "PolicyDenied"),
    "Docker Hub by its third name": ("registry-1.docker.io/{ns}/shop:v1", "PolicyDenied"),
    "another port of the registry": ("127.0.0.1:1/{ns}/shop:v1", "PolicyDenied"),
    "the registry by another name": ("localhost:{port}/{ns}/shop:v1", "PolicyDenied"),
    "the registry by a number": ("127.1:{port}/{ns}/shop:v1", "PolicyDenied"),
    "the registry by IPv6": ("[::1]:{port}/{ns}/shop:v1", "PolicyDenied"),
    "a longer path": ("{registry}/{ns}/deep/shop:v1", "PolicyDenied"),
    "a longer repository": ("{registry}/{ns}x/shop:v1", "PolicyDenied"),
    "the allowed name behind another registry": ("evil.example.com/{ns}/shop:v1", "PolicyDenied"),
    "another repository by digest": ("{registry}/other/shop@" + DIGEST, "PolicyDenied"),
    "an image's id": (DIGEST, "PolicyDenied"),
    "a path that goes up": ("{registry}/{ns}/../other/shop:v1", "SpecInvalid"),
    "an empty part": ("{registry}/{ns}//shop:v1", "SpecInvalid"),
    "upper case": ("{registry}/{ns}/SHOP:v1", "SpecInvalid"),
    "letters that look alike": ("{registry}/{ns}/\N{CYRILLIC SMALL LETTER DZE}hop:v1", "SpecInvalid"),
    "wide letters": ("{registry}/{ns}/\N{FULLWIDTH LATIN SMALL LETTER S}hop:v1", "SpecInvalid"),
    "a line's end": ("{registry}/{ns}/shop:v1\n", "SpecInvalid"),
    "a space before": (" {registry}/{ns}/shop:v1", "SpecInvalid"),
    "a NUL": ("{registry}/{ns}/shop:v1\0", "SpecInvalid"),
    "a user": ("user@{registry}/{ns}/shop:v1", "SpecInvalid"),
    "a URL": ("http://{registry}/{ns}/shop:v1", "SpecInvalid"),
    "a digest of another kind": ("{registry}/{ns}/shop@md5:" + 32 * "0", "SpecInvalid"),
    "two digests": ("{registry}/{ns}/shop@" + DIGEST + "@" + DIGEST, "SpecInvalid"),
}


@pytest.mark.parametrize("task", ["docker.deploy", "docker.create", "docker.pull", "docker.inspect"])
@pytest.mark.parametrize(("image", "expected"), IMAGES.values(), ids=IMAGES)
def test_no_image_slips_by(guarded, task, image, expected):
    its = guarded.installation
    port = its.registry.rpartition(":")[2]
    image = image.format(ns=its.namespace, registry=its.registry, port=port)
    where = {} if task in {"docker.pull", "docker.inspect"} else {"project": guarded.project, "stage": "staging"}
    assert refused(guarded, task, image=image, **where) == expected
    assert made_for(guarded) == []


ARGUMENTS = {
    "a stage's name in upper case": ({"stage": "Staging"}, "PolicyDenied"),
    "a longer stage's name": ({"stage": "staging2"}, "PolicyDenied"),
    "a project that isn't this worker's": ({"project": "other"}, "PolicyDenied"),
    "a project that holds a stage": ({"project": "p/staging"}, "SpecInvalid"),
    "a stage that goes up": ({"stage": "../staging"}, "SpecInvalid"),
    "a project with a line's end": ({"project": "pay\n"}, "SpecInvalid"),
    "a project in letters that look alike": ({"project": "\N{CYRILLIC SMALL LETTER ER}ay"}, "SpecInvalid"),
    "a project that is a pattern": ({"project": "p*"}, "SpecInvalid"),
    "the host's network": ({"network": "host"}, "SpecInvalid"),
    "no network": ({"network": "none"}, "SpecInvalid"),
    "another container's network": ({"network": "container:db"}, "SpecInvalid"),
    "the engine's default bridge": ({"network": "bridge"}, "SpecInvalid"),
    "another project's network": ({"network": "other-net"}, "PolicyDenied"),
    "a network by its id": ({"network": "0123456789ab"}, "PolicyDenied"),
    "another project's alias": ({"aliases": ["other-db"]}, "PolicyDenied"),
    "an alias in upper case": ({"aliases": ["WWW"]}, "PolicyDenied"),
    "an alias among allowed ones": ({"aliases": ["www", "db"]}, "PolicyDenied"),
    "an alias with a line's end": ({"aliases": ["www\n"]}, "SpecInvalid"),
    "every alias": ({"aliases": ["*"]}, "SpecInvalid"),
    "our label": ({"labels": {"docker-watcher.project": "other"}}, "SpecInvalid"),
    "our namespace": ({"labels": {"docker-watcher.namespace": "other"}}, "SpecInvalid"),
    "our prefix alone": ({"labels": {"docker-watcher": "x"}}, "SpecInvalid"),
    "our label in upper case": ({"labels": {"Docker-Watcher.project": "other"}}, "PolicyDenied"),
    "our label in wide letters": (
        {"labels": {"\N{FULLWIDTH LATIN SMALL LETTER D}ocker-watcher.project": "other"}},
        "SpecInvalid",
    ),
    "a label of Compose": ({"labels": {"com.docker.compose.project": "db"}}, "SpecInvalid"),
    "another project's route": ({"labels": {"traefik.http.routers.other.rule": "x"}}, "PolicyDenied"),
    "a label that holds its value": ({"labels": {"team=docker-watcher.project": "x"}}, "SpecInvalid"),
    "a label with a line's end": ({"labels": {"team\n": "x"}}, "SpecInvalid"),
    "a host port below": ({"ports": {"8080/tcp": 80}}, "PolicyDenied"),
    "a host port above": ({"ports": {"8080/tcp": 18_100}}, "PolicyDenied"),
    "host port 0": ({"ports": {"8080/tcp": 0}}, "SpecInvalid"),
    "a host port as a text": ({"ports": {"8080/tcp": "18000"}}, "SpecInvalid"),
    "a host port with an address": ({"ports": {"8080/tcp": "0.0.0.0:18000"}}, "SpecInvalid"),
    "host ports as a list": ({"ports": {"8080/tcp": [18_000, 80]}}, "SpecInvalid"),
    "a host port that is true": ({"ports": {"8080/tcp": True}}, "SpecInvalid"),
    "a host port that is no whole number": ({"ports": {"8080/tcp": 18_000.5}}, "SpecInvalid"),
    "a port range": ({"ports": {"8000-9000/tcp": None}}, "SpecInvalid"),
    "a port in other digits": ({"ports": {"٨٠/tcp": None}}, "SpecInvalid"),
    "a port's protocol twice": ({"ports": {"80/tcp/udp": None}}, "SpecInvalid"),
    "the engine's socket": ({"volumes": {"/var/run/docker.sock": "/s"}}, "SpecInvalid"),
    "a relative path of the host": ({"volumes": {"../etc": "/s"}}, "SpecInvalid"),
    "this folder": ({"volumes": {".": "/s"}}, "SpecInvalid"),
    "a volume that brings its options": ({"volumes": {"{project}.data:/etc": "/s"}}, "SpecInvalid"),
    "another project's volume": ({"volumes": {"other.data": "/s"}}, "PolicyDenied"),
    "a volume that only looks like ours": ({"volumes": {"{project}Xdata": "/s"}}, "PolicyDenied"),
    "some container's own volume": ({"volumes": {64 * "a": "/s"}}, "PolicyDenied"),
    "a path that brings options": ({"volumes": {"{project}.data": "/s:rw,z"}}, "SpecInvalid"),
    "a path that goes up": ({"volumes": {"{project}.data": "/s/../etc"}}, "SpecInvalid"),
    "the container's root": ({"volumes": {"{project}.data": "/"}}, "SpecInvalid"),
    "a bind mount, as an object": ({"volumes": {"{project}.data": {"path": "/s", "source": "/"}}}, "SpecInvalid"),
    "too much memory": ({"memory": 65 * 2**20}, "PolicyDenied"),
    "memory without end": ({"memory": -1}, "SpecInvalid"),
    "memory as a text": ({"memory": "1g"}, "SpecInvalid"),
    "too many cpus": ({"cpus": 0.51}, "PolicyDenied"),
    "cpus that are no number": ({"cpus": float("nan")}, "SpecInvalid"),
    "too many processes": ({"pids": 65}, "PolicyDenied"),
    "processes without end": ({"pids": -1}, "SpecInvalid"),
    "another hook": ({"cutover": {"url": "http://169.254.169.254/latest"}}, "PolicyDenied"),
    "a hook's other path": ({"cutover": {"url": "http://127.0.0.1:9/admin"}}, "PolicyDenied"),
    "a hook's path that goes up": ({"cutover": {"url": "http://127.0.0.1:9/hooks/.."}}, "SpecInvalid"),
    "a hook's path that goes up, encoded": ({"cutover": {"url": "http://127.0.0.1:9/hooks/%2e%2E"}}, "SpecInvalid"),
    "a hook's host by a number": ({"cutover": {"url": "http://2130706433:9/hooks/x"}}, "PolicyDenied"),
    "a hook's host as a user": ({"cutover": {"url": "http://127.0.0.1:9@evil.example.com/hooks/x"}}, "SpecInvalid"),
    "a hook's host before a backslash": (
        {"cutover": {"url": "http://evil.example.com\\@127.0.0.1:9/hooks/x"}},
        "SpecInvalid",
    ),
    "a hook's host before a fragment": (
        {"cutover": {"url": "http://evil.example.com#@127.0.0.1:9/hooks/x"}},
        "SpecInvalid",
    ),
    "a hook of another kind": ({"cutover": {"url": "file:///etc/passwd"}}, "SpecInvalid"),
    "another registry's credential": ({"credential": "other"}, "CredentialMissing"),
    **{
        f"what can't be asked for: {name}": ({name: value}, "SpecInvalid")
        for name, value in {
            "privileged": True,
            "network_mode": "host",
            "pid_mode": "host",
            "ipc_mode": "host",
            "userns_mode": "host",
            "uts_mode": "host",
            "devices": ["/dev/sda"],
            "cap_add": ["SYS_ADMIN"],
            "capabilities": ["SYS_ADMIN"],
            "binds": ["/:/host"],
            "mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}],
            "volumes_from": ["db"],
            "security_opt": ["seccomp=unconfined"],
            "sysctls": {"kernel.shm_rmid_forced": 1},
            "cgroup_parent": "/",
            "runtime": "other",
            "tmpfs": {"/run": ""},
            "group_add": ["docker"],
            "extra_hosts": {"registry.example.com": "127.0.0.1"},
            "dns": ["127.0.0.1"],
            "links": ["db"],
            "entrypoint": ["/bin/sh"],
            "host_config": {"Privileged": True},
            "Privileged": True,
            "\N{FULLWIDTH LATIN SMALL LETTER P}rivileged": True,
            "name": "db",
            "publish_address": "0.0.0.0",
        }.items()
    },
}


@pytest.mark.parametrize(("wrong", "expected"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_no_argument_slips_by(guarded, wrong, expected):
    wrong = {
        key: {name.format(project=guarded.project): each for name, each in value.items()} if key == "volumes" else value
        for key, value in wrong.items()
    }
    assert refused(guarded, "docker.deploy", **{**guarded.deployment("shop:v1"), **wrong}) == expected
    assert made_for(guarded) == []


@pytest.mark.parametrize("task", ["docker.stop", "docker.start", "docker.restart", "docker.remove", "docker.logs"])
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{name}", "NotManaged"),
        ("/{name}", "NotManaged"),
        ("{id}", "NotManaged"),
        ("{id:.12}", "NotManaged"),
        ("{id:.11}", "ContainerNotFound"),
        ("{id:.4}", "ContainerNotFound"),
        ("{name:.12}", "ContainerNotFound"),
        ("//{name}", "SpecInvalid"),
        ("{name}/../{name}", "SpecInvalid"),
        ("{name}?force=1", "SpecInvalid"),
        ("{id}\n", "SpecInvalid"),
    ],
)
def test_only_ours_is_touched_however_it_is_called(guarded, theirs, engine, task, form, expected):
    called = form.format(**theirs)
    if (task, expected) == ("docker.remove", "ContainerNotFound"):
        # What isn't there needs no removal.
        assert not guarded.ask(task, container=called, force=True)["removed"]
    else:
        assert refused(guarded, task, container=called) == expected
    assert engine.inspect_container(theirs["id"])["State"]["Running"]


def test_nor_is_another_ones_container_put_on_a_network(guarded, theirs):
    arguments = {"network": f"{guarded.project}-net", "container": theirs["name"]}
    assert refused(guarded, "docker.connect", **arguments) == "NotManaged"
    assert refused(guarded, "docker.ensure_network", network="other-net") == "PolicyDenied"


@pytest.mark.parametrize("labels", [{"docker-watcher.namespace": "other"}, {"docker-watcher.project": ""}, {}])
def test_no_list_shows_what_is_anothers(guarded, theirs, labels):
    listed = guarded.ask("docker.list", all=True, labels=labels)
    assert theirs["id"] not in {each["container_id"] for each in listed["containers"]}


def test_a_network_is_not_the_one_whose_id_begins_so(guarded, engine):
    (host,) = (each["Id"] for each in engine.networks(names=["^host$"]))
    named = {"network": host[:12], "aliases": []}
    assert refused(guarded, "docker.deploy", **guarded.deployment("shop:v1", **named)) == "PolicyDenied"


def test_what_is_allowed_runs_within_its_bounds_and_takes_nobodys_alias(guarded, engine, free_port):
    live = guarded.deploy(
        "shop:v1",
        aliases=["www", f"{guarded.project}-web"],
        labels={"team": "a"},
        volumes={f"{guarded.project}.data": "/data"},
        ports={"8080/tcp": 18_000 + free_port % 100},
        force=True,
    )
    try:
        told = engine.inspect_container(live["container_id"])["HostConfig"]
        assert told["CapDrop"] == ["ALL"]
        assert sorted(told["CapAdd"]) == [
            *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
        ]
        assert told["SecurityOpt"] == ["no-new-privileges"]
        assert (told["Privileged"], told["PidMode"], told["Devices"] or []) == (False, "", [])
        assert (told["Memory"], told["NanoCpus"], told["PidsLimit"]) == (64 * 2**20, 500_000_000, 64)
        assert [each["HostIp"] for each in told["PortBindings"]["8080/tcp"]] == ["127.0.0.1"]
        another = Stage(guarded.client, engine, guarded.installation)
        for aliases in (["www"], ["WWW"]):
            expected = "NameConflict" if aliases == ["www"] else "PolicyDenied"
            assert refused(another, "docker.deploy", **another.deployment("shop:v1", aliases=aliases)) == expected
        assert made_for(another) == []
    finally:
        engine.remove_container(live["container_id"], force=True)
        engine.remove_volume(f"{guarded.project}.data")
