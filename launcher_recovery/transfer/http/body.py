"""Reads the body of a response into buffers, as fast as the socket gives it, and ends it from another thread."""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from typing import Any

import requests
import urllib3

from launcher_recovery.transfer.http.lines import shut

# Read at a time where only the slow way is open; no less than what http.client may have read ahead.
_SLOW_READ = max(1 << 16, io.DEFAULT_BUFFER_SIZE)
# The last two: it was closed in this moment, from another thread.
_BROKEN = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError, AttributeError)


class Body:
    """The body of a response.

    Bytes come straight from the socket into the buffer where that can be done: a body that is neither compressed nor
    sent in chunks. `raw.read` would copy them once more, and wait until all that was asked for has arrived.

    Args:
        response: an open response of requests.
        silence_s: after so many seconds without a byte the connection has failed.
    """

    def __init__(self, response: requests.Response, silence_s: float) -> None:
        self._response = response
        self._raw: Any = response.raw
        fp: Any = getattr(self._raw, "_fp", None)
        is_plain = isinstance(fp, http.client.HTTPResponse) and not fp.chunked and fp.length is not None
        self._plain: Any = fp if is_plain and hasattr(getattr(fp.fp, "raw", None), "readinto") else None
        self._socket = _socket_of(fp)
        if self._socket is not None:
            self._socket.settimeout(silence_s)
        self._silence_s = silence_s
        self._problem: Exception | None = None
        self._rest = b""
        self._has_begun = False
        self._has_ended = False

    def is_of(self, response: requests.Response) -> bool:
        """Whether it is the body of that response."""
        return self._response is response

    def peek(self, least: int = 1, seconds: float = 0.0) -> bytes:
        """The first bytes, which are read again later.

        Args:
            least: how many are waited for, unless it is over before; there may be more.
            seconds: for how long more than the first of them are waited for.

        Raises:
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: the connection failed before the first.
        """
        until = time.monotonic() + seconds
        if not self._rest:
            self._rest = self._read_more()
        while 0 < len(self._rest) < least and not self.is_over and time.monotonic() < until:
            try:
                more = self._read_more()
            except _BROKEN as error:
                self._problem = error  # what came before is handed over first
                break
            if not more:
                break
            self._rest += more
        return self._rest

    @property
    def is_over(self) -> bool:
        """Whether nothing comes behind what was looked at, as far as that is known by now."""
        return self._has_ended if self._plain is None else not self._plain.length

    def read_into(self, view: memoryview) -> int:
        """Read what there is, at least a byte, into `view`; 0 when the body is over.

        Raises:
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: the connection failed.
        """
        if self._plain is None or self._rest or not self._has_begun:
            return self._read_slowly(view)
        fp = self._plain
        if self._problem is not None:
            raise self._problem
        if not fp.length or fp.fp is None:
            return 0
        view = view[: min(len(view), fp.length)]
        # Not by way of its buffer: that would lose what it has when the connection breaks in the same call.
        count = int(fp.fp.raw.readinto(view))
        if 0 < count < len(view) and isinstance(self._socket, ssl.SSLSocket):
            count += self._read_on(self._socket, view[count:])
        self._took(count)
        return count

    def _read_on(self, source: ssl.SSLSocket, view: memoryview) -> int:
        """Read what else there is without waiting for it: TLS gives no more than a record of 16 KiB at a time."""
        count = 0
        try:
            source.setblocking(False)
            while count < len(view) and (got := source.recv_into(view[count:])):
                count += got
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # that was all for now
        except (OSError, ValueError) as error:
            self._problem = error  # what came before is handed over first
        finally:
            if source.fileno() >= 0:
                source.settimeout(self._silence_s)
        return count

    def _read_slowly(self, view: memoryview) -> int:
        if not self._rest:
            self._rest = self._read_more()
        count = min(len(view), len(self._rest))
        if count:
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
        return count

    def _read_more(self) -> bytes:
        if self._problem is not None:
            raise self._problem
        if self._plain is None:
            read1 = getattr(self._raw, "read1", None)
            data: bytes = (read1(_SLOW_READ) if read1 is not None else self._raw.read(_SLOW_READ)) or b""
            self._has_ended = not data
            return data
        fp = self._plain
        if not fp.length or fp.fp is None:
            return b""
        data = fp.fp.read1(min(_SLOW_READ, fp.length))
        self._has_begun = True
        self._took(len(data))
        return data

    def _took(self, count: int) -> None:
        """So many bytes of a plain body were read."""
        fp = self._plain
        fp.length -= count
        if not fp.length:
            # All of it was read: the connection may be used for the next request.
            fp._close_conn()
            self._raw.release_conn()

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read, its end included; False when there is nothing yet after `seconds`."""
        if self._rest or self._socket is None:
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll() if hasattr(select, "poll") else None
        try:
            if poll is None:
                return bool(select.select([self._socket], [], [], seconds)[0])
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        except (OSError, ValueError):
            return True  # it is closed already: reading tells

    def shut(self) -> None:
        """End it from another thread: whoever waits for bytes gets an error, or the end of the body, at once."""
        if self._socket is not None:
            shut(self._socket)


def _socket_of(fp: Any) -> Any:
    """The socket under a response of http.client; None when there is none (in tests)."""
    reader = getattr(getattr(fp, "fp", None), "raw", None)
    found = getattr(reader, "_sock", None)
    return found if isinstance(found, socket.socket) else None
