"""A store that fails, at whatever moment it begins to, fails no operation: nothing is lost, nothing is run twice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    RecoveryConfig,
    RecoveryIntegrator,
    SQLitePersistence,
    StoreError,
    current_operation,
    recoverable,
)
from launcher_recovery.handles import handles_of
from launcher_recovery.persistence import MemoryPersistence, ResilientPersistence, StatePersistence
from launcher_recovery.persistence.base import Change, Changed, RenewableStore, Store
from launcher_recovery.stores import store_for
from launcher_recovery.testing import VirtualClock
from tests.support import let_go, wait_for
from tests.torture.files import database
from tests.torture.model import Walks

METHODS = [
    name
    for protocol in (Store, RenewableStore)
    for name, value in vars(protocol).items()
    if callable(value) and not name.startswith("_") and name != "close"
]


class FailingStore(SQLitePersistence):
    """Its nth call fails, and those that follow, as many as are given."""

    calls = 0
    fails_from: float = float("inf")
    fails_before: float = float("inf")

    def count(self) -> None:
        self.calls += 1
        if self.fails_from <= self.calls < self.fails_before:
            raise StoreError(f"call {self.calls} failed")


def _counted(name: str) -> Callable[..., Any]:
    method = getattr(SQLitePersistence, name)

    @functools.wraps(method)
    def call(self: FailingStore, *args: Any, **kwargs: Any) -> Any:
        self.count()
        return method(self, *args, **kwargs)

    return call


for _name in METHODS:
    setattr(FailingStore, _name, _counted(_name))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[FailingStore]:
    """A store that is well again when it is closed."""
    made = FailingStore(database(path))
    try:
        yield made
    finally:
        made.fails_from = float("inf")
        let_go(made)
        made.close()


class Work:
    """A handler that fails twice, with a step in every attempt, progress and metadata; notes what was really run."""

    EXPECTED = ("attempt", "once", "in 1", "attempt", "in 2", "attempt", "in 3")

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self, wanted: str) -> str:
        operation = current_operation()
        assert operation is not None
        number = self.ran.count("attempt") + 1
        self.ran.append("attempt")
        operation.progress(number, 3)
        operation.step("once", lambda: self.ran.append("once"))
        operation.metadata["number"] = number
        operation.save_metadata()
        operation.step(f"in {number}", lambda: self.ran.append(f"in {number}"))
        operation.check()
        assert [attempt.number for attempt in operation.history] == list(range(1, number + 1))
        if number < 3:
            raise ConnectionError(f"attempt {number} broke")
        return f"{wanted} after {number}"


def plain(store: Store | StatePersistence, work: Work, clock: VirtualClock) -> str:
    @recoverable(max_retries=3, initial_delay=10, persistence=store, clock=clock, key=lambda wanted: wanted)
    def run(wanted: str) -> str:
        return work(wanted)

    found: str = run("fine")
    return found


def coroutine(store: Store | StatePersistence, work: Work, clock: VirtualClock) -> str:
    @recoverable(max_retries=3, initial_delay=10, persistence=store, clock=clock, key=lambda wanted: wanted)
    async def run(wanted: str) -> str:
        return await asyncio.to_thread(work, wanted)

    return asyncio.run(run("fine"))


def faults(folder: Path, failing: float) -> Iterator[FailingStore]:
    """A store for each of the moments at which that many failing calls may begin, until none is left."""
    for number in itertools.count(1):
        with opened(folder / f"{number}.db") as store:
            store.calls, store.fails_from, store.fails_before = 0, number, number + failing
            yield store
            if store.calls < number:
                return


@pytest.mark.parametrize("call", [plain, coroutine])
def test_fails_for_good(tmp_path: Path, call: Callable[..., str]) -> None:
    """From any call on nothing can be kept: the operation ends as if nothing were wrong, each part done once."""
    tried = 0
    for store in faults(tmp_path, float("inf")):
        work = Work()
        assert call(store, work, VirtualClock()) == "fine after 3"
        assert work.ran == [*Work.EXPECTED], f"from call {store.fails_from}"
        tried += 1
    assert tried > 30


@pytest.mark.parametrize("failing", [1, 4])
def test_fails_for_a_moment(tmp_path: Path, failing: int) -> None:
    """A few calls fail, and the store works again: it then has all of the operation, as if nothing had happened."""
    for store in faults(tmp_path, failing):
        clock, work, walks = VirtualClock(), Work(), Walks()
        resilient = ResilientPersistence(store, clock)
        assert plain(resilient, work, clock) == "fine after 3"
        assert work.ran == [*Work.EXPECTED]
        where = f"from call {store.fails_from}"
        store.fails_from = float("inf")
        clock.advance(60)
        resilient.check()
        [data] = store.find(limit=-1)
        assert (data.state.value, data.result, data.metadata) == ("success", "fine after 3", {"number": 3}), where
        kept = [(one.number, one.outcome) for one in store.attempts(data.operation_id)]
        assert kept == [(1, "failed"), (2, "failed"), (3, "success")], where
        assert {step.name for step in store.steps(data.operation_id)} == {"once", "in 1", "in 2", "in 3"}, where
        walks.follow(store.events_since(0))


def test_fails_under_an_integrator(tmp_path: Path) -> None:
    """A store of one's own that is given to an integrator goes on in memory as well, and is written back."""
    for store in faults(tmp_path, float("inf")):
        clock, work = VirtualClock(), Work()
        integrator = RecoveryIntegrator(RecoveryConfig(initial_delay=10), persistence=store, clock=clock)
        assert integrator.apply_to_operation(work)("fine") == "fine after 3"
        assert work.ran == [*Work.EXPECTED], f"from call {store.fails_from}"
        store.fails_from = float("inf")
        clock.advance(60)
        integrator.persistence.check()
        assert integrator.store_problem is None
        [data] = store.find(limit=-1)
        assert (data.state.value, data.result) == ("success", "fine after 3")
        integrator.stop()


class Fragile(MemoryPersistence):
    """A store of one's own that can do everything but be opened again; it keeps no end of an attempt."""

    def change(self, operation_id: str, change: Change) -> Changed | None:
        if change.attempt is not None:
            raise StoreError("it is gone")
        return super().change(operation_id, change)


def test_an_end_that_cannot_be_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """The call gives its result, or raises its own error; others see it in progress."""
    store = Fragile()

    @recoverable(persistence=store)
    def run(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "fine"

    broken = ConnectionError("broken")
    assert run(None) == "fine"
    with pytest.raises(ConnectionError) as caught:
        run(broken)
    assert caught.value is broken
    assert [data.state.value for data in store.find()] == ["in_progress"] * 2
    told = [record.getMessage().partition(" could")[2] for record in caplog.records]
    assert [text for text in told if "recorded" in text] == [" not be recorded: it is gone"] * 2
    let_go(store)


def test_calls_go_on_together(tmp_path: Path) -> None:
    """While the disk fails a function that is decorated twice still sees the same operations, and wakes itself."""
    with opened(tmp_path / "recovery.db") as store:
        store.fails_from = store.calls + 1
        begun, go = threading.Event(), threading.Event()
        ran: list[int] = []

        def work() -> str:
            ran.append(len(ran) + 1)
            begun.set()
            assert go.wait(20)
            return "of the first"

        first, second = (recoverable(persistence=store, key=lambda: "same")(work) for _ in range(2))
        results: list[str] = []
        threads = [threading.Thread(target=lambda: results.append(first()))]
        threads[0].start()
        assert begun.wait(20)
        threads.append(threading.Thread(target=lambda: results.append(second())))
        threads[1].start()
        handles = handles_of(store)
        [data] = store_for(store).find()
        wait_for(lambda: handles.count(data.operation_id) == 2)
        go.set()
        for thread in threads:
            thread.join(20)
        assert (results, ran) == (["of the first"] * 2, [1])
