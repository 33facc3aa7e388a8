"""The address of a Redis or a RabbitMQ, and its TLS in the form that each library wants it in.

What a server shows is always verified, its name too. Left to themselves, kombu would speak in clear to the port of a
`rediss://` or `amqps://` address with a transport of our own; and with its own ones without certificates' checks to
Redis, and without the name's to RabbitMQ.
"""

import re
import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from redis.connection import parse_url

SHARED_QUEUE = "celery"
"""What any Celery client sends to unless told otherwise."""
PATIENCE = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
"""For how long who sends something, or looks at a result, waits for what isn't there."""
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_BY_TLS = ("rediss://", "amqps://")
_FIXED = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
"""What a plain Celery client has to say about verifying, or may say, and what it must be here."""


def checked(url: str) -> str:
    """The same address, once it is sure that it can be connected to.

    Raises ValueError, with nothing of the address but its TLS parameters.
    """
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError("must start with redis:// or rediss://")
    try:
        parse_url(url)  # type: ignore[no-untyped-call]  # as redis-py has it
    except ValueError:
        raise ValueError("must be an address, as in redis://127.0.0.1:6379/0") from None
    # What is no number is database 0 to redis-py, and to kombu a mistake that it tells of when it is first used.
    if not re.fullmatch(r"/?|/[0-9]+/?", urlsplit(url).path):
        raise ValueError("must end with a database's number, as in redis://127.0.0.1:6379/0")
    _check_parameters(url)
    return url


def checked_broker(url: str) -> str:
    """The same for a broker, which may be a RabbitMQ too.

    Raises ValueError.
    """
    if not url.startswith(("amqp://", "amqps://")):
        return checked(url)
    _check_parameters(url)
    return url


def _check_parameters(url: str) -> None:
    given = _parameters(url)
    unknown = given.keys() - {*_FILES, *_FIXED}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is no parameter of such an address here")
    if given and not url.startswith(_BY_TLS):
        raise ValueError(f"{', '.join(given)} is for TLS, and so for an address that starts with rediss:// or amqps://")
    for name, value in _FIXED.items():
        if given.get(name, value).lower() != value:
            raise ValueError(f"{name} must be {value}, or be left out: whom passwords go to is always verified")
    if not given.keys().isdisjoint(_FILES):
        _check_files(given)


def tls(url: str) -> dict[str, object]:
    """The parameters of redis-py's or py-amqp's TLS connections; empty where there is no TLS."""
    if not url.startswith(_BY_TLS):
        return {}
    files = {name: value for name, value in _parameters(url).items() if name in _FILES}
    if url.startswith("amqps://"):
        # No name is to kombu that of the address (kombu 5.7), and to py-amqp, where it is missing, any.
        named = {name.removeprefix("ssl_"): value for name, value in files.items()}
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None, **named}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **files}


def connections(broker_url: str, backend_url: str) -> dict[str, object]:
    """What Celery needs to send to a broker, and to read results, whoever does it."""
    return {
        "broker_url": without_parameters(broker_url),
        # Not by the address: Flower reads only these, and kombu trusts any server where they are missing.
        "broker_use_ssl": tls(broker_url),
        "result_backend": without_parameters(backend_url),
        "redis_backend_use_ssl": tls(backend_url),
        # A client whose Redis is down learns it in a second, not in Celery's 19.
        "result_backend_transport_options": {"retry_policy": PATIENCE},
        # Left to itself, Celery makes each thread a backend and a connection of its own.
        "result_backend_thread_safe": True,
        # Anybody who can write to the broker could run code through pickle.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
    }


def without_parameters(url: str) -> str:
    """The address for libraries that are given `tls` beside it."""
    return urlunsplit(urlsplit(url)._replace(query="")) if url.startswith(_BY_TLS) else url


def _parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _check_files(given: Mapping[str, str]) -> None:
    context = ssl.create_default_context()
    if "ssl_ca_certs" in given:
        try:
            context.load_verify_locations(given["ssl_ca_certs"])
        except OSError as error:
            raise ValueError(f"ssl_ca_certs: {given['ssl_ca_certs']}: {_reason(error)}") from None
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise ValueError("ssl_certfile and ssl_keyfile go together")
    if "ssl_certfile" in given:
        try:
            context.load_cert_chain(given["ssl_certfile"], given["ssl_keyfile"])
        except OSError as error:
            pair = f"{given['ssl_certfile']} and {given['ssl_keyfile']}"
            raise ValueError(f"ssl_certfile and ssl_keyfile: {pair}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not what is needed, in PEM ({error.reason or error})"
    return error.strerror or str(error)
