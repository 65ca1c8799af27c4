"""The attempt loop: every decision, with plain functions and with coroutines, in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    OperationCancelled,
    RecoveryExhaustedError,
    RecoveryStateError,
    RecoveryTimeoutError,
    StoredError,
)
from launcher_recovery.admission import Admission
from launcher_recovery.classification import ErrorCategory, Retry
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.persistence import MemoryPersistence, SQLitePersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.signals import Event, recovery_updated
from launcher_recovery.strategies import FixedDelayStrategy, Strategy
from tests.unit.kit import Kit, says

S = RecoveryState
Handler = Callable[[], Any]
Drive = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest, kit: Kit) -> Drive:
    """Runs a plain handler under a policy, by each of the two drivers in turn."""

    async def run(handler: Handler, policy: Policy | None = None, **given: Any) -> Any:
        if request.param == "sync":
            return kit.run(handler, policy, **given)

        async def coroutine() -> Any:
            return handler()

        return await kit.run_async(coroutine, policy, **given)

    return run


def script(*items: Any) -> Handler:
    """A handler that raises or returns one item after the other."""
    rest = iter(items)

    def handler() -> Any:
        item = next(rest)
        if isinstance(item, BaseException):
            raise item
        return item

    return handler


def here() -> Operation:
    operation = current_operation()
    assert operation is not None
    return operation


def notes_of(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def outcomes(kit: Kit) -> list[str | None]:
    return [item.outcome for item in kit.attempts]


# -- results and errors -------------------------------------------------------------------------------


async def test_success(kit: Kit, drive: Drive) -> None:
    """What works the first time is one attempt, without any wait."""
    assert await drive(lambda: {"a": 1}) == {"a": 1}
    assert (kit.now.state, kit.now.result, kit.now.attempt, kit.now.owner) == (S.SUCCESS, {"a": 1}, 1, None)
    assert outcomes(kit) == ["success"]
    assert kit.clock.slept == 0
    assert [item[0] for item in kit.observed] == ["attempt_started", "attempt_finished", "settled"]
    assert not kit.lifecycle.is_live(kit.data.operation_id)


async def test_retries_until_it_works(kit: Kit, drive: Drive) -> None:
    """Errors that are worth it are retried after growing waits, in the states that the design says."""
    assert await drive(script(ConnectionError("1"), TimeoutError("2"), "done")) == "done"
    assert outcomes(kit) == ["failed", "failed", "success"]
    assert [item.delay_s for item in kit.attempts] == [1, 2, None]
    assert kit.clock.slept == 3
    states = [event.payload["state"] for event in kit.events() if event.name == "recovery_update"]
    assert " ".join(states) == "pending in_progress recovering in_progress recovering in_progress success"
    updates = [event for event in kit.events() if event.name == "recovery_update"]
    assert [event.payload["attempt"] for event in updates] == [
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]


async def test_gives_up_with_the_original_error(kit: Kit, drive: Drive) -> None:
    """After the last attempt the very exception of the handler is raised, with a note on the attempts."""
    errors = [ConnectionError(str(number)) for number in range(4)]
    with pytest.raises(ConnectionError) as caught:
        await drive(script(*errors))
    assert caught.value is errors[3]
    note = f"launcher-recovery: gave up after 4 attempts and 7 s of waiting (operation {kit.data.operation_id})"
    assert notes_of(errors[3]) == [note]
    assert notes_of(errors[0]) == []
    assert (kit.now.state, kit.now.attempt, kit.clock.slept) == (S.EXHAUSTED, 4, 7)
    assert outcomes(kit) == ["failed", "failed", "failed", "exhausted"]
    assert [item[0] for item in kit.observed].count("settled") == 1
    assert kit.observed[-1][2] is errors[3]


async def test_what_would_not_help_fails_at_once(kit: Kit, drive: Drive) -> None:
    """A validation error is not retried."""
    with pytest.raises(ValueError, match="bad") as caught:
        await drive(script(ValueError("bad")))
    assert (kit.now.state, kit.now.category, kit.now.fix) == (S.FAILED, "validation", "fix_workflow")
    assert "gave up after 1 attempt (" in notes_of(caught.value)[0]


async def test_exhausted_error_on_request(kit: Kit, drive: Drive) -> None:
    """With `raise_original=False` our own error is raised, caused by the original."""
    error = ConnectionError("gone")
    with pytest.raises(RecoveryExhaustedError, match="model failed after 2 attempts: gone") as caught:
        await drive(script(ConnectionError("x"), error), Policy(max_attempts=2, raise_original=False), title="model")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("delay", "told"),
    [(0.0, ""), (0.004, ""), (0.25, " and 0.25 s of waiting"), (1234.5678, " and 1235 s of waiting")],
)
async def test_note_on_waits(kit: Kit, drive: Drive, delay: float, told: str) -> None:
    """The note has the seconds in three digits or all that there are before the point; no wait is not worth a word."""
    error = ConnectionError("gone")
    with pytest.raises(ConnectionError):
        await drive(script(error, error), Policy(max_attempts=2, strategy=FixedDelayStrategy(delay)))
    assert notes_of(error) == [f"launcher-recovery: gave up after 2 attempts{told} (operation {kit.data.operation_id})"]


async def test_errors_that_take_no_note_are_raised_all_the_same(drive: Drive) -> None:
    """An exception that refuses attributes is raised as it is."""

    class Closed(ValueError):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    error = Closed("bad")
    with pytest.raises(Closed) as caught:
        await drive(script(error))
    assert caught.value is error


async def test_unknown_errors(kit: Kit, drive: Drive) -> None:
    """An error that no rule knows is retried as often as any; under `unknown_attempts=2` only once."""

    class Odd(Exception):
        pass

    with pytest.raises(Odd):
        await drive(script(*[Odd()] * 4))
    assert kit.now.attempt == 4
    with pytest.raises(Odd):
        await drive(script(*[Odd()] * 4), Policy(max_attempts=8, unknown_attempts=2))
    assert (kit.now.attempt, kit.now.max_attempts, kit.now.category) == (2, 2, "unknown")


async def test_same_exception_object_in_two_calls(kit: Kit, drive: Drive) -> None:
    """That an earlier call gave up on an exception object does not keep a later call from retrying it."""
    error = ConnectionError("a mock raises the same one")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await drive(script(*[error] * 4))
        assert kit.now.attempt == 4


async def test_strategy_is_asked(kit: Kit, drive: Drive) -> None:
    """A strategy that overrides `should_retry` may go by the history of the operation."""

    class Twice(Strategy):
        def calculate_delay(self, attempt: int) -> float:
            return 0.5

        def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
            return attempt < 2

    with pytest.raises(ValueError, match="b"):
        await drive(script(ValueError("a"), ValueError("b")), Policy(strategy=Twice()))
    assert (kit.now.state, kit.clock.slept) == (S.FAILED, 0.5)


# -- progress -----------------------------------------------------------------------------------------


async def test_eight_fruitless_attempts_end_it_but_progress_resets_the_count(kit: Kit, drive: Drive) -> None:
    """Only attempts in a row that moved nothing count; one that got further than ever starts the count anew."""
    moved = iter([1, 1, 1, 2, 2, 2, 2])  # what each attempt reaches
    policy = Policy(max_attempts=3, strategy=FixedDelayStrategy(1), classify=says())

    def handler() -> None:
        here().progress(next(moved))
        raise ConnectionError("gone")

    seen = []

    def receiver(sender: object, event: Event) -> None:
        if event.payload["state"] == "recovering":
            seen.append(kit.now.fruitless)

    with recovery_updated.connected_to(receiver, kit.lifecycle), pytest.raises(ConnectionError):
        await drive(handler, policy)
    # Moved, fruitless, fruitless, moved, fruitless, fruitless, and then the third in a row.
    assert seen == [0, 1, 2, 0, 1, 2]
    assert (kit.now.attempt, kit.now.fruitless) == (7, 3)


async def test_fruitless_attempts_in_a_row(kit: Kit, drive: Drive) -> None:
    """Eight attempts without any progress are the end; the maximum shown moves along with progress."""
    policy = Policy(max_attempts=8, strategy=FixedDelayStrategy(1), classify=says())
    with pytest.raises(ConnectionError):
        await drive(script(*[ConnectionError()] * 8), policy)
    assert (kit.now.attempt, kit.now.max_attempts, kit.now.fruitless) == (8, 8, 8)

    def handler() -> None:
        if here().attempt <= 20:
            here().progress(here().attempt)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await drive(handler, policy)
    assert (kit.now.attempt, kit.now.max_attempts, kit.now.watermark) == (28, 28, 20)


def test_crash_does_not_count(kit: Kit) -> None:
    """Attempts that died with their process do not use up the allowance."""
    data = kit.open()
    for _ in range(10):
        kit.lifecycle.begin_attempt(data.operation_id, 4)
        kit.lifecycle.release_orphans({"me"})
    kit.data = data
    with pytest.raises(ConnectionError):
        kit.engine.run(data, Policy(), script(*[ConnectionError()] * 4))
    assert (kit.now.attempt, kit.now.max_attempts) == (14, 14)


# -- waits --------------------------------------------------------------------------------------------


async def test_retry_after_is_waited_for(kit: Kit, drive: Drive) -> None:
    """A wait that the server asked for is kept to, and is named as the reason."""
    seen = []

    def receiver(sender: object, event: Event) -> None:
        if event.payload["state"] == "recovering":
            seen.append((event.payload["waiting_for"], kit.now.next_attempt_at))

    begun = kit.clock.time()
    with recovery_updated.connected_to(receiver, kit.lifecycle):
        await drive(script(ConnectionError(), 1), Policy(classify=says(wait_s=77)))
    [(waiting_for, due)] = seen
    assert (waiting_for, due.timestamp() - begun, kit.clock.slept) == ("retry_after", 77, 77)


async def test_deadline_ends_the_waiting(kit: Kit, drive: Drive) -> None:
    """No attempt begins after the deadline: 10 + 10 seconds fit into 25, the third wait does not."""
    policy = Policy(max_attempts=100, strategy=FixedDelayStrategy(10), deadline=25)
    with pytest.raises(ConnectionError):
        await drive(script(*[ConnectionError()] * 100), policy)
    assert (kit.now.state, kit.now.attempt, kit.clock.slept) == (S.EXHAUSTED, 3, 20)


async def test_deadline_counts_from_the_last_retry_by_a_person(kit: Kit, drive: Drive) -> None:
    """After a person began it again, an operation has its whole deadline again."""
    policy = Policy(max_attempts=100, strategy=FixedDelayStrategy(10), deadline=25)
    with pytest.raises(ConnectionError):
        await drive(script(*[ConnectionError()] * 3), policy, key="k")
    kit.clock.advance(1000)
    with pytest.raises(ConnectionError):
        await drive(script(*[ConnectionError()] * 3), policy, key="k", revive=True)
    assert kit.now.attempt == 6


class Interrupting(Clock):
    """Virtual time in which something happens when the wait number `when` begins."""

    def __init__(self, kit: Kit, when: int, what: Callable[[], Any]) -> None:
        self.inner, self.when, self.what, self.waits = kit.clock, when, what, 0

    def time(self) -> float:
        return self.inner.time()

    def monotonic(self) -> float:
        return self.inner.monotonic()

    def _begin(self) -> None:
        self.waits += 1
        if self.waits == self.when:
            self.what()

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        self._begin()
        return self.inner.wait(wake, seconds)

    async def wait_async(self, wake: Wake, seconds: float | None) -> bool:
        # Waits without end are those beside a coroutine that runs.
        if seconds is not None:
            self._begin()
        return await self.inner.wait_async(wake, seconds)


async def test_cancel_in_the_middle_of_a_wait(kit: Kit, drive: Drive) -> None:
    """A cancel ends the wait at once, and the call."""
    kit.engine.clock = Interrupting(kit, 3, lambda: kit.lifecycle.cancel(kit.data.operation_id))
    with pytest.raises(OperationCancelled, match="model was cancelled") as caught:
        await drive(script(ConnectionError()), Policy(strategy=FixedDelayStrategy(100)), title="model")
    assert notes_of(caught.value) == []
    assert (kit.now.state, kit.clock.slept) == (S.CANCELLED, 2)


async def test_retry_now_in_the_middle_of_a_wait(kit: Kit, drive: Drive) -> None:
    """Retry now ends the wait at once, and the next attempt begins."""
    kit.engine.clock = Interrupting(kit, 3, lambda: kit.lifecycle.retry(kit.data.operation_id))
    assert await drive(script(ConnectionError(), "done"), Policy(strategy=FixedDelayStrategy(100))) == "done"
    assert kit.clock.slept == 2


async def test_pause_and_resume_in_the_middle_of_a_wait(kit: Kit, drive: Drive) -> None:
    """While paused nothing is tried; after a resume the next attempt begins at once."""
    clock = Interrupting(kit, 2, lambda: kit.lifecycle.pause(kit.data.operation_id))
    kit.engine.clock = clock
    attempts = []

    def handler() -> str:
        attempts.append(clock.waits)
        if len(attempts) == 1:
            raise ConnectionError
        return "done"

    def resume() -> None:
        assert kit.now.state is S.PAUSED
        kit.lifecycle.resume(kit.data.operation_id)

    def pause() -> None:
        kit.lifecycle.pause(kit.data.operation_id)
        clock.when, clock.what = 50, resume

    clock.what = pause
    assert await drive(handler, Policy(strategy=FixedDelayStrategy(5))) == "done"
    assert attempts == [0, 50]
    assert outcomes(kit) == ["failed", "success"]


async def test_ended_elsewhere_in_the_middle_of_a_wait(kit: Kit, drive: Drive) -> None:
    """A waiting call whose operation another process finished, which took this one for dead, gets that result."""

    def elsewhere() -> None:
        other = Lifecycle(kit.store, owner_id="other", clock=kit.clock)
        other.release_orphans({"me"})
        live = Operation(other.begin_attempt(kit.data.operation_id, 4), other, kit.clock)
        other.succeed(live, "from elsewhere")

    kit.engine.clock = Interrupting(kit, 2, elsewhere)
    assert await drive(script(ConnectionError()), Policy(strategy=FixedDelayStrategy(100))) == "from elsewhere"


async def test_deleted_in_the_middle_of_a_wait(kit: Kit, drive: Drive) -> None:
    """A call whose record was deleted says so."""
    kit.engine.clock = Interrupting(kit, 2, lambda: kit.store._forget({kit.data.operation_id}))
    with pytest.raises(RecoveryStateError, match="model was deleted from the store"):
        await drive(script(ConnectionError()), title="model")


# -- in the middle of an attempt ----------------------------------------------------------------------


async def test_cancel_in_the_middle_of_an_attempt(kit: Kit, drive: Drive) -> None:
    """A handler that checks unwinds when it is cancelled, and the call says so."""
    reached = []

    def handler() -> None:
        here().check()
        kit.lifecycle.cancel(here().operation_id)
        reached.append("before")
        here().check()
        reached.append("after")

    with pytest.raises(OperationCancelled):
        await drive(handler)
    assert reached == ["before"]
    assert (kit.now.state, outcomes(kit)) == (S.CANCELLED, ["cancelled"])
    assert [item[0] for item in kit.observed] == ["attempt_started", "attempt_finished"]


async def test_cancel_right_at_the_claim_is_heard(kit: Kit, drive: Drive) -> None:
    """A cancel between the claim and the handler's first line is noticed by its first check."""

    def receiver(sender: object, event: Event) -> None:
        if event.payload["state"] == "in_progress":
            kit.lifecycle.cancel(event.payload["operation_id"])

    reached = []

    def handler() -> None:
        here().check()
        reached.append("after")

    with recovery_updated.connected_to(receiver, kit.lifecycle), pytest.raises(OperationCancelled):
        await drive(handler)
    assert reached == []


async def test_cancel_by_another_lifecycle_is_heard(kit: Kit, drive: Drive) -> None:
    """A cancel through another lifecycle of the same store, such as the API's, reaches the running handler."""
    other = Lifecycle(kit.store, owner_id="me", clock=kit.clock)

    def handler() -> None:
        other.cancel(here().operation_id)
        here().check()
        pytest.fail("it went on")

    with pytest.raises(OperationCancelled):
        await drive(handler)


async def test_pause_in_the_middle_of_an_attempt(kit: Kit, drive: Drive) -> None:
    """A paused handler unwinds; after the resume it is called again, and the pause uses up nothing."""
    calls = []

    def handler() -> str:
        calls.append(here().attempt)
        if len(calls) == 1:
            kit.lifecycle.pause(here().operation_id)
            here().check()
        return "done"

    kit.engine.clock = Interrupting(kit, 3, lambda: kit.lifecycle.resume(kit.data.operation_id))
    assert await drive(handler, Policy(max_attempts=1)) == "done"
    assert calls == [1, 2]
    assert outcomes(kit) == ["paused", "success"]
    assert kit.now.fruitless == 0


@pytest.mark.parametrize("result", ["late", ConnectionError("late")])
async def test_late_result_of_a_cancelled_operation_is_void(kit: Kit, drive: Drive, result: Any) -> None:
    """What a handler returns or raises after the cancel is discarded, whether or not it checked."""

    def handler() -> Any:
        kit.lifecycle.cancel(here().operation_id)
        return script(result)()

    with pytest.raises(OperationCancelled):
        await drive(handler)
    assert (kit.now.state, kit.now.result, kit.now.error, outcomes(kit)) == (S.CANCELLED, None, None, ["cancelled"])
    assert "settled" not in [item[0] for item in kit.observed]


@pytest.mark.parametrize("result", ["late", ConnectionError("late")])
async def test_late_result_of_a_paused_operation_is_void(kit: Kit, drive: Drive, result: Any) -> None:
    """What a handler returns or raises after the pause is discarded; after the resume it runs again."""
    calls = []

    def handler() -> Any:
        calls.append(1)
        if len(calls) == 1:
            kit.lifecycle.pause(here().operation_id)
            return script(result)()
        return "again"

    kit.engine.clock = Interrupting(kit, 2, lambda: kit.lifecycle.resume(kit.data.operation_id))
    assert await drive(handler) == "again"
    assert outcomes(kit) == ["paused", "success"]


async def test_taken_over_in_the_middle_of_an_attempt(kit: Kit, drive: Drive) -> None:
    """When another process took it over, the handler unwinds at its check, and the call joins the other's result."""

    def handler() -> None:
        operation = here()
        other = Lifecycle(kit.store, owner_id="other", clock=kit.clock)
        kit.lifecycle.release_orphans({"me"})
        live = Operation(other.begin_attempt(operation.operation_id, 4), other, kit.clock)
        kit.lifecycle.notify(operation.operation_id)
        try:
            operation.check()
        finally:
            other.succeed(live, "theirs")

    assert await drive(handler) == "theirs"
    assert outcomes(kit) == ["interrupted", "success"]


# -- timeouts -----------------------------------------------------------------------------------------


async def test_timeout_at_a_check(kit: Kit, drive: Drive) -> None:
    """A handler that takes longer than its timeout is ended at its next check, and retried."""

    def handler() -> str:
        if here().attempt == 1:
            kit.clock.advance(5)
            here().check()
            pytest.fail("it went on")
        here().check()
        return "done"

    assert await drive(handler, Policy(timeout=5)) == "done"
    assert outcomes(kit) == ["failed", "success"]
    assert kit.attempts[0].category == "timeout"


async def test_result_after_the_timeout_is_void(kit: Kit, drive: Drive) -> None:
    """Plain code that returns after its time is over has failed all the same; the caller gets a TimeoutError."""

    def handler() -> str:
        kit.clock.advance(6)
        return "late"

    with pytest.raises(TimeoutError, match="attempt 2 of model took longer than its timeout of 5 s") as caught:
        await drive(handler, Policy(timeout=5, max_attempts=2), title="model")
    assert isinstance(caught.value, RecoveryTimeoutError)
    assert kit.now.result is None


async def test_deadline_ends_a_running_attempt(kit: Kit, drive: Drive) -> None:
    """Past the deadline of the operation a check raises as well, though the attempt's own time is not over."""

    def handler() -> None:
        kit.clock.advance(15)
        here().check()
        raise ConnectionError

    policy = Policy(timeout=20, deadline=25, max_attempts=9, strategy=FixedDelayStrategy(0))
    with pytest.raises(RecoveryTimeoutError, match="model is past its deadline of 25 s"):
        await drive(handler, policy, title="model")
    assert (kit.now.state, outcomes(kit)) == (S.EXHAUSTED, ["failed", "exhausted"])


def test_attempt_that_begins_after_the_deadline_may_run(kit: Kit) -> None:
    """What a restart held up beyond its deadline gets one attempt, rather than none."""
    data = kit.open()
    kit.clock.advance(1000)
    kit.data = data

    def handler() -> str:
        here().check()
        return "done"

    assert kit.engine.run(data, Policy(deadline=10), handler) == "done"


async def test_timeout_cancels_a_coroutine(kit: Kit) -> None:
    """A coroutine is cancelled when its time is over, its clean-up runs, and it is retried."""
    cleaned = []

    async def handler() -> str:
        if here().attempt == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append(here().attempt)
        return "done"

    assert await kit.run_async(handler, Policy(timeout=5), title="model") == "done"
    assert cleaned == [1]
    assert kit.attempts[0].error == "RecoveryTimeoutError: attempt 1 of model took longer than its timeout of 5 s"
    assert kit.clock.slept >= 6


@pytest.mark.parametrize("control", ["cancel", "pause"])
async def test_control_cancels_a_coroutine(kit: Kit, control: str) -> None:
    """A coroutine that waits for something is ended by a cancel or pause at once, without a check of its own."""
    kit.engine = Engine(Lifecycle(kit.store, owner_id="me"), Clock())  # real time: nothing waits in it for long
    running = asyncio.Event()
    ended = asyncio.Event()

    async def handler() -> str:
        if here().attempt == 2:
            return "again"
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    task = asyncio.ensure_future(kit.run_async(handler))
    await running.wait()
    getattr(kit.lifecycle, control)(kit.data.operation_id)
    await ended.wait()
    if control == "cancel":
        with pytest.raises(OperationCancelled):
            await task
    else:
        kit.lifecycle.resume(kit.data.operation_id)
        assert await task == "again"


async def test_change_that_leaves_it_ours_does_not_end_a_coroutine(kit: Kit) -> None:
    """A coroutine goes on when the call was woken for nothing."""
    running, go = asyncio.Event(), asyncio.Event()

    async def handler() -> str:
        running.set()
        await go.wait()
        return "done"

    task = asyncio.ensure_future(kit.run_async(handler))
    await running.wait()
    kit.lifecycle.notify(kit.data.operation_id)
    await asyncio.to_thread(lambda: None)
    go.set()
    assert await task == "done"
    assert kit.now.attempt == 1


async def test_cancelling_the_task_cancels_the_operation(kit: Kit) -> None:
    """Cancelling the asyncio task ends the coroutine and leaves the operation cancelled."""
    running = asyncio.Event()
    ended = []

    async def handler() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    task = asyncio.ensure_future(kit.run_async(handler))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
    assert kit.now.state is S.CANCELLED
    assert not kit.lifecycle.is_live(kit.data.operation_id)


async def test_cancelling_the_task_of_what_is_over_is_fine(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the operation ended in the meantime, a cancelled task is just cancelled."""
    running = asyncio.Event()

    async def handler() -> None:
        live = here()
        kit.lifecycle.succeed(live, "already")
        running.set()
        await asyncio.Event().wait()

    kit.engine.clock = Clock()
    monkeypatch.setattr(kit.lifecycle, "notify", lambda operation_id: None)
    task = asyncio.ensure_future(kit.run_async(handler))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kit.now.state is S.SUCCESS


# -- joining ------------------------------------------------------------------------------------------


class Joining:
    """A first call of an operation that runs in a thread until it is let go, and calls that join it."""

    def __init__(self) -> None:
        self.store = MemoryPersistence()
        self.lifecycle = Lifecycle(self.store, owner_id="me")
        self.engine = Engine(self.lifecycle)
        self.running, self.go = threading.Event(), threading.Event()
        self.results: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []

    def call(self, name: str, handler: Handler) -> None:
        def run() -> None:
            data = self.lifecycle.open("work", (), {}, key="k", title="model")
            try:
                self.results[name] = self.engine.run(data, Policy(), handler)
            except Exception as error:
                self.results[name] = error

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()

    def begin(self, result: Any) -> None:
        """Begin the first call, and have a second one join it."""

        def handler() -> Any:
            self.running.set()
            assert self.go.wait(10)
            return script(result)()

        self.call("first", handler)
        assert self.running.wait(10)
        [data] = self.store.find()
        joined = threading.Event()
        wait = Clock.wait

        class Watched(Clock):
            def wait(self, wake: Wake, seconds: float | None) -> bool:
                joined.set()
                return wait(self, wake, seconds)

        self.engine = Engine(self.lifecycle, Watched())
        self.call("second", lambda: "its own")
        assert joined.wait(10)
        assert self.lifecycle.is_live(data.operation_id)

    def finish(self) -> dict[str, Any]:
        self.go.set()
        for thread in self.threads:
            thread.join(10)
        return self.results


@pytest.fixture
def joining() -> Iterator[Joining]:
    made = Joining()
    yield made
    made.finish()


def test_second_call_gets_the_result_of_the_first(joining: Joining) -> None:
    """A call with the key of a running operation runs nothing itself and gets its result."""
    joining.begin({"path": "a"})
    assert joining.finish() == {"first": {"path": "a"}, "second": {"path": "a"}}
    assert len(joining.store.find()) == 1


def test_second_call_gets_the_error_of_the_first(joining: Joining) -> None:
    """When the joined operation fails, the second call gets the very error, with one note, and it is kept no longer."""
    error = ValueError("bad")
    joining.begin(error)
    results = joining.finish()
    assert results == {"first": error, "second": error}
    [note] = notes_of(error)
    assert "gave up after 1 attempt (" in note
    assert joining.lifecycle._handles._errors == {}


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [ConnectionError("gone"), OwnError("gone")])
def test_call_of_another_process_gets_an_error_of_the_built_in_class(tmp_path: Path, error: Exception) -> None:
    """There the error is a StoredError, with the note; `except ConnectionError` catches it, as it did the original."""
    first, second = Kit(SQLitePersistence(tmp_path / "a.db")), Kit(SQLitePersistence(tmp_path / "a.db"))
    policy = Policy(max_attempts=2, classify=says())
    with pytest.raises(type(error)):
        first.run(script(error, error), policy)
    expected = ConnectionError if isinstance(error, ConnectionError) else StoredError
    with pytest.raises(expected, match="Error: gone") as caught:
        second.engine.run(first.data, policy, script())
    assert isinstance(caught.value, StoredError)
    assert caught.value.traceback
    assert notes_of(caught.value) == notes_of(error)
    with pytest.raises(RecoveryExhaustedError, match=r"failed after 2 attempts: .*Error: gone") as exhausted:
        second.engine.run(first.data, Policy(raise_original=False), script())
    assert isinstance(exhausted.value.__cause__, expected)
    for kit in (first, second):
        kit.store.close()


def test_error_of_an_earlier_attempt_is_not_taken_for_that_of_the_record(kit: Kit) -> None:
    """When another process made the attempt that failed, an error kept here before is not its error."""
    live = kit.lifecycle.start(kit.lifecycle.draft("work", (), {}))[1]
    assert live is not None
    kit.lifecycle.keep_error(live, error := KeyError("mine"))
    assert kit.lifecycle.error_of(live.data) is error
    again = replace(live.data, fence=live.data.fence + 1, error=StoredError("OSError", "its own"))
    assert isinstance(kit.lifecycle.error_of(again), OSError)
    kit.lifecycle.leave(live)
    assert kit.lifecycle.error_of(live.data) is None


def test_second_call_is_cancelled_with_the_first(joining: Joining) -> None:
    """A cancel ends both calls; the second does not wait for the first to notice."""
    joining.begin("late")
    [data] = joining.store.find()
    joining.lifecycle.cancel(data.operation_id)
    joining.threads[1].join(10)
    assert isinstance(joining.results["second"], OperationCancelled)
    assert isinstance(joining.finish()["first"], OperationCancelled)


async def test_run_of_what_is_over(kit: Kit) -> None:
    """Running the record of an operation that is over gives how it ended, also when no error was kept."""
    assert await kit.run_async(script_async("x")) == "x"
    assert kit.engine.run(kit.data, Policy(), lambda: pytest.fail("it ran")) == "x"
    data = kit.open(title="model")
    kit.lifecycle._change(data.operation_id, S, {"state": S.IN_PROGRESS})
    kit.lifecycle._change(data.operation_id, S, {"state": S.FAILED})
    with pytest.raises(StoredError, match="model ended failed"):
        kit.engine.run(data, Policy(), lambda: pytest.fail("it ran"))


def script_async(*items: Any) -> Callable[[], Awaitable[Any]]:
    handler = script(*items)

    async def coroutine() -> Any:
        return handler()

    return coroutine


# -- nested operations --------------------------------------------------------------------------------


async def test_inner_that_gave_up_is_not_retried_by_the_outer(kit: Kit, drive: Drive) -> None:
    """What an inner operation tried four times is not tried sixteen times; the outer fails with the same error."""
    calls = []

    def inner() -> None:
        calls.append(1)
        raise ConnectionError("gone")

    def outer() -> None:
        kit.engine.run(kit.open(title="inner"), Policy(), inner)

    with pytest.raises(ConnectionError) as caught:
        await drive(outer)
    assert len(calls) == 4
    assert (kit.now.state, kit.now.attempt) == (S.FAILED, 1)
    assert len(notes_of(caught.value)) == 2


async def test_inner_error_wrapped_in_another_is_not_retried_either(kit: Kit, drive: Drive) -> None:
    """The outer finds out also when its handler raises its own error from the inner one."""

    def outer() -> None:
        try:
            kit.engine.run(kit.open(), Policy(), script(*[ConnectionError()] * 4))
        except ConnectionError as error:
            raise TimeoutError("mine") from error

    with pytest.raises(TimeoutError):
        await drive(outer)
    assert kit.now.attempt == 1


async def test_outer_retries_its_own_errors(kit: Kit, drive: Drive) -> None:
    """An outer operation whose inner one went well is retried for its own errors."""
    rest = iter([ConnectionError("mine"), None])

    def outer() -> str:
        kit.engine.run(kit.open(), Policy(), lambda: None)
        error = next(rest)
        if error is not None:
            raise error
        return "done"

    assert await drive(outer) == "done"
    assert kit.now.attempt == 2


@pytest.mark.parametrize("says_why", [False, True])
async def test_cancelled_inner_ends_the_outer(kit: Kit, drive: Drive, says_why: bool) -> None:
    """When only the inner operation is cancelled, the outer ends as cancelled too, and needs nobody."""

    def inner() -> None:
        kit.lifecycle.cancel(here().operation_id)
        here().check()

    def outer() -> None:
        try:
            kit.engine.run(kit.open(title="inner"), Policy(), inner)
        except OperationCancelled as error:
            if says_why:
                raise RuntimeError("without it there is nothing to do") from error
            raise

    with pytest.raises(RuntimeError if says_why else OperationCancelled):
        await drive(outer)
    assert (kit.now.state, kit.now.category, kit.now.owner) == (S.CANCELLED, "cancelled", None)
    assert kit.attempts[-1].outcome == "cancelled"
    assert "settled" not in [event for event, *_ in kit.observed]


# -- the breaker --------------------------------------------------------------------------------------


def breaker_of(kit: Kit, threshold: int = 3) -> CircuitBreaker:
    return CircuitBreaker(threshold, 60, scope="host", clock=kit.clock)


async def test_breaker_open_at_entry(kit: Kit, drive: Drive) -> None:
    """Where the policy does not wait, an open breaker ends the call with our error, without calling the handler."""
    breaker = breaker_of(kit, 1)
    breaker.failure()
    with pytest.raises(CircuitBreakerOpenError, match="host has failed once and is left alone for another ") as caught:
        await drive(lambda: pytest.fail("it ran"), Policy(breaker=breaker))
    assert caught.value.timeout_remaining == 60
    assert (kit.now.state, breaker.failure_count) == (S.EXHAUSTED, 1)


async def test_breaker_is_waited_for(kit: Kit, drive: Drive) -> None:
    """Where the policy waits, the call is held with a due time and a reason, and then goes through as the probe."""
    breaker = breaker_of(kit, 1)
    breaker.failure()
    seen = []

    def receiver(sender: object, event: Event) -> None:
        if event.payload["waiting_for"] is not None:
            seen.append((event.payload["state"], event.payload["waiting_for"], event.payload["explanation"]))

    with recovery_updated.connected_to(receiver, kit.lifecycle):
        assert await drive(lambda: "done", Policy(breaker=breaker, wait_for_breaker=True)) == "done"
    assert seen == [("pending", "breaker", "host has failed repeatedly and is left alone for a while.")]
    assert kit.clock.slept == pytest.approx(60)
    assert (breaker.state, kit.now.attempt, kit.now.waiting_for) == (CircuitState.CLOSED, 1, None)


async def test_breaker_that_opens_during_the_call(kit: Kit, drive: Drive) -> None:
    """When the call's own failures open the breaker, retrying stops with the original error."""
    breaker = breaker_of(kit, 2)
    errors = [ConnectionError("1"), ConnectionError("2")]
    with pytest.raises(ConnectionError) as caught:
        await drive(script(*errors), Policy(max_attempts=9, breaker=breaker))
    assert caught.value is errors[1]
    assert (kit.now.state, kit.now.attempt, breaker.state) == (S.EXHAUSTED, 2, CircuitState.OPEN)


async def test_breaker_that_opens_during_the_call_is_waited_for(kit: Kit, drive: Drive) -> None:
    """Under a patient policy the operation waits for the probe and then goes on."""
    breaker = breaker_of(kit, 2)
    policy = Policy(max_attempts=9, breaker=breaker, wait_for_breaker=True)
    assert await drive(script(ConnectionError(), ConnectionError(), "done"), policy) == "done"
    assert [item.delay_s for item in kit.attempts] == [1, 60, None]
    assert breaker.state is CircuitState.CLOSED


async def test_attempt_that_moved_is_a_success_for_the_breaker(kit: Kit, drive: Drive) -> None:
    """A far end from which something came, however badly, is not left alone."""
    breaker = breaker_of(kit, 2)

    def handler() -> str:
        here().progress(here().attempt)
        if here().attempt < 6:
            raise ConnectionError
        return "done"

    assert await drive(handler, Policy(breaker=breaker)) == "done"
    assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 0)


async def test_only_what_is_about_the_far_end_counts(kit: Kit, drive: Drive) -> None:
    """A full disk or bad value says nothing about the host: it neither counts nor closes a breaker that probes."""
    breaker = breaker_of(kit, 1)
    with pytest.raises(ValueError, match="bad"):
        await drive(script(ValueError("bad")), Policy(breaker=breaker))
    assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 0)
    breaker.failure()
    kit.clock.advance(60)
    with pytest.raises(ValueError, match="bad"):
        await drive(script(ValueError("bad")), Policy(breaker=breaker))
    assert breaker.state is CircuitState.OPEN
    assert not breaker.is_open()  # the next call may probe


async def test_interrupted_probe_is_released(kit: Kit, drive: Drive) -> None:
    """A probe that a person cancelled does not hold up the next call."""
    breaker = breaker_of(kit, 1)
    breaker.failure()
    kit.clock.advance(60)

    def handler() -> None:
        kit.lifecycle.cancel(here().operation_id)
        here().check()

    with pytest.raises(OperationCancelled):
        await drive(handler, Policy(breaker=breaker))
    assert breaker.acquire() == 0


def test_lost_claim_releases_the_probe(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was to be the probe but lost the operation to another process lets the next one probe."""
    breaker = breaker_of(kit, 1)
    breaker.failure()
    kit.clock.advance(60)
    data = kit.open()
    begin = kit.lifecycle.begin_attempt

    def beaten(operation_id: str, limit: int) -> Any:
        monkeypatch.undo()
        kit.lifecycle.cancel(operation_id)
        return begin(operation_id, limit)

    monkeypatch.setattr(kit.lifecycle, "begin_attempt", beaten)
    with pytest.raises(OperationCancelled):
        kit.engine.run(data, Policy(breaker=breaker), lambda: pytest.fail("it ran"))
    assert breaker.acquire() == 0


# -- receivers ----------------------------------------------------------------------------------------


async def test_receiver_that_raises_harms_nothing(kit: Kit, drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    """A broken receiver of a signal is logged; the operation and the other receivers go on."""
    seen = []

    def broken(sender: object, event: Event) -> None:
        raise RuntimeError("broken receiver")

    def sound(sender: object, event: Event) -> None:
        seen.append(event.payload["state"])

    with recovery_updated.connected_to(broken, kit.lifecycle), recovery_updated.connected_to(sound, kit.lifecycle):
        assert await drive(script(ConnectionError(), "done")) == "done"
    assert seen == ["pending", "in_progress", "recovering", "in_progress", "success"]
    assert "broken receiver" in caplog.text


async def test_observers_get_the_error(kit: Kit, drive: Drive) -> None:
    """Observers are told of the beginning and end of each attempt, with its error, and of the final result."""
    error = ConnectionError("gone")
    await drive(script(error, "done"))
    assert kit.observed == [
        ("attempt_started", "in_progress", None),
        ("attempt_finished", "in_progress", error),
        ("attempt_started", "in_progress", None),
        ("attempt_finished", "in_progress", None),
        ("settled", "success", None),
    ]


async def test_explanation_and_fix_of_the_verdict_are_kept(kit: Kit, drive: Drive) -> None:
    """What classification says of an error is in the record."""
    classify = says(ErrorCategory.RESOURCE, Retry.AFTER_FIX, explanation="The disk is full.", fix="free_disk_space")
    with pytest.raises(OSError, match="ENOSPC"):
        await drive(script(OSError("ENOSPC")), Policy(classify=classify))
    assert (kit.now.category, kit.now.explanation, kit.now.fix) == ("resource", "The disk is full.", "free_disk_space")
    assert kit.now.waiting_for is None


def test_engine_needs_no_observer() -> None:
    """An engine without an observer, on the real clock, runs an operation."""
    lifecycle = Lifecycle(MemoryPersistence(), owner_id="me")
    data = lifecycle.open("work", (), {})
    assert Engine(lifecycle).run(data, Policy(), lambda: 1) == 1
    assert data.waiting_for is not WaitingFor.SLOT


def test_error_of_a_deadline_without_another_error(kit: Kit) -> None:
    """An operation that ends in a wait, of which no error is known, ends with one that names its deadline."""
    live = Operation(kit.open(title="model"), kit.lifecycle, kit.clock)
    late = Admission(kit.lifecycle, kit.clock, live, Policy(deadline=9)).too_late()
    assert (type(late), str(late)) == (RecoveryTimeoutError, "model is past its deadline of 9 s")
