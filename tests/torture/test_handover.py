"""Several real processes call one operation: one of them runs it, whatever a person does, and whoever is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.records import RecoveryData
from tests.support import wait_for

# Calls the operation, which notes in a file when its code begins and ends; the code never looks what a person does. The
# first attempt goes on when a file is there. No process has a resumer.
CALLER = """
import asyncio, sys, threading, time
from pathlib import Path
from launcher_recovery import OperationCancelled, SQLitePersistence, current_operation, recoverable
from launcher_recovery.handles import handles_of

folder, name, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = SQLitePersistence(folder / "recovery.db")

def note(text):
    with open(folder / "notes", "ab", buffering=0) as notes:
        notes.write(f"{text}\\n".encode())

def begin():
    number = current_operation().attempt
    note(f"{number} begins in {name}")
    return number

def end(number):
    note(f"{number} ends in {name}")
    return f"done by {name}"

def work():
    number = begin()
    while number == 1 and not (folder / "go").exists():
        time.sleep(0.005)
    return end(number)

async def work_async():
    number = begin()
    while number == 1 and not (folder / "go").exists():
        await asyncio.sleep(0.005)
    return end(number)

def items():
    number = begin()
    while number == 1 and not (folder / "go").exists():
        time.sleep(0.005)
    yield 1
    return end(number)

def tell_when_joined():
    while not (found := store.find(limit=1)) or found[0].operation_id not in handles_of(store):
        time.sleep(0.005)
    print("joined", flush=True)

options = {"persistence": store, "key": lambda *_: "shared"}
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=tell_when_joined, daemon=True).start()
try:
    if how == "coroutine":
        result = asyncio.run(recoverable(**options)(work_async)())
    elif how == "generator":
        generator = recoverable(**options, resume_from="start")(lambda start=None: (yield from items()))()
        while True:
            try:
                next(generator)
            except StopIteration as stop:
                result = stop.value
                break
    else:
        result = recoverable(**options)(work)()
except OperationCancelled:
    result = "cancelled"
print(result, flush=True)
"""


class Callers:
    """The processes A, B and C: A runs the operation, the others have joined it."""

    def __init__(self, folder: Path, how: str) -> None:
        self.folder = folder
        self.store = SQLitePersistence(folder / "recovery.db")
        self.lifecycle = Lifecycle(self.store)
        command = [sys.executable, "-c", CALLER, str(folder)]
        self.processes = {
            name: subprocess.Popen([*command, name, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for name in "ABC"
        }

    def begin(self) -> str:
        """Let them begin, A first; gives the operation's id."""
        self._go("A")
        wait_for(lambda: self.notes == ["1 begins in A"])
        self._go("B")
        self._go("C")
        return self.record.operation_id

    def _go(self, name: str) -> None:
        process = self.processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "joined\n"

    @property
    def record(self) -> RecoveryData:
        [data] = self.store.find(limit=-1)
        return data

    @property
    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def said(self, name: str) -> str:
        said, _ = self.processes[name].communicate(timeout=60)
        return said.strip()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()
        self.store.close()


@pytest.fixture
def callers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callers]:
    made = Callers(tmp_path, getattr(request, "param", "function"))
    yield made
    made.close()


@pytest.mark.parametrize("callers", ["function", "coroutine", "generator"], indirect=True)
def test_killed_while_others_wait(callers: Callers) -> None:
    """A is killed: exactly one of those that joined runs the next attempt, and all of them get its result."""
    callers.begin()
    callers.processes["A"].kill()
    results = {callers.said(name) for name in "BC"}
    assert len(results) == 1
    winner = results.pop().removeprefix("done by ")
    assert winner in ("B", "C")
    assert callers.notes == ["1 begins in A", f"2 begins in {winner}", f"2 ends in {winner}"]
    attempts = callers.store.attempts(callers.record.operation_id)
    assert [(one.number, one.outcome) for one in attempts] == [(1, "interrupted"), (2, "success")]


@pytest.mark.parametrize("control", ["pause and resume", "cancel and retry"])
def test_other_processes_wait_for_code_that_does_not_look(callers: Callers, control: str) -> None:
    """A person pauses and resumes, or cancels and retries, while the code of A runs: no other process begins meanwhile.

    A itself goes on, since it has a call about the operation.
    """
    operation_id = callers.begin()
    controls = {"pause": callers.lifecycle.pause, "resume": callers.lifecycle.resume}
    controls |= {"cancel": callers.lifecycle.cancel, "retry": callers.lifecycle.retry}
    for name in control.split(" and "):
        controls[name](operation_id)
    # As long as it takes to look for the dead, twice.
    with pytest.raises(AssertionError, match="did not happen"):
        wait_for(lambda: callers.notes != ["1 begins in A"], 2.2)
    (callers.folder / "go").touch()
    assert callers.said("A") == "done by A"
    # A call that looked between the two was told of the cancellation.
    may_be = {"done by A"} if control == "pause and resume" else {"done by A", "cancelled"}
    assert {callers.said("B"), callers.said("C")} <= may_be
    assert callers.notes == ["1 begins in A", "1 ends in A", "2 begins in A", "2 ends in A"]
    assert callers.record.owner is None


def test_killed_between_a_pause_and_its_resumption(callers: Callers) -> None:
    """What was paused when its process was killed goes on in another one when it is resumed."""
    operation_id = callers.begin()
    callers.lifecycle.pause(operation_id)
    callers.processes["A"].kill()
    wait_for(lambda: callers.record.owner is None)
    callers.lifecycle.resume(operation_id)
    results = {callers.said(name) for name in "BC"}
    assert len(results) == 1
    assert len(callers.notes) == 3
