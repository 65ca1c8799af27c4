"""A private server that misbehaves on purpose, on 127.0.0.1, for the scenarios."""

from __future__ import annotations

import re
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BLOCK = 64 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class FaultyServer(ThreadingHTTPServer):
    """Serves one file.

    Args:
        content: the file.
        faults: what happens to the first requests, one each; those that follow are answered well. "drop": the
            connection breaks in the middle; "503", "404": that status; "429": that status, and to come again after a
            second; "no-range": the whole file, whatever part of it is asked for; "flip": one byte is wrong; "page": an
            HTML page in place of the file; "silence": nothing comes after the first half.
        forever: the last of them happens to all that follow as well.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, content: bytes, faults: Sequence[str] = (), *, forever: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.content = content
        self.etag = '"1"'
        self.sent = 0
        """Bytes of the file that were sent."""
        self.requests = 0
        self.ends = threading.Event()
        self._faults = deque(faults)
        self._forever = forever
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"http://127.0.0.1:{self.server_address[1]}/model.bin"

    def replace(self, content: bytes) -> None:
        """Put another file in its place."""
        with self._lock:
            self.content = content
            self.etag = f'"{int(self.etag.strip(chr(34))) + 1}"'

    def next_fault(self) -> str:
        """What happens to the request at hand."""
        with self._lock:
            self.requests += 1
            if not self._faults:
                return ""
            return self._faults[0] if self._forever and len(self._faults) == 1 else self._faults.popleft()

    def count(self, size: int) -> None:
        """Note that so much of the file was sent."""
        with self._lock:
            self.sent += size

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: that clients go away is part of the game."""


class _Answer(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        fault = self.server.next_fault()
        if fault in ("503", "404", "429"):
            self._answer(int(fault), b"", {"Retry-After": "1"} if fault == "429" else {})
        elif fault == "page":
            page = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Please log in</body></html>"
            self._answer(200, page, {"Content-Type": "text/html; charset=utf-8"})
        else:
            self._file(fault)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, fault: str) -> None:
        content, etag = self.server.content, self.server.etag
        first, last = 0, len(content) - 1
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range", etag) == etag
        is_part = asked is not None and is_same and fault != "no-range"
        if asked is not None and is_part:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
        if first > last:
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if is_part else 200)
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        for name, value in (("ETag", etag), ("Accept-Ranges", "bytes"), ("Content-Type", "application/octet-stream")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        body = bytearray(content[first : last + 1])
        if fault == "flip":
            body[len(body) // 2] ^= 1
        self._send(body[: (len(body) + 1) // 2] if fault in ("drop", "silence") else body)
        if fault == "silence":
            self.server.ends.wait(60)
        if fault in ("drop", "silence"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)

    def _send(self, body: bytearray) -> None:
        for start in range(0, len(body), _BLOCK):
            block = body[start : start + _BLOCK]
            self.wfile.write(block)
            self.server.count(len(block))


@contextmanager
def faulty_server(content: bytes, faults: Sequence[str] = (), *, forever: bool = False) -> Iterator[FaultyServer]:
    """A `FaultyServer` that answers, until the end of the block."""
    server = FaultyServer(content, faults, forever=forever)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="recovery-faulty-server", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ends.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
