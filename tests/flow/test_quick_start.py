"""The commands of the quick start, one after the other, as a new user types them."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celery import Celery

from tests.flow.conftest import STARTS_WITHIN, until
from tests.services import remove_managed

PAGE = (Path(__file__).parents[2] / "docs/quick-start.md").read_text()
DONE_ALREADY = ("make setup", "source ", "redis-server ")
WORKER = "celery -A worker worker"
LOGIN = "dw credential add "


@pytest.fixture
def shell(second_redis_url, tmp_path, installation, images, engine):
    """A new user's shell: `run` and `begin` take what the page shows, with images and services that are here."""
    here = {
        "redis://127.0.0.1:6379/0": second_redis_url,
        "nginx:1.27": installation.image("shop", "v1"),
        "nginx:1.28": installation.image("shop", "v2"),
        "registry.example.com/acme/shop:1.4.2": installation.image("shop", "v1"),
        "registry.example.com": installation.registry,
        "--username deployer": f"--username {installation.username} --password-stdin",  # there is no terminal to ask at
    }
    own = {f"DW_{name}": f"{installation.namespace}-new" for name in ("NAMESPACE", "NETWORK", "NAME_PREFIX")}
    options = {
        "shell": True,
        "cwd": tmp_path,
        "env": {
            **{name: value for name, value in os.environ.items() if not name.startswith("DW_")},
            **own,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    }

    def with_what_is_here(command):
        for shown, meant in here.items():
            command = command.replace(shown, meant)
        return command

    def run(command):
        return subprocess.run(
            with_what_is_here(command),
            **options,
            input=installation.password,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    with contextlib.ExitStack() as stack:
        stack.callback(remove_managed, engine, own["DW_NAMESPACE"])

        def begin(command):
            process = stack.enter_context(subprocess.Popen(f"exec {with_what_is_here(command)}", **options))
            stack.callback(process.terminate)

        yield run, begin


def test_each_command_does_what_the_page_says(shell, second_redis_url, record_property):
    run, begin = shell
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    commands = re.findall(r"^\$ (.*)", "".join(blocks), re.MULTILINE)
    (login,) = (each for each in commands if each.startswith(LOGIN))
    began = time.monotonic()
    for command in commands:
        if command.startswith(DONE_ALREADY):
            continue
        if command == WORKER:
            begin(command)
            with contextlib.closing(Celery(broker=second_redis_url, set_as_current=False)) as client:
                until(lambda client=client: client.control.ping(timeout=0.5), STARTS_WITHIN)
            # This registry, other than the one that the page begins with, lets nobody in without.
            assert run(login).returncode == 0
            continue
        ran = run(command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        if "nginx:1.27" in command:
            record_property("figure", f"quick start: live {time.monotonic() - began:.1f} s after the install")
