"""One connection: fetches one extent after the other, and writes what it gets at its place."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import requests
import urllib3

from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.content.recognising import ENOUGH_BYTES
from launcher_recovery.transfer.http.body import Body
from launcher_recovery.transfer.http.lines import Line
from launcher_recovery.transfer.http.request import Answer
from launcher_recovery.transfer.partial.buffers import BUFFER
from launcher_recovery.transfer.sources.source import Source

if TYPE_CHECKING:
    from launcher_recovery.transfer.connections.fetching import Fetching

SILENCE_S = 5.0
# What is gathered before it is written is lost when the process is killed: the bytes of so many seconds, but no less
# than so many, since each write has its price.
_GATHER_S = 0.05
_GATHER_RATE_S = 0.008
_GATHER_BYTES = 256 << 10
_LEAST_READ = 16 << 10
_RATE_S = 1.0
# For so long, once there is a byte, more are waited for that tell what the body is.
_LOOK_S = 1.0
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class Worker(threading.Thread):
    """A connection to one source, in a thread of its own.

    Args:
        fetching: gives extents, and takes what comes.
        source: where to.
        session: the connection is made with it.
        line: ends what that has under way; None: the session is not the worker's own, and stays open.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        fetching: Fetching,
        source: Source,
        session: requests.Session,
        line: Line | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="recovery-connection", daemon=True)
        self.source = source
        self.extent: Extent | None = None
        self.began_at = monotonic()
        self.asked_at: float | None = self.began_at
        """When it began to wait for an answer; None while it receives."""
        self.answered: float | None = None
        """When it began to wait for the last answer that was one; None once that was seen to."""
        self.received = 0
        self.rate = 0.0
        """Bytes a second over the last second or so."""
        self.is_stopped = False
        self.rival: Worker | None = None
        """The connection that it is to be faster than; None: it fetches what no other one does."""
        self._fetching = fetching
        self._session = session
        self._line = line
        self._monotonic = monotonic
        self._body: Body | None = None
        self._since = (self.began_at, 0)

    def run(self) -> None:
        error: BaseException | None = None
        try:
            self._fetching.work(self)
        except BaseException as problem:
            error = problem
        finally:
            self._body = None
            if self._line is not None:
                self._session.close()
        self._fetching.left(self, error)

    def stop(self) -> None:
        """End at once; nothing is written any more after the bytes that are on their way to the disk."""
        self.is_stopped = True
        if self._line is not None:
            self._line.shut()
        body = self._body
        if body is not None:
            body.shut()

    def first_bytes(self, answer: Answer) -> bytes:
        """The first bytes of a body, as many as tell what it is, which `receive` or `stream` give again.

        Raises:
            requests.ConnectionError: it broke before there were any.
        """
        assert answer.response is not None
        body, where = self._open(answer), redact_url(answer.response.url)
        try:
            first = body.peek(ENOUGH_BYTES, _LOOK_S)
        except (*BROKEN, ValueError, AttributeError) as error:
            raise _broken(where, 0, error) from error
        if not first and answer.end is not None and answer.end > answer.start and not self.is_stopped:
            raise _ended_early(where, answer.end - answer.start)
        return first

    def is_all(self, answer: Answer) -> bool:
        """Whether the first bytes of a body are all of it."""
        return self._open(answer).is_over

    def _open(self, answer: Answer) -> Body:
        assert answer.response is not None
        if self._body is None or not self._body.is_of(answer.response):
            self._body = Body(answer.response, SILENCE_S)
        return self._body

    def receive(self, answer: Answer, extent: Extent) -> None:
        """Take the body of an answer as far as the extent goes.

        Raises:
            requests.ConnectionError: it broke, or ended early; what came was handed over before.
            LocalError: the disk, or what was taken for the file, was not right.
        """
        assert answer.response is not None
        body = self._open(answer)
        where = redact_url(answer.response.url)
        first_byte = extent.pos
        try:
            while extent.pos < extent.end and not self.is_stopped:
                buffer = self._fetching.buffers.take(0.05)
                if buffer is None:
                    continue  # the hashes, or the disk, are slower than the network
                count, problem = self._gather(body, buffer, extent)
                if count:
                    self._fetching.take(self, extent, buffer, count)
                else:
                    self._fetching.buffers.give_back(buffer)
                if problem is not None:
                    if isinstance(problem, EOFError):
                        raise _ended_early(where, (answer.end or extent.end) - extent.pos)
                    raise _broken(where, extent.pos - first_byte, problem) from problem
        finally:
            self._body = None
            # More may come that nobody wants, or nothing was to be read; a connection that was read to the end of the
            # body is kept for the next request all the same.
            answer.close()

    def stream(self, answer: Answer) -> Iterator[memoryview]:
        """The body of an answer of unknown length as it comes; each part is of use until the next one.

        Raises:
            requests.ConnectionError: it broke off.
        """
        assert answer.response is not None
        body = self._open(answer)
        where, buffer = redact_url(answer.response.url), memoryview(bytearray(BUFFER))
        received = 0
        while not self.is_stopped:
            try:
                count = body.read_into(buffer)
            except (*BROKEN, ValueError, AttributeError) as error:
                raise _broken(where, received, error) from error
            if not count:
                return
            received += count
            self._fetching.bandwidth.take(count, self._fetching.priority, lambda: self.is_stopped)
            self._measure(count)
            yield buffer[:count]

    def _gather(self, body: Body, buffer: memoryview, extent: Extent) -> tuple[int, Exception | None]:
        """Fill the buffer for a twentieth of a second at most; how much came, and what ended it."""
        most = min(BUFFER, max(_GATHER_BYTES, int(self.rate * _GATHER_RATE_S)), extent.end - extent.pos)
        rate = self._fetching.bandwidth.rate
        if rate:
            most = min(most, max(_LEAST_READ, int(rate * _GATHER_S)))
        count, until = 0, None
        while count < most and not self.is_stopped:
            try:
                got = body.read_into(buffer[count:most])
            except (*BROKEN, ValueError, AttributeError) as error:
                # The last two: it was closed in this moment, from another thread.
                return count, error
            if not got:
                return count, EOFError()
            count += got
            now = self._monotonic()
            if until is None:
                until = now + _GATHER_S
            # What is here already does not wait for what may be long in coming.
            if now >= until or (count < most and not body.wait(until - now)):
                break
        if rate:
            self._fetching.bandwidth.take(count, self._fetching.priority, lambda: self.is_stopped)
        self._measure(count)
        return count, None

    def _measure(self, count: int) -> None:
        self.received += count
        now = self._monotonic()
        began, had = self._since
        if now - began >= _RATE_S:
            self.rate = (self.received - had) / (now - began)
            self._since = now, self.received
            self.source.had_rate(self.rate)
        elif not self.rate and now - self.began_at > 0.2:
            self.rate = self.received / (now - self.began_at)

    def silent_rate(self, now: float) -> float:
        """Bytes a second since the last measurement: lower than `rate` when little has come since."""
        began, had = self._since
        return (self.received - had) / max(now - began, 1e-3)

    def rate_at(self, now: float) -> float | None:
        """Bytes a second that can be counted on, the last moments included; None: it is too early to tell."""
        if self.asked_at is not None or now - self.began_at < _RATE_S:
            return None
        return min(self.rate, self.silent_rate(now)) if now - self._since[0] > _RATE_S else self.rate

    @property
    def sent_at(self) -> float | None:
        """When the request was sent that has no answer yet; None: there is none, or that is not known."""
        return None if self._line is None else self._line.asked_at

    @property
    def session(self) -> requests.Session:
        return self._session


def _ended_early(where: str, missing: int) -> Exception:
    return requests.ConnectionError(f"{where} closed the connection {missing} bytes before the end")


def _broken(where: str, received: int, error: Exception) -> Exception:
    """Said again with the address, which those below do not know."""
    cause = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    text = f"the connection to {where} broke after {received} bytes: {cause}"
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return requests.ReadTimeout(f"{where} sent nothing for {SILENCE_S:g} s after {received} bytes")
    return requests.ConnectionError(text)
