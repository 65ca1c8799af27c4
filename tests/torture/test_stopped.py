"""A process that was stopped past its lease wakes up beside its successor: it can write nothing over it any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launcher_recovery import RecoveryState, SQLitePersistence
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.owners import LEASE_S, OWNER, dead_owners, is_alive
from launcher_recovery.persistence.base import Owner, OwnerRow
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData
from launcher_recovery.testing import VirtualClock
from tests.support import let_go

S = RecoveryState

# Runs one operation as a machine elsewhere would, whose life only its lease shows. In the middle of the first attempt
# it says so, and waits for a line; what it does then is the argument. Prints what it gets for it, and for the call.
STOPPED = """
import sys, time
from launcher_recovery import RecoveryStateError, SQLitePersistence, current_operation
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import OWNER, keep_alive
from launcher_recovery.policy import Policy
from launcher_recovery.strategies import FixedDelayStrategy

object.__setattr__(OWNER, "host", "elsewhere")
store = SQLitePersistence(sys.argv[1])
keep_alive(store)
lifecycle = Lifecycle(store, owner_id=OWNER.owner_id)

def again(say):
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        say()
        time.sleep(0.01)

def keeps(live):
    live.metadata["by"] = "the stopped"
    live.save_metadata()

AFTERWARDS = {
    "progress": lambda live: again(lambda: live.progress(9, 10)),
    "step": lambda live: live.step("second", lambda: "by the stopped"),
    "metadata": keeps,
    "check": lambda live: again(live.check),
    "result": lambda live: None,
    "error": lambda live: None,
}

def work():
    live = current_operation()
    if live.attempt > 1:
        return "by the stopped, again"
    live.step("first", lambda: "by the stopped")
    live.progress(5, 10)
    print("waits", live.operation_id, flush=True)
    sys.stdin.readline()
    try:
        AFTERWARDS[sys.argv[2]](live)
    except RecoveryStateError:
        print("refused", flush=True)
        raise
    print("done", flush=True)
    if sys.argv[2] == "error":
        raise ConnectionError("of the stopped")
    return "by the stopped"

data = lifecycle.open("work", (), {}, key="shared")
print(Engine(lifecycle).run(data, Policy(strategy=FixedDelayStrategy(0)), work), flush=True)
"""


class Stopped:
    """The process, stopped in the middle of its attempt."""

    def __init__(self, path: Path, afterwards: str) -> None:
        command = [sys.executable, "-c", STOPPED, str(path), afterwards]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        word, self.operation_id = self._process.stdout.readline().split()
        assert word == "waits"
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wake(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("on\n")
        self._process.stdin.flush()
        os.kill(self._process.pid, signal.SIGCONT)

    def next_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Successor:
    """Another process, which looks when the lease is over; its clock stands still."""

    def __init__(self, store: SQLitePersistence) -> None:
        self.store = store
        self.clock = VirtualClock(time.time() + LEASE_S + 5)
        self.lifecycle = Lifecycle(store, owner_id="successor", clock=self.clock)
        self.seen: list[tuple[int, str]] = []

    def take_over(self) -> RecoveryData:
        self.store.heartbeat(Owner("successor", "another", 1, "boot"), self.clock.time())
        [freed] = self.lifecycle.release_orphans(dead_owners(self.store.owners(), self.clock.time()))
        return freed

    def claim(self) -> Operation:
        claimed = self.lifecycle.begin_attempt(self.take_over().operation_id, 4)
        return Operation(claimed, self.lifecycle, self.clock)

    def work(self, live: Operation) -> str:
        assert live.step("first", lambda: "done again") == "by the stopped"
        assert live.step("second", lambda: "by the successor") == "by the successor"
        live.resume_at(7, 10)
        live.metadata["by"] = "the successor"
        live.save_metadata()
        return "by the successor"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLitePersistence]:
    made = SQLitePersistence(tmp_path / "recovery.db")
    yield made
    let_go(made)
    made.close()


@pytest.fixture
def stopped(request: pytest.FixtureRequest, store: SQLitePersistence) -> Iterator[Stopped]:
    made = Stopped(Path(store.path), request.param)
    yield made
    made.end()


def as_the_successor_left_it(store: SQLitePersistence, operation_id: str) -> None:
    data = store.get(operation_id)
    assert data is not None
    assert data.progress is not None
    assert (data.state, data.result, data.attempt, data.fence) == (S.SUCCESS, "by the successor", 2, 2)
    assert (data.progress.done, data.metadata) == (7, {"by": "the successor"})
    kept = {step.name: step.result for step in store.steps(operation_id)}
    assert kept == {"first": "by the stopped", "second": "by the successor"}
    assert [one.outcome for one in store.attempts(operation_id)] == ["interrupted", "success"]


WAYS = {
    "progress": "refused",
    "step": "done",  # it had finished in the meantime: the successor's result is that of both
    "metadata": "done",
    "check": "refused",
    "result": "done",
    "error": "done",
}


@pytest.mark.parametrize(("stopped", "answer"), WAYS.items(), indirect=["stopped"])
def test_woken_after_its_successor_has_finished(store: SQLitePersistence, stopped: Stopped, answer: str) -> None:
    """Neither what it says nor what it returns or raises is kept; its call ends with the successor's result."""
    successor = Successor(store)
    live = successor.claim()
    successor.lifecycle.succeed(live, successor.work(live))
    stopped.wake()
    assert stopped.next_line() == answer
    assert stopped.next_line() == "by the successor"
    as_the_successor_left_it(store, stopped.operation_id)


@pytest.mark.parametrize("stopped", ["step", "error"], indirect=True)
def test_woken_while_its_successor_works(store: SQLitePersistence, stopped: Stopped) -> None:
    """It waits for the successor then, and leaves the operation alone."""
    successor = Successor(store)
    live = successor.claim()
    stopped.wake()
    answer = stopped.next_line()
    step = store.load_step(stopped.operation_id, "second")
    assert step is None
    successor.lifecycle.succeed(live, successor.work(live))
    assert stopped.next_line() == "by the successor"
    as_the_successor_left_it(store, stopped.operation_id)
    assert answer in ("refused", "done")


@pytest.mark.parametrize("stopped", ["result"], indirect=True)
def test_woken_before_its_successor_has_begun(store: SQLitePersistence, stopped: Stopped) -> None:
    """What was taken from it is free for anybody, itself included: in an attempt of its own."""
    Successor(store).take_over()
    stopped.wake()
    assert [stopped.next_line(), stopped.next_line()] == ["done", "by the stopped, again"]
    assert [one.outcome for one in store.attempts(stopped.operation_id)] == ["interrupted", "success"]


@pytest.mark.parametrize("stopped", ["result"], indirect=True)
def test_stopped_is_not_dead(store: SQLitePersistence, stopped: Stopped) -> None:
    """Within its lease it keeps what it has; on this machine, where its process is seen, for as long as it is there."""
    [row] = store.owners()
    assert (row.owner.host, row.owner.pid) == ("elsewhere", stopped.pid)
    assert dead_owners([row], row.heartbeat_at + LEASE_S - 1) == set()
    assert dead_owners([row], row.heartbeat_at + LEASE_S + 1) == {row.owner.owner_id}
    here = OwnerRow(replace(row.owner, host=OWNER.host), row.heartbeat_at)
    assert is_alive(here, row.heartbeat_at + 10 * LEASE_S)
    successor = Successor(store)
    successor.clock.advance(-LEASE_S)
    assert successor.lifecycle.release_orphans(dead_owners(store.owners(), successor.clock.time())) == []


@pytest.mark.parametrize("stopped", ["result"], indirect=True)
def test_joined_by_its_successor(store: SQLitePersistence, stopped: Stopped) -> None:
    """A call with the same key elsewhere goes on with the operation under the engine, and both get its result."""
    successor = Successor(store)
    successor.take_over()
    data = successor.lifecycle.open("work", (), {}, key="shared")
    assert data.operation_id == stopped.operation_id
    engine = Engine(successor.lifecycle, successor.clock)
    assert engine.run(data, Policy(), lambda: "by the successor") == "by the successor"
    stopped.wake()
    assert [stopped.next_line(), stopped.next_line()] == ["done", "by the successor"]
