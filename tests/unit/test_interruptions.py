"""What ends a call from outside, and errors that are odd themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from launcher_recovery import CircuitBreaker, CircuitBreakerOpenError, RecoveryConfigError, RecoveryState, recoverable
from launcher_recovery.classification import ErrorCategory, ErrorClassifier
from launcher_recovery.handles import handles_of
from launcher_recovery.persistence.base import Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData
from launcher_recovery.strategies import ExponentialBackoffStrategy, FixedDelayStrategy
from launcher_recovery.threads import in_thread
from tests.support import wait_for
from tests.unit.kit import Kit, says

S = RecoveryState


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raiser(*errors: BaseException) -> Callable[[], str]:
    left = list(errors)

    def handler() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return handler


def test_an_error_that_is_its_own_cause(kit: Kit) -> None:
    """It is retried and raised as any other."""
    error = ConnectionError("gone")
    error.__cause__ = error
    with pytest.raises(ConnectionError):
        kit.run(raiser(*[error] * 4), Policy())
    assert kit.now.attempt == 4


def test_stop_iteration_stays_what_it_is(kit: Kit) -> None:
    """A StopIteration from a handler is retried and raised like any error, not turned into a RuntimeError."""
    errors = [StopIteration(number) for number in range(4)]
    with pytest.raises(StopIteration) as caught:
        kit.run(raiser(*errors))
    assert caught.value is errors[3]
    assert kit.run(raiser(StopIteration())) == "done"


def test_error_that_cannot_be_read(kit: Kit) -> None:
    """An exception whose `__str__` raises is retried as an unknown one, kept by its type, and raised at the end."""
    error = Mute()
    with pytest.raises(Mute):
        kit.run(raiser(*[error] * 4), Policy(classify=ErrorClassifier().classify))
    assert (kit.now.state, kit.now.attempt) == (RecoveryState.EXHAUSTED, 4)
    assert "Mute" in str(kit.now.error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_end_of_the_process_gives_the_operation_back(kit: Kit, error: BaseException) -> None:
    """KeyboardInterrupt and SystemExit leave the operation pending and without owner; the probe's place is free."""
    breaker = CircuitBreaker(1, 10, clock=kit.clock)
    breaker.failure()
    kit.clock.advance(10)
    with pytest.raises(type(error)):
        kit.run(raiser(error), Policy(breaker=breaker))
    assert (kit.now.state, kit.now.owner, kit.attempts[0].outcome) == (RecoveryState.PENDING, None, "interrupted")
    assert breaker.acquire() == 0


async def test_cancelling_one_that_only_joined(kit: Kit) -> None:
    """A task that joined an operation and is cancelled leaves it to those that run it."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await go.wait()
        return "done"

    data = kit.open(key="k")
    first = asyncio.ensure_future(kit.engine.run_async(data, Policy(), work))
    await begun.wait()
    second = asyncio.ensure_future(kit.engine.run_async(kit.open(key="k"), Policy(), work))
    while kit.lifecycle._handles.count(data.operation_id) < 2:
        await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert kit.record(data.operation_id).state is RecoveryState.IN_PROGRESS
    go.set()
    assert await first == "done"


def test_waiting_for_a_breaker_ends_at_the_deadline(kit: Kit) -> None:
    """An open breaker is not waited for beyond the deadline."""
    breaker = CircuitBreaker(1, 1000, clock=kit.clock)
    breaker.failure()
    with pytest.raises(CircuitBreakerOpenError):
        kit.run(lambda: "never", Policy(breaker=breaker, wait_for_breaker=True, deadline=60))
    assert (kit.now.state, kit.clock.slept) == (RecoveryState.EXHAUSTED, 0)


def test_policies_by_category(kit: Kit) -> None:
    """A category may have its own patience, or none; others keep to the policy around it."""
    patient = Policy(max_attempts=9, strategy=FixedDelayStrategy(5))
    policies = {ErrorCategory.RATE_LIMIT: patient, ErrorCategory.NETWORK: None}
    policy = Policy(max_attempts=2, classify=says(ErrorCategory.RATE_LIMIT), policies=policies)
    assert kit.run(raiser(*[ConnectionError()] * 8), policy) == "done"
    assert (kit.now.attempt, kit.clock.slept) == (9, 40)
    with pytest.raises(ConnectionError):
        kit.run(raiser(ConnectionError()), Policy(classify=says(ErrorCategory.NETWORK), policies=policies))
    assert (kit.now.state, kit.now.attempt) == (RecoveryState.FAILED, 1)


def test_decorrelated_jitter(kit: Kit) -> None:
    """Each wait lies between the first one and three times the one before, below the limit."""
    strategy = ExponentialBackoffStrategy(2, 2, 50, jitter="decorrelated")
    with pytest.raises(ConnectionError):
        kit.run(raiser(*[ConnectionError()] * 30), Policy(max_attempts=30, strategy=strategy, classify=says()))
    before = 2.0
    for attempt in kit.attempts[:-1]:
        assert attempt.delay_s is not None
        assert 2 <= attempt.delay_s <= min(50, 3 * before)
        before = attempt.delay_s
    assert all(2 <= strategy.calculate_delay(number) <= 50 for number in (1, 2, 500))
    with pytest.raises(RecoveryConfigError, match="jitter='some'"):
        ExponentialBackoffStrategy(jitter="some")


def entering(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[], Any], threading.Event, threading.Event]:
    """A coroutine function that begins, an event set when its record is about to be entered, and one that lets it."""
    is_there, go = threading.Event(), threading.Event()
    insert = store.insert

    def slowly(data: RecoveryData) -> Any:
        is_there.set()
        assert go.wait(20)
        return insert(data)

    monkeypatch.setattr(store, "insert", slowly)

    @recoverable(persistence=store)
    async def work() -> None:
        pytest.fail("it ran")

    return work, is_there, go


async def test_cancelled_while_it_is_entered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is cancelled while another thread enters its operation leaves it cancelled, and no handle."""
    work, is_there, go = entering(store, monkeypatch)
    task = asyncio.ensure_future(work())
    await asyncio.to_thread(is_there.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await asyncio.to_thread(wait_for, lambda: [data.state for data in store.find()] == [S.CANCELLED])
    [data] = store.find()
    await asyncio.to_thread(wait_for, lambda: data.operation_id not in handles_of(store))


async def test_cancelled_right_after_it_was_entered(store: Store) -> None:
    """What came in the meantime is undone by whoever is cancelled."""
    undone: list[int] = []
    done = threading.Event()

    def enter() -> int:
        done.set()
        return 1

    task = asyncio.ensure_future(in_thread(enter, undone.append))
    await asyncio.sleep(0)
    assert done.wait(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_for, lambda: undone == [1])
