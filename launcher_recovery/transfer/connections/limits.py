"""What all downloads of this process share: connections by host and in all, and the bandwidth."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

from launcher_recovery.config import DEFAULT_CONFIG, RecoveryConfig

CONNECTIONS_PER_HOST = DEFAULT_CONFIG.connections_per_host
CONNECTIONS_IN_ALL = DEFAULT_CONFIG.connections_in_all
_SLICE_S = 0.05


class Connections:
    """Counts connections. The first one of a download is always let through; more only while there is room.

    Args:
        per_host, in_all: how many there may be.
    """

    def __init__(self, per_host: int = CONNECTIONS_PER_HOST, in_all: int = CONNECTIONS_IN_ALL) -> None:
        self.per_host = per_host
        self.in_all = in_all
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: the connections of the parent are not its own."""
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
        self._rate = rate
        self._monotonic = monotonic
        self._wait = wait
        self.forget()

    def forget(self) -> None:
        """Begin anew at the same rate, in a forked child: nobody waits there."""
        self._lock = threading.Lock()
        self._waiting: Counter[int] = Counter()
        self._due = 0.0

    @property
    def rate(self) -> float | None:
        """Bytes a second; None: no limit. What was let through already counts by a new one from then on."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        with self._lock:
            now = self._monotonic()
            owed = max(0.0, self._due - now) * (self._rate or 0.0)
            if self._due > now:
                self._due = now + (owed / rate if rate else 0.0)
            self._rate = rate

    def take(self, count: int, priority: int | Callable[[], int], is_stopped: Callable[[], bool]) -> None:
        """Return when `count` bytes more may have come, or as soon as `is_stopped`.

        Args:
            priority: higher is served first; a function that gives it is asked again and again while this waits.
        """
        if self.rate is None:
            return
        ask = priority if callable(priority) else lambda: priority
        level = ask()
        with self._lock:
            self._waiting[level] += 1
        try:
            while not is_stopped() and (seconds := self._take(count, level)) > 0:
                self._wait(min(seconds, _SLICE_S))
                level = self._moved(level, ask())
        finally:
            with self._lock:
                self._waiting[level] -= 1

    def _moved(self, level: int, wanted: int) -> int:
        """One that waits does so with another priority from now on."""
        if wanted != level:
            with self._lock:
                self._waiting[level] -= 1
                self._waiting[wanted] += 1
        return wanted

    def _take(self, count: int, priority: int) -> float:
        """Seconds to wait before asking again; 0: taken."""
        with self._lock:
            rate = self._rate
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

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CONNECTIONS.forget)
    os.register_at_fork(after_in_child=BANDWIDTH.forget)


def put_in_force(config: RecoveryConfig, before: RecoveryConfig = DEFAULT_CONFIG) -> None:
    """Have the limits of this process follow the settings, at once and for downloads that run already.

    A lower number of connections ends none that is there; it counts when one more is wanted.

    Args:
        before: the settings so far. What is the same in both is left as it is, since a call may have set it meanwhile.
    """
    if config.bandwidth_limit != before.bandwidth_limit:
        BANDWIDTH.rate = config.bandwidth_limit
    if config.connections_per_host != before.connections_per_host:
        CONNECTIONS.per_host = config.connections_per_host
    if config.connections_in_all != before.connections_in_all:
        CONNECTIONS.in_all = config.connections_in_all
