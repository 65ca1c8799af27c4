"""`isolate=True`: the function in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CommandError,
    OperationCancelled,
    RecoveryConfigError,
    RecoveryState,
    RecoveryTimeoutError,
    StoredError,
    recoverable,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import let_go, start_time
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.testing import VirtualClock
from tests.unit import isolated


def isolate(function: Callable[..., Any], **options: Any) -> Any:
    return recoverable(isolate=True, **{"clock": VirtualClock(), "max_retries": 1, **options})(function)


def test_runs_elsewhere() -> None:
    """The result comes from another process; what the function prints does not get in the way."""
    result = isolate(isolated.add)(1, b=2)
    assert result["sum"] == 3
    assert result["pid"] != os.getpid()


def test_progress_steps_and_metadata_come_through(tmp_path: Path) -> None:
    """What the function tells its operation is kept; a finished step does not run again in the next process."""
    store = MemoryPersistence()
    assert isolate(isolated.steps, persistence=store)(tmp_path) == "made"
    [data] = store.find()
    assert (tmp_path / "runs").read_text() == "x"
    assert data.progress is not None
    assert (data.progress.done, data.progress.message, data.attempt) == (2, "on the way", 2)
    assert data.metadata["seen"] == "made"
    assert [step.name for step in store.steps(data.operation_id)] == ["make"]
    let_go(store)


def test_errors_are_those_of_the_function() -> None:
    """An error comes back as its type, with the child's traceback as its cause; else as a StoredError."""
    with pytest.raises(FileNotFoundError, match="No such file") as caught:
        isolate(isolated.fails, max_retries=0)("missing")
    assert isinstance(caught.value.__cause__, StoredError)
    assert "in fails" in caught.value.__cause__.traceback
    with pytest.raises(StoredError, match="1 and more"):
        isolate(isolated.fails, max_retries=0)("peculiar")
    with pytest.raises(CommandError, match="ended with exit status 137"):
        isolate(isolated.fails, max_retries=0)("killed")
    with pytest.raises(TypeError, match="not kept in the store"):
        isolate(isolated.unstorable, max_retries=0)()
    with pytest.raises(TypeError, match="not kept in the store"):
        isolate(isolated.add, max_retries=0)(object(), 1)


@pytest.mark.parametrize("how", ["timeout", "cancel", "pause"])
def test_the_whole_group_is_ended(tmp_path: Path, how: str) -> None:
    """A timeout, a cancellation or a pause ends the child and the children of the child."""
    store = MemoryPersistence()
    pids = tmp_path / "pids"
    clock = VirtualClock()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            isolate(isolated.hangs, persistence=store, max_retries=0, timeout=60, clock=clock)(pids)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    until(pids.exists)
    running = [int(pid) for pid in pids.read_text().split()]
    assert all(start_time(pid) is not None for pid in running)
    if how == "timeout":
        clock.advance(61)
    else:
        getattr(Lifecycle(store, owner_id="api"), how)(store.find()[0].operation_id)
    until(lambda: all(start_time(pid) is None for pid in running))
    if how == "pause":  # it waits for a person
        assert thread.is_alive()
        assert store.find()[0].state is RecoveryState.PAUSED
        Lifecycle(store, owner_id="api").cancel(store.find()[0].operation_id)
    thread.join(20)
    assert isinstance(errors[0], RecoveryTimeoutError if how == "timeout" else OperationCancelled)
    if how == "timeout":
        assert str(errors[0]) == "attempt 1 of hangs took longer than its timeout of 60 s"
    let_go(store)


KILLED = """
import os, sys, threading, time
from pathlib import Path
from launcher_recovery import recoverable
from tests.unit import isolated

pids = Path(sys.argv[1])

def end():
    while not pids.exists():
        time.sleep(0.005)
    if sys.argv[2] == "with a sibling":
        sibling = os.fork()
        if not sibling:
            time.sleep(600)
            os._exit(0)
        pids.with_suffix(".sibling").write_text(str(sibling))
    os.kill(os.getpid(), 9)

threading.Thread(target=end).start()
recoverable(isolate=True)(isolated.hangs)(pids)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs process groups")
@pytest.mark.parametrize("how", ["alone", "with a sibling"])
def test_what_a_killed_process_had_begun_ends_with_it(tmp_path: Path, how: str) -> None:
    """kill -9 of the parent leaves nothing running, not even while a process forked from it has its pipes."""
    pids = tmp_path / "pids"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", KILLED, str(pids), how], env=environment)
    assert parent.wait(30) == -9
    running = [int(pid) for pid in pids.read_text().split()]
    until(lambda: all(start_time(pid) is None for pid in running))
    if how == "with a sibling":
        sibling = int(pids.with_suffix(".sibling").read_text())
        assert start_time(sibling) is not None
        os.kill(sibling, 9)


def until(condition: Callable[[], bool]) -> None:
    """Until it holds; the test's own time limit ends it otherwise."""
    while not condition():
        time.sleep(0.005)


def test_what_cannot_be_isolated() -> None:
    """Local functions, coroutines and functions with a state of their own are refused when decorated."""

    def local() -> None: ...

    async def coroutine() -> None: ...

    for function in (local, coroutine):
        with pytest.raises(RecoveryConfigError, match="isolate=True is not usable"):
            recoverable(isolate=True)(function)
    with pytest.raises(RecoveryConfigError, match="without a state_serializer"):
        recoverable(isolate=True, state_serializer=lambda state: state)(isolated.add)
