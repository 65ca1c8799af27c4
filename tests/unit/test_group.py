"""Group commit: what contends is committed together, and nobody is harmed by a neighbour."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from launcher_recovery import RecoveryData, RecoveryState, SQLitePersistence, StoreError
from launcher_recovery.persistence import PostgresPersistence, connections
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.statements import PlannedEvent
from tests import postgres

EVENT = PlannedEvent("circuit_breaker_update", {}, "{}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SQLitePersistence]:
    made = SQLitePersistence(tmp_path / "recovery.db")
    yield made
    made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=postgres.needs_server)])
def store(request: pytest.FixtureRequest) -> Iterator[DatabasePersistence]:
    """Each kind of database in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("disk")
        return
    made = PostgresPersistence(request.getfixturevalue("postgres_store_url"))
    yield made
    made.close()


def together(store: DatabasePersistence, *works: Callable[[], Any]) -> list[Any]:
    """Results or errors of works that all wait while a first one is being committed."""
    entered, go = threading.Event(), threading.Event()
    outcomes: list[Any] = [None] * len(works)

    def first() -> None:
        entered.set()
        assert go.wait(20)

    def run(number: int) -> None:
        try:
            outcomes[number] = store._write(works[number])
        except Exception as error:
            outcomes[number] = error

    leader = threading.Thread(target=lambda: store._write(first))
    leader.start()
    assert entered.wait(20)
    threads = []
    for number in range(len(works)):
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()
        while len(store._group._waiting) <= number:
            threads[-1].join(0.001)
    go.set()
    for thread in [leader, *threads]:
        thread.join(20)
    return outcomes


def counted(store: DatabasePersistence, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that begin and end transactions from now on."""
    said: list[str] = []
    execute = store._connections.execute

    def listening(sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        if sql.startswith(("BEGIN", "ROLLBACK", "PRAGMA synchronous")) or sql.endswith("COMMIT"):
            said.append(sql)
        return execute(sql, parameters)

    monkeypatch.setattr(store._connections, "execute", listening)
    return said


def add(store: DatabasePersistence) -> int:
    return store._store_event(EVENT, None).seq


def test_those_that_wait_share_one_transaction(store: DatabasePersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six that wait for one are committed by one transaction, numbered in the order in which they came."""
    said = counted(store, monkeypatch)
    assert together(store, *[lambda: add(store)] * 6) == [1, 2, 3, 4, 5, 6]
    assert ["COMMIT" if sql.endswith("COMMIT") else sql.split()[0] for sql in said] == ["BEGIN", "COMMIT"] * 2
    assert store.wait_for_events(5, 0)
    assert not store.wait_for_events(6, 0)


def test_one_that_fails_harms_no_other(store: DatabasePersistence) -> None:
    """Each gets its own result or error; what the failing ones had written is undone, numbers have no gap."""
    entered = "INSERT INTO recovery_attempts (operation_id, number, started_at) VALUES ('a', 1, 1)"

    def late() -> None:
        add(store)
        raise LookupError("mine")

    def twice() -> None:
        add(store)
        store._connections.execute(entered)
        store._connections.execute(entered)

    outcomes = together(store, lambda: add(store), late, lambda: add(store), twice, lambda: add(store))
    assert [outcomes[0], outcomes[2], outcomes[4]] == [1, 2, 3]
    assert isinstance(outcomes[1], LookupError)
    assert isinstance(outcomes[3], peewee.IntegrityError)
    assert store.event_range() == (1, 3)
    assert store.attempts("a") == []


def test_commit_that_fails_fails_all(store: DatabasePersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses the commit everybody in it learns so, nothing is announced, and the next one works."""
    error = peewee.OperationalError("database or disk is full")
    commit, refusals = store._connections.commit, [None, error, error]

    def refusing(numbered: int) -> None:
        refusal = refusals.pop(0) if refusals else None
        if refusal:
            raise refusal
        commit(numbered)

    monkeypatch.setattr(store._connections, "commit", refusing)
    outcomes = together(store, lambda: add(store), lambda: add(store))
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]
    assert "disk is full" in str(outcomes[0])
    assert not store.wait_for_events(0, 0)
    assert store._write(lambda: add(store)) == 1


def test_interrupted_leader_leaves_the_others(store: DatabasePersistence) -> None:
    """Ctrl-C in the one that leads takes only its own work; the others are committed all the same."""
    interrupted: list[BaseException] = []

    def stop() -> None:
        add(store)
        raise KeyboardInterrupt

    def lead() -> None:
        try:
            store._write(stop)
        except KeyboardInterrupt as error:
            interrupted.append(error)

    entered, go = threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        assert go.wait(20)

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: store._write(first)),
        threading.Thread(target=lead),
        *(threading.Thread(target=lambda: results.append(store._write(lambda: add(store)))) for _ in range(3)),
    ]
    threads[0].start()
    assert entered.wait(20)
    for number, thread in enumerate(threads[1:]):
        thread.start()
        while len(store._group._waiting) <= number:
            thread.join(0.001)
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(interrupted) == 1
    assert sorted(results) == [1, 2, 3]


def test_durable_when_one_of_them_is(disk: SQLitePersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be lost in a power cut is written without waiting for the disk, unless something else is with it."""
    said = counted(disk, monkeypatch)
    disk.insert(RecoveryData("a", "work"))
    disk.append_event("circuit_breaker_update", {})
    disk.append_event("circuit_breaker_update", {})
    assert said == [
        "PRAGMA synchronous = NORMAL", "BEGIN IMMEDIATE", "COMMIT",
        "PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", "COMMIT",
        "BEGIN IMMEDIATE", "COMMIT",
    ]  # fmt: skip


def test_durable_when_its_first_attempt_is_begun(disk: SQLitePersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent is safe from a power cut before anything is done."""
    said = counted(disk, monkeypatch)
    disk.insert(RecoveryData("a", "work"))
    disk.insert(RecoveryData("b", "work", state=RecoveryState.IN_PROGRESS, attempt=1, fence=1))
    assert said[-3:] == ["PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", "COMMIT"]


def test_waits_for_another_process(disk: SQLitePersistence, tmp_path: Path) -> None:
    """While another process writes, a writer here waits for it and sees no error; a reader does not wait."""
    code = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("begun", flush=True)
sys.stdin.readline()
other.execute("COMMIT")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, disk.path], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    results: list[int] = []
    writer = threading.Thread(target=lambda: results.append(disk._write(lambda: add(disk))))
    writer.start()
    assert disk.event_range() == (1, 0)
    writer.join(0.05)
    assert results == []
    process.communicate("go\n", timeout=20)
    writer.join(20)
    assert results == [1]


def test_other_process_that_never_ends(disk: SQLitePersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience with another process has an end, which is an error that says so."""
    other = SQLitePersistence(disk.path)
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.01)
    with other._connections.writing:
        other._connections.begin(True)
        with pytest.raises(StoreError, match="database is locked"):
            disk.append_event("circuit_breaker_update", {})
        other._connections.rollback()
    assert disk.append_event("circuit_breaker_update", {}).seq == 1
    other.close()


def test_threads_and_processes_lose_nothing(disk: SQLitePersistence) -> None:
    """Two processes with four threads each: every change is there, and events have numbers without gap or double."""
    code = """
import sys, threading
from launcher_recovery import RecoveryData, RecoveryState, SQLitePersistence
store = SQLitePersistence(sys.argv[1])
def run(name):
    for number in range(25):
        assert store.insert(RecoveryData(f"{name}-{number}", "work"))
threads = [threading.Thread(target=run, args=(f"{sys.argv[2]}-{n}",)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    command = [sys.executable, "-c", code, disk.path]
    children = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    assert [process.wait(60) for process in children] == [0, 0]
    assert len(disk.find(limit=-1)) == 200
    assert [event.seq for event in disk.events_since(0)] == list(range(1, 201))
