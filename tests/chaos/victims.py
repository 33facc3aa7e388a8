"""What can be killed with `kill -9`, and is started again with all that it had: an engine, a Redis, workers."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from compose import redis as compose_redis
from compose.ports import free_port
from tests import second_engine
from tests.services import required


class Service:
    """A daemon that is killed and started again, and the times in which it was away.

    All starts must come from one thread: the kernel ends a daemon with the thread that started it.
    """

    def __init__(self, name):
        self.name = name
        self.starts = 0
        self.daemon = None
        self.outages = []

    def start(self):
        self.starts += 1
        self.clear()
        self.daemon = self.make(f"{self.name}-{self.starts}")
        self.daemon.start()
        self.daemon.wait_until(self.answers, 90)

    def die_for(self, seconds):
        """Kill it, and have it back after these seconds and however long its start takes."""
        killed = time.time()
        self.daemon.process.kill()
        self.daemon.process.wait()
        time.sleep(seconds)
        self.start()
        self.outages.append((killed, time.time()))

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def clear(self):
        """Remove what would keep it from starting again."""


class Engine(Service):
    """An engine of its own, whose containers outlive its death as any engine's do."""

    def __init__(self, folder):
        super().__init__("chaos-engine")
        self.data = folder / "engine"
        self.folder = Path(tempfile.mkdtemp(prefix="dw-"))
        self.host = second_engine.address(self.folder)

    def make(self, name):
        # Pools that the private engine's networks, next to which it runs, don't meet.
        pools = ("--default-address-pool", "base=10.201.0.0/16,size=24")
        return second_engine.second_engine(name, data=self.data, folder=self.folder, options=pools)

    def answers(self):
        return second_engine.answers(self.folder)

    def clear(self):
        """The engine's containerd ends with it, but nothing removes either one's pid file."""
        containerd = self.folder / "x" / "containerd" / "containerd.pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int(containerd.read_text()), signal.SIGKILL)
        containerd.unlink(missing_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)
        (self.folder / "s").unlink(missing_ok=True)

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)


class Redis(Service):
    """A Redis that keeps an append-only file."""

    def __init__(self, folder):
        super().__init__("chaos-redis")
        self.folder = folder / "redis"
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def make(self, name):
        return compose_redis.daemon(name, Path(required("DW_SERVICES_STATE")), self.folder, self.port)

    def answers(self):
        return compose_redis.answers(self.url)


class Workers:
    """Worker processes; one that ends, however it ends, is started again at once."""

    def __init__(self, count, environment, folder):
        self.environment = environment
        self.folder = folder
        self.ended_by_themselves = 0
        self._stopping = threading.Event()
        self._processes = {}
        self._threads = [threading.Thread(target=self._keep, args=(number,)) for number in range(count)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def kill_one(self, rng):
        rng.choice(sorted(self._processes.items()))[1].kill()

    def stop(self):
        self._stopping.set()
        for process in list(self._processes.values()):
            process.kill()
        for thread in self._threads:
            thread.join()

    def _keep(self, number):
        argv = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", f"worker{number}@chaos"]
        while not self._stopping.is_set():
            with (self.folder / f"worker{number}.log").open("ab") as log:
                process = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
            self._processes[number] = process
            if self._stopping.is_set():
                process.kill()
            if process.wait() != -signal.SIGKILL:
                self.ended_by_themselves += 1
