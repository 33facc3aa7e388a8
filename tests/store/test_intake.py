"""What takes messages from a queue with slots, on a real Redis: nothing is ever nowhere."""

import contextlib
import json
import socket
import threading
import time
import uuid
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection, Consumer, Producer, Queue

from compose import redis as compose_redis
from worker.broker import intake

LEASE = 0.6
SLOTS = 2
NUMBERED = ("order:", "orders", 60, "docker.deploy", "docker.rollback", "docker.stage")


@pytest.fixture
def server(second_redis_url):
    with redis.Redis.from_url(second_redis_url) as connection:
        yield connection
        connection.flushdb()


@pytest.fixture
def queue():
    return Queue(f"intake-{uuid.uuid4().hex}")


@pytest.fixture
def send(second_redis_url, queue):
    """Send as a plain client does."""
    with Connection(second_redis_url) as connection:
        yield lambda body, **options: Producer(connection).publish(
            body, routing_key=queue.name, declare=[queue], **options
        )


@pytest.fixture
def worker(second_redis_url, queue):
    """Consume on a connection of its own, as workers do."""
    with contextlib.ExitStack() as opened:

        def open_worker(slots=SLOTS):
            return opened.enter_context(Worker(second_redis_url, queue, slots))

        yield open_worker


class Worker:
    """A consumer, and the messages that it has received."""

    def __init__(self, second_redis_url, queue, slots):
        options = {"visibility_timeout": LEASE, "slots": {queue.name: slots}, "numbered": NUMBERED}
        self.connection = Connection(second_redis_url, transport="worker.broker:Transport", transport_options=options)
        self.messages = []
        self.channel = self.connection.channel()
        self.consumer = Consumer(self.channel, [queue], on_message=self.messages.append)

    def __enter__(self):
        self.consumer.consume()
        return self

    def __exit__(self, *_):
        self.connection.close()

    @property
    def bodies(self):
        return [message.payload for message in self.messages]

    def turn(self, seconds=0.2):
        """Let the event loop go round."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                self.connection.drain_events(timeout=0.05)

    def receive(self, count, seconds=5):
        deadline = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < deadline, f"{len(self.messages)} of {count} received"
            self.turn(0.05)
        return self.bodies


class Waiter:
    """What a worker sends that waits for a message; then it can do anything but that."""

    def __init__(self, second_redis_url, queue):
        parts = urlsplit(second_redis_url)
        self.socket = socket.create_connection((parts.hostname, parts.port))
        keys = ["dw.unacked", "dw.unacked_index", "dw.unreadable", f"dw.inbox.{queue.name}", queue.name]
        packed = redis.Connection().pack_commands(
            [
                ("SELECT", parts.path.lstrip("/")),
                ("BLMOVE", queue.name, keys[3], "RIGHT", "LEFT", 5),
                ("EVAL", intake.TAKE, len(keys), *keys, json.dumps(queue.name), 2**20),
            ]
        )
        self.socket.sendall(b"".join(packed))
        assert self.socket.recv(5) == b"+OK\r\n"

    def die(self):
        self.socket.close()


def until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return value


def waiting(server):
    """How many wait for a message in this test's database; others' workers do so in theirs."""
    database = str(server.get_connection_kwargs()["db"])
    return sum(each["db"] == database and "b" in each["flags"] for each in server.client_list())


def blocked(server, count=1):
    return until(lambda: waiting(server) >= count)


def test_messages_are_delivered_in_order(worker, send):
    it = worker()
    for number in range(20):
        send(number)
    for number in range(20):
        it.receive(number + 1)
        it.messages[number].ack()
    assert it.bodies == list(range(20))


def test_a_message_is_leased_before_anybody_has_read_it(server, second_redis_url, queue, send, worker):
    waiter = Waiter(second_redis_url, queue)
    blocked(server)
    send("work")
    until(lambda: server.hlen("dw.unacked") == 1)
    waiter.die()
    assert not server.exists(queue.name, f"dw.inbox.{queue.name}")
    another = worker()
    another.turn(LEASE)
    another.channel.qos.restore_visible(interval=1)
    assert another.receive(1) == ["work"]
    assert another.messages[0].headers["redelivered"]


def test_one_that_died_while_it_waited_takes_nothing(server, second_redis_url, queue, send):
    waiter = Waiter(second_redis_url, queue)
    blocked(server)
    waiter.die()
    until(lambda: waiting(server) == 0)
    send("work")
    assert server.llen(queue.name) == 1


@pytest.fixture
def own_redis_url(tmp_path):
    """A Redis that may be kept busy: nobody else's leases end meanwhile."""
    with compose_redis.private(tmp_path) as own:
        yield own.url


def test_one_that_dies_in_the_moment_of_a_message_loses_nothing(own_redis_url, queue):
    """Redis learns of both at once: it serves the move, and doesn't run the script of a connection that has ended."""
    with redis.Redis.from_url(own_redis_url) as server, redis.Redis.from_url(own_redis_url) as other:
        with Connection(own_redis_url) as connection:
            Producer(connection).publish("work", routing_key=queue.name, declare=[queue])
        raw = server.rpop(queue.name)
        waiter = Waiter(own_redis_url, queue)
        blocked(server)
        busy = threading.Thread(target=other.eval, args=("for i = 1, 1e8 do end", 0))
        sending = threading.Thread(target=server.lpush, args=(queue.name, raw))
        for act in (busy.start, sending.start, waiter.die):
            act()
            time.sleep(0.1)
        busy.join()
        sending.join()
        assert server.llen(f"dw.inbox.{queue.name}") == 1
    with Worker(own_redis_url, queue, SLOTS) as worker:
        assert worker.receive(1) == ["work"]


def test_what_is_left_in_the_inbox_is_taken(server, queue, send, worker):
    send("left")
    server.lmove(queue.name, f"dw.inbox.{queue.name}", "RIGHT", "LEFT")
    send("new")
    assert worker().receive(2) == ["left", "new"]


def test_messages_with_priorities_are_taken(worker, send):
    it = worker(slots=20)
    it.turn()
    for number in range(10):
        send(number, priority=5)
    # One a second would take ten.
    it.receive(10)
    assert it.bodies == list(range(10))


@pytest.mark.parametrize(
    "raw",
    [
        b"not JSON",
        b"[]",
        b'{"properties": {}}',
        b'{"properties": {"delivery_tag": "1", "delivery_info": {"routing_key": "\xff"}}}',
        b'{"headers": [1], "properties": {"delivery_tag": "1", "delivery_info": {"routing_key": ""}}}',
    ],
)
def test_what_cannot_be_read_is_set_aside(server, queue, send, worker, raw):
    it = worker()
    server.lpush(queue.name, raw)
    send("work")
    assert it.receive(1) == ["work"]
    assert server.lrange("dw.unreadable", 0, -1) == [raw]
    assert server.hlen("dw.unacked") == server.zcard("dw.unacked_index") == 1


def test_messages_that_share_a_tag_are_each_leased_acknowledged_and_given_back(server, queue, send, worker):
    """As those of a client that gives all of them one tag."""
    for number in range(3):
        send(number)
    raws = [json.loads(raw) for raw in server.lrange(queue.name, 0, -1)]
    server.delete(queue.name)
    for whole in reversed(raws):
        whole["properties"]["delivery_tag"] = "celery"
        server.lpush(queue.name, json.dumps(whole))
    it = worker(slots=3)
    assert it.receive(3) == [0, 1, 2]
    assert server.hlen("dw.unacked") == server.zcard("dw.unacked_index") == 3
    it.messages[1].ack()
    until(lambda: set(server.hkeys("dw.unacked")) == {b"celery", b"celery++"})
    it.connection.close()
    assert sorted(worker().receive(2)) == [0, 2]


def test_only_the_last_unreadable_ones_are_kept(server, queue, worker):
    server.lpush(queue.name, *range(150))
    worker()
    until(lambda: not server.exists(queue.name))
    assert until(lambda: server.lrange("dw.unreadable", 0, 0) == [b"149"])
    assert server.llen("dw.unreadable") == 100


def test_empty_lists_stay_lists(server, queue, send, worker):
    it = worker()
    send([[], {}], headers={"list": [], "map": {}})
    it.receive(1)
    it.messages[0].requeue()
    it.receive(2)
    assert it.bodies == [[[], {}]] * 2
    assert it.messages[1].headers == {"list": [], "map": {}, "redelivered": True}


def test_no_more_are_taken_than_there_are_slots(server, queue, send, worker):
    it = worker()
    for number in range(5):
        send(number)
    it.receive(2)
    it.turn()
    assert it.bodies == [0, 1]
    assert server.llen(queue.name) == 3
    it.messages[0].ack()
    assert it.receive(3) == [0, 1, 2]
    it.turn()
    assert server.llen(queue.name) == 2


def test_what_nobody_fetches_is_not_given_out_again(server, send, worker):
    it, other = worker(), worker()
    other.consumer.cancel()
    send("work")
    until(it.channel.handed_over)
    other.turn(3 * LEASE)
    other.channel.qos.restore_visible(interval=1)
    assert server.hlen("dw.unacked") == 1


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_what_was_not_fetched_goes_back_to_the_head_as_it_came(server, queue, send, worker, end):
    for number in range(4):
        send(number)
    before = server.lrange(queue.name, 0, -1)
    it = worker()
    until(lambda: len(it.channel.handed_over()) == SLOTS)
    {"cancel": it.consumer.cancel, "close": it.channel.close}[end]()
    assert server.lrange(queue.name, 0, -1) == before
    assert not server.exists("dw.unacked", "dw.unacked_index")
    another = worker(slots=4)
    assert another.receive(4) == [0, 1, 2, 3]
    assert not any("redelivered" in message.headers for message in another.messages)


def test_what_is_to_take_no_more_ends_before_it_is_cancelled(server, queue, send, worker):
    it = worker()
    blocked(server)
    it.channel.take_no_more()
    until(lambda: waiting(server) == 0)
    send("work")
    it.turn()
    assert it.bodies == []
    assert server.llen(queue.name) == 1


def test_it_takes_on_after_its_connection_was_lost(server, send, worker):
    it = worker()
    blocked(server)
    for each in server.client_list():
        if each["cmd"] == "blmove":
            server.client_kill_filter(_id=each["id"])
    send("work")
    assert it.receive(1) == ["work"]


def test_it_takes_again_when_the_queue_is_consumed_again(send, worker):
    it = worker()
    it.consumer.cancel()
    send("work")
    it.turn()
    assert it.bodies == []
    it.consumer.consume()
    assert it.receive(1) == ["work"]


def test_messages_of_a_task_are_numbered_as_they_leave_their_queue_and_keep_their_numbers(server, send, worker, queue):
    for each, task in (("a", "docker.deploy"), ("b", "docker.stage")):
        send("", headers={"task": task, "id": each})
    send("", headers={"task": "docker.list", "id": "c"})
    first = worker(slots=1)
    first.receive(1)
    assert (server.get("order:a"), server.get("order:b")) == (b"1", None)
    first.connection.close()
    second = worker(slots=3)
    second.receive(3)
    assert [server.get(f"order:{each}") for each in "abc"] == [b"1", b"2", None]
    assert server.ttl("order:a") > 0
