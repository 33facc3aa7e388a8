"""Versions that take each other's place under requests without pause: by an alias, and through a reverse proxy."""

import contextlib
import itertools
import os
import threading
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.flow.hook import Hook
from tests.flow.reverse_proxy import ReverseProxy

ROLLOUTS = int(os.environ.get("ROLLOUTS") or 5)
"""How many each way: twenty take three minutes."""
#: Serves from the start, and says so until the very check that proves it. One path answers once it is let.
SERVE = r"""
trap 'exit 0' TERM
mkdir /www/cgi-bin
echo '#!/bin/busybox sh
printf "Content-Type: text/plain\r\n\r\n"
touch "/www/held-$QUERY_STRING"
until [ -e "/www/let-$QUERY_STRING" ]; do sleep 0.05; done
echo "$SAYS"' > /www/cgi-bin/held
echo '#!/bin/busybox sh
printf "Content-Type: text/plain\r\n\r\n"
touch "/www/let-$QUERY_STRING"' > /www/cgi-bin/let
chmod +x /www/cgi-bin/*
echo unproven > /www/index.html
httpd -f -p 8080 -h /www & wait
"""
PROVE = """
echo "$SAYS" > /www/next && mv /www/next /www/index.html && wget -q -O /dev/null http://127.0.0.1:8080/
"""
#: Asks for path $0 of each alias in turn, three times at most; says which, how often, and what the answer is.
#: (Not by wget: a static one can't look up names.)
REQUEST = r"""
while true; do
    for alias in "$@"; do
        for try in 1 2 3; do
            address=$(nslookup -type=a "$alias")
            answer=$(printf 'GET /%s HTTP/1.0\r\n\r\n' "$0" | nc -w 30 "${address##*Address: }" 8080 2>&1)
            last=${answer##*
}
            case $answer in HTTP/1.?\ 200*[a-z0-9]) break;; esac
            last="failed: $answer"
        done
        echo "$alias $try $last"
    done
done
"""


@pytest.fixture
def stage(unserved_stage, request):
    """Served by a worker that lets old versions drain for as long as the test says."""
    unserved_stage.installation.add_credential()
    with unserved_stage.installation.worker(unserved_stage.client, DW_DRAIN_SECONDS=request.param):
        yield unserved_stage


@pytest.fixture
def rolling(images):
    return images("rolling", "v1", command=_shell(SERVE), healthcheck=_shell(PROVE), health_seconds=30)


@pytest.fixture
def proxy(tmp_path):
    with ReverseProxy(tmp_path) as started:
        yield started


@pytest.fixture
def hook(installation, proxy):
    with Hook(installation.environment["DW_CUTOVER_KEY"]) as server:
        server.on_told = lambda told: proxy.lead(told["stage"], told["ports"]["8080/tcp"])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def beside(stage, rolling):
    """Start a container that is none of ours on the shared network."""
    network, started = stage.installation.network, []
    stage.ask("docker.ensure_network", network=network)

    def start(*command):
        # One that asks without pause is to leave the others a share of the machine.
        host = stage.engine.create_host_config(network_mode=network, init=True, nano_cpus=300_000_000)
        made = stage.engine.create_container(rolling, command=list(command), host_config=host)["Id"]
        started.append(made)
        stage.engine.start(made)
        return made

    yield start
    for each in started:
        stage.engine.remove_container(each, force=True)


@pytest.fixture
def requests_through(proxy):
    """Ask for the pages of stages, in turn and each once, until the block ends."""

    @contextlib.contextmanager
    def run(*stages):
        answers, ended = Counter(), threading.Event()

        def ask():
            for each in itertools.cycle(stages):
                if ended.is_set():
                    return
                try:
                    answers[each, _fetch(f"{proxy.url(each)}/")] += 1
                except OSError as error:
                    answers[each, f"failed: {error}"] += 1

        with ThreadPoolExecutor() as pool:
            asked = pool.submit(ask)
            try:
                yield answers
            finally:
                ended.set()
                asked.result()

    return run


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["1"], indirect=True)
def test_no_request_fails_or_finds_an_unproven_version(stage, rolling, beside, hook, requests_through, record_property):
    """Three stages roll at once, so that one's containers start just when another's addresses and ports come free."""
    times = {"alias": ROLLOUTS, "proxy": ROLLOUTS, "both": max(1, ROLLOUTS // 2)}
    cutover = {"url": hook.url}
    ways = {
        "alias": {"aliases": ["alias"]},
        "proxy": {"cutover": cutover},
        "both": {"aliases": ["both"], "cutover": cutover},
    }

    def roll(way, versions):
        for version in versions:
            one = replace(stage, name=way)
            assert one.deploy(rolling, env={"SAYS": f"{way} {version}"}, **ways[way])["state"] == "live"

    for way in ways:
        roll(way, [0])
    client = beside(*_shell(REQUEST, "", "alias", "both"))
    with requests_through("proxy", "both") as answers, ThreadPoolExecutor() as pool:
        list(pool.map(lambda way: roll(way, range(1, times[way] + 1)), ways))
    asked = [line.split(" ", 2) for line in stage.engine.logs(client).decode().splitlines()]
    tries = Counter(tried for _, tried, _ in asked)
    by_alias = Counter((alias, answer) for alias, _, answer in asked)
    record_property(
        "figure",
        f"{times} roll-outs: {len(asked)} requests by alias ({tries['2']} tried twice, {tries['3']} three times), "
        f"{answers.total()} through nginx (tried once)",
    )
    for found, reached in ((by_alias, ("alias", "both")), (answers, ("proxy", "both"))):
        right = {(way, f"{way} {version}") for way in reached for version in range(times[way] + 1)}
        assert {each: found[each] for each in found if each not in right} == {}
        assert right - found.keys() == set()


@pytest.mark.parametrize("stage", ["5"], indirect=True)
def test_a_request_in_flight_ends_on_the_version_that_it_came_to(stage, rolling, beside, proxy, hook):
    """Also where the engine, asked for an address, would give another one than the old version has."""
    # Other tests' stages are on the network too.
    alias = stage.project
    asked = {"aliases": [alias], "cutover": {"url": hook.url}}
    lower = [beside("/bin/busybox", "sleep", "600") for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        old = stage.deploy(rolling, env={"SAYS": "old"}, **asked)["container_id"]
        for each in lower:
            stage.engine.stop(each, timeout=0)
        client = beside(*_shell(REQUEST, "cgi-bin/held?alias", alias))
        through_proxy = pool.submit(_fetch, f"{proxy.url(stage.name)}/cgi-bin/held?proxy")
        for each in ("alias", "proxy"):
            stage.until(lambda mark=f"held-{each}": _says(stage, old, mark) is not None)
        sent = stage.send("docker.deploy", **stage.deployment(rolling, env={"SAYS": "new"}, **asked))
        stage.until(lambda: _fetch(f"{proxy.url(stage.name)}/") == "new", 90)
        assert _says(stage, old, "cgi-bin/let?proxy") == ""
        assert through_proxy.result() == "old"
        stage.until(lambda: not _is_led_to(stage, old, alias), 60)
        assert _says(stage, old, "cgi-bin/let?alias") == ""
        stage.until(lambda: stage.engine.logs(client))
        assert stage.engine.logs(client).decode().splitlines()[0] == f"{alias} 1 old"
        assert sent.get(timeout=90)["replaced"] == [old]


def _shell(script, *arguments):
    return ["/bin/busybox", "sh", "-c", script, *arguments]


def _fetch(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode().strip()


def _says(stage, container, path):
    """What a container itself answers, by the port that it has just now."""
    ports = stage.engine.inspect_container(container)["NetworkSettings"]["Ports"]["8080/tcp"]
    try:
        return _fetch(f"http://127.0.0.1:{ports[0]['HostPort']}/{path}")
    except urllib.error.HTTPError:
        return None


def _is_led_to(stage, container, alias):
    """Until it is on the shared network without the alias."""
    networks = stage.engine.inspect_container(container)["NetworkSettings"]["Networks"]
    shared = networks.get(stage.installation.network)
    return shared is None or alias in (shared["Aliases"] or [])
