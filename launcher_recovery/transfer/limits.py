"""What all downloads of this process share: connections by host and in all, and the bandwidth."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

CONNECTIONS_PER_HOST = 4
CONNECTIONS_IN_ALL = 16
_SLICE_S = 0.05


class Connections:
    """Counts connections. The first one of a download is always let through; more only while there is room.

    Args:
        per_host, in_all: how many there may be.
    """

    def __init__(self, per_host: int = CONNECTIONS_PER_HOST, in_all: int = CONNECTIONS_IN_ALL) -> None:
        self.per_host = per_host
        self.in_all = in_all
        self._lock = threading.Lock()
        self._by_host: Counter[str] = Counter()

    def enter(self, host: str, *, is_first: bool) -> bool:
        """Count one more; False, and nothing counted, when there is no room for it."""
        with self._lock:
            is_full = self._by_host[host] >= self.per_host or self._by_host.total() >= self.in_all
            if is_full and not is_first:
                return False
            self._by_host[host] += 1
            return True

    def leave(self, host: str) -> None:
        """Undo `enter`."""
        with self._lock:
            self._by_host[host] -= 1
            if self._by_host[host] <= 0:
                del self._by_host[host]

    def count(self, host: str | None = None) -> int:
        """How many there are, to that host or in all."""
        with self._lock:
            return self._by_host.total() if host is None else self._by_host[host]


class Bandwidth:
    """Limits how many bytes a second are received, over all that share it; a token bucket of a twentieth of a second.

    Those with a higher priority are served first. The limit may be changed while others wait.

    Args:
        rate: bytes a second; None: no limit.
        monotonic, wait: sources of time, for tests.
    """

    def __init__(
        self,
        rate: float | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.rate = rate
        self._monotonic = monotonic
        self._wait = wait
        self._lock = threading.Lock()
        self._waiting: Counter[int] = Counter()
        self._due = 0.0

    def take(self, count: int, priority: int, is_stopped: Callable[[], bool]) -> None:
        """Return when `count` bytes more may have come, or as soon as `is_stopped`."""
        if self.rate is None:
            return
        with self._lock:
            self._waiting[priority] += 1
        try:
            while not is_stopped() and (seconds := self._take(count, priority)) > 0:
                self._wait(min(seconds, _SLICE_S))
        finally:
            with self._lock:
                self._waiting[priority] -= 1

    def _take(self, count: int, priority: int) -> float:
        """Seconds to wait before asking again; 0: taken."""
        with self._lock:
            rate = self.rate
            if not rate:
                return 0.0
            now = self._monotonic()
            if any(number > 0 and other > priority for other, number in self._waiting.items()):
                return _SLICE_S
            if self._due > now:
                return self._due - now
            # What was not used for longer than a slice is lost.
            self._due = max(self._due, now - _SLICE_S) + count / rate
            return 0.0


CONNECTIONS = Connections()
"""Those of all downloads of this process."""

BANDWIDTH = Bandwidth()
"""That of all downloads of this process."""
