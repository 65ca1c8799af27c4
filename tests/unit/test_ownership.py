"""Who may run an operation: what a living process has is left to it, what is given up or left by a dead one is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from launcher_recovery import owners
from launcher_recovery.budget import RetryBudget
from launcher_recovery.clock import Clock
from launcher_recovery.engine import Engine
from launcher_recovery.errors import OperationCancelled, RecoveryStateError, StoreError
from launcher_recovery.handles import Handles, handles_of
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.owners import LEASE_S, OWNER
from launcher_recovery.ownership import Ownership
from launcher_recovery.persistence.base import Owner
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import FINAL, UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.resume import Resumer
from launcher_recovery.strategies import FixedDelayStrategy
from tests.support import wait_for
from tests.unit.kit import Kit

S = RecoveryState
OTHER = Owner("other", "another-host", 7, "boot/7")


def left_by_other(kit: Kit, state: RecoveryState) -> RecoveryData:
    """What a process on another host, which has just shown that it lives, has in `state`."""
    kit.store.heartbeat(OTHER, kit.clock.time())
    other = Lifecycle(kit.store, owner_id=OTHER.owner_id, clock=kit.clock)
    data = other.open("work", (), {}, key="k")
    if state in (S.IN_PROGRESS, S.RECOVERING):
        live = Operation(other.begin_attempt(data.operation_id, 4), other, kit.clock)
        if state is S.RECOVERING:
            error = ConnectionError("gone")
            about: dict[str, Any] = {"category": "network", "explanation": "", "fix": None, "fruitless": 1, "limit": 4}
            other.end_attempt(live, S.RECOVERING, error, delay=3.0, **about)
    if state is S.PAUSED:
        other.pause(data.operation_id)
    return kit.record(data.operation_id)


@pytest.fixture
def watched(each: Kit, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """A kit whose own process keeps showing that it lives, as real ones do."""
    beat = each.store.owners

    def owners() -> Any:
        each.store.heartbeat(Owner("me", "this-host", 1, "boot/1"), each.clock.time())
        return beat()

    monkeypatch.setattr(each.store, "owners", owners)
    return each


# -- over processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.PENDING, S.IN_PROGRESS, S.RECOVERING])
def test_left_to_another_process_until_that_is_dead(watched: Kit, state: RecoveryState) -> None:
    """A call that joined waits while the other process lives, and goes on by itself when it does not."""
    data = left_by_other(watched, state)
    began = watched.clock.monotonic()
    times: list[float] = []
    assert watched.engine.run(data, Policy(), lambda: times.append(watched.clock.monotonic() - began)) is None
    [waited] = times
    assert LEASE_S - 1 <= waited <= LEASE_S + 2
    kept = watched.record(data.operation_id)
    assert (kept.state, kept.owner, kept.attempt) == (S.SUCCESS, None, data.attempt + 1)


async def test_coroutine_left_to_another_process_until_that_is_dead(watched: Kit) -> None:
    """The same for coroutines."""
    data = left_by_other(watched, S.IN_PROGRESS)

    async def work() -> str:
        return "done"

    assert await watched.engine.run_async(data, Policy(), work) == "done"
    assert watched.clock.monotonic() >= LEASE_S - 1


def test_paused_by_a_process_that_dies(watched: Kit) -> None:
    """What is paused stays so when its process dies; when it is resumed, a waiting call goes on with it."""
    data = left_by_other(watched, S.PAUSED)
    result: list[str] = []
    watched.engine.clock = Clock()
    thread = threading.Thread(target=lambda: result.append(watched.engine.run(data, Policy(), lambda: "done")))
    thread.start()
    wait_for(lambda: data.operation_id in handles_of(watched.store))
    watched.clock.advance(LEASE_S + 1)
    wait_for(lambda: watched.record(data.operation_id).owner is None)
    assert watched.record(data.operation_id).state is S.PAUSED
    watched.lifecycle.resume(data.operation_id)
    thread.join(20)
    assert result == ["done"]


def test_claim_of_what_a_living_process_has(each: Kit) -> None:
    """Nobody begins an attempt of what belongs to another process."""
    data = left_by_other(each, S.PENDING)
    with pytest.raises(RecoveryStateError, match="left to the process that has it"):
        each.lifecycle.begin_attempt(data.operation_id, 4)


def test_claim_of_what_was_claimed_after_the_look(each: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that looks, and then is slow, does not take what another one has run meanwhile."""
    each.store.heartbeat(OTHER, each.clock.time())
    data = each.open()
    each.lifecycle.release_orphans({"me"})
    other = Lifecycle(each.store, owner_id=OTHER.owner_id, clock=each.clock)
    look = each.store.get

    def slow(operation_id: str) -> RecoveryData | None:
        monkeypatch.setattr(each.store, "get", look)
        found = look(operation_id)
        other.begin_attempt(operation_id, 4)
        other.pause(operation_id)
        other.resume(operation_id)
        return found

    monkeypatch.setattr(each.store, "get", slow)
    with pytest.raises(RecoveryStateError):
        each.lifecycle.begin_attempt(data.operation_id, 4)
    assert (each.record(data.operation_id).owner, each.record(data.operation_id).attempt) == ("other", 1)


def test_many_waiting_calls_look_once_a_second(watched: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often dead processes are looked for does not depend on how many calls wait."""
    looks: list[float] = []
    beat = watched.store.owners
    monkeypatch.setattr(watched.store, "owners", lambda: looks.append(watched.clock.monotonic()) or beat())
    for _ in range(3):
        for _ in range(20):
            Lifecycle(watched.store, owner_id="me", clock=watched.clock).look_for_the_dead()
        watched.clock.advance(1)
    assert len(looks) == 3


def test_failing_look_harms_nobody(each: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot say who lives is asked again later."""

    def owners() -> Any:
        raise StoreError("it is locked")

    monkeypatch.setattr(each.store, "owners", owners)
    each.lifecycle.look_for_the_dead()


def test_who_looks_is_entered_itself(each: Kit) -> None:
    """A process that never entered itself does not take itself for dead."""
    lifecycle = Lifecycle(each.store)
    data = lifecycle.open("work", (), {})
    lifecycle.begin_attempt(data.operation_id, 4)
    lifecycle.look_for_the_dead()
    kept = each.record(data.operation_id)
    assert (kept.state, kept.owner) == (S.IN_PROGRESS, OWNER.owner_id)


# -- in one process -----------------------------------------------------------------------------------


class Two:
    """Two calls of one operation; the code of its first attempt does not look before it is told to go on."""

    def __init__(self, kit: Kit, policy: Policy) -> None:
        self.lifecycle, self.policy = kit.lifecycle, policy
        self.engine = Engine(kit.lifecycle, kit.clock)
        self.data = kit.open(key="shared")
        self.begun, self.go = threading.Event(), threading.Event()
        self.notes: list[str] = []
        self.ended: list[Any] = []
        self.threads = [threading.Thread(target=self.call, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()
        assert self.begun.wait(20)
        wait_for(lambda: handles_of(kit.store).count(self.data.operation_id) == 2)

    def call(self) -> None:
        try:
            self.ended.append(self.engine.run(self.data, self.policy, self.work))
        except Exception as error:
            self.ended.append(type(error))

    def work(self) -> str:
        live = current_operation()
        assert live is not None
        number = live.attempt
        self.notes.append(f"{number} begins")
        if number == 1:
            self.begun.set()
            assert self.go.wait(20)
        self.notes.append(f"{number} ends")
        return "done"

    def finish(self) -> None:
        for thread in self.threads:
            thread.join(0.1)  # it would be over at once
        self.go.set()
        for thread in self.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self.threads)


class Real(Clock):
    """Moves on by itself, and can be moved."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
def real(each: Kit) -> Kit:
    each.clock = each.lifecycle.clock = Real()  # type: ignore[assignment]
    return each


def test_cancelled_and_retried_before_the_code_looks(real: Kit) -> None:
    """The next attempt waits for the code of the cancelled one, whichever call makes it."""
    two = Two(real, Policy())
    real.lifecycle.cancel(two.data.operation_id)
    assert real.record(two.data.operation_id).owner == "me"
    real.lifecycle.retry(two.data.operation_id)
    two.finish()
    assert two.notes == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert set(two.ended) <= {"done", OperationCancelled}
    assert real.record(two.data.operation_id).owner is None


def test_cancelled_and_called_again_before_the_code_looks(real: Kit) -> None:
    """A new call that revives a cancelled operation waits for its code too."""
    two = Two(real, Policy())
    real.lifecycle.cancel(two.data.operation_id)
    again = real.open(key="shared", revive=True)
    assert (again.operation_id, again.state, again.owner) == (two.data.operation_id, S.PENDING, "me")
    two.finish()
    assert two.notes == ["1 begins", "1 ends", "2 begins", "2 ends"]


def test_code_that_takes_longer_than_it_may(real: Kit) -> None:
    """Plain code whose time is over holds the next attempt back until it returns; its result is void."""
    two = Two(real, Policy(timeout=60.0, strategy=FixedDelayStrategy(0.0)))
    assert isinstance(real.clock, Real)
    real.clock.ahead = 61.0
    real.lifecycle.notify_all()
    two.finish()
    assert two.notes == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert two.ended == ["done", "done"]
    assert [one.outcome for one in real.store.attempts(two.data.operation_id)] == ["failed", "success"]


def test_cancelled_owner_is_taken_out_when_its_code_has_stopped(real: Kit) -> None:
    """That is nobody's news: the operation is told to have ended once."""
    two = Two(real, Policy())
    real.lifecycle.cancel(two.data.operation_id)
    two.finish()
    assert two.ended == [OperationCancelled] * 2
    assert real.record(two.data.operation_id).owner is None
    states = [event.payload.get("state") for event in real.events() if event.name == "recovery_update"]
    assert states == ["pending", "in_progress", "cancelled"]
    assert [event.name for event in real.events()].count("recovery_completed") == 1


def test_turns() -> None:
    """One handle of an operation has the turn; those that wait for it are woken when it ends."""
    kit = Kit(MemoryPersistence())
    handles = Handles(kit.store)
    data = kit.open()
    one, two = (Operation(data, kit.lifecycle, kit.clock) for _ in range(2))
    handles.attach(one)
    handles.attach(two)
    assert handles.take_turn(one)
    assert not handles.take_turn(two)
    assert (handles.has_to_wait(one), handles.has_to_wait(two)) == (False, True)
    handles.end_turn(two)
    assert handles.has_turn(one)
    assert handles.detach(one) is False
    assert two.wake.is_set()
    assert not handles.has_to_wait(two)


# -- giving up ----------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the test run."""


@pytest.mark.parametrize("state", [S.PENDING, S.RECOVERING, S.PAUSED])
def test_call_that_ends_while_it_waits_gives_up(each: Kit, state: RecoveryState) -> None:
    """What waited is pending and nobody's, what was paused is nobody's."""
    data = each.open()
    if state is S.PAUSED:
        each.lifecycle.pause(data.operation_id)

    class Interrupting(Clock):
        def wait(self, wake: object, seconds: float | None) -> bool:
            raise Interrupted

    each.engine.clock = Interrupting()
    if state is S.PENDING:
        each.lifecycle.hold(data.operation_id, 60, None, "later")  # type: ignore[arg-type]

    def work() -> None:
        raise ConnectionError("gone")

    with pytest.raises(Interrupted):
        each.engine.run(data, Policy(strategy=FixedDelayStrategy(60)), work)
    kept = each.record(data.operation_id)
    assert (kept.state, kept.owner) == (S.PAUSED if state is S.PAUSED else S.PENDING, None)
    assert (kept.next_attempt_at is None) == (state is S.PAUSED)
    assert data.operation_id not in handles_of(each.store)


def test_call_that_is_not_the_last_leaves_it_to_the_others(each: Kit) -> None:
    """The process goes on having an operation while one of its calls is about it."""
    data = each.open()
    others = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(others)
    live = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(live)
    each.lifecycle.leave(live, Interrupted())
    assert each.record(data.operation_id).owner == "me"
    each.lifecycle.leave(others)
    assert each.record(data.operation_id).owner is None


def test_error_of_recovery_itself_fails_the_operation(each: Kit) -> None:
    """An error that is not the code's, such as a budget's, does not leave the operation in progress for ever."""

    class Broken(RetryBudget):
        def take(self, *, timed_out: bool = False) -> float | None:
            raise LookupError("no budget")

    def work() -> None:
        raise ConnectionError("gone")

    with pytest.raises(LookupError):
        each.run(work, Policy(budget=Broken()))
    assert (each.now.state, each.now.owner, each.now.result) == (S.FAILED, None, None)
    assert [(one.outcome, one.error_type) for one in each.attempts] == [("failed", "LookupError")]


def test_observer_that_raises_at_the_first_attempt(each: Kit) -> None:
    """Nor does one at the moment at which a call begins."""

    def observe(event: str, data: RecoveryData, error: Exception | None) -> None:
        raise LookupError("no observer")

    data, live = each.lifecycle.start(each.lifecycle.draft("work", (), {}))
    assert live is not None
    with pytest.raises(LookupError):
        Engine(each.lifecycle, each.clock, observe).begin(live, Policy())
    assert each.record(data.operation_id).state is S.FAILED
    assert data.operation_id not in handles_of(each.store)


@pytest.mark.parametrize("fails_from", ["the look", "the end"])
def test_store_that_fails_when_the_call_ends(
    each: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails_from: str
) -> None:
    """A call that has not begun ends with that error, one that is done with its result; the operation is given up, or
    its end recorded, as soon as the store works again."""
    data = each.open(title="model")

    def fail(*given: object) -> Any:
        raise StoreError("it is gone")

    def break_store() -> None:
        monkeypatch.setattr(each.store, "get", fail)
        monkeypatch.setattr(each.store, "change", fail)

    if fails_from == "the look":
        break_store()
        with pytest.raises(StoreError, match="it is gone"):
            each.engine.run(data, Policy(), break_store)
    else:
        each.engine.run(data, Policy(), break_store)
    assert "model could not be given up by this process yet" in caplog.text
    handles = handles_of(each.store)
    assert data.operation_id not in handles
    handles.do_what_is_left()
    monkeypatch.undo()
    assert each.record(data.operation_id).owner == "me"
    monkeypatch.setattr(owners, "HEARTBEAT_S", 0.01)
    beats = owners.Heartbeat(each.store, Owner("me", "this-host", 1, "boot/1"))
    beats.start()
    wait_for(lambda: each.record(data.operation_id).owner is None)
    beats.stop()
    assert each.record(data.operation_id).state is (S.PENDING if fails_from == "the look" else S.SUCCESS)


def test_put_off_while_another_call_has_the_turn(each: Kit) -> None:
    """What was put off does not touch what a later call of this process runs."""
    data = each.open()
    first, later = (Operation(data, each.lifecycle, each.clock) for _ in range(2))
    each.lifecycle.attach(later)
    assert each.lifecycle.take_turn(later)
    later.data = each.lifecycle.begin_attempt(data.operation_id, 4)
    each.lifecycle._leave_again(first, LookupError("no delay"))
    assert (each.record(data.operation_id).state, each.record(data.operation_id).owner) == (S.IN_PROGRESS, "me")


def test_giving_up_what_changes_meanwhile(each: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person resumes what is paused at the moment at which its call ends: it is pending, and nobody's."""
    data = each.open()
    each.lifecycle.pause(data.operation_id)
    live = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(live)
    look = each.store.get

    def resumed_after(operation_id: str) -> RecoveryData | None:
        monkeypatch.setattr(each.store, "get", look)
        found = look(operation_id)
        each.lifecycle.resume(operation_id)
        return found

    monkeypatch.setattr(each.store, "get", resumed_after)
    each.lifecycle.leave(live, Interrupted())
    kept = each.record(data.operation_id)
    assert (kept.state, kept.owner) == (S.PENDING, None)


def test_generator_closed_while_it_waits(each: Kit) -> None:
    """One that joined what another call runs leaves it to that."""
    data = each.open(key="k")
    each.lifecycle.begin_attempt(data.operation_id, 4)
    runs = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(runs)

    class Closing(Clock):
        def wait(self, wake: object, seconds: float | None) -> bool:
            raise GeneratorExit

    def work() -> Iterator[int]:
        yield 1

    each.engine.clock = Closing()
    with pytest.raises(GeneratorExit):
        next(each.engine.iterate(data, Policy(), work))  # type: ignore[arg-type]
    assert (each.record(data.operation_id).state, each.record(data.operation_id).owner) == (S.IN_PROGRESS, "me")


async def test_async_generator_closed_in_the_middle(each: Kit) -> None:
    """It is cancelled, and nobody's."""

    async def work() -> AsyncIterator[int]:
        yield 1
        yield 2

    data = each.open()
    items = each.engine.iterate_async(data, Policy(), work)
    assert await anext(items) == 1
    await items.aclose()
    assert (each.record(data.operation_id).state, each.record(data.operation_id).owner) == (S.CANCELLED, None)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_task_cancelled_while_another_thread_claims(
    each: Kit, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A task that joined and is cancelled in the middle of its claim leaves the operation pending and nobody's."""
    data = each.open(key="k")
    others = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(others)
    claims, go = threading.Event(), threading.Event()
    begin = each.lifecycle.begin_attempt

    def slowly(operation_id: str, limit: int) -> RecoveryData:
        found = begin(operation_id, limit) if when == "before" else None
        claims.set()
        assert go.wait(20)
        return found or begin(operation_id, limit)

    monkeypatch.setattr(each.lifecycle, "begin_attempt", slowly)

    async def work() -> None:
        pytest.fail("it ran")

    task = asyncio.ensure_future(each.engine.run_async(data, Policy(), work))
    assert await asyncio.to_thread(claims.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # once more while it waits for the other thread
    asyncio.get_running_loop().call_later(0.02, go.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = each.record(data.operation_id)
    assert (kept.state, kept.owner, kept.attempt) == (S.PENDING, None, 1)
    assert [one.outcome for one in each.store.attempts(data.operation_id)] == ["interrupted"]


# -- the resumer --------------------------------------------------------------------------------------


def test_resumer_leaves_what_a_living_process_has(each: Kit) -> None:
    """What is pending in another process is dispatched when that is dead, also when only a person's retry shows it."""
    ran: list[str] = []
    resumer = Resumer(each.lifecycle, {"function": lambda data: ran.append(data.operation_id)}, each.clock)
    data = left_by_other(each, S.IN_PROGRESS)
    each.lifecycle.cancel(data.operation_id)  # whose code has not looked yet
    again = each.lifecycle.retry(data.operation_id)
    assert (again.state, again.owner) == (S.PENDING, "other")
    told = [event for event in each.events() if event.payload.get("state") == "pending"][-1]
    resumer.on_event(told)
    assert ran == []
    each.clock.advance(LEASE_S + 1)
    each.store.heartbeat(Owner("me", "this-host", 1, "boot/1"), each.clock.time())
    resumer.on_event(told)
    assert each.record(data.operation_id).owner is None
    resumer.on_event(each.events()[-1])
    wait_for(lambda: ran == [data.operation_id])


def test_every_state_has_a_rule() -> None:
    """The table of the rule names all states."""
    rule: str = Ownership.__doc__ or ""
    assert all(state.value in rule for state in UNFINISHED | FINAL)


async def test_task_cancelled_before_another_thread_begins(each: Kit) -> None:
    """What a cancelled task had not begun is not done by a thread that comes late."""
    data = each.open(key="k")
    others = Operation(data, each.lifecycle, each.clock)
    each.lifecycle.attach(others)
    go = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.ensure_future(asyncio.to_thread(go.wait, 20))
    await asyncio.sleep(0)

    async def work() -> None:
        pytest.fail("it ran")

    task = asyncio.ensure_future(each.engine.run_async(data, Policy(), work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await busy
    await asyncio.to_thread(lambda: None)
    assert (each.record(data.operation_id).state, each.record(data.operation_id).owner) == (S.PENDING, "me")


def test_attempt_that_ends_in_another_way_meanwhile(each: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person pauses at the moment at which an error ends the call: it stays paused, and is nobody's."""
    data, live = each.lifecycle.start(each.lifecycle.draft("work", (), {}))
    assert live is not None
    look = each.store.get

    def paused_after(operation_id: str) -> RecoveryData | None:
        monkeypatch.setattr(each.store, "get", look)
        found = look(operation_id)
        each.lifecycle.pause(operation_id)
        return found

    monkeypatch.setattr(each.store, "get", paused_after)
    each.lifecycle.leave(live, LookupError("no delay"))
    assert (each.record(data.operation_id).state, each.record(data.operation_id).owner) == (S.PAUSED, None)
