"""nginx, as a cut-over hook repoints it: each stage has a path of its own."""

import shutil
import signal
import threading
import time
import urllib.request

import pytest

from compose.ports import free_port
from compose.process import Daemon

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        include {folder}/*.stage;
    }}
}}
"""
_STAGE = """
location /{name}/ {{ proxy_pass http://127.0.0.1:{port}/; }}
location = /{name} {{ return 200 "{port}"; }}
"""


class ReverseProxy:
    """Listens on this machine, until the block ends."""

    def __init__(self, folder):
        if not shutil.which("nginx"):
            pytest.fail("nginx is not installed: install Debian's package nginx, or let root run the tests.")
        self._folder = folder
        self._port = free_port()
        self._daemon = Daemon("nginx", ["nginx", "-c", str(folder / "config"), "-e", str(folder / "errors")], folder)
        self._one_at_a_time = threading.Lock()

    def __enter__(self):
        (self._folder / "config").write_text(_CONFIG.format(folder=self._folder, port=self._port))
        self._daemon.start()
        self._daemon.wait_until((self._folder / "pid").exists, 20)
        return self

    def __exit__(self, *_):
        self._daemon.stop()

    def url(self, name):
        return f"http://127.0.0.1:{self._port}/{name}"

    def lead(self, name, port):
        """Have the requests of a stage go to a port of this machine, from the moment that this returns."""
        with self._one_at_a_time:
            (self._folder / f"{name}.stage").write_text(_STAGE.format(name=name, port=port))
            self._daemon.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 20
            while self._leads_to(name) != str(port):
                assert time.monotonic() < deadline, f"nginx keeps its configuration: {self._daemon.tail()}"
                time.sleep(0.01)

    def _leads_to(self, name):
        try:
            with urllib.request.urlopen(self.url(name), timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None
