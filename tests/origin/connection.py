"""One connection: reads requests, sends what the answers say, and counts every byte of a file that leaves."""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .answers import Answer, End, Part, Silence, Span, Stream
from .files import flipped

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from .server import Exchange, Origin

SEND_BUFFER = 256 << 10
"""Bytes that may wait in the kernel on this side, so that counted bytes are near the truth."""

_STEP = 256 << 10
_PACED = 64 << 10
_LINE_LIMIT = 64 << 10
_BEHIND_S = 0.01
"""What a slow reader, or a busy machine, lost is made up for as far as so many seconds of the rate."""

_SIOCOUTQNSD = 0x894B
"""Linux: bytes in the send queue that were not sent yet (linux/sockios.h)."""


class _Over(Exception):
    """The connection ends in the middle of an answer."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


class Connection(threading.Thread):
    """Serves one client until one of both has enough."""

    def __init__(self, origin: Origin, accepted: socket.socket, peer: tuple[str, int], number: int) -> None:
        super().__init__(name=f"origin-{number}", daemon=True)
        self.peer = peer
        self.number = number
        self._origin = origin
        self._socket = accepted
        self._due = 0.0
        self._exchange: Exchange | None = None
        # Linux doubles the number for its own book-keeping.
        half = SEND_BUFFER // 2 if sys.platform == "linux" else SEND_BUFFER
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, half)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hang_up(self) -> None:
        """End it from another thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself

    def run(self) -> None:
        try:
            self._end(self._serve())
        except OSError:
            pass  # clients hang up in the middle on purpose
        except Exception as problem:
            self._origin.failed(problem)
        finally:
            self._socket.close()
            self._is_over()
            self._origin.left(self)

    def _serve(self) -> End:
        greeting = self._origin.greeting(self.number)
        if isinstance(greeting, End):
            return greeting
        if greeting is not None:
            self._socket.sendall(greeting)
            return End.FIN
        if self._origin.tls is not None:
            context = self._origin.tls
            self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket.do_handshake()
        with self._socket.makefile("rb") as lines:
            while not self._origin.closed.is_set():
                request_line = lines.readline(_LINE_LIMIT).decode("latin-1").split()
                if len(request_line) != 3:
                    break
                at = time.monotonic()
                headers: dict[str, str] = {}
                while line := lines.readline(_LINE_LIMIT).decode("latin-1").strip():
                    name, _, value = line.partition(":")
                    known = headers.get(name.lower())
                    headers[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
                method, target, _ = request_line
                path = unquote(urlsplit(target).path)
                self._exchange, answer = self._origin.answer(method, target, path, headers, self, at)
                end = self._send_answer(answer, self._exchange)
                if end is not End.KEEP:
                    return end
                self._is_over()
                if headers.get("connection", "").lower() == "close":
                    break
        return End.FIN

    # -- answers ------------------------------------------------------------------------------------

    def _send_answer(self, answer: Answer, exchange: Exchange) -> End:
        has_body = exchange.request.method != "HEAD"
        try:
            for part in answer.head if answer.head is not None else (answer.wire_head(),):
                self._send_part(part, answer, exchange)
            if has_body:
                self._origin.begins_body(exchange)
                try:
                    for part in answer.body:
                        self._send_part(part, answer, exchange)
                finally:
                    self._origin.ends_body(exchange)
        except _Over as over:
            return over.end
        exchange.done = True
        return answer.end

    def _send_part(self, part: Part, answer: Answer, exchange: Exchange) -> None:
        if isinstance(part, Silence):
            self._say_nothing(part.seconds)
        elif isinstance(part, Stream):
            for piece in part.pieces():
                if self._origin.closed.is_set():
                    raise _Over(End.FIN)
                self._socket.sendall(piece)
        elif isinstance(part, Span):
            at = part.start
            for block in part.file.read(part.start, part.end):
                self._send_block(flipped(block, at, answer.flips), answer, exchange)
                at += len(block)
        elif part:
            self._socket.sendall(part)

    def _send_block(self, block: memoryview, answer: Answer, exchange: Exchange) -> None:
        step = _STEP if answer.rate is None else max(1, min(_PACED, int(answer.rate / 50)))
        while block:
            count, end = min(step, len(block)), None
            if answer.gate is not None:
                count, end = answer.gate(count)
            left = block[:count]
            while left:
                taken = self._socket.send(left)
                self._origin.count(exchange, taken)
                left = left[taken:]
            if end is not None:
                raise _Over(end)
            if answer.rate is not None:
                self._keep_pace(count / answer.rate)
            block = block[count:]

    def _keep_pace(self, seconds: float) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - _BEHIND_S) + seconds
        if self._due > now and self._origin.closed.wait(self._due - now):
            raise _Over(End.FIN)

    def _say_nothing(self, seconds: float) -> None:
        """Wait; ends the connection when the client goes away, or the server closes, meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self._socket], [], [], min(left, 0.1))
            if self._origin.closed.is_set() or (readable and self._client_is_gone()):
                raise _Over(End.FIN)
            if readable:  # the client has sent something in between: that is for later
                self._origin.closed.wait(min(left, 0.1))

    def _client_is_gone(self) -> bool:
        if self._origin.tls is not None:
            return True  # nothing can be looked at there without being read; our clients send nothing meanwhile
        return not self._socket.recv(1, socket.MSG_PEEK)

    # -- endings ------------------------------------------------------------------------------------

    def _end(self, end: End) -> None:
        if end is not End.RST:
            self._socket.shutdown(socket.SHUT_WR)
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._exchange is not None:
            self._origin.count(self._exchange, -min(self._unsent(), self._exchange.sent))

    def _is_over(self) -> None:
        """The answer is, if one was under way."""
        if self._exchange is not None:
            self._exchange = None
            self._origin.ends()

    def _unsent(self) -> int:
        """Bytes that a reset throws away; those of an earlier answer were all taken before this one began."""
        if sys.platform != "linux":
            return 0
        queued = fcntl.ioctl(self._socket.fileno(), _SIOCOUTQNSD, struct.pack("i", 0))
        return int(struct.unpack("i", queued)[0])
