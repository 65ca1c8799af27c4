"""Waits that can be ended, from threads and event loops, in real and in virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from launcher_recovery.clock import Clock, Wake, time_ordered_id, to_datetime, to_iso
from launcher_recovery.testing import VirtualClock


def test_wake_ends_a_waiting_thread() -> None:
    """A thread that waits without end goes on when it is woken."""
    wake, results = Wake(), []
    thread = threading.Thread(target=lambda: results.append(Clock().wait(wake, None)))
    thread.start()
    wake.set()
    thread.join(10)
    assert results == [True]


def test_wake_is_remembered_until_cleared() -> None:
    """Waking before the wait ends the wait at once; after `clear` the time runs out."""
    wake = Wake()
    wake.set()
    assert wake.is_set()
    assert wake.wait(None)
    wake.clear()
    assert not wake.is_set()
    assert not Clock().wait(wake, 0)


async def test_wake_ends_a_waiting_task_from_a_thread() -> None:
    """A task that waits without end goes on when another thread wakes it; the wake is remembered."""
    wake = Wake()
    task = asyncio.ensure_future(Clock().wait_async(wake, None))
    await asyncio.sleep(0)
    await asyncio.to_thread(wake.set)
    assert await task
    assert await wake.wait_async(None)
    wake.clear()
    assert not await Clock().wait_async(wake, 0)


async def test_cancelled_wait_does_not_end_the_next() -> None:
    """A wait that was cancelled and unwinds late leaves the one that began meanwhile able to be woken."""
    wake = Wake()
    first = asyncio.ensure_future(wake.wait_async(60))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.ensure_future(wake.wait_async(60))
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    wake.set()
    assert await asyncio.wait_for(second, 10)


def test_real_clock_is_the_system_s() -> None:
    """The real clock gives the system's time and one that never runs back."""
    clock = Clock()
    assert abs(clock.time() - time.time()) < 60
    assert clock.monotonic() <= clock.monotonic()


def test_virtual_clock_jumps_instead_of_waiting() -> None:
    """A wait in virtual time lets the time pass at once, and counts it."""
    clock, wake = VirtualClock(1000), Wake()
    assert not clock.wait(wake, 86400)
    assert (clock.time(), clock.monotonic(), clock.slept) == (87400, 86400, 86400)
    clock.advance(10)
    assert (clock.time(), clock.slept) == (87410, 86400)
    wake.set()
    assert clock.wait(wake, 86400)
    assert clock.wait(wake, None)
    assert clock.slept == 86400


async def test_virtual_clock_lets_others_go_first() -> None:
    """In an event loop, virtual time passes only when nothing else can go on; a wake prevents it."""
    clock, wake = VirtualClock(), Wake()
    assert not await clock.wait_async(wake, 5)
    assert clock.slept == 5
    asyncio.get_running_loop().call_soon(wake.set)
    assert await clock.wait_async(wake, 5)
    assert await clock.wait_async(wake, 5)
    assert await clock.wait_async(wake, None)
    assert clock.slept == 5


@pytest.mark.parametrize("seconds", [0, 1_800_000_000, 1_800_000_000.123456])
def test_moments(seconds: float) -> None:
    """Seconds since the epoch become aware UTC moments and ISO text with microseconds."""
    moment = to_datetime(seconds)
    assert moment.tzinfo is timezone.utc
    assert moment.timestamp() == seconds


def test_iso() -> None:
    """Moments of any zone are written in UTC; None stays None."""
    moment = datetime(2026, 11, 23, 1, 46, 31, 123456, timezone(timedelta(hours=2)))
    assert to_iso(moment) == "2026-11-22T23:46:31.123456+00:00"
    assert to_iso(datetime(2026, 1, 1, tzinfo=timezone.utc)) == "2026-01-01T00:00:00.000000+00:00"
    assert to_iso(None) is None


def test_identifiers_sort_by_their_time() -> None:
    """Identifiers are UUIDs of version 7: later ones sort behind, and those of one moment differ."""
    moments = [0.0, 1.5, 1_795_000_000.0, 1_795_000_000.000001, 1_795_000_000.5, 4_000_000_000.0]
    made = [time_ordered_id(moment) for moment in moments]
    assert made == sorted(made)
    known = [uuid.UUID(hex=one) for one in made]
    assert {one.version for one in known} == {7}
    assert {one.variant for one in known} == {uuid.RFC_4122}
    assert [one.int >> 80 for one in known] == [int(moment * 1000) for moment in moments]
    assert len({time_ordered_id(1.0) for _ in range(1000)}) == 1000
