"""A server that answers as it is told to, byte by byte: for wrong answers that the model hub does not give."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SEND_BUFFER = 64 << 10


def first_of(range_: str | None) -> int:
    """The first byte that a Range header asks for; without one it is that of the file."""
    return int(range_.removeprefix("bytes=").partition("-")[0]) if range_ else 0


@dataclass(frozen=True)
class Asked:
    """One request: the path, and the headers by their names in lower case."""

    path: str
    headers: Mapping[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def first(self) -> int:
        """The first byte that is asked for."""
        return first_of(self.range)

    @property
    def if_range(self) -> str | None:
        return self.headers.get("if-range")


@dataclass(frozen=True)
class Reply:
    """One answer: exactly these headers, then the parts in order, then the connection is closed.

    A part is bytes to send, or a function to call between them. `reset`: the end is an RST, not a FIN.
    """

    status: str = "200 OK"
    headers: Mapping[str, object] = field(default_factory=dict)
    parts: Sequence[bytes | Callable[[], object]] = ()
    reset: bool = False


def whole(body: bytes, **headers: object) -> Reply:
    """A faultless answer with all of `body`; an underscore in a header's name stands for a dash."""
    return Reply(headers={"Content-Length": len(body), **_named(headers)}, parts=[body])


def part(content_range: str, body: bytes, **headers: object) -> Reply:
    """A 206 that says it has `content_range` and sends `body`."""
    fixed = {"Content-Range": content_range, "Content-Length": len(body)}
    return Reply("206 Partial Content", {**fixed, **_named(headers)}, [body])


def _named(headers: Mapping[str, object]) -> dict[str, object]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class FaultServer:
    """Serves `replies` in order, the last one again and again; `asked` has every request. A context manager."""

    def __init__(self, *replies: Reply) -> None:
        self.asked: list[Asked] = []
        self._replies = list(replies)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def url(self, path: str = "/model.bin") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def then(self, reply: Reply) -> None:
        """Answer with `reply` from now on."""
        with self._lock:
            self._replies = [reply]

    def next_reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def __enter__(self) -> FaultServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    owner: FaultServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients hang up in the middle on purpose."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().setup()

    def handle(self) -> None:
        path = self.rfile.readline().decode("latin-1").split(" ")[1]
        headers = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        reply = self.server.owner.next_reply(Asked(path, headers))
        head = [f"HTTP/1.1 {reply.status}", *(f"{name}: {value}" for name, value in reply.headers.items())]
        self.connection.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1"))
        for item in reply.parts:
            if isinstance(item, bytes):
                self.connection.sendall(item)
            else:
                item()
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Both hold the socket; once both let go, the kernel sends the RST.
            self.connection.close()
            self.rfile.close()
