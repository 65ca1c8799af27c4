"""What a person does in another process reaches the calls of this one, with nobody who forwards it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import OperationCancelled, RecoveryState, SQLitePersistence, current_operation, recoverable
from launcher_recovery.errors import StoreError
from launcher_recovery.handles import handles_of
from launcher_recovery.operation import Operation
from launcher_recovery.owners import let_go
from tests.support import forget_threads, recovery_threads, wait_for

S = RecoveryState

ELSEWHERE = """
import sys
from launcher_recovery import SQLitePersistence
from launcher_recovery.lifecycle import Lifecycle
lifecycle = Lifecycle(SQLitePersistence(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    control, operation_id = line.split()
    print(getattr(lifecycle, control)(operation_id).state, flush=True)
"""


@pytest.fixture(autouse=True)
def _looks_only_when_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_threads()
    monkeypatch.setattr("launcher_recovery.engine._POLL_S", 1000.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLitePersistence]:
    made = SQLitePersistence(tmp_path / "recovery.db")
    yield made
    let_go(made)
    made.close()


@pytest.fixture
def elsewhere(store: SQLitePersistence) -> Iterator[Callable[[str], str]]:
    """Does a control to the one operation that there is, in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, store.path], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, said = process.stdin, process.stdout
    said.readline()

    def control(name: str) -> str:
        [data] = store.find()
        told.write(f"{name} {data.operation_id}\n")
        told.flush()
        return said.readline().strip()

    yield control
    told.close()
    process.wait(20)
    said.close()


def here() -> Operation:
    found = current_operation()
    assert found is not None
    return found


class Call(threading.Thread):
    """A call in a thread: `result` is what it returned or raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.start()

    def run(self) -> None:
        try:
            self._result: Any = self._function()
        except Exception as error:
            self._result = error

    @property
    def result(self) -> Any:
        self.join(30)
        assert not self.is_alive()
        return self._result


def test_a_running_function_notices_at_its_next_check(
    store: SQLitePersistence, elsewhere: Callable[[str], str]
) -> None:
    """One that checked before, and one that checks for the first time afterwards."""
    begun, cancelled = threading.Event(), threading.Event()

    @recoverable(persistence=store)
    def work(checks_before: bool) -> None:
        begun.set()
        while checks_before:
            here().check()
        assert cancelled.wait(30)
        here().check()
        pytest.fail("it went on")

    first = Call(lambda: work(True))
    assert begun.wait(30)
    assert elsewhere("cancel") == "cancelled"
    assert isinstance(first.result, OperationCancelled)
    store._delete(store.find()[0].operation_id)
    begun.clear()
    second = Call(lambda: work(False))
    assert begun.wait(30)
    assert elsewhere("cancel") == "cancelled"
    cancelled.set()
    assert isinstance(second.result, OperationCancelled)


def test_a_waiting_call_ends_its_wait(store: SQLitePersistence, elsewhere: Callable[[str], str]) -> None:
    """Paused, resumed, tried again at once, and cancelled, all in the middle of a wait."""
    attempts = threading.Semaphore(0)

    @recoverable(persistence=store, initial_delay=1000, max_delay=1000)
    def work() -> None:
        attempts.release()
        raise ConnectionError("gone")

    call = Call(work)
    assert attempts.acquire(timeout=30)
    wait_for(lambda: store.find(states=[S.RECOVERING]))
    assert elsewhere("pause") == "paused"
    assert elsewhere("resume") == "pending"
    assert attempts.acquire(timeout=30)
    wait_for(lambda: store.find(states=[S.RECOVERING]))
    assert elsewhere("retry") == "recovering"
    assert attempts.acquire(timeout=30)
    wait_for(lambda: store.find(states=[S.RECOVERING]))
    assert elsewhere("cancel") == "cancelled"
    assert isinstance(call.result, OperationCancelled)


async def test_a_coroutine_that_awaits_something_long_is_ended(
    store: SQLitePersistence, elsewhere: Callable[[str], str]
) -> None:
    ended: list[str] = []

    @recoverable(persistence=store)
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    task = asyncio.ensure_future(work())
    await asyncio.to_thread(wait_for, lambda: store.find(states=[S.IN_PROGRESS]))
    assert await asyncio.to_thread(elsewhere, "cancel") == "cancelled"
    with pytest.raises(OperationCancelled):
        await asyncio.wait_for(task, 30)
    assert ended == ["ended"]


async def test_a_coroutine_that_was_paused_goes_on_elsewhere(
    store: SQLitePersistence, elsewhere: Callable[[str], str]
) -> None:
    """It is ended when it is paused, and called again when it is resumed."""
    calls: list[int] = []

    @recoverable(persistence=store)
    async def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "done"

    task = asyncio.ensure_future(work())
    await asyncio.to_thread(wait_for, lambda: store.find(states=[S.IN_PROGRESS]))
    assert await asyncio.to_thread(elsewhere, "pause") == "paused"
    assert await asyncio.to_thread(elsewhere, "resume") == "pending"
    assert await asyncio.wait_for(task, 30) == "done"


def test_the_thread_that_looks_ends_when_there_is_nothing_to_look_for(store: SQLitePersistence) -> None:
    @recoverable(persistence=store)
    def work() -> None:
        here().check()
        assert "recovery-watch" in recovery_threads()

    work()
    work()
    wait_for(lambda: "recovery-watch" not in recovery_threads())


def test_changes_made_here_wake_nobody_twice(store: SQLitePersistence) -> None:
    """The events of this process are known; those of a store that fails for a while are made up for."""

    @recoverable(persistence=store)
    def work() -> None:
        operation = here()
        operation.check()
        seen = store.event_range()[1]
        for number in range(3):
            operation.progress(number)
        wait_for(lambda: handles_of(store)._seen > seen)
        assert not operation.wake.is_set()

    work()


def checking(store: SQLitePersistence) -> Call:
    """A call that has begun, and looks whether it may go on."""
    begun = threading.Event()

    @recoverable(persistence=store)
    def work() -> None:
        while True:
            here().check()
            begun.set()

    call = Call(work)
    assert begun.wait(30)
    return call


@pytest.mark.parametrize("error", [StoreError("busy"), AttributeError("a fault of the store")])
def test_a_store_that_cannot_be_read_for_a_moment_is_looked_at_later(
    store: SQLitePersistence,
    elsewhere: Callable[[str], str],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What changed meanwhile is noticed then, whatever the store raised; a fault is told once."""
    monkeypatch.setattr("launcher_recovery.handles._PATIENCE_S", 0.0)
    event_range = store.event_range
    failures = iter([True] * 3)

    def failing() -> tuple[int, int]:
        if next(failures, False):
            raise error
        return event_range()

    call = checking(store)
    monkeypatch.setattr(store, "event_range", failing)
    assert elsewhere("cancel") == "cancelled"
    assert isinstance(call.result, OperationCancelled)
    assert next(failures, "all were met") == "all were met"
    assert caplog.text.count("AttributeError: a fault of the store") == (not isinstance(error, StoreError))


def test_more_events_than_can_be_read(
    store: SQLitePersistence, elsewhere: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then everybody looks."""
    monkeypatch.setattr("launcher_recovery.handles._MANY", 0)
    call = checking(store)
    elsewhere("cancel")
    assert isinstance(call.result, OperationCancelled)


IN_A_CHILD = """
import os, sys
from launcher_recovery import OperationCancelled, SQLitePersistence, current_operation, recoverable
from launcher_recovery.records import RecoveryState
store = SQLitePersistence(sys.argv[1])
fork_inside = sys.argv[2] == "inside"

@recoverable(persistence=store)
def work():
    current_operation().check()  # the thread that looks is begun in the parent, and does not live in the child
    if fork_inside and os.fork():
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    print("running", flush=True)
    while True:
        current_operation().check()

if not fork_inside:
    warm = recoverable(persistence=store)(lambda: current_operation().check())
    warm()
    store._delete(store.find()[0].operation_id)
    if os.fork():
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    work()
except OperationCancelled:
    os._exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["before", "inside"])
def test_in_a_forked_child(store: SQLitePersistence, elsewhere: Callable[[str], str], where: str) -> None:
    """A child that was forked before or in the middle of an operation notices as well."""
    process = subprocess.Popen([sys.executable, "-c", IN_A_CHILD, store.path, where], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    assert elsewhere("cancel") == "cancelled"
    assert process.wait(30) == 7
    process.stdout.close()
