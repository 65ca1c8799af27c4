"""The body of a healed response: what is kept comes first, then what the network brings, over dropped connections."""

from __future__ import annotations

import http.client
import logging
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
import urllib3

from launcher_recovery.classification.facts import parse_retry_after
from launcher_recovery.errors import RecoveryError
from launcher_recovery.operation import Operation
from launcher_recovery.redaction import Redactor, redact_url
from launcher_recovery.strategies import Strategy
from launcher_recovery.transfer.healing.body_log import BodyLog
from launcher_recovery.transfer.healing.patience import Patience
from launcher_recovery.transfer.http.body import Body
from launcher_recovery.transfer.http.representation import Representation, rest_of

logger = logging.getLogger("launcher_recovery")

TRIES = 5
"""Requests in a row that bring nothing, after which the handler gets the error."""

LONGEST_WAIT_S = 60.0
"""The longest wait made here; a longer one, such as a Retry-After of an hour, is made, and shown, by the engine."""

BROKEN = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
"""What a connection that failed raises (`requests.RequestException` is an OSError)."""

_BUFFER = 1 << 18
# Answers after which the next one may be another (RFC 9110 §15.5.9, §15.6; RFC 6585; RFC 8470).
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Connection:
    """An open answer, as far as its body is concerned: it ends before byte `end` (None: unknown)."""

    raw: Any
    body: Body
    end: int | None

    @classmethod
    def of(cls, response: requests.Response, end: int | None, silence_s: float) -> Connection:
        return cls(response.raw, Body(response, silence_s), end)

    def close(self) -> None:
        self.raw.close()
        self.raw.release_conn()


class HealedBody:
    """The body, as what http.client gives urllib3 to read from.

    It raises what the connection raised when it cannot go on: nothing was brought by several requests in a row, the
    server has another version by now, or does not want to send the rest.

    Args:
        url: for people.
        representation: the version of the body.
        connection: where it comes from, beginning at byte `start`.
        ask: sends the handler's request again, for the bytes from the given one on, if they are of the given version.
        operation: checked while it is read and waited.
        backoff: gives the waits between requests in a row that bring nothing.
        patience: knows for how long the server wants to be left alone.
        silence_s: after so many seconds without a byte a connection has failed.
        log: what is kept of it already; it is longer than `start`, or as long.
        begin_log: called with the first bytes, when there is no `log`; gives one, or None: nothing is kept.
    """

    def __init__(
        self,
        url: str,
        representation: Representation,
        connection: Connection,
        ask: Callable[[int, Representation], requests.Response],
        operation: Operation,
        backoff: Strategy,
        patience: Patience,
        silence_s: float,
        *,
        start: int = 0,
        log: BodyLog | None = None,
        begin_log: Callable[[], BodyLog | None] = lambda: None,
    ) -> None:
        self.interruption: Exception | None = None
        """What ended the last call because the operation may not go on."""
        self._url = url
        self._representation = representation
        self._connection: Connection | None = connection
        self._ask = ask
        self._operation = operation
        self._backoff = backoff
        self._patience = patience
        self._silence_s = silence_s
        self._log = log
        self._begin_log: Callable[[], BodyLog | None] | None = begin_log if log is None else None
        self._reads_log_until = start if log is not None else 0
        self._position = 0
        self._ready: memoryview = memoryview(b"")
        self._buffer: memoryview | None = None
        self._tries = 0
        self._is_over = False

    # -- what urllib3 calls -------------------------------------------------------------------------

    def read(self, amount: int | None = None) -> bytes:
        """As many bytes as were asked for, all when none were; less only at the end."""
        parts: list[bytes] = []
        left = amount
        while (left is None or left > 0) and (part := self.read1(left)):
            parts.append(part)
            left = None if left is None else left - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, amount: int | None = None) -> bytes:
        """At least a byte, and as many as are there; none at the end."""
        if not self._ready and amount != 0:
            self._fill()
        count = len(self._ready) if amount is None or amount < 0 else min(amount, len(self._ready))
        data = bytes(self._ready[:count])
        self._ready = self._ready[count:]
        if not self._ready and self._position == self._representation.size:
            self._end()
        return data

    def close(self) -> None:
        """Hang up, unless it was read to its end; what is kept stays."""
        self._ready = memoryview(b"")
        self._end()

    def isclosed(self) -> bool:
        """Whether there is nothing to read any more."""
        return self._is_over and not self._ready

    @property
    def closed(self) -> bool:
        return self.isclosed()

    def flush(self) -> None:
        """Nothing: for those who think that it is a file."""

    @property
    def raw(self) -> Any:
        """urllib3's response from which it comes at the moment; None between two of them."""
        return None if self._connection is None else self._connection.raw

    # -- where the bytes come from ------------------------------------------------------------------

    def _fill(self) -> None:
        """Have at least a byte ready, unless it is over."""
        self.interruption = None
        while not self._ready and not self._is_over:
            try:
                self._operation.check()
            except RecoveryError as error:
                self.interruption = error
                raise
            if not self._read_log():
                self._read_network()

    def _read_log(self) -> bool:
        left = self._reads_log_until - self._position
        if left <= 0 or self._log is None:
            return False
        data = memoryview(self._log.read())[:left]
        if not data:
            # It is damaged here: what comes from the network begins too far behind.
            logger.warning("what was kept of %s is damaged behind byte %d", redact_url(self._url), self._position)
            self._hang_up()
            self._reads_log_until = 0
            return False
        self._position += len(data)
        self._ready = data
        return True

    def _read_network(self) -> None:
        if self._position == self._representation.size:
            self._end()
            return
        if self._connection is None:
            self._go_on(None)
            return
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, _BUFFER))
        end = self._connection.end
        room = _BUFFER if end is None else min(_BUFFER, end - self._position)
        try:
            count = self._connection.body.read_into(self._buffer[:room]) if room else 0
        except BROKEN as error:
            self._go_on(error)
            return
        if count:
            self._tries = 0
            self._ready = self._buffer[:count]
            self._keep(self._ready)
            self._position += count
        elif end is None and self._representation.size is None:
            self._end()
        elif self._position == end:  # a part of what was asked for, which is the server's right (RFC 9110 §14.2)
            self._hang_up()
        else:
            self._go_on(self._too_short())

    def _too_short(self) -> Exception:
        """The error for a body that ends early; the one of urllib3."""
        size = self._representation.size
        return urllib3.exceptions.IncompleteRead(self._position, 0 if size is None else size - self._position)

    def _keep(self, data: memoryview) -> None:
        if self._begin_log is not None:
            self._log, self._begin_log = self._begin_log(), None
        log = self._log
        if log is None:
            return
        if not log.append(data, self._position):
            self._log = None
        elif log.length > log.head.had:
            self._operation.has_moved()

    def _end(self) -> None:
        self._is_over = True
        self._hang_up()
        if self._log is not None:
            self._log.close()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- over a dropped connection ------------------------------------------------------------------

    def _go_on(self, error: Exception | None) -> None:
        """Have a connection that brings what comes next.

        Raises:
            Exception: `error`, which ended the one before, when that is not possible; else what happened since.
        """
        self._hang_up()
        asked_to_wait = 0.0
        while True:
            self._tries += 1
            if self._tries > TRIES:
                self._give_up(error, f"{TRIES} requests in a row brought nothing")
            asked_to_wait = max(asked_to_wait, self._patience.left())
            if asked_to_wait > LONGEST_WAIT_S:
                self._give_up(error, f"the server wants {asked_to_wait:g} s to pass before the next request")
            logger.info("the response of %s goes on at byte %d: %s", *self._told(error))
            delay = 0.0 if error is None else min(self._backoff.calculate_delay(self._tries), LONGEST_WAIT_S)
            if error is not None or asked_to_wait:
                self._patience.waits_itself()
                self._wait(max(delay, asked_to_wait))
            answer = self._answer(error)
            if not isinstance(answer, requests.Response):
                error, asked_to_wait = error or answer, 0.0
                continue
            rest = rest_of(answer.status_code, answer.headers, self._position, self._representation)
            if rest is not None:
                self._representation = rest.representation
                self._connection = Connection.of(answer, rest.end, self._silence_s)
                return
            answer.close()
            error = error or requests.HTTPError(f"{answer.status_code} {answer.reason}", response=answer)
            # The first 401 may be about a digest that is out of date; requests makes a new one for the next request.
            if answer.status_code not in _PASSING and not (answer.status_code == 401 and self._tries == 1):
                self._give_up(error, f"the server answered {answer.status_code} to a request for the rest")
            asked_to_wait = parse_retry_after(answer.headers.get("Retry-After"), time.time()) or 0.0

    def _answer(self, error: Exception | None) -> requests.Response | Exception:
        """The answer to a request for the rest, or why there was none."""
        try:
            return self._ask(self._position, self._representation)
        except RecoveryError as interruption:  # of a session of the handler that looks itself
            self.interruption = interruption
            raise
        except requests.HTTPError as problem:  # of a hook of the handler
            return problem if problem.response is None else problem.response
        except BROKEN as problem:
            return problem
        except Exception as problem:
            self._give_up(error or problem, f"a hook of the handler raised {type(problem).__name__}")

    def _wait(self, seconds: float) -> None:
        try:
            self._operation.wait(seconds)
        except RecoveryError as error:
            self.interruption = error
            raise

    def _give_up(self, error: Exception | None, why: str) -> NoReturn:
        """Raise `error`; what comes after it is read as the end of the body."""
        logger.warning("the response of %s cannot go on at byte %d: %s", redact_url(self._url), self._position, why)
        self._end()
        raise error or self._too_short()

    def _told(self, error: Exception | None) -> tuple[str, int, str]:
        text = "only a part was sent" if error is None else f"{type(error).__name__}: {error}"
        return redact_url(self._url), self._position, Redactor().text(text)
