"""The command line, as people and scripts use it."""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis


@pytest.fixture
def dw(stage, installation):
    def run(*arguments, **options):
        ended = installation.dw(*arguments, **options)
        assert "Traceback" not in ended.stderr
        return ended

    return run


@pytest.fixture
def live(stage):
    stage.deploy("shop:v1")
    return f"{stage.project}/staging"


def test_deploy_says_what_runs_and_where(stage, dw):
    ended = dw("deploy", f"{stage.project}/staging", stage.image("shop:v1"), "--env", "A=b", "--port", "7000")
    assert ended.returncode == 0, ended.stderr
    (container,) = stage.containers()
    port = next(each["PublicPort"] for each in container["Ports"] if each["PrivatePort"] == 8080)
    assert f"http://127.0.0.1:{port}" in ended.stdout
    assert container["Names"][0].removeprefix("/") in ended.stdout
    assert "prove" in ended.stderr


def test_limits_volumes_and_ports_are_as_people_write_them(stage, dw, installation):
    volume = f"{installation.namespace}-kept"
    ended = dw(
        *("deploy", f"{stage.project}/staging", stage.image("shop:v1"), "--memory", "64m", "--cpus", "0.5"),
        *("--pids", "50", "--volume", f"{volume}=/data:exclusive", "--port", "8080=keep", "--json"),
    )
    assert ended.returncode == 0, ended.stderr
    seen = stage.engine.inspect_container(json.loads(ended.stdout)["container_id"])["HostConfig"]
    assert (seen["Memory"], seen["NanoCpus"], seen["PidsLimit"]) == (64 * 1024**2, 500_000_000, 50)
    assert seen["Binds"] == [f"{volume}:/data"]
    assert seen["Init"] is True
    assert seen["SecurityOpt"] == ["no-new-privileges"]
    assert seen["PortBindings"]["8080/tcp"][0]["HostPort"] == str(json.loads(ended.stdout)["ports"]["8080/tcp"])
    stage.ask("docker.remove", container=stage.containers()[0]["Id"], force=True)
    stage.engine.remove_volume(volume)


def test_deploy_gives_scripts_one_json_object(stage, dw):
    ended = dw("deploy", f"{stage.project}/staging", stage.image("shop:v1"), "--json")
    assert json.loads(ended.stdout)["container_id"] == stage.containers()[0]["Id"]


def test_a_failed_deployment_is_an_error_in_one_sentence(stage, dw):
    ended = dw("deploy", f"{stage.project}/staging", stage.image("shop:v9"))
    assert ended.returncode == 1
    assert ended.stdout == ""
    sentence, hint = ended.stderr.splitlines()[-2:]
    assert stage.image("shop:v9") in sentence
    assert f"-> `dw history {stage.project}/staging` shows what" in hint
    ended = dw("deploy", f"{stage.project}/staging", stage.image("shop:v9"), "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"]["type"] == "ImageNotFound"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("shop", "acme/shop:v1"), "stage"),
        (("my shop/live", "acme/shop:v1"), "project"),
        (("shop/live", "acme/shop:"), "image"),
        (("shop/live", "acme/shop:v1", "--env", "A"), "env"),
        (("shop/live", "acme/shop:v1", "--port", "8080=x"), "ports"),
        (("shop/live", "acme/shop:v1", "--port", "8080=70000"), "ports"),
        (("shop/live", "acme/shop:v1", "--volume", "data=/data:ro"), "volumes"),
        (("shop/live", "acme/shop:v1", "--memory", "plenty"), "memory"),
        (("shop/live", "acme/shop:v1", "--cutover", "proxy"), "cutover.url"),
    ],
)
def test_a_wrong_argument_never_reaches_the_broker(dw, arguments, field):
    ended = dw("deploy", *arguments, "--json")
    assert ended.returncode == 1
    error = json.loads(ended.stdout)["error"]
    assert error["type"] == "SpecInvalid"
    assert field in error["message"]


def test_ps_and_logs_show_a_stage(live, stage, dw, installation):
    listed = json.loads(dw("ps", live, "--json").stdout)["containers"]
    assert [each["state"] for each in listed] == ["running"]
    assert live in dw("ps", live).stdout
    assert listed[0]["name"] in dw("ps").stdout
    assert dw("logs", live).returncode == 0
    assert json.loads(dw("logs", live, "--json").stdout)["logs"][0]["lines"] == []


def test_restart_stop_and_rm_act_on_a_stage(live, stage, dw):
    restarted = json.loads(dw("restart", live, "--json").stdout)["restarted"]
    assert list(restarted[0]["ports"]) == ["8080/tcp"]
    refused = dw("rm", live)
    assert refused.returncode == 1
    assert "force" in refused.stderr
    assert json.loads(dw("stop", live, "--timeout", "5", "--json").stdout)["stopped"][0]["exit_code"] == 0
    assert dw("rm", live).returncode == 0
    assert stage.containers() == []
    assert dw("rm", live).returncode == 1


def test_credentials_are_added_listed_and_removed_and_never_shown(dw):
    added = dw(
        *("credential", "add", "extra", "--registry", "registry.example.com"),
        *("--username", "me", "--password-stdin"),
        input="hunter2\n",
    )
    assert added.returncode == 0
    listed = dw("credential", "list", "--json").stdout
    assert {"name": "extra", "registry": "registry.example.com", "username": "me"} in json.loads(listed)["credentials"]
    assert "hunter2" not in listed + added.stdout + added.stderr
    assert dw("credential", "rm", "extra").returncode == 0
    assert dw("credential", "rm", "extra").returncode == 1


def test_without_a_worker_dw_says_so(dw, second_redis_url):
    ended = dw("ps", "--answer-timeout", "1", environment={"DW_REDIS_URL": second_redis_url})
    assert ended.returncode == 1
    assert "No worker has answered" in ended.stderr
    # It is no refusal: whoever starts a worker then has it done.
    assert "it is done once one takes it from the queue" in ended.stderr


def test_without_redis_dw_says_so(dw):
    ended = dw("ps", environment={"DW_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert ended.returncode == 1
    assert "DW_REDIS_URL" in ended.stderr


@pytest.fixture
def refused(stage, installation):
    """The address of a user whose password is another one, and of one who may do nothing."""
    parts = urlsplit(installation.redis_url)
    with redis.Redis.from_url(installation.redis_url) as admin:
        admin.acl_setuser("dw-test", enabled=True, passwords="+right", reset=True)
        place = parts.netloc.rpartition("@")[2]
        yield tuple(f"redis://dw-test:{password}@{place}{parts.path}" for password in ("wrong", "right"))
        admin.acl_deluser("dw-test")


@pytest.mark.parametrize("arguments", [("ps",), ("history", "shop/staging"), ("events",), ("doctor",)])
def test_a_wrong_password_is_not_told_as_a_redis_that_is_away(dw, refused, arguments):
    ended = dw(*arguments, environment={"DW_REDIS_URL": refused[0]})
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "refuses" in said
    assert "user and password" in said
    assert "can't be reached" not in said


def test_a_user_who_may_not_send_is_not_told_that_redis_is_away(dw, refused):
    ended = dw("ps", environment={"DW_REDIS_URL": refused[1]})
    assert ended.returncode == 1
    assert "Redis refuses to take docker.list" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ps", "nobodys/stage"), "no container runs of nobodys/stage; `--all` shows"),
        (("ps", "nobodys/stage", "--all"), "no container is there of nobodys/stage"),
        (("history", "nobodys/stage"), "nothing is known of nobodys/stage; `dw ps --all` shows"),
    ],
)
def test_a_table_without_a_row_says_why(dw, arguments, said):
    ended = dw(*arguments)
    assert ended.returncode == 0
    assert said in ended.stderr


@pytest.mark.parametrize(("name", "value"), [("TOKEN", ""), ("TOKEN", "\n"), ("MY TOKEN", "hunter2")])
def test_what_could_open_nowhere_is_not_sealed(dw, name, value):
    ended = dw("seal", "shop/staging", name, input=value)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "SpecInvalid" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence", "to_do"),
    [
        (("deploy",), "Missing argument 'PROJECT/STAGE'", "dw deploy --help"),
        (("deploy", "a/b", "image", "--nope"), "No such option: --nope", "dw deploy --help"),
        (("deplo",), "Did you mean 'deploy'", "dw --help"),
        (("credential", "add", "x"), "Missing option '--registry'", "dw credential add --help"),
        (("ps", "--answer-timeout", "soon"), "'--answer-timeout'", "dw ps --help"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_in_a_sentence(dw, arguments, sentence, to_do):
    ended = dw(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    said, hint = ended.stderr.splitlines()
    assert sentence in said
    assert hint.startswith(f"-> `{to_do}` ")
    error = json.loads(dw(*arguments, "--json").stdout)["error"]
    assert error.keys() == {"type", "message", "facts", "hint"}
    assert error["type"] == "UsageWrong"
    assert sentence in error["message"]


def test_a_wrong_setting_is_an_error_as_any_other(dw):
    ended = dw("ps", environment={"DW_LEASE_SECONDS": "soon"})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "DW_LEASE_SECONDS" in ended.stderr
    told = json.loads(dw("ps", "--json", environment={"DW_LEASE_SECONDS": "soon"}).stdout)
    assert told["error"]["type"] == "SettingsInvalid"


def test_who_reads_no_further_hears_no_complaint(live, installation):
    command = f"'{Path(sys.executable).with_name('dw')}' history {live} | true; echo ${{PIPESTATUS[0]}}"
    ended = installation.run("bash", "-c", command)
    assert ended.stderr == ""
    assert ended.stdout.split() in (["0"], ["1"])


def test_it_says_its_version(dw):
    assert dw("--version").stdout.startswith("dw 0.")
