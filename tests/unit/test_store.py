"""The stores: one suite for all, and what only the one in a file has to stand."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import peewee
import pytest

from launcher_recovery import SQLitePersistence, StatePersistence, StoreError
from launcher_recovery.errors import StoredError
from launcher_recovery.operation import (
    UNFINISHED,
    Operation,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
    WaitingFor,
)
from launcher_recovery.persistence import MemoryPersistence, Store, connections, schema, sqlite
from launcher_recovery.persistence.access import IS_FINISHED
from launcher_recovery.persistence.base import Change, Owner, OwnerRow
from launcher_recovery.persistence.codec import NotStorableError
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.statements import PlannedEvent
from tests.unit.kit import Kit

S = RecoveryState
NOW = datetime(2026, 11, 22, 23, 46, 31, 123456, timezone.utc)


def record(operation_id: str = "a", **given: Any) -> RecoveryData:
    return RecoveryData(operation_id, "work", **{"created_at": NOW, "updated_at": NOW, **given})


def full() -> RecoveryData:
    """A record with every field set to something that is not its default."""
    return RecoveryData(
        operation_id="full",
        function_name="pkg.work",
        args=(1, "two", (3.5, None), Path("/models")),
        kwargs={"workflow": {"nodes": [{"id": 1}]}, "when": NOW, "raw": b"\0\xff"},
        state=S.RECOVERING,
        attempt=3,
        error=StoredError("ConnectionError", "gone", "  File ..."),
        metadata={"etag": "x"},
        created_at=NOW,
        updated_at=NOW + timedelta(seconds=1),
        kind="download",
        key="download:/models/a",
        project="p",
        parent_id="parent",
        title="a 🧩",
        max_attempts=8,
        fruitless=2,
        watermark=12345678901.0,
        category="network",
        explanation="It broke.",
        fix="check_connection",
        next_attempt_at=NOW + timedelta(seconds=2),
        waiting_for=WaitingFor.RETRY_AFTER,
        progress=Progress(1, 2, "bytes", 3.5, 4.5, 5, "six"),
        result={"path": "/models/a"},
        owner="me",
        fence=7,
        resumable=False,
        completed_at=NOW + timedelta(seconds=3),
        begun_at=NOW + timedelta(seconds=4),
    )


def shown(data: RecoveryData | None) -> dict[str, Any]:
    assert data is not None
    return {**vars(data), "error": data.error and data.error.args}


# -- the five async methods ---------------------------------------------------------------------------


async def test_saved_record_comes_back_whole(store: StatePersistence) -> None:
    """Every field of a record is kept, with its type."""
    assert all(value != getattr(record(), name) for name, value in vars(full()).items() if name != "created_at")
    await store.save(full())
    loaded = await store.load("full")
    assert shown(loaded) == shown(full())
    assert isinstance(loaded, RecoveryData)
    assert isinstance(loaded.error, StoredError)
    await store.save(record("plain"))
    assert shown(await store.load("plain")) == shown(record("plain"))


async def test_save_replaces(store: StatePersistence) -> None:
    """Saving the same id again replaces the record; what is given out later changes nothing kept."""
    data = record(metadata={"n": 1})
    await store.save(data)
    data.metadata["n"] = 2
    loaded = await store.load("a")
    assert loaded is not None
    assert loaded.metadata == {"n": 1}
    await store.save(data)
    assert shown(await store.load("a"))["metadata"] == {"n": 2}


async def test_save_refuses_a_second_unfinished_one_of_a_key(store: StatePersistence) -> None:
    """Two unfinished records with one key are refused, with a message; finished ones may be many."""
    await store.save(record("a", key="k"))
    await store.save(record("a", key="k", attempt=1))
    with pytest.raises(StoreError, match="another unfinished operation has the key 'k' already"):
        await store.save(record("b", key="k"))
    await store.save(record("c", key="k", state=S.FAILED))


async def test_unknown_records(store: StatePersistence) -> None:
    """What is unknown loads as None and is deleted silently."""
    assert await store.load("nowhere") is None
    await store.delete("nowhere")


async def test_delete(each: Kit) -> None:
    """A deleted operation leaves no record, attempt, step or event; its numbers are never given again."""
    each.run(lambda: None)
    operation_id = each.data.operation_id
    newest = each.store.event_range()[1]
    await each.store.delete(operation_id)
    assert each.store.get(operation_id) is None
    assert (each.store.attempts(operation_id), each.store.steps(operation_id), each.events()) == ([], [], [])
    assert each.store.event_range() == (newest + 1, newest)
    each.open()
    assert each.store.event_range() == (newest + 1, newest + 1)


async def test_list_by_state(store: StatePersistence) -> None:
    """All records of a state come oldest first, more than one page of them."""
    for number in range(120):
        await store.save(record(f"{number:03}", created_at=NOW - timedelta(seconds=number), state=S.FAILED))
    await store.save(record("other"))
    listed = [data.operation_id for data in await store.list_by_state(S.FAILED)]
    assert listed == [f"{number:03}" for number in reversed(range(120))]
    assert await store.list_by_state(S.PAUSED) == []


async def test_cleanup_old(store: StatePersistence) -> None:
    """Only finished records that were not touched for the days given are forgotten, however many."""
    old = datetime.now(timezone.utc) - timedelta(days=8)
    for number in range(520):
        await store.save(record(f"old{number}", updated_at=old, state=S.SUCCESS))
    await store.save(record("old but unfinished", updated_at=old))
    await store.save(record("new", updated_at=old + timedelta(days=2), state=S.SUCCESS))
    assert await store.cleanup_old(days=9) == 0
    assert await store.cleanup_old() == 520
    assert await store.load("old but unfinished") is not None
    assert await store.load("new") is not None
    assert await store.cleanup_old(days=1) == 1


def test_cleanup_by_count(store: Store) -> None:
    """Of the finished only so many are kept, the ones touched last; what a living one is made of stays."""
    store.insert(record("parent"))
    store.insert(record("part", parent_id="parent", state=S.SUCCESS, updated_at=NOW - timedelta(days=99)))
    for number in range(450):
        store.insert(record(str(number), state=S.FAILED, updated_at=NOW + timedelta(seconds=number)))
    assert store.cleanup(NOW, keep=11) == 440
    assert {data.operation_id for data in store.find(limit=-1)} == {"parent", "part", *map(str, range(440, 450))}
    assert store.cleanup(NOW, keep=11) == 0
    store.change("parent", Change({S.PENDING}, {"state": S.CANCELLED}, NOW))
    assert store.cleanup(NOW) == 1
    assert store.get("part") is None


# -- keys, queries, totals ----------------------------------------------------------------------------


def test_key_is_taken_by_the_unfinished(store: Store) -> None:
    """A key belongs to at most one unfinished operation; the same id is refused as well."""
    assert store.insert(record("a", key="k")) is not None
    assert store.insert(record("a")) is None
    for state in S:
        assert (store.insert(record(f"b-{state}", key="k", state=state)) is None) is (state in UNFINISHED)
    assert store.insert(record("c")) is not None
    assert store.insert(record("d")) is not None


def test_latest_with_key(store: Store) -> None:
    """The unfinished operation of a key is its latest, else the newest one, of equally old ones the last entered."""
    assert store.latest_with_key("k") is None
    for name, age in (("a", 10), ("b", 5), ("c", 5), ("d", 7)):
        store.insert(record(name, key="k", state=S.FAILED, created_at=NOW - timedelta(seconds=age)))
    store.insert(record("x", key="other"))
    assert shown(store.latest_with_key("k"))["operation_id"] == "c"
    store.insert(record("e", key="k", created_at=NOW - timedelta(seconds=99)))
    assert shown(store.latest_with_key("k"))["operation_id"] == "e"


def test_find(store: Store) -> None:
    """Records are found newest first by state, kind, project, parent, page by page, without gap or double."""
    for number in range(10):
        given = {"kind": "download" if number % 2 else "install_node", "project": "p" if number < 3 else None}
        store.insert(record(str(number), created_at=NOW + timedelta(seconds=number // 2), parent_id="0", **given))

    def ids(**given: Any) -> str:
        return "".join(data.operation_id for data in store.find(**given))

    assert ids() == "9876543210"
    assert ids(limit=3) == "987"
    assert ids(limit=-1, states={S.PENDING}) == "9876543210"
    assert ids(states={S.PAUSED}) == ids(states=set()) == ids(parent_id="nobody") == ""
    assert ids(kind="download") == "97531"
    assert ids(project="p") == "210"
    assert ids(project="p", kind="download", parent_id="0", states=UNFINISHED) == "1"
    seen, before = "", None
    while page := store.find(before=before, limit=3):
        seen += "".join(data.operation_id for data in page)
        before = (page[-1].created_at.timestamp(), page[-1].operation_id)
    assert seen == "9876543210"


def test_counts(each: Kit) -> None:
    """Totals by state, of what recovered and how long that took, and of attempts beyond the first."""
    assert set(each.store.counts().values()) == {0}
    rest = iter([ConnectionError(), ConnectionError(), None])

    def handler() -> None:
        error = next(rest)
        if error:
            raise error

    each.run(handler)
    each.run(lambda: None)
    each.open()
    counts = each.store.counts()
    assert {name: count for name, count in counts.items() if count} == {
        "success": 2,
        "pending": 1,
        "recovered": 1,
        "attempts": 2,
        "recovery_seconds": 3,
    }


# -- compare and set ----------------------------------------------------------------------------------


def test_change_compares_state_and_fence(store: Store) -> None:
    """A change is made only from an expected state and under the right fence, and then returns the new record."""
    store.insert(record())
    fields = {"state": S.IN_PROGRESS, "owner": "me"}
    assert store.change("nowhere", Change({S.PENDING}, fields, NOW)) is None
    assert store.change("a", Change({S.RECOVERING}, fields, NOW)) is None
    changed = store.change("a", Change({S.PENDING}, fields, NOW + timedelta(seconds=9), claim=True))
    assert changed is not None
    assert shown(changed.data) == shown(store.get("a"))
    assert (changed.data.attempt, changed.data.fence, changed.data.owner) == (1, 1, "me")
    assert changed.data.updated_at == NOW + timedelta(seconds=9)
    assert [event.payload["state"] for event in changed.events] == ["in_progress"]
    assert store.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, NOW, fence=2)) is None
    assert store.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, NOW, fence=1)) is not None


def test_change_to_unfinished_needs_the_key(store: Store) -> None:
    """An operation does not become unfinished again while another one has its key."""
    store.insert(record("old", key="k", state=S.FAILED))
    store.insert(record("new", key="k"))
    again = Change({S.FAILED}, {"state": S.PENDING}, NOW)
    events = store.event_range()
    assert store.change("old", again) is None
    assert store.event_range() == events
    store.change("new", Change({S.PENDING}, {"state": S.CANCELLED}, NOW))
    assert store.change("old", again) is not None


def test_what_belongs_to_a_claim(store: Store) -> None:
    """Metadata, progress and steps are kept only for the claim that runs."""
    store.insert(record())
    progress = Progress(1, 2)
    step = StepRecord("clone", NOW, {"ref": "x"})
    for fence in (0, 1):
        assert not store.update_metadata("a", fence, {"n": 1})
        assert store.save_progress("a", fence, progress, 1, NOW) is None
        assert not store.finish_step("a", fence, step)
    store.change("a", Change({S.PENDING}, {"state": S.IN_PROGRESS}, NOW, claim=True))
    assert store.update_metadata("a", 1, {"n": 1})
    changed = store.save_progress("a", 1, progress, 1, NOW + timedelta(seconds=5))
    assert changed is not None
    assert (changed.data.progress, changed.data.watermark) == (progress, 1)
    assert changed.data.updated_at == NOW + timedelta(seconds=5)
    assert store.finish_step("a", 1, step)
    assert store.finish_step("a", 1, StepRecord("clone", NOW, "again"))
    assert store.load_step("a", "clone") == StepRecord("clone", NOW, "again")
    assert (store.load_step("a", "other"), store.load_step("b", "clone")) == (None, None)
    assert len(store.steps("a")) == 1


def test_attempts_keep_their_errors(each: Kit) -> None:
    """Of each failed attempt the message, the type and the last frames of its error are kept, one after the other."""
    rest = iter([ConnectionError("gone"), TimeoutError("slow"), None])

    def handler() -> None:
        error = next(rest)
        if error:
            raise error

    each.run(handler)
    first, second, last = each.attempts
    assert (first.error_type, second.error_type, last.error_type) == ("ConnectionError", "TimeoutError", None)
    assert (first.error, second.error, last.error) == ("ConnectionError: gone", "TimeoutError: slow", None)
    for attempt in (first, second):
        assert attempt.traceback is not None
        assert "in handler" in attempt.traceback
    assert last.traceback is None


# -- events -------------------------------------------------------------------------------------------


def test_event_numbers_grow_by_one(each: Kit) -> None:
    """Events are numbered from 1 in the order in which they happened, and are read from any number on."""
    assert each.store.event_range() == (1, 0)
    each.run(lambda: None)
    assert [event.seq for event in each.events()] == [1, 2, 3, 4]
    assert [event.name for event in each.events()] == ["recovery_update"] * 3 + ["recovery_completed"]
    assert [event.seq for event in each.store.events_since(2)] == [3, 4]
    assert [event.seq for event in each.store.events_since(1, limit=2)] == [2, 3]
    assert each.store.events_since(4) == []
    assert each.store.event_range() == (1, 4)
    message = each.events()[3].message()
    assert (message["seq"], message["success"], message["total_attempts"]) == (4, True, 1)


def test_event_numbers_of_many_threads(each: Kit) -> None:
    """Changes by many threads at once get numbers without gap or double."""
    threads = [threading.Thread(target=lambda: each.run(lambda: None)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [event.seq for event in each.events()] == list(range(1, 25))


def test_progress_event_replaces_the_one_before(each: Kit) -> None:
    """Of the progress events of an operation only the latest is kept; state changes are all kept."""
    data = each.lifecycle.begin_attempt(each.open().operation_id, 4)
    other = each.lifecycle.begin_attempt(each.open().operation_id, 4)
    for done in (1, 2, 3):
        each.store.save_progress(data.operation_id, 1, Progress(done), done, NOW)
        each.store.save_progress(other.operation_id, 1, Progress(done), done, NOW)
    events = each.store.events_of_operation(data.operation_id)
    assert [event.payload["progress"] and event.payload["progress"]["done"] for event in events] == [None, None, 3]
    assert events[-1].seq == 9
    assert [event.seq for event in each.store.events_of_operation(data.operation_id, limit=1)] == [9]
    assert each.store.events_of_operation("nowhere") == []


def test_old_events_are_forgotten(store: Store) -> None:
    """Of very many events about the last ten thousand are kept, and the range says so."""
    for _ in range(10_300) if isinstance(store, MemoryPersistence) else ():
        store.append_event("circuit_breaker_update", {})
    if isinstance(store, DatabasePersistence):
        many = [PlannedEvent("circuit_breaker_update", {}, "{}")] * 10_300
        store._write(lambda: [store._store_event(event, None) for event in many])
    low, high = store.event_range()
    assert high == 10_300
    assert 10_000 <= high - low + 1 <= 10_256


def test_wait_for_events(store: Store) -> None:
    """A wait ends with True when there is an event above the number, else with False after its time."""
    assert not store.wait_for_events(0, 0)
    store.append_event("circuit_breaker_update", {})
    assert store.wait_for_events(0, 60)
    assert not store.wait_for_events(1, 0)
    results = []
    waiter = threading.Thread(target=lambda: results.append(store.wait_for_events(1, 60)))
    waiter.start()
    store.append_event("circuit_breaker_update", {})
    waiter.join(20)
    assert results == [True]


# -- owners -------------------------------------------------------------------------------------------


def test_owners(store: Store) -> None:
    """Owners are entered, renewed and removed."""
    owner, other = Owner("a", "host", 1, "t"), Owner("b", "host", 2, "t")
    store.heartbeat(owner, 1)
    store.heartbeat(other, 2)
    store.heartbeat(owner, 3)
    assert sorted(store.owners(), key=lambda row: row.owner.owner_id) == [OwnerRow(owner, 3), OwnerRow(other, 2)]
    store.forget_owner("a")
    store.forget_owner("a")
    assert store.owners() == [OwnerRow(other, 2)]


def test_orphans_of_unknown_owners_are_released(store: Store) -> None:
    """What belongs to an owner that nobody knows is released; what a living one has, or nobody, is not."""
    store.heartbeat(Owner("alive", "host", 1, "t"), 1)
    for name, owner in (("a", "alive"), ("b", "gone"), ("c", None)):
        store.insert(record(name, owner=owner, state=S.IN_PROGRESS))
    [changed] = store.release_orphans([], NOW)
    assert (changed.data.operation_id, changed.data.state, changed.data.owner) == ("b", S.PENDING, None)
    assert [event.payload["state"] for event in changed.events] == ["pending"]


def test_check_and_close(store: Store) -> None:
    """A healthy store passes its check; it can be closed."""
    store.check()
    store.close()


# -- the one in a file --------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recovery.db"


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which writes lines to its standard output and reads from its standard input."""
    prelude = "import sys\nfrom launcher_recovery import SQLitePersistence\n"
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_other_file_is_refused_and_left_alone(path: Path) -> None:
    """A file that is no database is refused, and stays as it is, byte for byte."""
    for content in (b"my notes\n" * 1000, b"x", b"SQLite format 2\x00" + b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="is not a SQLite database, it was left as it is"):
            SQLitePersistence(path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def damaged(path: Path) -> bytes:
    """A database of ours in which a page has been overwritten."""
    store = SQLitePersistence(path)
    for number in range(50):
        store.insert(record(str(number), title="x" * 500))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = b"\xff" * 4096 * 6
    path.write_bytes(content)
    return bytes(content)


def test_damaged_database_is_set_aside(path: Path) -> None:
    """What begins like a database and makes no sense is kept under another name, and a new one begins."""
    for content in (b"SQLite format 3\x00" + b"\xff" * 5000, damaged(path)):
        path.write_bytes(content)
        store = SQLitePersistence(path)
        assert store.set_aside is not None
        assert re.fullmatch(r"recovery\.db\.corrupt-\d{8}-\d{6}", store.set_aside.name)
        assert store.set_aside.read_bytes() == content
        assert store.find() == []
        assert store.insert(record()) is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        store.set_aside.unlink()
        store.close()
        again = SQLitePersistence(path)
        assert again.set_aside is None
        assert again.get("a") is not None
        again.close()
        path.unlink()


def test_damaged_database_that_cannot_be_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it cannot be renamed either it is refused with a sentence, and stays as it is."""
    content = damaged(path)

    def refuse(path: Path, at: datetime) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sqlite, "set_aside", refuse)
    with pytest.raises(StoreError, match=r"recovery\.db cannot be used \(.*Permission denied.*\): check the disk"):
        SQLitePersistence(path)
    assert path.read_bytes() == content


def test_copy_before_a_migration(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An older database is copied, privately, before its schema is changed; a new one, or a current one, is not."""
    store = SQLitePersistence(path)
    store.insert(record())
    store.close()
    folder = tmp_path / "migrations"
    shutil.copytree(schema._DIRECTORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "0999_more.py").write_text("def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (a)')\n")
    monkeypatch.setattr(schema, "_DIRECTORY", folder)
    for _ in range(2):
        store = SQLitePersistence(path)
        assert store.get("a") is not None
        assert store._fetch("SELECT * FROM more") == []
        store.close()
    SQLitePersistence(tmp_path / "new.db").close()
    [copy] = [found for found in tmp_path.iterdir() if "before" in found.name]
    assert copy.name == "recovery.db.before-0999_more"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    monkeypatch.undo()
    old = SQLitePersistence(copy)
    assert old.get("a") is not None
    old.close()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells which locks a process holds")
def test_opening_twice_in_a_process_keeps_the_locks(path: Path) -> None:
    """A second store of the same file does not make the first one's locks disappear, as closing any file would."""
    first = SQLitePersistence(path)
    held = locks_of_this_process()
    SQLitePersistence(path).close()
    assert locks_of_this_process() == held != []
    first.close()


def locks_of_this_process() -> list[list[str]]:
    rows = [line.split()[1:] for line in Path("/proc/locks").read_text().splitlines()]
    return sorted(row for row in rows if str(os.getpid()) in row)


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder as path is refused; the message proposes a file in it."""
    with pytest.raises(StoreError, match="is a folder, but RECOVERY_PERSISTENCE_PATH must name a file") as caught:
        SQLitePersistence(tmp_path)
    assert str(tmp_path / "recovery.db") in str(caught.value)


def test_folder_that_takes_no_files_is_refused(path: Path) -> None:
    """A folder in which nobody may write, and one that cannot be made, are refused; the message says what to do."""
    path.write_bytes(b"")
    for bad in (Path("/proc/self/task/recovery.db"), path / "folder" / "recovery.db"):
        with pytest.raises(StoreError, match=r"cannot be opened \(.*\): make its folder writable"):
            SQLitePersistence(bad)


def test_newer_schema_is_refused(path: Path) -> None:
    """A database of a newer version is refused, unchanged, and the message names both versions."""
    SQLitePersistence(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO recovery_migrations (name, applied) VALUES ('0999_future', '2030-01-01')")
    connection.close()
    with pytest.raises(StoreError, match=r"newer version .*'0999_future', this version knows up to '0"):
        SQLitePersistence(path)


def test_new_database_is_private(tmp_path: Path) -> None:
    """The folder and the file that are made are readable by their owner alone."""
    path = tmp_path / "a" / "b" / "recovery.db"
    SQLitePersistence(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_empty_file_is_taken(path: Path) -> None:
    """An empty file, as `mktemp` makes it, becomes the database."""
    path.touch()
    SQLitePersistence(path).close()
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_default_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path it is that of the environment, else one in the user's state folder."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "given.db"))
    store = SQLitePersistence()
    store.close()
    assert store.path == str(tmp_path / "given.db")
    monkeypatch.delenv("RECOVERY_PERSISTENCE_PATH")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert sqlite.default_path() == tmp_path / "launcher-recovery" / "recovery.db"


def test_in_memory() -> None:
    """`:memory:` keeps nothing on the disk and works as the file does."""
    store = SQLitePersistence(":memory:")
    store.insert(record())
    assert store.wait_for_events(0, 0)
    assert not store.wait_for_events(1, 0)
    store.close()


def test_many_processes_start_at_once(path: Path) -> None:
    """Processes that open a new database at the same moment all succeed, and it is set up once."""
    code = "print('ready', flush=True); sys.stdin.readline(); SQLitePersistence(sys.argv[1]).check(); print('fine')"
    children = [child(code, path) for _ in range(4)]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=30)[0] for process in children] == ["fine\n"] * 4
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM recovery_migrations").fetchall()
    connection.close()
    assert len(names) == len(set(names)) >= 1


def test_second_process_sees_and_wakes(path: Path) -> None:
    """What another process commits is there, and ends a wait for events here; every waiter sees it."""
    store = SQLitePersistence(path)
    store.insert(record("mine"))
    assert not store.wait_for_events(1, 0)
    results: list[bool] = []
    waiters = [threading.Thread(target=lambda: results.append(store.wait_for_events(1, 60))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    code = """
from launcher_recovery import RecoveryData
store = SQLitePersistence(sys.argv[1])
assert store.get('mine') is not None
assert store.insert(RecoveryData('theirs', 'work', key='k', metadata={'n': 1})) is not None
"""
    process = child(code, path)
    process.communicate(timeout=30)
    for waiter in waiters:
        waiter.join(20)
    assert process.returncode == 0
    assert results == [True] * 3
    assert shown(store.get("theirs"))["metadata"] == {"n": 1}
    assert [event.seq for event in store.events_since(1)] == [2]
    assert store.insert(record("other", key="k")) is None
    store.close()


def test_change_without_an_event_wakes_nobody(path: Path) -> None:
    """A heartbeat of another connection is no event."""
    store, other = SQLitePersistence(path), SQLitePersistence(path)
    assert not store.wait_for_events(0, 0)
    other.heartbeat(Owner("x", "host", 1, "t"), 1)
    assert not store.wait_for_events(0, 0)
    other.append_event("circuit_breaker_update", {})
    assert store.wait_for_events(0, 0)
    for item in (store, other):
        item.close()


def test_what_was_written_survives_kill_9(path: Path) -> None:
    """Everything that a process was told is kept is there after it was killed."""
    code = """
from launcher_recovery import RecoveryData
store = SQLitePersistence(sys.argv[1])
number = 0
while True:
    number += 1
    store.insert(RecoveryData(str(number), 'work'))
    print(number, flush=True)
"""
    process = child(code, path)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    written = 20 + len([line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")])
    process.wait(20)
    process.communicate()
    store = SQLitePersistence(path)
    store.check()
    kept = {int(data.operation_id) for data in store.find(limit=-1)}
    assert kept >= set(range(1, written + 1))
    assert [event.seq for event in store.events_since(0, limit=10**6)] == list(range(1, len(kept) + 1))
    store.close()


def test_cleanup_by_bytes(path: Path) -> None:
    """The oldest are forgotten until what is in use fits; what is unfinished stays, however much it is."""
    store = SQLitePersistence(path)
    for number in range(700):
        given = {"state": S.SUCCESS, "updated_at": NOW + timedelta(seconds=number)}
        store.insert(record(str(number), title="x" * 2000, **given))
    store.insert(record("unfinished"))
    used = store._used_bytes()
    assert store.cleanup(NOW, max_bytes=used) == 0
    gone = store.cleanup(NOW, max_bytes=used // 2)
    assert 200 <= gone <= 600
    assert store._used_bytes() <= used // 2
    assert store.get("0") is None
    assert store.get("699") is not None
    assert store.cleanup(NOW, max_bytes=1) == 700 - gone
    assert [data.operation_id for data in store.find()] == ["unfinished"]
    plan = str(
        store._fetch(
            f"EXPLAIN QUERY PLAN SELECT 1 FROM recovery_data WHERE {IS_FINISHED.sql}"
            " AND updated_at < 5 ORDER BY updated_at LIMIT 9"
        )
    )
    assert "recovery_data_finished" in plan
    store.close()


def test_start_up_query_uses_the_partial_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statements of start-up and of joining look only at the unfinished, or at one key, not at all the history."""
    store = SQLitePersistence(path)
    statements: list[Any] = []
    rows = store._rows
    monkeypatch.setattr(store, "_rows", lambda query: (statements.append(query), rows(query))[1])
    store.release_orphans([], NOW)
    store.find(states={S.PENDING}, limit=-1)
    store.latest_with_key("k")
    monkeypatch.undo()
    for query, index in zip(statements, ("_unfinished", "_unfinished", "_by_key"), strict=True):
        database = store._connections.reader
        sql, parameters = database.get_sql_context().sql(query).query()
        plan = str(database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
        assert f"recovery_data{index}" in plan, plan
    store.close()


def test_failed_transaction_leaves_nothing(path: Path) -> None:
    """When a write fails in the middle nothing of it is kept, no event is announced, and the next one works."""
    store = SQLitePersistence(path)
    store.insert(record())
    with pytest.raises(NotStorableError):
        store.change("a", Change({S.PENDING}, {"state": S.FAILED, "metadata": {"x": print}}, NOW))

    def half() -> None:
        store._store_event(PlannedEvent("circuit_breaker_update", {}, "{}"), None)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        store._write(half)
    assert shown(store.get("a"))["state"] is S.PENDING
    assert not store.wait_for_events(1, 0)
    assert store.append_event("circuit_breaker_update", {}).seq == 2
    store.close()


def test_errors_of_the_database_are_ours(path: Path) -> None:
    """Whatever goes wrong in the database comes as a StoreError that names the file and says what to do."""
    store = SQLitePersistence(path)
    with sqlite3.connect(path) as connection:
        for table in ("recovery_owners", "recovery_outbox", "recovery_data"):
            connection.execute(f"DROP TABLE {table}")
    connection.close()
    ways = [store.check, store.owners, store.event_range, store.counts, lambda: store.get("a")]
    for way in [*ways, lambda: store.insert(record()), lambda: store.append_event("circuit_breaker_update", {})]:
        with pytest.raises(StoreError, match=r"recovery\.db cannot be used \(no such table.*RECOVERY_PERSISTENCE_PATH"):
            way()
    store.close()


def test_wait_on_a_file_that_is_gone_is_ours(tmp_path: Path) -> None:
    """Also the look for other processes' changes fails with a StoreError."""
    path = tmp_path / "folder" / "recovery.db"
    store = SQLitePersistence(path)
    path.rename(tmp_path / "moved.db")
    for left in path.parent.iterdir():
        left.unlink()
    path.parent.rmdir()
    with pytest.raises(StoreError, match="was deleted or replaced while it was in use"):
        store.wait_for_events(0, 0)
    with pytest.raises(StoreError, match="was deleted or replaced while it was in use"):
        store.insert(record())
    store.close()


async def test_async_methods_do_not_block_the_loop(path: Path) -> None:
    """While a save waits for the database, the event loop goes on."""
    store = SQLitePersistence(path)
    with store._connections.writing:
        task = asyncio.ensure_future(store.save(record()))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    await task
    assert store.get("a") is not None
    store.close()


def test_package_loads_its_stores_lazily() -> None:
    """The subpackage gives the SQLite store when asked for it, and no other name."""
    from launcher_recovery import persistence

    assert persistence.SQLitePersistence is SQLitePersistence
    with pytest.raises(AttributeError, match="has no attribute 'PickleStore'"):
        _ = persistence.PickleStore
    assert issubclass(peewee.IntegrityError, peewee.DatabaseError)
    assert isinstance(Operation, type)


def test_opening_waits_for_a_locked_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process sets the file up, opening it is tried again; any other error is not."""
    connect, refusals = peewee.SqliteDatabase.connect, [peewee.OperationalError("database is locked")] * 3

    def refusing(self: peewee.SqliteDatabase, reuse_if_open: bool = False) -> Any:
        if refusals:
            raise refusals.pop()
        return connect(self, reuse_if_open)

    monkeypatch.setattr(connections, "_POLL_S", 0)
    monkeypatch.setattr(peewee.SqliteDatabase, "connect", refusing)
    SQLitePersistence(path).close()
    assert refusals == []
    refusals.append(peewee.OperationalError("unable to open database file"))
    with pytest.raises(StoreError, match="unable to open database file"):
        SQLitePersistence(path)
    refusals.extend([peewee.OperationalError("database is locked")] * 2)
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0)
    with pytest.raises(StoreError, match="database is locked"):
        SQLitePersistence(path)
