"""A proxy on this machine, through which TLS is spoken; it remembers whom it was asked for, and by whom."""

from __future__ import annotations

import base64
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy:
    """A proxy that is used with `with`; see the module.

    Args:
        login: "name:password" without which it connects nobody; empty: it asks for none.
    """

    def __init__(self, login: str = "") -> None:
        self.asked: list[str] = []
        """The hosts that it connected to, with their ports."""
        self._login = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("One", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def knows(self, login: str | None) -> bool:
        """Whether somebody may use it."""
        return self._login is None or login == self._login


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        if not self.proxy.knows(self.headers.get("Proxy-Authorization")):
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.proxy.asked.append(self.path)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            answers = threading.Thread(target=_copy, args=(far, self.connection), daemon=True)
            answers.start()
            _copy(self.connection, far)
            answers.join()
        self.close_connection = True


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, target):
            one.close()
