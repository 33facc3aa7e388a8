"""Kombu's Redis transport, for workers that acknowledge late, work for long, and are killed.

**Leases** (`leases`). Kombu gives a message out again once it was given out `visibility_timeout` seconds ago and is not
acknowledged (kombu 5.7, `QoS.restore_visible`): ten minutes make a killed worker's message late, and ten seconds
double one that is still in work. Here those seconds are a lease, and whoever holds the message renews it. What a worker
has in work when it loses its Redis still runs beside a copy: the connection that could acknowledge it is gone.

**Nothing is lost on its way** (`intake`). Kombu pops a message and then writes down that it has it: a worker that is
killed between the two takes the message along for ever. Here Redis does both in one step.

**Slots.** A queue can have so many slots in each worker (transport option `slots`): while that many of its messages are
in work, no more are taken from it. So those of one queue, however slow, hold up none of another, and what can't be done
here at once stays in the queue for a worker that can. Kombu by itself knows one limit for all (`prefetch_count`). Only
queues with slots have an intake; any other is read as kombu reads it.

**A lost connection** (`channel`). Celery closes it and then has its channel give back the messages in work; that
channel asks its connection, which is gone, for parameters (kombu 5.7: `AttributeError: 'NoneType' object has no
attribute 'hostname'`). Celery takes any error but a connection's for fatal, and the worker exits. Said as what it is,
it has Celery reconnect.
"""

from worker.broker.channel import Channel, Transport
from worker.broker.leases import QoS

__all__ = ["Channel", "QoS", "Transport"]
