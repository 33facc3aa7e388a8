"""Message leases on a real Redis, held by channels as workers have them."""

import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from kombu import Connection, Producer, Queue
from kombu.transport import redis as kombu_redis

import worker.broker.leases

LEASE = 1
HOUR = 3600


@pytest.fixture
def channel(redis_url):
    """Open a channel on a connection of its own."""
    opened = []

    def open_channel():
        options = {"visibility_timeout": LEASE}
        opened.append(Connection(redis_url, transport="worker.broker:Transport", transport_options=options))
        return opened[-1].channel()

    yield open_channel
    for connection in opened:
        connection.close()


@pytest.fixture
def queue():
    return Queue(f"leases-{uuid.uuid4().hex}")


@pytest.fixture
def holder(channel, queue):
    """A channel that has received the queue's only message."""
    holder = channel()
    Producer(holder).publish("work", routing_key=queue.name, declare=[queue])
    holder.message = queue(holder).get()
    return holder


def swept(channel, queue, after=0.0):
    """What a channel receives after a while, when it has looked for leases that have ended."""
    threading.Event().wait(after)
    channel.qos.restore_visible(interval=1)
    return queue(channel).get()


def returned(channel, queue):
    """What a channel receives once a lease has ended."""
    deadline = time.monotonic() + 20 * LEASE
    while time.monotonic() < deadline:
        if message := swept(channel, queue, after=LEASE / 2):
            return message
    raise AssertionError("nothing came back")


def die(channel):
    """Renew no more, as if killed."""
    channel.qos.renew = lambda _: None


def set_clock(monkeypatch, ahead):
    """Have this host's clock be wrong."""
    wrong = SimpleNamespace(time=lambda: time.time() + ahead)
    monkeypatch.setattr(kombu_redis, "time", wrong.time)
    monkeypatch.setattr(worker.broker.leases, "time", wrong)


def test_a_message_stays_with_its_holder_until_that_dies(channel, queue, holder):
    other = channel()
    assert swept(other, queue, after=3 * LEASE) is None
    die(holder)
    assert returned(other, queue).payload == "work"


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_hosts_clocks_do_not_matter(channel, queue, holder, monkeypatch, ahead):
    other = channel()
    set_clock(monkeypatch, ahead)
    assert swept(other, queue) is None
    die(holder)
    assert returned(other, queue).payload == "work"
    monkeypatch.undo()
    assert swept(channel(), queue) is None


def test_a_renewal_does_not_bring_back_what_is_acknowledged(holder):
    tag = holder.message.delivery_tag
    holder.message.ack()
    holder.qos.renew([tag])
    assert holder.client.zcard(holder.unacked_index_key) == 0


def test_what_was_given_back_is_no_longer_renewed(channel, queue, holder):
    holder.message.requeue()
    other = channel()
    assert queue(other).get().payload == "work"
    die(other)
    assert returned(channel(), queue).payload == "work"


def test_a_closed_channel_gives_back_what_it_holds_and_renews_no_more(channel, queue, holder):
    renewing = [each for each in threading.enumerate() if each.name == "message leases"]
    holder.close()
    assert queue(channel()).get().payload == "work"
    for each in renewing:
        each.join(5)
        assert not each.is_alive()
