"""A bulkhead: at most so many at a time, first come, first served."""

from __future__ import annotations

import threading
from collections import deque

from launcher_recovery import checks
from launcher_recovery.clock import Wake


class Ticket:
    """A place inside a bulkhead, or in the queue before it."""

    def __init__(self, bulkhead: Bulkhead, wake: Wake) -> None:
        self.is_granted = False
        self.wake = wake
        self._bulkhead = bulkhead

    def leave(self) -> None:
        """Make room for the next, or leave the queue; a second time does nothing."""
        self._bulkhead.leave(self)


class Bulkhead:
    """Lets at most `limit` operations of one kind or scope run at a time, in the order in which they came.

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
        self._queue: deque[Ticket] = deque()

    def enter(self, wake: Wake) -> Ticket:
        """A ticket, granted at once if there is room; else `wake` is set when it is."""
        ticket = Ticket(self, wake)
        with self._lock:
            self._queue.append(ticket)
            self._admit()
        return ticket

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
            ticket = self._queue.popleft()
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
