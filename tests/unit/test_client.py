"""`worker.client`: typed as the worker's own arguments are, and with nothing of a worker in it."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from worker import calls
from worker.client import Client, DeploymentOptions, Unanswered
from worker.spec import DeploymentSpec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "producers.md"


def test_its_options_are_the_arguments_of_a_deployment():
    named = {"project", "stage", "image"}
    assert DeploymentOptions.__annotations__.keys() == DeploymentSpec.model_fields.keys() - named


def test_importing_it_takes_neither_a_workers_settings_nor_its_app_nor_the_engine():
    code = """
import sys
from worker.client import Client
from worker.spec import SENT, DeploymentSpec, parse
parse(DeploymentSpec, "", {"project": "a", "stage": "b", "image": "c", "labels": {"d": "e"}}, SENT)
print(*{name.partition(".")[0] for name in sys.modules} & {"docker", "tasks"}, "worker.celery" in sys.modules)
"""
    environment = {**os.environ, "DW_REDIS_URL": "wrong", "DW_LEASE_SECONDS": "wrong"}
    told = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True)
    assert told.strip() == "False"


def test_a_wrong_address_is_told_at_once():
    with pytest.raises(ValueError, match="must start with redis://"):
        Client("http://127.0.0.1")
    with pytest.raises(ValueError, match="go together"):
        Client("redis://127.0.0.1", producer="ci")


@pytest.fixture
def hung_redis():
    """The address of what takes connections, and says nothing, as a Redis whose machine stands still."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_redis_that_hangs_is_not_waited_for_without_end(hung_redis, monkeypatch):
    monkeypatch.setitem(calls.LOST_AFTER, "socket_timeout", 0.1)
    with Client(hung_redis) as client:
        with pytest.raises(Unanswered, match=r"be reached to send docker\.deploy"):
            client.deploy("shop", "staging", "acme/shop:1")
        with pytest.raises(Unanswered, match="was lost while"):
            client.deployment("any").result(timeout=0.1)


def test_what_the_page_shows_is_what_is_tested():
    shown = re.findall(r'```[a-z]+ title="([^"]+)"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert {name for name, _ in shown} == {"tests/flow/messages/redis-cli.json"} | {
        str(path.relative_to(ROOT))
        for path in (ROOT / "docs" / "examples").rglob("*")
        if path.suffix in {".py", ".sh", ".js"}
    }
    for name, text in shown:
        assert text.strip() == (ROOT / name).read_text().strip(), name
