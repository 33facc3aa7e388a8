"""Looking for secrets wherever somebody could read them.

None of the product's own code is used: it would be blind where that is.
"""

import base64
import contextlib
import json
import threading
from pathlib import Path
from urllib.parse import quote

import redis

_SHORTEST_IN_BASE64 = 12
"""Fewer letters are found anywhere, by chance."""


def forms_of(secret):
    """A secret as it can stand in a text, line by line too; in base64 wherever in its text it begins."""
    for part in {secret, *filter(None, secret.split("\n"))}:
        escaped = {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
        twice = {json.dumps(each)[1:-1] for each in escaped}
        yield from {part, *escaped, *twice, repr(part)[1:-1], quote(part, safe=""), part.encode().hex()}
        for text in {part, *escaped}:
            for before in range(3):
                encoded = base64.b64encode(bytes(before) + text.encode()).decode().rstrip("=")
                # The letters at both ends hang together with what stands beside it.
                core = encoded[before and before + 1 : -1]
                if len(core) >= _SHORTEST_IN_BASE64:
                    yield core
                    yield core.replace("+", "-").replace("/", "_")


def found(secrets, text):
    """The names of those secrets that are in a text."""
    return sorted(name for name, secret in secrets.items() if any(form in text for form in forms_of(secret)))


@contextlib.contextmanager
def _thread(target, end):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield
    end()
    thread.join()


@contextlib.contextmanager
def monitored(redis_url):
    """All that Redis is told."""
    told, ended = [], threading.Event()

    def listen(monitor):
        while not ended.is_set():
            told.append(str(monitor.next_command()))

    with redis.Redis.from_url(redis_url, socket_timeout=None) as connection, connection.monitor() as monitor:

        def end():
            ended.set()
            connection.ping()

        with _thread(lambda: listen(monitor), end):
            yield told


@contextlib.contextmanager
def events_of(client):
    """All events of workers and tasks."""
    events = []
    with client.connection() as connection:
        receiver = client.events.Receiver(connection, handlers={"*": lambda event: events.append(str(event))})

        def end():
            receiver.should_stop = True

        with _thread(receiver.capture, end):
            yield events


@contextlib.contextmanager
def command_lines():
    """The command lines of all processes, sampled."""
    seen, ended = set(), threading.Event()

    def sample():
        while not ended.wait(0.02):
            seen.update(map(_command_line, Path("/proc").glob("[0-9]*")))

    with _thread(sample, ended.set):
        yield seen


def _command_line(process):
    # Not by the pattern: of a process that ends just then, it would raise.
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def contents_of(redis_url):
    """All that is in Redis; not as dumps, which are compressed."""
    with redis.Redis.from_url(redis_url, decode_responses=True, encoding_errors="replace") as connection:
        read = {
            "string": connection.get,
            "hash": connection.hgetall,
            "set": connection.smembers,
            "list": lambda key: connection.lrange(key, 0, -1),
            "zset": lambda key: connection.zrange(key, 0, -1),
            "none": str,
        }
        return "\n".join(f"{key} {read[connection.type(key)](key)}" for key in connection.scan_iter())
