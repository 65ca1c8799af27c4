"""One connection to the hub: pick the file, suffer the fault, send and count the bytes."""

from __future__ import annotations

import functools
import json
import select
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from . import control, ranges
from .faults import Drop, Fault, Html, IgnoreRange, RateLimit, Slow, Stall, Status, WrongByte
from .resource import Resource
from .shelf import Served

if TYPE_CHECKING:
    from .server import Hub

SEND_BUFFER = 256 << 10
"""Bytes of body that may wait in the kernel on this side, so that counted bytes are near the truth."""

CONTROL_BODY = 1 << 20
_PACED = 64 << 10
_UNPACED = 256 << 10
_LOGIN = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head><body>Please log in.</body></html>\n"


class Connection(BaseHTTPRequestHandler):
    """Serves requests until the client, or a fault, closes the connection."""

    protocol_version = "HTTP/1.1"
    server_version = "FaultyHub/1"
    hub: Hub

    def setup(self) -> None:
        # Linux doubles the number for its own book-keeping.
        half = SEND_BUFFER // 2 if sys.platform == "linux" else SEND_BUFFER
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, half)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the counts say what was asked for."""

    def do_GET(self) -> None:
        self._file()

    def do_HEAD(self) -> None:
        self._file()

    def do_POST(self) -> None:
        self._control()

    def do_PUT(self) -> None:
        self._control()

    def _control(self) -> None:
        self.hub.touched()
        path = urlsplit(self.path).path
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > CONTROL_BODY or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._json(413, {"error": "The body must have a Content-Length of at most 1 MiB."})
            return
        body = self.rfile.read(int(length))
        if self.headers.get("Origin"):
            # A page in a browser has no business here; programs send no Origin.
            self._json(403, {"error": "The hub is not for pages of other sites."})
            return
        self._json(*control.answer(self.hub, self.command, path, body))

    def _json(self, status: int, value: dict[str, object]) -> None:
        self._whole(status, "application/json", json.dumps(value).encode())

    def _whole(
        self,
        status: int,
        kind: str,
        body: bytes,
        extra: Iterable[tuple[str, str]] = (),
        record: Served | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in extra:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if record:
            record.status = status
        self.end_headers()
        if self.command != "HEAD":
            # Only the file's own bytes count as sent.
            self._send([memoryview(body)], len(body), None, None)

    def _file(self) -> None:
        self.hub.touched()
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/_hub"):
            self._control()
            return
        resource = self.hub.resource(path)
        if resource is None:
            self._whole(404, "text/plain", b"Not found\n")
            return
        record, fault, version = self.hub.shelf.begin(path, self.command, self.headers.get("Range"))
        if isinstance(fault, (Status, RateLimit)):
            status = fault.status if isinstance(fault, Status) else 429
            wait = [] if fault.retry_after is None else [("Retry-After", str(fault.retry_after))]
            self._whole(status, "text/plain", b"Not now\n", wait, record)
        elif isinstance(fault, Html):
            self._whole(200, "text/html; charset=utf-8", _LOGIN, (), record)
        else:
            self._answer(resource(version), fault, record)

    def _answer(self, file: Resource, fault: Fault | None, record: Served) -> None:
        asked = None if isinstance(fault, IgnoreRange) else self.headers.get("Range")
        part = ranges.select(file.size, asked, self.headers.get("If-Range"), file.etag, file.modified)
        validators = [("ETag", file.etag), ("Last-Modified", file.modified), ("Accept-Ranges", "bytes")]
        if part is None:
            extra = [*validators, ("Content-Range", f"bytes */{file.size}")]
            self._whole(416, "text/plain", b"", extra, record)
            return
        record.status = 206 if part.partial else 200
        self.send_response(record.status)
        self.send_header("Content-Type", file.content_type)
        self.send_header("Content-Length", str(part.end - part.start))
        if part.partial:
            self.send_header("Content-Range", f"bytes {part.start}-{part.end - 1}/{file.size}")
        for name, value in validators:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body: Iterable[memoryview] = file.read(part.start, part.end - part.start)
        if isinstance(fault, WrongByte):
            body = _flipped(body, fault.at - part.start)
        limit = fault.after if isinstance(fault, (Drop, Stall)) else part.end - part.start
        self._send(body, limit, fault.rate if isinstance(fault, Slow) else file.rate, record)
        if isinstance(fault, Stall):
            self._say_nothing(fault.seconds)
        if isinstance(fault, Drop) and fault.reset:
            self._reset()
        if isinstance(fault, (Drop, Stall)):
            self.close_connection = True

    def _send(self, body: Iterable[memoryview], limit: int, rate: int | None, record: Served | None) -> None:
        """Hand at most `limit` bytes to the socket, counting them as it takes them."""
        step = _UNPACED if rate is None else max(1, min(_PACED, rate // 50))
        due = time.monotonic()
        path = unquote(urlsplit(self.path).path)
        self.connection.setblocking(False)
        try:
            for view in body:
                while view and limit > 0:
                    send = functools.partial(self.connection.send, view[: min(step, limit)])
                    try:
                        taken = self.hub.shelf.send(path, record, send) if record else send()
                    except BlockingIOError:
                        self._wait_for_room()
                        continue
                    view = view[taken:]
                    limit -= taken
                    if rate is not None:
                        # What a slow reader lost is not made up for in one burst.
                        due = max(due, time.monotonic() - 0.25) + taken / rate
                        if self.hub.ended.wait(max(0.0, due - time.monotonic())):
                            self.close_connection = True
                            return
                if limit <= 0:
                    return
                self.hub.touched()
        except OSError:
            self.close_connection = True
        finally:
            self.connection.setblocking(True)

    def _wait_for_room(self) -> None:
        """Wait until the client has read some; raises ConnectionAbortedError when the hub ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_WRITE)
            while not selector.select(0.5):
                if self.hub.ended.is_set():
                    raise ConnectionAbortedError

    def _say_nothing(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.hub.ended.is_set():
            try:
                readable, _, _ = select.select([self.connection], [], [], min(left, 0.1))
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return
                if readable:
                    self.hub.ended.wait(min(left, 0.1))
            except (OSError, ValueError):
                return

    def _reset(self) -> None:
        """Close with RST: no lingering, and no orderly shutdown before it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile.close()


def _flipped(body: Iterable[memoryview], at: int) -> Iterable[memoryview]:
    """The same pieces with the bits of the byte at offset `at` of this body turned over."""
    for view in body:
        if 0 <= at < len(view):
            wrong = bytearray(view)
            wrong[at] ^= 0xFF
            yield memoryview(wrong)
        else:
            yield view
        at -= len(view)
