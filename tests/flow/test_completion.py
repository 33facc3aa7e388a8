"""What shells offer: run in real ones, with what `dw --show-completion` prints."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compose.demo.terminal import terminal
from tests.flow.conftest import until

BIN = Path(sys.executable).parent
#: How each is started without anybody's own settings, and made ready.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile"], "source {script}"),
    "zsh": (["zsh", "-f"], "autoload -Uz compinit; compinit -u -D; source {script}"),
    "fish": (["fish", "--no-config"], "source {script}"),
}
#: What bash would offer for the last word: its function called as bash itself does.
ASK_BASH = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
$(complete -p dw | sed -E 's/.*-F ([^ ]+) .*/\\1/') dw
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def environment(installation, tmp_path):
    return {
        **{name: value for name, value in installation.environment.items() if name != "ENV"},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        # Else it asks which shell it was started by, and that is none here.
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }


@pytest.fixture
def script(environment, tmp_path):
    """The file that `dw` gives a shell."""

    def write(shell):
        path = tmp_path / f"dw.{shell}"
        shown = subprocess.run(["dw", "--show-completion", shell], env=environment, capture_output=True, check=True)
        path.write_bytes(shown.stdout)
        return path

    return write


@pytest.fixture
def offered(environment, script):
    """What bash offers after a line."""

    def ask(line, **changed):
        words = " ".join(f"'{each}'" for each in line.split(" "))
        command = ASK_BASH.format(script=script("bash"), words=words)
        ran = subprocess.run(
            ["bash", "--norc", "-c", command],
            env={**environment, **changed},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stderr == ""
        return set(ran.stdout.split())

    return ask


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_the_word_at_the_press_of_tab(shell, environment, script, stage):
    if not shutil.which(shell):
        pytest.fail(
            f"{shell} is missing: `python -m compose.packages {shell}` installs it.",
            pytrace=False,
        )
    stage.deploy("shop:v1")
    command, ready = SHELLS[shell]
    with terminal(command, environment) as shown:
        shown.type(f"{ready.format(script=script(shell))}; echo re''ady\n")
        shown.see(lambda lines: "ready" in lines)
        shown.type(f"dw logs {stage.project[:6]}\t")
        shown.see(lambda lines: any(f"dw logs {stage.project}/staging" in each for each in lines))
        shown.type("\x15dw doc\t")
        shown.see(lambda lines: any(each.rstrip().endswith("dw doctor") for each in lines))


def test_names_are_offered_where_they_are_meant(offered, stage):
    stage.deploy("shop:v1")
    assert {"deploy", "doctor"} <= offered("dw d")
    assert f"{stage.project}/staging" in offered("dw history ")
    assert "registry" in offered("dw credential rm reg")
    assert "registry" in offered("dw deploy a/b image --credential r")
    assert offered("dw deploy a/b image --policy ") == {"always", "missing"}
    assert "local" in offered("dw drain l")


def test_deployments_are_offered_where_they_are_meant(offered, stage, images):
    live = stage.deploy("shop:v1")["deployment_id"]
    image = images("sleepy-for-long", "v1", healthcheck=["/bin/busybox", "sleep", "30"])
    sent = stage.send("docker.deploy", **stage.deployment(image))
    until(lambda: stage.record(sent.id).get("step") == "prove")
    assert sent.id in offered("dw cancel ")
    assert offered(f"dw rollback {stage.project}/staging --to ") == {live}
    stage.ask("docker.cancel", deployment_id=sent.id)
    sent.get(timeout=30, propagate=False)


def test_without_redis_nothing_is_offered_and_nothing_is_said(offered):
    began = time.monotonic()
    # An address that takes packets, and answers none.
    assert offered("dw logs s", DW_REDIS_URL="redis://10.255.255.1:6379/0") == set()
    assert time.monotonic() - began < 15
    assert offered("dw logs s", DW_REDIS_URL="nonsense") == set()


def test_it_is_installed_for_a_shell(installation, tmp_path):
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    installed = installation.dw("--install-completion", "bash", environment=environment)
    assert installed.returncode == 0
    assert "dw" in (tmp_path / ".bashrc").read_text()
