"""The circuit breaker: when it opens, whom it lets through, and when it closes."""

from __future__ import annotations

import threading

import pytest

from launcher_recovery import CircuitBreaker, CircuitState
from launcher_recovery.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def breaker(clock: VirtualClock, changes: list[str]) -> CircuitBreaker:
    return CircuitBreaker(
        3, 60, scope="host", operation_type="download", clock=clock, on_change=lambda b: changes.append(b.state.value)
    )


def open_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        breaker.failure()


def test_starts_closed(breaker: CircuitBreaker, changes: list[str]) -> None:
    """A new breaker lets every call through."""
    assert breaker.state is CircuitState.CLOSED
    assert (breaker.acquire(), breaker.is_open(), breaker.timeout_remaining, breaker.failure_count) == (0, False, 0, 0)
    assert (breaker.scope, breaker.operation_type, breaker.last_failure_time) == ("host", "download", None)
    assert changes == []


def test_opens_at_the_threshold(breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]) -> None:
    """It opens with the failure that reaches the threshold, not before, and says so once."""
    breaker.failure()
    breaker.failure()
    assert (breaker.state, breaker.acquire()) == (CircuitState.CLOSED, 0)
    clock.advance(5)
    breaker.failure()
    breaker.failure()
    assert (breaker.state, breaker.failure_count, breaker.acquire()) == (CircuitState.OPEN, 4, 60)
    assert breaker.is_open()
    assert breaker.last_failure_time == clock.time()
    assert changes == ["open"]


def test_success_resets_the_count(breaker: CircuitBreaker, changes: list[str]) -> None:
    """Only failures in a row count."""
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        breaker.success()
    assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 0)
    assert changes == []


def test_holds_back_until_its_time(breaker: CircuitBreaker, clock: VirtualClock) -> None:
    """While open it says how many seconds remain."""
    open_it(breaker)
    clock.advance(59)
    assert (breaker.acquire(), breaker.timeout_remaining, breaker.is_open()) == (1, 1, True)
    clock.advance(1)
    assert (breaker.timeout_remaining, breaker.is_open()) == (0, False)


def test_lets_one_probe_through(breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]) -> None:
    """After its time exactly one of many calls may go."""
    open_it(breaker)
    clock.advance(60)
    barrier = threading.Barrier(8)
    waits: list[float] = []

    def call() -> None:
        barrier.wait(10)
        waits.append(breaker.acquire())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(waits) == [0] + [60] * 7
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.is_open()
    assert changes == ["open", "half_open"]


def test_probe_that_works_closes(breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]) -> None:
    """A successful probe closes the breaker and forgets the failures."""
    open_it(breaker)
    clock.advance(60)
    breaker.acquire()
    breaker.success()
    assert (breaker.state, breaker.failure_count, breaker.acquire()) == (CircuitState.CLOSED, 0, 0)
    assert changes == ["open", "half_open", "closed"]


def test_probe_that_fails_opens_for_the_whole_time(
    breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]
) -> None:
    """A failed probe holds everybody back for the whole time again."""
    open_it(breaker)
    clock.advance(60)
    breaker.acquire()
    clock.advance(10)
    breaker.failure()
    assert (breaker.state, breaker.acquire()) == (CircuitState.OPEN, 60)
    assert changes == ["open", "half_open", "open"]


def test_probe_that_says_nothing_is_given_to_another(
    breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]
) -> None:
    """A probe that was cancelled lets the next call be the probe, at once."""
    open_it(breaker)
    clock.advance(60)
    breaker.acquire()
    breaker.release()
    assert breaker.state is CircuitState.OPEN
    assert not breaker.is_open()
    assert breaker.acquire() == 0
    assert changes == ["open", "half_open", "open", "half_open"]


def test_release_of_an_ordinary_call_changes_nothing(breaker: CircuitBreaker, changes: list[str]) -> None:
    """Releasing while closed or open leaves state, count and time as they are."""
    breaker.failure()
    breaker.release()
    assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 1)
    open_it(breaker)
    breaker.release()
    assert (breaker.state, breaker.acquire()) == (CircuitState.OPEN, 60)
    assert changes == ["open"]


def test_probe_that_never_reports_is_replaced(breaker: CircuitBreaker, clock: VirtualClock, changes: list[str]) -> None:
    """When the probe's process died, another probe goes after one more timeout."""
    open_it(breaker)
    clock.advance(60)
    breaker.acquire()
    clock.advance(59)
    assert breaker.acquire() == 1
    clock.advance(1)
    assert breaker.acquire() == 0
    assert breaker.state is CircuitState.HALF_OPEN
    assert changes == ["open", "half_open"]


def test_without_observer_and_with_real_clock() -> None:
    """The defaults work: five failures, 300 seconds, nobody told."""
    breaker = CircuitBreaker()
    for _ in range(5):
        assert breaker.acquire() == 0
        breaker.failure()
    assert 299 < breaker.acquire() <= 300
    breaker.success()
    assert breaker.acquire() == 0
