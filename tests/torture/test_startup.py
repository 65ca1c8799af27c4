"""What a start looks up is found through indexes, however much is recorded; and it goes on before all is taken over."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from launcher_recovery import RecoveryData, RecoveryState, SQLitePersistence
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence.base import Owner, Retention, Store
from launcher_recovery.records import RUNNABLE, UNFINISHED
from launcher_recovery.resume import Resumer
from launcher_recovery.testing import VirtualClock
from tests.support import wait_for

S = RecoveryState
TABLES = ("recovery_data", "recovery_attempts", "recovery_steps", "recovery_outbox")
# Not what they look like: the oldest event is at one end of its table, and what is never true is not looked for.
HARMLESS = ("SELECT (SELECT min(seq) FROM recovery_outbox)", "WHERE (0 = 1)")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SQLitePersistence]:
    store = SQLitePersistence(tmp_path / "recovery.db")
    yield store
    store.close()


@contextmanager
def statements(store: SQLitePersistence) -> Iterator[list[str]]:
    """What is run on both connections, with its values."""
    said: list[str] = []
    store._connections.open_writer()
    store._connections.open_reader()
    connections = [store._connections.writer.connection(), store._connections.reader.connection()]
    for connection in connections:
        connection.set_trace_callback(said.append)
    yield said
    for connection in connections:
        connection.set_trace_callback(None)


def scanned(path: Path, said: list[str]) -> list[str]:
    """The statements for which SQLite would go through a whole table or index, with how."""
    found = []
    with sqlite3.connect(path) as database:
        for statement in said:
            is_harmless = any(words in statement for words in HARMLESS)
            if is_harmless or not statement.startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            for *_, detail in database.execute(f"EXPLAIN QUERY PLAN {statement}"):
                # One through a partial index is through what is unfinished, or finished, only.
                is_partial = any(name in detail for name in ("recovery_data_unfinished", "recovery_data_finished"))
                if detail.startswith("SCAN") and any(name in detail for name in TABLES) and not is_partial:
                    found.append(f"{detail}: {statement}")
                if "AUTOMATIC" in detail:
                    found.append(f"{detail}: {statement}")
    database.close()
    return found


def fill(store: Store, owner: str | None, state: RecoveryState, count: int, clock: VirtualClock) -> None:
    for number in range(count):
        clock.advance(1)
        name = f"{state}-{owner}-{number}"
        data = RecoveryData(name, "f", kind="download", state=state, owner=owner, key=name, title=name)
        store.insert(data)


class Noting(Resumer):
    """Keeps what it would run."""

    def __init__(self, lifecycle: Lifecycle, retention: Retention | None = None) -> None:
        super().__init__(lifecycle, {"download": lambda data: None}, lifecycle.clock, retention)
        self.seen: list[str] = []

    def dispatch(self, data: RecoveryData) -> None:
        self.seen.append(data.operation_id)


def test_start_goes_through_no_table(disk: SQLitePersistence) -> None:
    """Owners, orphans, what is pending, keys, and what is too old: each is found through its index."""
    clock = VirtualClock()
    disk.heartbeat(Owner("gone", OWNER.host, 1, "boot/x"), clock.time())
    for owner, state, count in ((None, S.SUCCESS, 30), ("gone", S.IN_PROGRESS, 5), ("unknown", S.RECOVERING, 5)):
        fill(disk, owner, state, count, clock)
    resumer = Noting(Lifecycle(disk, owner_id=OWNER.owner_id, clock=clock), Retention(timedelta(0), keep=10))
    with statements(disk) as said:
        disk.heartbeat(OWNER, clock.time())
        resumer.sweep()
        disk.find(states=UNFINISHED, limit=-1)
        disk.find(states=RUNNABLE, limit=-1)
        disk.latest_with_key("a")
        disk.events_since(0)
        disk.event_range()
        disk.attempts("a")
        disk.steps("a")
    assert len(set(resumer.seen)) == 10
    assert len(disk.find(limit=-1)) < 40
    assert len([statement for statement in said if "recovery_data" in statement]) > 20
    # The outbox has no index for what is rarely asked of it: it is small, as old events are forgotten.
    assert [line for line in scanned(Path(disk.path), said) if "recovery_outbox" not in line] == []


def test_whole_tables_are_recognised(disk: SQLitePersistence) -> None:
    """The measure of the test above finds what it is to find."""
    with statements(disk) as said:
        disk._fetch("SELECT * FROM recovery_data WHERE owner = 'me'")
        disk._fetch("SELECT count(*) FROM recovery_attempts")
    assert len(scanned(Path(disk.path), said)) == 2


def test_first_ones_go_on_before_the_last_is_taken_over(disk: SQLitePersistence) -> None:
    """Many orphans are taken over a few at a time, those that nobody knows the owner of as well, and none is lost."""
    clock = VirtualClock()
    disk.heartbeat(Owner("gone", OWNER.host, 1, "boot/x"), clock.time())
    fill(disk, "gone", S.IN_PROGRESS, 150, clock)
    fill(disk, "unknown", S.PENDING, 20, clock)
    fill(disk, "unknown", S.PAUSED, 3, clock)
    left_at_first: list[int] = []

    class First(Noting):
        def dispatch(self, data: RecoveryData) -> None:
            if not self.seen:
                left_at_first.append(len([one for one in disk.find(states=UNFINISHED, limit=-1) if one.owner]))
            super().dispatch(data)

    resumer = First(Lifecycle(disk, owner_id=OWNER.owner_id, clock=clock))
    resumer.sweep()
    assert left_at_first[0] > 100
    assert {data.operation_id for data in disk.find(states={S.PENDING}, limit=-1)} <= set(resumer.seen)
    assert [data.owner for data in disk.find(limit=-1)] == [None] * 173
    assert disk.owners() == []


def test_each_is_run_once(disk: SQLitePersistence) -> None:
    """Those that run while others are taken over are not run a second time at the end of the look."""
    clock = VirtualClock()
    fill(disk, "unknown", S.IN_PROGRESS, 150, clock)
    lifecycle = Lifecycle(disk, owner_id=OWNER.owner_id, clock=clock)
    disk.heartbeat(OWNER, clock.time())
    ran: list[str] = []

    def rerun(data: RecoveryData) -> None:
        lifecycle.begin_attempt(data.operation_id, 3)
        ran.append(data.operation_id)

    earlier = set(threading.enumerate())
    Resumer(lifecycle, {"download": rerun}, clock).sweep()
    for thread in set(threading.enumerate()) - earlier:
        thread.join(30)
    wait_for(lambda: len(ran) >= 150)
    assert len(ran) == len(set(ran)) == 150
