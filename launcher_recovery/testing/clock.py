"""A clock that does not wait."""

from __future__ import annotations

import asyncio
import threading

from launcher_recovery.clock import Clock, Wake


class VirtualClock(Clock):
    """A clock that stands still, and jumps ahead when somebody waits on it.

    `slept` is what was waited for so far, in seconds; a wait without end really waits to be woken.

    Args:
        start: seconds since the epoch at the beginning.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.slept = 0.0

    def time(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._elapsed += seconds

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        if seconds is None or wake.is_set():
            return wake.wait(seconds)
        self._jump(seconds)
        return False

    async def wait_async(self, wake: Wake, seconds: float | None) -> bool:
        if seconds is None or wake.is_set():
            return await wake.wait_async(seconds)
        # Whatever can go on without time passing goes first.
        for _ in range(10):
            await asyncio.sleep(0)
            if wake.is_set():
                return True
        self._jump(seconds)
        return False

    def _jump(self, seconds: float) -> None:
        self.advance(seconds)
        with self._lock:
            self.slept += seconds
