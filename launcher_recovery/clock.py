"""Time as the engine sees it: one object that is passed in, so that tests need not wait."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import datetime, timezone


class Wake:
    """A latch that ends waits at once, from any thread, for a waiting thread or an event loop.

    Works like `threading.Event`, plus `wait_async`; setting it is remembered until `clear`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def set(self) -> None:
        """End the current wait, or the next one."""
        with self._lock:
            self._event.set()
            if self._waiter is not None:
                loop, event = self._waiter
                loop.call_soon_threadsafe(event.set)

    def clear(self) -> None:
        """Forget earlier calls of `set`."""
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float | None) -> bool:
        """Block until `set` (True) or until `seconds` are over (False)."""
        return self._event.wait(seconds)

    async def wait_async(self, seconds: float | None) -> bool:
        """Like `wait`, for the running event loop."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            if self._event.is_set():
                return True
            self._waiter = waiter
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        finally:
            with self._lock:
                # A wait that was cancelled ends some turns of the loop later, when another may have begun.
                if self._waiter is waiter:
                    self._waiter = None
        return True


class Clock:
    """The real clock."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start."""
        return time.monotonic()

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        """Block for `seconds` (None: without end), less when `wake` is set; True when it was."""
        return wake.wait(seconds)

    async def wait_async(self, wake: Wake, seconds: float | None) -> bool:
        """Like `wait`, without blocking the event loop."""
        return await wake.wait_async(seconds)


def to_datetime(seconds: float) -> datetime:
    """An aware UTC datetime for seconds since the epoch."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def time_ordered_id(seconds: float) -> str:
    """A new identifier, 32 hexadecimal digits, that sorts behind those of earlier moments (since the epoch).

    A UUID of version 7 (RFC 9562, section 5.7, with a finer time by method 3 of section 6.2): an index of them grows at
    its end, where random ones would change a page anywhere in it.
    """
    milliseconds, finer = divmod(int(seconds * 1000 * 4096), 4096)
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    return f"{(milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | finer << 64 | 2 << 62 | chance:032x}"


def to_iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with microseconds, as the API and the events carry it."""
    return None if moment is None else moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
