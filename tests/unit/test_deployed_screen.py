"""What `dw deploy` says of what it brought."""

import io

import pytest
from rich.console import Console

from worker.cli import deploy
from worker.settings import settings

RESULT = {
    "project": "shop",
    "stage": "staging",
    "state": "live",
    "image": "acme/shop:1.4.2",
    "container_name": "dw-shop-staging-1.4.2",
    "health": "healthy",
    "digest": None,
    "ports": {"8080/tcp": 32768},
    "seconds": {"pull": 0.5},
    "replaced": [],
}


@pytest.fixture
def shown(monkeypatch):
    def show(**changed):
        text = io.StringIO()
        monkeypatch.setattr(deploy, "out", lambda: Console(file=text, width=100))
        deploy.show({**RESULT, **changed})
        return text.getvalue()

    return show


def test_an_address_is_that_of_the_host_that_it_is_on(shown):
    assert "http://127.0.0.1:32768" in shown(host=settings().host)
    assert "http://two:32768" in shown(host="two")
