"""What all tests share: where the services are, and a Redis database of each test process' own."""

import contextlib
import os
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from tests.services import required


def pytest_collection_modifyitems(config, items):
    """A second engine takes root, and a private engine's program."""
    if os.environ.get("DW_SERVICES_ENGINE", "private") == "private":
        return
    left_out = [item for item in items if item.get_closest_marker("needs_private_engine")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter):
    """Said here, by the one process that has a terminal: the ones that run the tests under xdist have none."""
    if os.environ.get("DW_SERVICES_ENGINE") == "given":
        terminalreporter.write_line(
            "NOT RUN with a given engine: what needs a private one (compose.yaml and the worker's image, chaos, a full "
            "disk): run as root, no DOCKER_HOST",
            red=True,
        )
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
def second_redis_url(worker_id):
    """One more, for what must not meet the test process' usual worker."""
    with own_database(8, worker_id) as url:
        yield url


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
