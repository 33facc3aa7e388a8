"""What stands for the idle workers of many hosts: their drivers' looks at what is due, once a second each.

    python -m benchmarks.hosts REDIS_URL NAMESPACE NUMBER

It begins at a line `go` on standard input and rests at `rest`; each is answered with a line.
"""

import sys
import threading
import time
from pathlib import Path

import redis

from worker import store
from worker.orders import key_prefix
from worker.settings import Settings


def main(url: str, namespace: str, number: int) -> None:
    """Obey what standard input says, until it ends."""
    going, asked = threading.Event(), threading.Thread(target=lambda: _ask(url, namespace, number, going), daemon=True)
    asked.start()
    for word in sys.stdin:
        going.set() if word.strip() == "go" else going.clear()
        print(word.strip(), flush=True)


def _ask(url: str, namespace: str, number: int, going: threading.Event) -> None:
    """Each host's two questions of a second, in one write for all: what this process takes is not to be measured."""
    prefix = key_prefix(Settings(namespace=namespace))
    folder = Path(store.__file__).parent
    with redis.Redis.from_url(url) as connection:
        ring = connection.script_load((folder / "common.lua").read_text() + (folder / "ring.lua").read_text())
        while going.wait():
            began = time.monotonic()
            with connection.pipeline(transaction=False) as pipeline:
                for host in range(1, number):
                    pipeline.set(f"{prefix}reconciled:h{host}", 1, nx=True, px=60_000)
                    pipeline.evalsha(ring, 1, f"{prefix}alarms:h{host}", prefix, 100, 15)
                pipeline.execute()
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
