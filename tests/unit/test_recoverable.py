"""`recoverable`: states, fallback, keys, generators, stores of one's own, and the quick way without a record."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreakerOpenError,
    CustomStrategy,
    FixedDelayStrategy,
    OperationCancelled,
    RecoveryConfigError,
    RecoveryData,
    RecoveryState,
    RecoveryStateError,
    RecoveryTimeoutError,
    SQLitePersistence,
    StatePersistence,
    current_operation,
    owners,
    recoverable,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence import MemoryPersistence, ResilientPersistence, Store
from launcher_recovery.signals import recovery_updated
from launcher_recovery.stores import MirroredStore, store_for
from launcher_recovery.testing import VirtualClock
from tests.support import let_go


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(autouse=True)
def _no_heart_beats_on() -> Iterator[None]:
    """What keeps a decorated function's store alive ends with the process, not before."""
    yield
    for store in list(owners._beating):
        let_go(store)


@dataclass
class Download:
    url: str
    done: int = 0


STATE: dict[str, Any] = {
    "state_serializer": lambda state: {"url": state.url, "done": state.done},
    "state_deserializer": lambda data: Download(**data),
}


class Killed(BaseException):
    """Stands for the end of the process."""


# -- state ---------------------------------------------------------------------------------------------


def test_attempts_get_the_same_state(clock: VirtualClock, store: Store) -> None:
    """In one process every attempt gets the very object of the call, as the attempt before left it; it is kept."""
    seen: list[tuple[int, int]] = []

    @recoverable(clock=clock, persistence=store, **STATE)
    def fetch(state: Download) -> int:
        seen.append((id(state), state.done))
        state.done += 10
        if state.done < 30:
            raise ConnectionError("gone")
        return state.done

    state = Download("https://host/a")
    assert fetch(state) == 30
    assert seen == [(id(state), 0), (id(state), 10), (id(state), 20)]
    [data] = store.find()
    assert data.args == ({"url": "https://host/a", "done": 0},)
    assert data.metadata["recovery_state"]["done"] == 20
    assert data.resumable


@pytest.mark.parametrize("by", ["key", "id"])
@pytest.mark.parametrize("after", ["failure", "progress"])
def test_a_new_process_gets_the_last_snapshot(clock: VirtualClock, store: Store, by: str, after: str) -> None:
    """What a process left behind goes on with the state as it was after the last failure or progress."""
    seen: list[Download] = []
    dies = True

    def fetch(state: Download) -> str:
        seen.append(Download(state.url, state.done))
        operation = current_operation()
        assert operation is not None
        state.done += 10
        if not dies:
            return "done"
        if after == "failure" and operation.attempt == 1:
            raise ConnectionError("gone")
        if after == "progress":
            operation.progress(state.done, 100)
        raise Killed

    options: dict[str, Any] = {"clock": clock, "persistence": store, "key": lambda state: state.url, **STATE}
    with pytest.raises(Killed):
        recoverable(**options)(fetch)(Download("https://host/a"))
    [data] = store.find()
    assert (data.state, data.owner) == (RecoveryState.PENDING, None)
    dies = False
    again: Any = recoverable(**options)(fetch)
    result = again(Download("https://host/a")) if by == "key" else again.resume(data.operation_id)
    assert result == "done"
    assert seen[-1] == Download("https://host/a", 10)
    assert len(store.find()) == 1


def test_state_of_a_method(clock: VirtualClock, store: Store) -> None:
    """The state of a method is what comes after `self`."""

    class Loader:
        @recoverable(clock=clock, persistence=store, **STATE)
        def load(self, state: Download) -> int:
            state.done += 1
            if state.done < 2:
                raise ConnectionError
            return state.done

    assert Loader().load(Download("u")) == 2
    assert store.find()[0].metadata["recovery_state"] == {"url": "u", "done": 1}


def test_serializer_that_fails(clock: VirtualClock, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A serializer that raises harms no call, and is logged once."""
    calls: list[int] = []

    @recoverable(clock=clock, persistence=store, state_serializer=lambda state: state.missing)
    def fetch(state: Download) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return "done"

    assert fetch(Download("u")) == "done"
    assert sum("state_serializer failed" in record.message for record in caplog.records) == 1


def test_resume_refuses(clock: VirtualClock, store: Store) -> None:
    """Only an operation of this function, with arguments that were kept, can be resumed."""
    fetch: Any = recoverable(clock=clock, persistence=store)(lambda value: value)
    with pytest.raises(RecoveryStateError, match="there is no operation x"):
        fetch.resume("x")
    fetch(object())
    with pytest.raises(RecoveryStateError, match="is not kept"):
        fetch.resume(store.find()[0].operation_id)


# -- fallback, keys ------------------------------------------------------------------------------------


async def test_fallback(clock: VirtualClock) -> None:
    """When it gives up or is refused, the call gives what the fallback makes of the error and the arguments."""
    errors: list[Exception] = []

    def instead(error: Exception, name: str, *, size: int = 0) -> str:
        errors.append(error)
        return f"{name} from the cache, {size}"

    @recoverable(clock=clock, fallback=instead, circuit_breaker_threshold=4, timeout=100)
    def fetch(name: str, *, size: int = 0) -> str:
        raise ConnectionError("gone")

    assert fetch("a", size=2) == "a from the cache, 2"
    assert fetch("a") == "a from the cache, 0"
    assert [type(error) for error in errors] == [ConnectionError, CircuitBreakerOpenError]

    async def instead_async(error: Exception) -> str:
        return f"instead of {error}"

    @recoverable(max_retries=0, fallback=instead_async)
    async def fetch_async() -> str:
        raise ConnectionError("gone")

    assert await fetch_async() == "instead of gone"


def test_no_fallback_for_what_a_person_ended(store: Store) -> None:
    """A cancelled call is cancelled."""

    @recoverable(persistence=store, fallback=lambda error: "instead")
    def fetch() -> None:
        operation = current_operation()
        assert operation is not None
        Lifecycle(store, owner_id="api").cancel(operation.operation_id)
        operation.check()

    with pytest.raises(OperationCancelled):
        fetch()


@pytest.mark.parametrize("durable", [True, False])
def test_finished_result_is_reused_on_request(store: Store, durable: bool) -> None:
    """With `reuse_result` a second call of the same key gets the result; without, it runs again."""
    calls: list[str] = []
    options: dict[str, Any] = {"key": lambda name: name, "persistence": store if durable else None}

    def fetch(name: str) -> dict[str, str]:
        calls.append(name)
        return {"name": name}

    reused = recoverable(reuse_result=True, **options)(fetch)
    assert [reused("a"), reused("a"), reused("b")] == [{"name": "a"}, {"name": "a"}, {"name": "b"}]
    assert calls == ["a", "b"]
    again = recoverable(**options)(fetch)
    again("a")
    assert again("a") == {"name": "a"}
    assert calls == ["a", "b", "a", "a"]


def test_result_that_cannot_be_kept_is_made_again(store: Store) -> None:
    """A result that the store cannot hold, or only without its secrets, is not given for the real one."""
    results: list[Any] = [object(), object()]
    fetch = recoverable(persistence=store, key=lambda: "k", reuse_result=True)(lambda: results.pop())
    assert fetch() is not fetch()


def test_key_joins_without_a_store() -> None:
    """A key works within a process without any store."""
    begun, go = threading.Event(), threading.Event()
    calls: list[str] = []

    @recoverable(key=lambda: "k")
    def fetch() -> str:
        calls.append("call")
        begun.set()
        assert go.wait(20)
        return "done"

    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(fetch())) for _ in range(3)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(20)
    assert results == ["done"] * 3


# -- what can be decorated -----------------------------------------------------------------------------


async def test_partials_objects_and_classmethods(clock: VirtualClock) -> None:
    """Whatever can be called can be decorated, named or not, plain or async."""

    def add(a: int, b: int) -> int:
        return a + b

    async def add_async(a: int, b: int) -> int:
        return a + b

    class Adder:
        def __call__(self, a: int, b: int) -> int:
            return a + b

    class AsyncAdder:
        async def __call__(self, a: int, b: int) -> int:
            return a + b

    class Group:
        base = 1

        @recoverable(clock=clock)
        @classmethod
        def above(cls, b: int) -> int:
            return cls.base + b

        @classmethod
        @recoverable(clock=clock)
        def below(cls, b: int) -> int:
            return cls.base + b

        @recoverable
        @staticmethod
        def static(a: int, b: int) -> int:
            return a + b

    assert recoverable(clock=clock, timeout=9)(functools.partial(add, 1))(2) == 3
    assert await recoverable(clock=clock)(functools.partial(add_async, 1))(2) == 3
    assert recoverable(clock=clock)(Adder())(1, 2) == 3
    assert await recoverable(clock=clock)(AsyncAdder())(1, 2) == 3
    assert (Group.above(2), Group().below(2), Group.static(1, 2)) == (3, 3, 3)


def test_generator_goes_on_after_its_last_item(clock: VirtualClock, store: Store) -> None:
    """A generator's next attempt gets the item yielded last; whoever iterates sees one stream, and its result."""
    starts: list[Any] = []

    @recoverable(clock=clock, persistence=store, resume_from="after")
    def count(limit: int, after: int = 0) -> Iterator[int]:
        starts.append(after)
        for number in range(after + 1, limit + 1):
            yield number
            if number in (2, 4) and after != number:
                raise ConnectionError
        return "all"

    def consume() -> Iterator[int]:
        return (yield from count(6))

    items = consume()
    assert list(items) == [1, 2, 3, 4, 5, 6]
    assert starts == [0, 2, 4]
    [data] = store.find()
    assert (data.state, data.attempt, data.result) == (RecoveryState.SUCCESS, 3, "all")


async def test_async_generator_goes_on_after_its_last_item(clock: VirtualClock) -> None:
    """So does an async one, also when the attempt took too long."""
    starts: list[Any] = []

    @recoverable(clock=clock, resume_from="after", timeout=30)
    async def count(limit: int, after: int = 0) -> AsyncIterator[int]:
        starts.append(after)
        for number in range(after + 1, limit + 1):
            yield number
            if number == 1:
                raise ConnectionError
            if number == 2 and after == 1:
                await asyncio.Event().wait()

    assert [item async for item in count(4)] == [1, 2, 3, 4]
    assert starts == [0, 1, 2]


def test_generator_that_is_closed_early(store: Store) -> None:
    """Whoever stops iterating cancels the operation, and the generator is closed."""
    closed: list[str] = []

    @recoverable(persistence=store, resume_from="after")
    def count(after: int = 0) -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("closed")

    items: Any = count()
    assert next(items) == 1
    items.close()
    assert closed == ["closed"]
    assert store.find()[0].state is RecoveryState.CANCELLED


def test_generators_need_resume_from() -> None:
    """A generator without `resume_from`, one that names no parameter, or one on a plain function is refused."""

    def items(after: int = 0) -> Iterator[int]:
        yield after

    with pytest.raises(RecoveryConfigError, match=r"items is a generator: say with resume_from=..."):
        recoverable(items)
    with pytest.raises(RecoveryConfigError, match="has no parameter of that name"):
        recoverable(resume_from="before")(items)
    with pytest.raises(RecoveryConfigError, match="is for generators"):
        recoverable(resume_from="x")(lambda x: x)
    with pytest.raises(RecoveryConfigError, match="cannot have a fallback"):
        recoverable(resume_from="after", fallback=lambda error: None)(items)


# -- a store of one's own ------------------------------------------------------------------------------


class Simple(StatePersistence):
    """The five methods, and nothing else."""

    def __init__(self) -> None:
        self.saved: dict[str, RecoveryData] = {}
        self.states: list[str] = []
        self.is_broken = False

    async def save(self, recovery_data: RecoveryData) -> None:
        await asyncio.sleep(0)
        if self.is_broken:
            raise OSError("no space")
        self.saved[recovery_data.operation_id] = recovery_data
        self.states.append(recovery_data.state.value)

    async def load(self, operation_id: str) -> RecoveryData | None:
        return self.saved.get(operation_id)

    async def delete(self, operation_id: str) -> None:
        self.saved.pop(operation_id, None)

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return [data for data in self.saved.values() if data.state is state]

    async def cleanup_old(self, days: int = 7) -> int:
        return 0


async def test_store_with_five_methods(clock: VirtualClock) -> None:
    """A store that has only the five async methods gets every change of state."""
    simple = Simple()
    failing = [ConnectionError()]

    @recoverable(clock=clock, persistence=simple)
    async def fetch(value: str) -> str:
        if failing:
            raise failing.pop()
        return value

    assert await fetch("a") == "a"
    assert simple.states == ["in_progress", "recovering", "in_progress", "success"]
    [data] = simple.saved.values()
    assert (data.args, data.result) == (("a",), "a")


def test_store_with_five_methods_after_a_restart(clock: VirtualClock) -> None:
    """What such a store holds is found again by its key and by its id."""
    simple = Simple()
    calls: list[str] = []

    def fetch(value: str) -> str:
        calls.append(value)
        if len(calls) == 1:
            raise Killed
        return value

    def decorated() -> Any:
        return recoverable(clock=clock, persistence=simple, key=lambda value: value)(fetch)

    with pytest.raises(Killed):
        decorated()("a")
    [data] = simple.saved.values()
    restarted = Simple()
    restarted.saved = dict(simple.saved)
    again: Any = recoverable(clock=clock, persistence=restarted, key=lambda value: value)(fetch)
    assert again("a") == "a"
    assert list(restarted.saved) == [data.operation_id]
    assert again.resume(data.operation_id) == "a"
    assert calls == ["a", "a"]


def test_store_that_fails(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """A store of one's own that fails never fails the call; it is said once."""
    simple = Simple()
    simple.is_broken = True
    assert recoverable(clock=clock, persistence=simple)(lambda: "done")() == "done"
    assert [record.levelno for record in caplog.records if "Simple failed" in record.message] == [logging.WARNING]


def test_what_stands_before_a_store(tmp_path: Path) -> None:
    """A store that lacks something is mirrored, one that can be opened again goes on in memory; always by the same."""
    memory, simple = MemoryPersistence(), Simple()
    disk = SQLitePersistence(tmp_path / "recovery.db")
    assert store_for(memory) is memory
    going_on = store_for(disk)
    assert isinstance(going_on, ResilientPersistence)
    assert going_on.store is disk
    assert store_for(disk) is going_on
    assert store_for(going_on) is going_on
    assert store_for(simple) is store_for(simple)
    disk.close()


def test_mirror_in_a_forked_child() -> None:
    """A thread that was loading when the process was forked does not exist in the child."""
    mirror = store_for(Simple())
    assert isinstance(mirror, MirroredStore)
    mirror._loading.acquire()
    mirror.before_fork()
    mirror.after_fork(in_child=True)
    assert mirror.latest_with_key("a") is None


# -- the quick way -------------------------------------------------------------------------------------


class Counting(MemoryPersistence):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counting.made += 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    Counting.made = 0
    monkeypatch.setattr("launcher_recovery.declaration.MemoryPersistence", Counting)
    return Counting


async def test_no_record_until_it_fails(clock: VirtualClock, made: type[Counting]) -> None:
    """Without store, key and receivers a call that works makes no record; one that fails makes it then."""
    left = [ConnectionError(), ConnectionError()]

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    async def work_async() -> str:
        return work()

    decorated, decorated_async = recoverable(clock=clock)(work), recoverable(clock=clock)(work_async)
    assert (decorated(), made.made, clock.slept) == ("done", 1, 3)
    assert (decorated(), made.made) == ("done", 1)
    left.extend([ConnectionError(), ConnectionError()])
    assert (await decorated_async(), made.made, clock.slept) == ("done", 2, 6)
    assert (await decorated_async(), made.made) == ("done", 2)


async def test_operation_is_there_when_asked_for(clock: VirtualClock, made: type[Counting]) -> None:
    """`current_operation()` inside gives the same operation in every attempt; outside it is gone."""
    seen: list[tuple[str, int]] = []

    def work() -> str:
        operation = current_operation()
        assert operation is not None
        assert operation is current_operation()
        seen.append((operation.operation_id, operation.attempt))
        operation.progress(1, 2)
        if len(seen) % 2:
            raise ConnectionError
        return "done"

    async def work_async() -> str:
        return work()

    assert recoverable(clock=clock)(work)() == "done"
    assert await recoverable(clock=clock)(work_async)() == "done"
    assert current_operation() is None
    assert [attempt for _, attempt in seen] == [1, 2, 1, 2]
    assert (seen[0][0], seen[2][0]) == (seen[1][0], seen[3][0])
    assert made.made == 2


def test_history_of_a_quick_call_is_complete(clock: VirtualClock) -> None:
    """The note of the error counts the attempt that was made before there was a record."""
    with pytest.raises(ConnectionError) as caught:
        recoverable(clock=clock, max_retries=2)(lambda: (_ for _ in ()).throw(ConnectionError()))()
    assert "gave up after 3 attempts and 3 s of waiting (operation " in caught.value.__notes__[0]


def test_receivers_see_every_call(clock: VirtualClock, made: type[Counting]) -> None:
    """While somebody listens, calls that work are told as well."""
    states: list[str] = []

    def listen(sender: object, event: Any) -> None:
        states.append(event.payload["state"])

    with recovery_updated.connected_to(listen):
        recoverable(clock=clock)(lambda: 1)()
    assert states == ["in_progress", "success"]


async def test_cancelled_task_frees_the_probe(clock: VirtualClock) -> None:
    """A quick call that is cancelled goes on as a cancellation, and leaves nothing behind."""
    begun = asyncio.Event()

    @recoverable(clock=clock, circuit_breaker_threshold=1)
    async def work() -> None:
        assert current_operation() is not None
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_time_limits_hold_for_the_first_attempt(clock: VirtualClock) -> None:
    """A call with a time limit is timed from its beginning."""

    @recoverable(clock=clock, timeout=5, max_retries=0)
    def slow() -> None:
        clock.advance(6)

    with pytest.raises(RecoveryTimeoutError):
        slow()


def test_deadline_counts_from_the_call(clock: VirtualClock) -> None:
    """The deadline of a quick call counts from the call, not from its first failure."""
    calls: list[float] = []

    @recoverable(clock=clock, deadline=9, max_retries=9, initial_delay=1, backoff_factor=1)
    def slow() -> None:
        calls.append(clock.monotonic())
        clock.advance(4)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        slow()
    assert calls == [0, 5]


def test_owner_is_this_process(store: Store) -> None:
    """What a call keeps belongs to this process."""
    owners: list[str | None] = []

    @recoverable(persistence=store)
    def work() -> None:
        owners.extend(data.owner for data in store.find())

    work()
    assert owners == [OWNER.owner_id]


def test_nothing_is_left_behind(clock: VirtualClock) -> None:
    """A call that failed leaves no cycles that only the collector would find."""

    class Big:
        pass

    alive: list[Any] = []

    def work(big: Big) -> None:
        import weakref

        alive.append(weakref.ref(big))
        raise ValueError("no")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="no"):
            recoverable(clock=clock)(work)(Big())
        gc.collect()
        assert alive[0]() is None
    finally:
        gc.enable()


KEPT: list[dict[str, Any]] = [{}, {"persistence": MemoryPersistence()}, {"bulkhead": 1}]


@pytest.mark.parametrize("kept", KEPT, ids=["light", "kept", "queued"])
@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("timeout", "attempt 1 of work took longer than its timeout of 0 s"),
        ("deadline", "work is past its deadline of 0 s"),
    ],
)
async def test_no_time_at_all(clock: VirtualClock, kept: dict[str, Any], limit: str, message: str) -> None:
    """Of a limit of 0 seconds nothing is left for any attempt, of a plain function and of a coroutine alike."""

    def work() -> str:
        return "done"

    with pytest.raises(RecoveryTimeoutError, match=f"^{message}"):
        recoverable(clock=clock, max_retries=0, **{limit: 0.0}, **kept)(work)()

    async def work_async() -> str:
        return "done"

    work_async.__name__ = "work"
    with pytest.raises(RecoveryTimeoutError, match=f"^{message}"):
        await recoverable(clock=clock, max_retries=0, **{limit: 0.0}, **kept)(work_async)()


@pytest.mark.parametrize("kept", KEPT[:2], ids=["light", "kept"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout": 0.2}, "attempt 1 of slow took longer than its timeout of 0.2 s"),
        ({"timeout": 0.2, "deadline": 3}, "attempt 1 of slow took longer than its timeout of 0.2 s"),
        ({"timeout": 3, "deadline": 3}, "attempt 1 of slow took longer than its timeout of 3 s"),
        ({"timeout": 4, "deadline": 3}, "slow is past its deadline of 3 s"),
        ({"deadline": 3}, "slow is past its deadline of 3 s"),
    ],
)
async def test_messages_of_time_limits(
    clock: VirtualClock, kept: dict[str, Any], given: dict[str, float], message: str
) -> None:
    """The error says which limit it was, and what was set; the same of a plain function and of a coroutine."""

    def slow() -> None:
        clock.advance(5)

    with pytest.raises(RecoveryTimeoutError, match=f"^{message}"):
        recoverable(clock=clock, max_retries=0, **given, **kept)(slow)()

    async def slow_async() -> None:
        await asyncio.Event().wait()

    slow_async.__name__ = "slow"
    with pytest.raises(RecoveryTimeoutError, match=f"^{message}"):
        await recoverable(clock=clock, max_retries=0, **given, **kept)(slow_async)()


def test_deadline_that_is_over_before_the_first_attempt() -> None:
    """A deadline however short is one: what it takes to begin may be more."""

    class Late(VirtualClock):
        def time(self) -> float:
            self.advance(0.5)
            return super().time()

    @recoverable(clock=Late(), deadline=0.1, max_retries=0, persistence=MemoryPersistence())
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RecoveryTimeoutError, match=r"is past its deadline of 0\.1 s"):
        asyncio.run(asyncio.wait_for(work(), 20))


async def test_strategy_that_fails_costs_neither_the_error_nor_the_key(clock: VirtualClock, store: Store) -> None:
    """With a strategy that raises, the function's error is raised, the record is over, and the key is free again."""

    def gives(attempt: int) -> float:
        raise ZeroDivisionError

    class Deciding(FixedDelayStrategy):
        def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
            raise ZeroDivisionError

    async def work() -> None:
        raise ConnectionError("gone")

    options: dict[str, Any] = {"clock": clock, "persistence": store, "key": lambda: "k", "max_retries": 1}
    for strategy, attempts, slept in ((CustomStrategy(gives), 2, 1), (Deciding(), 1, 1), (CustomStrategy(gives), 2, 2)):
        clock.advance(1)  # the newest is the first that is found
        with pytest.raises(ConnectionError, match="gone"):
            await recoverable(strategy=strategy, **options)(work)()
        assert (store.find()[0].attempt, clock.slept) == (attempts, slept)
    assert [data.state.value for data in store.find()] == ["exhausted", "failed", "exhausted"]


@pytest.mark.parametrize("kept", ["light", "kept"])
@pytest.mark.parametrize("kind", ["sync", "async", "generator", "async generator"])
async def test_strategy_looks_at_the_history(clock: VirtualClock, tmp_path: Path, kept: str, kind: str) -> None:
    """A strategy finds the operation it decides about; of its attempts the last one is that which has just failed."""
    seen: list[list[tuple[Any, ...]]] = []
    waits: list[int] = []

    def history() -> list[Any]:
        operation = current_operation()
        assert operation is not None
        return operation.history

    class Looking(FixedDelayStrategy):
        def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
            assert all(one.ended_at is not None and "in work" in one.traceback for one in history())
            seen.append([(one.number, one.outcome, one.error_type, one.error, one.delay_s) for one in history()])
            return attempt < max_attempts

        def calculate_delay(self, attempt: int) -> float:
            waits.append(len(history()))
            return float(waits[-1])

    def work(last: Any = None) -> None:
        raise ConnectionError("gone")

    async def work_async() -> None:
        work()

    def work_in_turn(last: Any = None) -> Iterator[int]:
        work()
        yield 1

    async def work_in_turn_async(last: Any = None) -> AsyncIterator[int]:
        work()
        yield 1

    options: dict[str, Any] = {"clock": clock, "max_retries": 2, "strategy": Looking(0)}
    if kept == "kept":
        options["persistence"] = SQLitePersistence(tmp_path / "recovery.db")

    async def call() -> None:
        if kind == "sync":
            recoverable(**options)(work)()
        elif kind == "async":
            await recoverable(**options)(work_async)()
        elif kind == "generator":
            list(recoverable(resume_from="last", **options)(work_in_turn)())
        else:
            async for _ in recoverable(resume_from="last", **options)(work_in_turn_async)():
                pass

    with pytest.raises(ConnectionError):
        await call()
    failed = [(number, "failed", "ConnectionError", "ConnectionError: gone") for number in (1, 2, 3)]
    first, second, third = failed
    assert seen == [[(*first, None)], [(*first, 1), (*second, None)], [(*first, 1), (*second, 2), (*third, None)]]
    assert (waits, clock.slept) == ([1, 2], 3)
    assert current_operation() is None


async def test_decision_of_a_coroutine_leaves_what_is_current(clock: VirtualClock) -> None:
    """The operation around one that fails is the current one again; the one decided about does not hold the error."""
    lives: list[Any] = []

    @recoverable(clock=clock)
    async def outer() -> Any:
        around = current_operation()

        @recoverable(clock=clock, max_retries=1)
        async def inner() -> None:
            lives.append(current_operation())
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            await inner()
        return current_operation() is around

    assert await outer()
    assert lives[0].as_failed is None


# -- keys of several functions -------------------------------------------------------------------------


async def test_keys_are_those_of_one_function(store: Store) -> None:
    """With one store and one key text, a function gets neither the result nor the running call of another one."""
    options: dict[str, Any] = {"persistence": store, "key": lambda *given: "same", "reuse_result": True}
    calls: list[str] = []

    @recoverable(**options)
    def one() -> str:
        calls.append("one")
        return f"1 {other()}"  # which would wait for this one, did it join it

    @recoverable(**options)
    def other() -> str:
        calls.append("other")
        return "2"

    @recoverable(**options)
    async def third() -> str:
        calls.append("third")
        return "3"

    assert [one(), other(), await third(), one(), other(), await third()] == ["1 2", "2", "3"] * 2
    assert calls == ["one", "other", "third"]
    assert sorted(str(data.key).rpartition(".")[2] for data in store.find()) == ["one:same", "other:same", "third:same"]


def test_lambdas_are_told_apart_by_what_they_do(store: Store) -> None:
    """They all have one name; one that is declared again, as after a restart, is still the same."""
    options: dict[str, Any] = {"persistence": store, "key": lambda: "same", "reuse_result": True}
    calls: list[str] = []

    def declare() -> list[Any]:
        return [
            recoverable(**options)(lambda: calls.append("a") or "A"),
            recoverable(**options)(lambda: calls.append("b") or "B"),
        ]

    assert [function() for _ in range(2) for function in declare()] == ["A", "B"] * 2
    assert calls == ["a", "b"]


def test_operation_with_a_key_is_resumed(store: Store) -> None:
    """`resume` continues it, and a call with its key then gets the result."""
    works = False

    @recoverable(persistence=store, key=lambda url: url, reuse_result=True, max_retries=0)
    def fetch(url: str) -> str:
        if not works:
            raise ConnectionError("gone")
        return f"{url}!"

    with pytest.raises(ConnectionError):
        fetch("a")
    [data] = store.find()
    works = True
    assert fetch.resume(data.operation_id) == "a!"
    works = False
    assert fetch("a") == "a!"
    assert len(store.find()) == 1


@pytest.mark.parametrize(("key", "shown"), [(5, "5 (int)"), (None, "None (NoneType)"), (b"k", "b'k' (bytes)")])
@pytest.mark.parametrize("kept", [True, False])
async def test_key_that_is_no_text(key: Any, shown: str, kept: bool) -> None:
    """The error names the function and what its key function returned; nothing is run."""
    options: dict[str, Any] = {"key": lambda: key, "persistence": MemoryPersistence() if kept else None}

    def work() -> None:
        pytest.fail("it ran")

    async def work_async() -> None:
        pytest.fail("it ran")

    expected = rf"the key function of \S+\.work\w* returned {re.escape(shown)}, but a key is text"
    with pytest.raises(RecoveryConfigError, match=expected):
        recoverable(**options)(work)()
    with pytest.raises(RecoveryConfigError, match=expected):
        await recoverable(**options)(work_async)()


# -- the number of retries -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["progress", "step"])
def test_progress_gives_no_more_retries(clock: VirtualClock, how: str) -> None:
    """A function that moves on in every attempt is retried as often as was said, and no more."""
    attempts: list[int] = []

    @recoverable(clock=clock, max_retries=2)
    def work() -> None:
        operation = current_operation()
        assert operation is not None
        attempts.append(operation.attempt)
        if len(attempts) > 10:
            raise Killed
        if how == "progress":
            operation.progress(operation.attempt, 100)
        else:
            operation.step(f"part {operation.attempt}", lambda: None)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        work()
    assert attempts == [1, 2, 3]
