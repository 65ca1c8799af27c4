"""A bulkhead: at most so many at a time, the most important first, and of these who came first."""

from __future__ import annotations

import bisect
import itertools
import threading

from launcher_recovery import checks
from launcher_recovery.clock import Wake


class Ticket:
    """A place inside a bulkhead, or in the queue before it; `number` is that of its coming."""

    def __init__(self, bulkhead: Bulkhead, wake: Wake, priority: int, number: int) -> None:
        self.is_granted = False
        self.wake = wake
        self.priority = priority
        self.number = number
        self._bulkhead = bulkhead

    def move(self, priority: int) -> None:
        """Stand in the queue by another priority; who is inside stays there."""
        self._bulkhead.move(self, priority)

    def leave(self) -> None:
        """Make room for the next, or leave the queue; a second time does nothing."""
        self._bulkhead.leave(self)


class Bulkhead:
    """Lets at most `limit` operations of one kind or scope run at a time: those of a higher priority first, and those
    of the same priority in the order in which they came.

    Works for threads and event loops alike: a ticket wakes whoever holds it.

    Args:
        limit: how many at a time, at least 1.
        scope: what it is about, such as a host or a kind of operation.
        reason: a sentence for people who wait: why, and what ends it.

    Raises:
        RecoveryConfigError: the limit is not a whole number of at least 1.
    """

    def __init__(self, limit: int, scope: str = "", reason: str = "") -> None:
        self.limit = checks.whole("limit", limit, 1)
        self.scope = scope
        self.reason = reason or "As many as may run at a time are under way; it goes on by itself when one is done."
        self._lock = threading.Lock()
        self._inside: set[Ticket] = set()
        self._queue: list[Ticket] = []
        self._numbers = itertools.count()

    def enter(self, wake: Wake, priority: int = 0) -> Ticket:
        """A ticket, granted at once if there is room; else `wake` is set when it is.

        Args:
            priority: the higher goes first.
        """
        with self._lock:
            ticket = Ticket(self, wake, priority, next(self._numbers))
            self._line_up(ticket)
            self._admit()
        return ticket

    def move(self, ticket: Ticket, priority: int) -> None:
        """Give a ticket another priority; see `Ticket.move`."""
        with self._lock:
            if ticket.priority == priority or ticket not in self._queue:
                return
            self._queue.remove(ticket)
            ticket.priority = priority
            self._line_up(ticket)

    def _line_up(self, ticket: Ticket) -> None:
        bisect.insort(self._queue, ticket, key=lambda one: (-one.priority, one.number))

    def leave(self, ticket: Ticket) -> None:
        """Give a ticket back; see `Ticket.leave`."""
        with self._lock:
            self._inside.discard(ticket)
            if ticket in self._queue:
                self._queue.remove(ticket)
            admitted = self._admit()
        for other in admitted:
            other.wake.set()

    def _admit(self) -> list[Ticket]:
        admitted = []
        while self._queue and len(self._inside) < self.limit:
            ticket = self._queue.pop(0)
            ticket.is_granted = True
            self._inside.add(ticket)
            admitted.append(ticket)
        return admitted

    @property
    def running(self) -> int:
        """How many are inside."""
        with self._lock:
            return len(self._inside)

    @property
    def waiting(self) -> int:
        """How many stand in the queue."""
        with self._lock:
            return len(self._queue)
