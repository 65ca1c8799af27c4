"""What happens to the connection while the body is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from tests.support import wait_for

from ..answers import Answer, Behaviour, End, Request, Silence, Span
from ..files import File
from .parts import behind, cut


def drop(after: int, *, reset: bool = False) -> Behaviour:
    """The connection ends after so many bytes of the file: by a FIN, or an RST."""
    end = End.RST if reset else End.FIN
    return lambda request, file, due: replace(due, body=cut(due.body, after), end=end)


def drops(*positions: int, reset: Callable[[], bool] = lambda: False) -> Behaviour:
    """Whenever all answers together have sent so many bytes of the file, the connection that sends ends."""
    left = sorted(positions)
    sent = 0
    lock = threading.Lock()

    def gate(count: int) -> tuple[int, End | None]:
        nonlocal sent
        with lock:
            if not left or sent + count < left[0]:
                sent += count
                return count, None
            count = left.pop(0) - sent
            sent += count
            return count, End.RST if reset() else End.FIN

    return lambda request, file, due: replace(due, gate=gate)


def stall(after: int, seconds: float, *, resume: bool = False) -> Behaviour:
    """Silence after so many bytes of the file; then the rest, or the end of the connection."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        rest = behind(due.body, after) if resume else ()
        body = (*cut(due.body, after), Silence(seconds), *rest)
        return replace(due, body=body, end=due.end if resume else End.FIN)

    return answer


def hold(after: int, until: Callable[[], bool]) -> Behaviour:
    """Nothing is sent once all answers together have sent so many bytes of the file, until `until` says so."""
    sent = 0
    lock = threading.Lock()

    def gate(count: int) -> tuple[int, End | None]:
        nonlocal sent
        with lock:
            if sent >= after:
                wait_for(until)
            sent += count
            return count, None

    return lambda request, file, due: replace(due, gate=gate)


def slow(rate: float) -> Behaviour:
    """At most so many bytes a second on each connection."""
    return lambda request, file, due: replace(due, rate=rate)


def flip(at: int, times: int = 1) -> Behaviour:
    """The byte at offset `at` of the file has its bits turned over, in the first answers that have it."""
    lock = threading.Lock()

    def answer(request: Request, file: File, due: Answer) -> Answer:
        nonlocal times
        if request.method != "GET" or not any(isinstance(p, Span) and p.start <= at < p.end for p in due.body):
            return due
        with lock:
            if times == 0:
                return due
            times -= 1
        return replace(due, flips=due.flips | {at})

    return answer
