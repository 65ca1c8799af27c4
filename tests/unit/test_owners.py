"""Which process an operation belongs to, and whether it still lives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from launcher_recovery import StoreError, owners
from launcher_recovery.owners import LEASE_S, OWNER, Heartbeat, dead_owners, is_alive, keep_alive, let_go, start_time
from launcher_recovery.persistence import MemoryPersistence, Store
from launcher_recovery.persistence.base import Owner, OwnerRow
from tests.support import but_for


def test_this_process() -> None:
    """This process knows its id and its start, and each identity is another."""
    assert OWNER.pid == os.getpid()
    assert OWNER.started == start_time(os.getpid())
    assert owners.this_process().owner_id != OWNER.owner_id
    assert is_alive(OwnerRow(OWNER, 0), now=1e12)


def test_process_that_ended_is_dead() -> None:
    """A process is dead as soon as it has ended, also while its parent has not looked at it yet."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = start_time(child.pid)
    row = OwnerRow(Owner("child", OWNER.host, child.pid, started or ""), 0)
    assert is_alive(row, 0)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    assert start_time(child.pid) is None
    assert not is_alive(row, 0)
    child.wait(20)
    assert start_time(child.pid) is None
    assert not is_alive(row, 0)


def test_process_id_that_was_given_again_is_another_process() -> None:
    """The same process id with another start is a dead owner."""
    row = OwnerRow(Owner("old", OWNER.host, os.getpid(), "boot/1"), 0)
    assert not is_alive(row, 0)


@pytest.mark.parametrize(("age", "alive"), [(0, True), (LEASE_S - 1, True), (LEASE_S, False)])
def test_owner_elsewhere_lives_by_its_lease(age: float, alive: bool) -> None:
    """Of another machine only the heartbeat is known."""
    row = OwnerRow(Owner("far", "elsewhere", os.getpid(), OWNER.started), 1000)
    assert is_alive(row, 1000 + age) is alive


def test_dead_owners() -> None:
    """The dead are told apart from the living."""
    rows = [
        OwnerRow(OWNER, 0),
        OwnerRow(Owner("a", "elsewhere", 1, ""), 0),
        OwnerRow(Owner("b", OWNER.host, 1, "x"), 0),
    ]
    assert dead_owners(rows, 1000) == {"a", "b"}


def test_host_without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where process-id namespaces are unknown the machine's name does."""

    def refuse(path: str) -> str:
        raise OSError

    monkeypatch.setattr(owners, "os", but_for(os, readlink=refuse))
    assert owners._host() == owners.socket.gethostname()


@pytest.mark.parametrize("status", ["running", "zombie", None])
def test_start_time_elsewhere(monkeypatch: pytest.MonkeyPatch, status: str | None) -> None:
    """Off Linux the start comes from psutil; a zombie, or no process, has none."""

    class NoSuchProcess(Exception):
        pass

    class Process:
        def __init__(self, pid: int) -> None:
            if status is None:
                raise NoSuchProcess

        def status(self) -> str | None:
            return status

        def create_time(self) -> float:
            return 1234.4

    class Psutil:
        STATUS_ZOMBIE = "zombie"

    Psutil.NoSuchProcess, Psutil.Process = NoSuchProcess, Process
    monkeypatch.setitem(sys.modules, "psutil", Psutil)
    monkeypatch.setattr(owners, "sys", but_for(sys, platform="darwin"))
    assert start_time(1) == ("1234" if status == "running" else None)


def test_keep_alive_once(store: Store) -> None:
    """However often it is asked, a store has this process among its owners once, until it is let go."""
    for _ in range(3):
        keep_alive(store)
    assert [row.owner for row in store.owners()] == [OWNER]
    let_go(store)
    let_go(store)
    assert store.owners() == []
    keep_alive(store)
    assert [row.owner for row in store.owners()] == [OWNER]


@pytest.mark.parametrize("error", [StoreError("the disk is full"), KeyError("a fault of the store")])
def test_heartbeat_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A heartbeat that fails, for whatever reason, is followed by the next one; a fault of the store is told."""
    monkeypatch.setattr(owners, "HEARTBEAT_S", 0)
    again = threading.Event()

    class Flaky(MemoryPersistence):
        beats = 0

        def heartbeat(self, owner: Owner, at: float) -> None:
            self.beats += 1
            if self.beats == 2:
                raise error
            if self.beats > 2:
                again.set()

        def forget_owner(self, owner_id: str) -> None:
            raise StoreError("the disk is full")

    heartbeat = Heartbeat(Flaky())
    heartbeat.start()
    assert again.wait(20)
    heartbeat.stop()
    assert not heartbeat._thread.is_alive()
    assert ("a fault of the store" in caplog.text) is isinstance(error, KeyError)


def test_heartbeat_that_never_began_can_be_stopped() -> None:
    """Stopping takes the owner out in any case."""
    store: Any = MemoryPersistence()
    store.heartbeat(OWNER, 0)
    Heartbeat(store).stop()
    assert store.owners() == []
