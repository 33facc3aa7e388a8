"""The table of calls that people read is the list that the proxy has."""

import re

import pytest

from tests.engine_calls import CONFIG, described, patterns

EXAMPLES = {
    "{image}": "127.0.0.1:5000/acme/shop%40sha256:0123",
    "{container}": "dw-shop-staging-v1",
    "{network}": "0123",
}
QUERIES = {
    "GET /events": "?filters=x",
    "POST /images/create": "?fromImage=127.0.0.1%3A5000%2Facme%2Fshop&tag=v1",
    "POST /containers/create": "?name=x",
    "GET /containers/{container}/logs": "?stdout=1",
    "POST /containers/{container}/rename": "?name=x",
}


def request(call):
    """As the SDK writes it."""
    method, path = call.split(" ")
    for name, example in EXAMPLES.items():
        path = path.replace(name, example)
    return f"{method} /v1.41{path}{QUERIES.get(call, '')}"


def matching(asked):
    return [each for each in patterns() if re.search(each, asked)]


def test_each_call_of_the_table_has_one_pattern_of_its_own():
    found = [matching(request(call)) for call in described()]
    assert all(len(each) == 1 for each in found), found
    assert sorted(pattern for each in found for pattern in each) == sorted(patterns())


def test_no_pattern_is_overlooked_here():
    assert len(patterns()) == CONFIG.read_text().count('" 1;')


@pytest.mark.parametrize(
    "asked",
    [
        "POST /v1.41/containers/x/exec",
        "POST /v1.41/exec/x/start",
        "POST /v1.41/build",
        "GET /v1.41/secrets",
        "GET /v1.41/containers/x/archive?path=/etc",
        "PUT /v1.41/containers/x/archive?path=/etc",
        "GET /v1.41/containers/x/export",
        "GET /v1.41/containers/x/attach/ws",
        "POST /v1.41/containers/x/attach",
        "POST /v1.41/containers/x/kill",
        "POST /v1.41/containers/prune",
        "POST /v1.41/images/create?fromSrc=-",
        "POST /v1.41/images/create?fromImage=x&tag=y&fromSrc=-",
        "POST /v1.41/images/x/push",
        "POST /v1.41/images/load",
        "GET /v1.41/images/get",
        "GET /v1.41/images/x/get",
        "POST /v1.41/commit?container=x",
        "POST /v1.41/session",
        "POST /v1.41/volumes/create",
        "POST /v1.41/plugins/pull",
        "POST /v1.41/swarm/init",
        "GET /info",
        "GET /v1.41/images/../containers/x/json",
        "GET /v1.41/images/%2e%2e/secrets/json",
        "GET /v1.41/images//secrets/json",
        "GET /v1.41/containers/x/..%2f..%2fsecrets",
        "GET /v1.41/containers/x%2fjson/json",
        "POST /v1.41/containers/x/exec?/start",
        "POST /v1.41/containers/x/exec#/start",
        "get /v1.41/version",
    ],
)
def test_all_else_has_none(asked):
    assert matching(asked) == []
