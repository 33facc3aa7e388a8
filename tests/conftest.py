"""What all tests share: where the services are, and a Redis database of each test process' own."""

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from tests.services import required

#: A minute and more each: begun last, one of them would go on by itself while the other processes have nothing to do.
#: The images of `containers` are still being made when a run begins, so others come before them.
LONGEST = (
    "engine/test_registry_faults.py",
    "flow/test_hiccups.py",
    "flow/test_broken_versions.py",
    "flow/test_shared_pulls.py",
    "chaos/test_host_loss.py",
    "containers/test_installation.py",
    "flow/test_rollback.py",
    "flow/test_stage.py",
    "flow/test_secrets.py",
    "flow/test_reconcile.py",
    "flow/test_hosts.py",
    "flow/test_prune.py",
    "flow/test_redelivery.py",
    "flow/test_rollouts.py",
    "flow/test_upgrade.py",
    "flow/test_hardened.py",
    "flow/test_rabbitmq.py",
    "simulation/test_simulation.py",
    "engine/test_engine_faults.py",
    "chaos/test_chaos.py",
)


def pytest_collection_modifyitems(config, items):
    """Leave out what can't be here, and have what takes long begin first."""
    left_out = [item for item in items if any(item.get_closest_marker(each) for each in _not_here())]
    items[:] = sorted((item for item in items if item not in left_out), key=_place)
    config.hook.pytest_deselected(items=left_out)


def _not_here():
    """The markers of tests that can't run: a second engine takes root, and a private engine's program."""
    if os.environ.get("DW_SERVICES_ENGINE", "private") != "private":
        yield "needs_private_engine"
    if os.geteuid():
        yield "needs_root"


def _place(item):
    name = item.path.relative_to(Path(__file__).parent).as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_terminal_summary(terminalreporter):
    """Said here, by the one process that has a terminal: the ones that run the tests under xdist have none."""
    if os.environ.get("DW_SERVICES_ENGINE") == "given":
        terminalreporter.write_line(
            "NOT RUN with a given engine: what needs a private one (compose.yaml and the worker's image, chaos, a full "
            "disk): run as root, no DOCKER_HOST",
            red=True,
        )
    if os.geteuid():
        terminalreporter.write_line("NOT RUN by you: what takes root (another user's files)", red=True)
    # A failed subtest has what its test has.
    rows = {row[0]: row for table in _recorded(terminalreporter, "kill_points") for row in table}
    if rows:
        terminalreporter.section("workers killed")
    for point, outcome, seconds in rows.values():
        terminalreporter.write_line(f"{point:44} {outcome:12} {seconds:>5} s")
    figures = _recorded(terminalreporter, "figure")
    if figures:
        terminalreporter.section("measured")
    for figure in figures:
        terminalreporter.write_line(figure)


def _recorded(terminalreporter, name):
    """What tests have told by `record_property` under this name."""
    return [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for recorded, value in report.user_properties
        if recorded == name
    ]


@pytest.fixture(scope="session")
def redis_url(worker_id):
    """A database that nobody else uses: queues have fixed names, so two test processes must not share one."""
    with own_database(1, worker_id) as url:
        yield url


@pytest.fixture(scope="session")
def _second_database(worker_id):
    with own_database(8, worker_id) as url:
        yield url


@pytest.fixture(scope="module")
def second_redis_url(_second_database):
    """One more, for what must not meet the test process' usual worker; each file finds it empty."""
    yield _second_database
    with redis.Redis.from_url(_second_database) as connection:
        connection.flushdb()


@contextlib.contextmanager
def own_database(first, worker_id):
    parts = urlsplit(required("DW_REDIS_URL"))
    number = (
        int(parts.path.lstrip("/") or 0) + first + int(worker_id.removeprefix("gw") if worker_id != "master" else 0)
    )
    url = urlunsplit(parts._replace(path=f"/{number}"))
    with redis.Redis.from_url(url) as connection:
        if connection.dbsize():
            pytest.fail(f"Database {number} of the Redis in DW_REDIS_URL is not empty: empty it, or give another.")
        yield url
        connection.flushdb()
