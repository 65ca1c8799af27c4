"""What only the store in a file has to stand; what all have to do is in `test_conformance.py`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peewee
import pytest

from launcher_recovery import PostgresPersistence, SQLitePersistence, StoreError
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import MemoryPersistence, Store, connections, file, schema, sqlite
from launcher_recovery.persistence.access import IS_FINISHED
from launcher_recovery.persistence.base import Change, Owner
from launcher_recovery.persistence.codec import NotStorableError
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.file import refusal
from launcher_recovery.persistence.statements import PlannedEvent
from launcher_recovery.records import Progress, RecoveryData, RecoveryState
from tests import postgres
from tests.support import but_for
from tests.unit.kit import WRITER, killed_while_it_writes

S = RecoveryState
NOW = datetime(2026, 11, 22, 23, 46, 31, 123456, timezone.utc)


def record(operation_id: str = "a", **given: Any) -> RecoveryData:
    return RecoveryData(operation_id, "work", **{"created_at": NOW, "updated_at": NOW, **given})


def shown(data: RecoveryData | None) -> dict[str, Any]:
    assert data is not None
    return {**vars(data), "error": data.error and data.error.args}


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


@pytest.mark.parametrize("kind", ["sqlite", "memory of sqlite", pytest.param("postgres", marks=postgres.needs_server)])
def test_a_store_that_was_closed_stays_closed(request: pytest.FixtureRequest, path: Path, kind: str) -> None:
    """A thread that looks once more is refused, and connects no more; only `reopen` opens it again."""
    store: DatabasePersistence
    if kind == "postgres":
        store = PostgresPersistence(request.getfixturevalue("postgres_store_url"))
    else:
        store = SQLitePersistence(path if kind == "sqlite" else ":memory:")
    store.insert(RecoveryData("a", "work"))
    store.close()
    for use in (store.event_range, lambda: store.insert(RecoveryData("b", "work"))):
        with pytest.raises(StoreError, match="was closed by this process"):
            use()
    assert store._connections.reader.is_closed()
    assert store._connections.writer.is_closed()
    store.reopen()
    assert [data.operation_id for data in store.find()] == ([] if kind == "memory of sqlite" else ["a"])
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


def test_index_of_events_is_made_smaller(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database whose events were all found by an index keeps them, replaces progress, and gives higher numbers."""
    is_kept_out = shutil.ignore_patterns("__pycache__", "0005_*")
    monkeypatch.setattr(schema, "_DIRECTORY", shutil.copytree(schema._DIRECTORY, tmp_path / "old", ignore=is_kept_out))
    store = SQLitePersistence(path)
    for name in ("a", "b"):
        store.insert(record(name, state=S.IN_PROGRESS, attempt=1, fence=1))
        store.save_progress(name, 1, Progress(1), 1, NOW)
    before = [store.get("a"), store.attempts("a"), store.events_since(0)]
    store.close()
    monkeypatch.undo()
    store = SQLitePersistence(path)
    assert [store.get("a"), store.attempts("a"), store.events_since(0)] == before
    store.save_progress("a", 1, Progress(2), 2, NOW)
    assert [event.seq for event in store.events_of_operation("a")] == [1, 5]
    assert [event.seq for event in store.events_since(0)] == [1, 3, 4, 5]
    plan = store._fetch("EXPLAIN QUERY PLAN DELETE FROM recovery_outbox WHERE operation_id = 'a' AND transient")
    assert "recovery_outbox_transient" in str(plan)
    store.close()


def test_several_events_in_one_statement(path: Path) -> None:
    """Each event of a change has the number under which it is stored."""
    with closing(SQLitePersistence(path)) as store:
        store.append_event("circuit_breaker_update", {})
        store.insert(record(state=S.IN_PROGRESS, attempt=1, fence=1))
        changed = store.change("a", Change({S.IN_PROGRESS}, {"state": S.SUCCESS}, NOW, fence=1))
        assert changed is not None
        assert [(event.seq, event.name) for event in changed.events] == [
            (3, "recovery_update"),
            (4, "recovery_completed"),
        ]
        assert list(changed.events) == store.events_since(2)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells which locks a process holds")
def test_opening_twice_in_a_process_keeps_the_locks(path: Path) -> None:
    """A second store of the same file does not make the first one's locks disappear, as closing any file would."""
    first = SQLitePersistence(path)
    held = locks_on(path)
    SQLitePersistence(path).close()
    assert locks_on(path) == held != []
    first.close()


def locks_on(path: Path) -> list[list[str]]:
    """What this process holds on the files of a database; stores of earlier tests may still come and go."""
    inodes = [f":{part.stat().st_ino}" for part in path.parent.iterdir() if part.name.startswith(path.name)]
    rows = [line.split()[1:] for line in Path("/proc/locks").read_text().splitlines()]
    return sorted(row for row in rows if str(os.getpid()) in row and any(row[4].endswith(inode) for inode in inodes))


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


def test_relative_path_is_that_of_the_folder_it_was_opened_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are opened again after a fork, perhaps when the current folder is another one."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    store = SQLitePersistence("recovery.db")
    monkeypatch.chdir(tmp_path / "second")
    store._connections.close()
    store.insert(RecoveryData("a", "work"))
    assert store.get("a") is not None
    assert list((tmp_path / "second").iterdir()) == []
    store.close()


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
    process = child(f"store = SQLitePersistence(sys.argv[1]){WRITER}", path)
    killed_while_it_writes(process, lambda: SQLitePersistence(path))


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


def test_totals_and_the_list_of_what_was_given_up_do_not_look_through_the_history(path: Path) -> None:
    store = SQLitePersistence(path)
    statements: list[str] = []
    fetch = store._fetch

    def watched(sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return fetch(sql, *rest)

    store._fetch = watched  # type: ignore[method-assign]
    store.counts()
    plans = [str(fetch(f"EXPLAIN QUERY PLAN {sql}")) for sql in statements]
    assert "USING COVERING INDEX recovery_data_finished" in plans[0]
    assert "USING INDEX recovery_data_unfinished" in plans[1]
    rows = store._rows
    queries: list[Any] = []
    store._rows = lambda query: queries.append(query) or rows(query)  # type: ignore[method-assign, func-returns-value]
    store.find(states={S.FAILED, S.EXHAUSTED})
    sql, parameters = queries[0].sql()
    assert "recovery_data_given_up" in str(fetch(f"EXPLAIN QUERY PLAN {sql}", tuple(parameters)))
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


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit for the size of files")
@pytest.mark.parametrize("size", [4096, 40_000, 60_000])
def test_why_a_new_database_cannot_be_written_is_said(path: Path, size: int) -> None:
    """The message says what failed first, not that nothing was left to be undone."""
    script = (
        "import resource, signal, sys; from launcher_recovery import SQLitePersistence;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY));"
        "SQLitePersistence(sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path), str(size)], capture_output=True, text=True)
    last = ended.stderr.splitlines()[-1]
    assert "recovery.db cannot be used (disk I/O error): check the disk and its folder, or name" in last


@pytest.mark.parametrize(
    ("said", "free", "expected"),
    [
        ("database or disk is full", 1 << 30, "(database or disk is full): make room on its disk, or name"),
        ("disk I/O error", 4096, "(the disk is full: disk I/O error): make room on its disk, or name"),
        ("disk I/O error", 1 << 30, "(disk I/O error): check the disk and its folder, or name"),
        ("no such table: x", 0, "(no such table: x): check the disk and its folder, or name"),
        ("disk I/O error", None, "(disk I/O error): check the disk and its folder, or name"),
    ],
)
def test_full_disk_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free: int | None, expected: str
) -> None:
    """SQLite does not always say that the disk is full; then the disk does, if it can be asked."""

    def usage(folder: Path) -> Any:
        if free is None:
            raise OSError("not there")
        return SimpleNamespace(free=free)

    monkeypatch.setattr(file, "shutil", but_for(shutil, disk_usage=usage))
    assert expected in str(refusal(str(path), peewee.OperationalError(said)))
