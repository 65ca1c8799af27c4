"""Steps of coroutines, and steps whose result cannot be written down."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import OperationCancelled, RecoveryStateError, SQLitePersistence, current_operation
from launcher_recovery.decorator import recoverable
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.testing import VirtualClock
from tests.support import let_go
from tests.unit import isolated
from tests.unit.kit import Kit
from tests.unit.test_operation import started


def here() -> Operation:
    found = current_operation()
    assert found is not None
    return found


def ways(function: Callable[[], Awaitable[Any]]) -> dict[str, Callable[[], Awaitable[Any]]]:
    """The same work as what a step may be given."""

    class Callee:
        async def __call__(self) -> Any:
            return await function()

    async def called() -> Any:
        return await function()

    return {
        "function": called,
        "partial": functools.partial(called),
        "lambda": lambda: called(),
        "object": Callee(),
        "task": lambda: asyncio.ensure_future(called()),
    }


WAYS = ("function", "partial", "lambda", "object", "task")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("result", [None, 0, (1, "two"), {"token": "SECRET"}])
def test_awaited_step_is_run_once(each: Kit, way: str, result: Any) -> None:
    """The step of a coroutine runs once over attempts, also one whose result is falsy or a secret."""
    calls: list[int] = []
    found = []

    async def work() -> Any:
        await asyncio.sleep(0)
        calls.append(here().attempt)
        return result

    async def handler() -> None:
        found.append(await here().step("work", ways(work)[way]))
        found.append(here().step("plain", lambda: calls.append(0)))
        if here().attempt == 1:
            raise ConnectionError("gone")

    asyncio.run(each.run_async(handler))
    assert found == [result, None] * 2
    assert calls == [1, 0]


@pytest.mark.parametrize("way", WAYS)
def test_awaited_step_is_kept_over_a_restart(tmp_path: Path, way: str) -> None:
    """A new process gets the kept result, provided that `still_valid` says so; else the step runs again."""
    calls: list[str] = []

    async def work() -> Any:
        calls.append("ran")
        return "made"

    for expected in (["ran"], ["ran"]):
        store = SQLitePersistence(tmp_path / "recovery.db")
        kit = Kit(store)
        live = started(kit, key="a") if not calls else Operation(store.find()[0], kit.lifecycle, kit.clock)

        async def step(valid: bool, live: Operation = live) -> Any:
            return await live.step("work", ways(work)[way], lambda result: valid and result == "made")

        assert asyncio.run(step(True)) == "made"
        assert calls == expected
        let_go(store)
        store.close()
    kit = Kit(SQLitePersistence(tmp_path / "recovery.db"))
    again = Operation(kit.store.find()[0], kit.lifecycle, kit.clock)
    kit.lifecycle.attach(again)
    assert asyncio.run(step(False, again)) == "made"
    assert calls == ["ran", "ran"]
    let_go(kit.store)
    kit.store.close()


@pytest.mark.parametrize("way", WAYS)
def test_awaited_step_that_was_cancelled_is_not_done(kit: Kit, way: str) -> None:
    """A task that is cancelled in the middle of a step, or a step that raises, leaves it to be done."""
    live = started(kit)

    async def hangs() -> None:
        begun.set()
        await asyncio.sleep(600)

    async def fails() -> None:
        raise ConnectionError("gone")

    async def main() -> None:
        global begun
        begun = asyncio.Event()

        async def run() -> None:
            await live.step("work", ways(hangs)[way])

        task = asyncio.create_task(run())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionError):
            await live.step("work", ways(fails)[way])

    asyncio.run(main())
    assert kit.store.steps(live.operation_id) == []
    assert not live.moved


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_step_that_is_done_anew_brings_nothing(kit: Kit, is_awaited: bool) -> None:
    """An operation that does one again in each attempt, and then fails, does not have attempts without end."""
    live = started(kit)

    async def work() -> int:
        return 1

    def run() -> None:
        step = live.step("work", work if is_awaited else lambda: 1, still_valid=lambda result: False)
        if is_awaited:
            asyncio.run(_given(step))

    run()
    assert live.moved
    live.moved = False
    run()
    assert not live.moved
    assert [step.name for step in kit.store.steps(live.operation_id)] == ["work"]


async def _given(step: Awaitable[Any]) -> Any:
    return await step


begun: asyncio.Event


@pytest.mark.parametrize("way", WAYS)
def test_awaited_step_of_a_lost_operation(kit: Kit, way: str) -> None:
    """It is not marked when the operation was taken away meanwhile, and the next one does not begin."""
    live = started(kit)

    async def cancel() -> None:
        kit.lifecycle.cancel(live.operation_id)

    async def never() -> None:
        pytest.fail("the step ran")

    async def main() -> None:
        with pytest.raises(RecoveryStateError, match="step late of work ended after the operation was taken away"):
            await live.step("late", ways(cancel)[way])
        with pytest.raises(OperationCancelled):
            await live.step("never", ways(never)[way])

    asyncio.run(main())
    assert kit.store.steps(live.operation_id) == []


def test_event_loop_goes_on_while_a_step_is_kept(tmp_path: Path) -> None:
    """The store is read and written in another thread; a cancelled task waits for what is being written."""
    threads: dict[str, set[bool]] = {"load": set(), "finish": set()}
    begins, goes_on = threading.Event(), threading.Event()

    class Slow(SQLitePersistence):
        def load_step(self, operation_id: str, name: str) -> Any:
            threads["load"].add(threading.current_thread() is threading.main_thread())
            return super().load_step(operation_id, name)

        def finish_step(self, operation_id: str, fence: int, step: Any) -> bool:
            threads["finish"].add(threading.current_thread() is threading.main_thread())
            begins.set()
            assert goes_on.wait(30)
            return super().finish_step(operation_id, fence, step)

    store = Slow(tmp_path / "recovery.db")
    kit = Kit(store)
    live = started(kit)

    async def work() -> str:
        return "made"

    async def main() -> None:
        task = asyncio.ensure_future(live.step("work", work))
        while not begins.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [step.name for step in store.steps(live.operation_id)] == ["work"]

    asyncio.run(main())
    assert threads == {"load": {False}, "finish": {False}}
    let_go(store)
    store.close()


class Thing:
    """What no store can keep, nor anybody copy."""

    def __deepcopy__(self, memo: Any) -> Thing:
        raise TypeError("a thing cannot be copied")


@pytest.mark.parametrize("is_async", [False, True])
def test_step_whose_result_cannot_be_kept(each: Kit, caplog: pytest.LogCaptureFixture, is_async: bool) -> None:
    """It is done for this process, and said once; a new process runs it again."""
    made: list[Any] = []

    def make() -> Any:
        made.append([Thing()])
        return made[-1]

    async def make_it() -> Any:
        return make()

    def handler() -> Any:
        found = here().step("make", make)
        if here().attempt == 1:
            raise ConnectionError("gone")
        return found is made[0]

    async def awaiting() -> Any:
        found = await here().step("make", lambda: make_it())
        if here().attempt == 1:
            raise ConnectionError("gone")
        return found is made[0]

    with caplog.at_level(logging.WARNING, "launcher_recovery"):
        assert asyncio.run(each.run_async(awaiting)) if is_async else each.run(handler)
    assert len(made) == 1
    [said] = [text for text in caplog.messages if "make" in text]
    assert said.startswith("the result of step make of work is not kept (")
    assert "is of type Thing" in said
    assert each.now.state.value == "success"
    assert each.store.steps(each.data.operation_id) == []

    live = started(each, key="a")
    live.step("make", make)
    later = Lifecycle(each.store, owner_id="me", clock=each.clock)
    anew = Operation(live.data, later, each.clock)
    assert anew.step("make", lambda: "made again") == "made again"
    kept = Lifecycle(each.store, owner_id="me", clock=each.clock).kept_step(live.operation_id, "make")
    assert kept is not None
    assert kept.result == "made again"


def test_step_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Also there what cannot be kept does not fail the call; the next attempt, in another process, does it again."""
    run = recoverable(isolate=True, clock=VirtualClock(), max_retries=1)(isolated.makes_things)
    assert run(tmp_path) is True
    assert (tmp_path / "runs").read_text() == "xx"
