"""`dw events`: what workers do, as it happens."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.flow.conftest import until
from tests.flow.relay import Relay

DW = Path(sys.executable).with_name("dw")


class Listener:
    """`dw events`, and what it has printed so far, once it listens."""

    def __init__(self, installation, *arguments, **changed):
        self.process = subprocess.Popen(
            [DW, "events", *arguments],
            env={**installation.environment, **changed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        self.lines = []
        for stream, kept in ((self.process.stderr, self.said), (self.process.stdout, self.lines)):
            threading.Thread(target=self._keep, args=(stream, kept), daemon=True).start()
        until(lambda: self.said)
        assert "listening" in self.said[0]

    def _keep(self, stream, kept):
        with stream:
            for line in stream:
                kept.append(line.rstrip("\n"))

    def told(self):
        return [json.loads(line) for line in self.lines]

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def listen(installation):
    started = []

    def start(*arguments, **changed):
        started.append(Listener(installation, *arguments, **changed))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def test_people_see_a_deployment_come_and_go(stage, listen):
    listening = listen()
    deployed = stage.deploy("shop:v1")["deployment_id"]
    until(lambda: any("deploy live" in line for line in listening.lines))
    failed = stage.send("docker.deploy", **stage.deployment("shop:v9"))
    failed.get(timeout=60, propagate=False)
    until(lambda: any("deploy failed" in line for line in listening.lines))
    told = [line.split(" ", 3) for line in listening.lines if f"{stage.project}/staging" in line]
    of_first = [what for _, _, short, what in told if deployed.startswith(short)]
    assert of_first[0] == "deploy asked for"
    assert [step for step in of_first if step.strip() in {"pull", "create", "start", "promote"}]
    assert any("ImageNotFound: Pulling image" in line for line in listening.lines)
    assert listening.end() == 0
    assert not any("Traceback" in line for line in listening.said)


def test_scripts_see_each_event_of_one_stage_as_a_line(stage, listen):
    where = f"{stage.project}/staging"
    listening = listen(where, "--json")
    stage.ask("docker.deploy", **stage.deployment("shop:v1") | {"stage": "other"})
    deployed = stage.deploy("shop:v1")["deployment_id"]
    until(lambda: any(each["outcome"] == "live" for each in listening.told()))
    told = listening.told()
    assert {each["stage"] for each in told} == {where}
    assert {each["deployment_id"] for each in told} == {deployed}
    keys = {"time", "event", "worker", "task", "id", "deployment_id", "stage", "outcome", "seconds", "message"}
    assert all(each.keys() == keys for each in told)
    (end,) = (each for each in told if each["outcome"] == "live")
    assert end["event"] == "succeeded"
    assert end["id"] == deployed
    assert end["seconds"] > 0
    assert listening.end() == 0


def test_a_redis_that_was_lost_is_heard_again(stage, listen, installation):
    parts = urlsplit(installation.redis_url)
    relay = Relay(parts.hostname, parts.port)
    url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{relay.server_address[1]}"))
    listening = listen("--json", DW_REDIS_URL=url)
    relay.cut()
    until(lambda: any("it is waited for" in line for line in listening.said))
    relay.mend()
    until(lambda: sum("listening" in line for line in listening.said) == 2)
    deployed = stage.deploy("shop:v1")["deployment_id"]
    until(lambda: any(each["id"] == deployed and each["outcome"] == "live" for each in listening.told()))
    assert listening.end() == 0
    assert not any("Traceback" in line for line in listening.said)
    relay.shutdown()
    relay.server_close()


def test_without_redis_it_waits_and_says_so(installation):
    process = subprocess.Popen(
        [DW, "events"],
        env={**installation.environment, "DW_REDIS_URL": "redis://127.0.0.1:1/0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "it is waited for" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_it_ends_where_nobody_reads_any_more(stage, installation, arguments):
    """As in `dw events | head -1`: a broken pipe to whoever reads isn't a lost broker."""
    with subprocess.Popen(
        [DW, "events", *arguments],
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        said = [process.stderr.readline()]
        process.stdout.close()
        assert "listening" in said[0]
        stage.deploy("shop:v1")
        said += process.stderr.readlines()
        assert process.wait(20) == 1
    assert len(said) == 1
