"""What stands before Redis, so that it can be lost and had again."""

import contextlib
import socket
import socketserver
import threading


class Relay(socketserver.ThreadingTCPServer):
    """Stands before Redis; while it is cut, connections end and new ones are refused."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host, port):
        super().__init__(("127.0.0.1", 0), _Carrier)
        self.target = (host, port)
        self.is_cut = False
        self.open = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def cut(self):
        self.is_cut = True
        for each in list(self.open):
            with contextlib.suppress(OSError):  # ended by itself just now
                each.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self.is_cut = False


class _Carrier(socketserver.BaseRequestHandler):
    def handle(self):
        if self.server.is_cut:
            return
        with socket.create_connection(self.server.target) as server:
            ends = (self.request, server)
            self.server.open |= set(ends)
            back = threading.Thread(target=carry, args=(server, self.request), daemon=True)
            back.start()
            carry(self.request, server)
            back.join()
            self.server.open -= set(ends)


def carry(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
