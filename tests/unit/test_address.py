import ssl

import pytest
from kombu import Connection

from compose.certificates import Authority
from worker import address
from worker.celery import _configuration
from worker.settings import Settings

SECRET = "hunter2"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("tls")).issue("somebody")


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ("ssl_cert_reqs=none", "ssl_cert_reqs must be required"),
        ("ssl_cert_reqs=optional", "ssl_cert_reqs must be required"),
        ("ssl_check_hostname=false", "ssl_check_hostname must be true"),
        ("ssl_ca_certs=", "ssl_ca_certs"),
        ("ssl_ca_certs=/nowhere/ca.pem", "/nowhere/ca.pem: No such file"),
        ("ssl_ca_certs={files}/key.pem", "PEM"),
        ("ssl_certfile={files}/cert.pem", "go together"),
        ("ssl_certfile={files}/cert.pem&ssl_keyfile={files}/ca.pem", "PEM"),
        ("socket_timeout=3", "socket_timeout is no parameter"),
        ("password=x", "password is no parameter"),
    ],
)
def test_an_address_that_would_not_be_verified_is_refused_without_showing_its_password(files, parameters, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        address.checked(f"rediss://me:{SECRET}@127.0.0.1/0?{parameters.format(files=files)}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("place", ["/production", "/0/1", "/-1"])
def test_a_database_without_a_number_is_refused(place):
    with pytest.raises(ValueError, match="must end with a database's number"):
        address.checked(f"redis://127.0.0.1:6379{place}")


@pytest.mark.parametrize("place", ["", "/", "/3", "/3/"])
def test_the_first_database_need_not_be_named(place):
    assert address.checked(f"redis://127.0.0.1:6379{place}")


def test_parameters_of_tls_without_tls_are_refused():
    with pytest.raises(ValueError, match="rediss://"):
        address.checked("redis://127.0.0.1/0?ssl_cert_reqs=required")


@pytest.mark.parametrize(
    "parameters", ["", "?ssl_cert_reqs=required&ssl_check_hostname=true", "?ssl_ca_certs={files}/ca.pem"]
)
def test_each_library_verifies_certificate_and_name(files, parameters):
    url = f"rediss://me:{SECRET}@127.0.0.1:6380/0{parameters.format(files=files)}"
    configured = _configuration(Settings(redis_url=url))
    for tls in (configured["broker_use_ssl"], configured["redis_backend_use_ssl"]):
        assert tls["ssl_cert_reqs"] is ssl.CERT_REQUIRED
        assert tls["ssl_check_hostname"] is True
        assert tls.get("ssl_ca_certs") == (f"{files}/ca.pem" if "ca_certs" in parameters else None)
    with Connection(
        configured["broker_url"], transport=configured["broker_transport"], ssl=configured["broker_use_ssl"]
    ) as connection:
        assert connection.ssl == configured["broker_use_ssl"]


def test_a_client_certificate_is_handed_on(files):
    url = address.checked(f"rediss://127.0.0.1/0?ssl_certfile={files}/cert.pem&ssl_keyfile={files}/key.pem")
    assert address.tls(url).items() >= {"ssl_certfile": f"{files}/cert.pem", "ssl_keyfile": f"{files}/key.pem"}.items()
    assert address.without_parameters(url) == "rediss://127.0.0.1/0"


def test_rabbitmq_is_verified_by_the_name_of_its_address(files):
    configured = _configuration(Settings(broker_url=f"amqps://me@127.0.0.1//?ssl_ca_certs={files}/ca.pem"))
    assert configured["broker_url"] == "amqps://me@127.0.0.1//"
    assert configured["broker_use_ssl"] == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": None,
        "ca_certs": f"{files}/ca.pem",
    }


def test_a_broker_that_nothing_is_known_of_is_refused():
    with pytest.raises(ValueError, match="must start with"):
        Settings(broker_url=f"sqs://me:{SECRET}@somewhere")
