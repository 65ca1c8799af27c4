"""The store in PostgreSQL, where it differs from a file: other processes, a server that goes away, and secrets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import peewee
import pytest

from launcher_recovery import PostgresPersistence, RecoveryData, StoreError, persistence
from launcher_recovery.persistence import ResilientPersistence, address, forks, schema
from launcher_recovery.persistence.address import Address, given_url
from launcher_recovery.persistence.base import Change, Owner
from launcher_recovery.persistence.group import CommitUncertain
from launcher_recovery.records import Progress, RecoveryState, StepRecord
from launcher_recovery.testing import VirtualClock
from tests import postgres
from tests.unit.kit import WRITER, Kit, killed_while_it_writes

NAME = "circuit_breaker_update"
NOW = datetime(2026, 11, 23, 15, 0, 0, 0, timezone.utc)


@pytest.fixture
def pg(postgres_url: str) -> Iterator[PostgresPersistence]:
    made = PostgresPersistence(postgres_url)
    yield made
    made.close()


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which writes lines to its standard output and reads from its standard input."""
    prelude = "import sys\nfrom launcher_recovery import PostgresPersistence, RecoveryData\n"
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def thrown_out(url: str, *pids: int | None) -> None:
    """Returns when the server has ended these connections."""
    for pid in pids:
        postgres.rows(url, "SELECT pg_terminate_backend(%s)", pid)
    while postgres.rows(url, "SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", list(pids)):
        time.sleep(0.001)


def pids(store: PostgresPersistence) -> list[int | None]:
    """The server's processes of all connections that the store has open."""
    connections = store._connections
    raw = [connections.writer.connection(), connections.reader.connection(), store._listener._raw]
    return [one.info.backend_pid for one in raw if one is not None]


# -- several processes --------------------------------------------------------------------------------


@postgres.needs_server
def test_another_process_sees_and_wakes(pg: PostgresPersistence, postgres_url: str) -> None:
    """What another process commits is there, and ends the wait of every thread here; and the other way round."""
    pg.insert(RecoveryData("mine", "work"))
    code = """
store = PostgresPersistence(sys.argv[1])
assert store.get('mine') is not None
assert not store.wait_for_events(1, 0)
print('ready', flush=True)
sys.stdin.readline()
store.insert(RecoveryData('theirs', 'work', key='k', metadata={'n': 1}))
print(store.wait_for_events(2, 60), flush=True)
store.close()
"""
    process = child(code, postgres_url)
    assert line_of(process) == "ready\n"
    results: list[bool] = []
    waiters = [threading.Thread(target=lambda: results.append(pg.wait_for_events(1, 60))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    go(process)
    for waiter in waiters:
        waiter.join(20)
    assert results == [True] * 3
    theirs = pg.get("theirs")
    assert theirs is not None
    assert theirs.metadata == {"n": 1}
    assert pg.insert(RecoveryData("other", "work", key="k")) is None
    pg.append_event(NAME, {})
    assert process.communicate(timeout=30)[0] == "True\n"
    assert [event.seq for event in pg.events_since(0)] == [1, 2, 3]


@postgres.needs_server
def test_many_processes_start_at_once(postgres_url: str) -> None:
    """Processes that open an empty database at the same moment all succeed, and it is set up once."""
    code = """
print('ready', flush=True)
sys.stdin.readline()
store = PostgresPersistence(sys.argv[1])
for number in range(10):
    store.insert(RecoveryData(f'{sys.argv[2]}-{number}', 'work'))
print('fine')
store.close()
"""
    children = [child(code, postgres_url, number) for number in range(4)]
    assert [line_of(process) for process in children] == ["ready\n"] * 4
    for process in children:
        go(process)
    assert [process.communicate(timeout=60)[0] for process in children] == ["fine\n"] * 4
    names = [name for (name,) in postgres.rows(postgres_url, "SELECT name FROM recovery_migrations ORDER BY name")]
    assert names == schema.shipped()
    numbers = [seq for (seq,) in postgres.rows(postgres_url, "SELECT seq FROM recovery_outbox ORDER BY seq")]
    assert numbers == list(range(1, 41))


@postgres.needs_server
def test_threads_and_processes_lose_nothing(pg: PostgresPersistence, postgres_url: str) -> None:
    """Two processes with four threads each, watched by a third: events arrive in order, without gap or double."""
    code = """
import threading
store = PostgresPersistence(sys.argv[1])
def run(name):
    for number in range(25):
        assert store.insert(RecoveryData(f"{name}-{number}", "work"))
threads = [threading.Thread(target=run, args=(f"{sys.argv[2]}-{n}",)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
store.close()
"""
    children = [child(code, postgres_url, number) for number in range(2)]
    seen: list[int] = []
    while len(seen) < 200 and pg.wait_for_events(len(seen), 60):
        seen += [event.seq for event in pg.events_since(len(seen))]
        assert seen == list(range(1, len(seen) + 1))
    for process in children:
        process.communicate(timeout=60)
    assert [process.returncode for process in children] == [0, 0]
    assert len(seen) == len(pg.find(limit=-1)) == 200


@postgres.needs_server
def test_what_was_written_survives_kill_9(postgres_url: str) -> None:
    """Everything that a process was told is kept is there after it was killed."""
    process = child(f"store = PostgresPersistence(sys.argv[1]){WRITER}", postgres_url)
    killed_while_it_writes(process, lambda: PostgresPersistence(postgres_url))


@postgres.needs_server
def test_stopped_process_is_thrown_out(pg: PostgresPersistence, postgres_url: str) -> None:
    """One that stops in the middle of a transaction does not stop the others for good: the server ends it."""
    other = PostgresPersistence(postgres_url)
    with other._connections.writing:
        other._connections.begin(True)
        other._connections.execute("SET idle_in_transaction_session_timeout = '10ms'")
        assert pg.append_event(NAME, {}).seq == 1
    assert other.append_event(NAME, {}).seq == 2
    other.close()


@postgres.needs_server
def test_others_that_never_end(pg: PostgresPersistence, postgres_url: str) -> None:
    """Patience with another process has an end, which is an error that says so."""
    other = PostgresPersistence(postgres_url)
    with other._connections.writing:
        other._connections.begin(True)
        with pg._connections.writing:
            pg._connections.execute("SET lock_timeout = '1ms'")
        with pytest.raises(StoreError, match=r"test on .* cannot be used \(canceling statement due to lock timeout"):
            pg.append_event(NAME, {})
        other._connections.rollback()
    assert pg.append_event(NAME, {}).seq == 1
    other.close()


FORKS = """
import json, os, threading
store = PostgresPersistence(sys.argv[1])
if sys.argv[2] == "resilient":
    from launcher_recovery.persistence import ResilientPersistence
    store = ResilientPersistence(store)
store.insert(RecoveryData("parent", "work"))
stop, written = threading.Event(), []

def write():
    while not stop.is_set():
        written.append(store.append_event("circuit_breaker_update", {}).seq)

def listen():
    seen = 0
    while not stop.is_set():
        if store.wait_for_events(seen, 0.5):
            seen = store.event_range()[1]

threads = [threading.Thread(target=work) for work in (write, write, listen, listen)]
[thread.start() for thread in threads]
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        for count in range(20):
            assert store.insert(RecoveryData(f"{number}-{count}", "work")) is not None
        assert store.get("parent") is not None
        assert store.wait_for_events(0, 0) and not store.wait_for_events(10**9, 0)
        store.close()
        os._exit(0)
    children.append(pid)
ends = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
[thread.join() for thread in threads]
store.check()
print(json.dumps({"ends": ends, "kept": len(store.find(limit=-1)), "range": store.event_range(),
    "written": len(written)}))
store.close()
"""


@postgres.needs_server
@pytest.mark.parametrize("kind", ["plain", "resilient"])
def test_forked_children_and_their_parent_work_side_by_side(postgres_url: str, kind: str) -> None:
    """Children forked while threads write and listen, and the parent, all go on, each on connections of its own."""
    process = child(FORKS, postgres_url, kind)
    told = json.loads(process.communicate(timeout=60)[0])
    assert told["ends"] == [0, 0, 0]
    assert told["kept"] == 61
    assert told["range"] == [1, 61 + told["written"]]


@postgres.needs_server
def test_listening_is_put_away_around_a_fork(pg: PostgresPersistence) -> None:
    """A wait that is under way stops listening before a fork, goes on behind it, and hears what comes then."""
    results: list[bool] = []
    pg.append_event(NAME, {})
    waiters = [threading.Thread(target=lambda: results.append(pg.wait_for_events(1, 60))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    while pg._listener._raw is None:
        waiters[0].join(0.001)
    forks._before()
    try:
        assert pg._listener._raw is None
        assert (pg._connections.writer.is_closed(), pg._connections.reader.is_closed()) == (True, True)
        assert results == []
    finally:
        forks._after(False)
    pg.append_event(NAME, {})
    for waiter in waiters:
        waiter.join(20)
    assert results == [True] * 3


@postgres.needs_server
def test_child_begins_with_locks_of_its_own(pg: PostgresPersistence) -> None:
    """What a thread of the parent held at the moment of the fork does not stop the child, in which it is nobody's."""
    pg.append_event(NAME, {})
    assert not pg.wait_for_events(1, 0)
    pg.before_fork()
    pg._connections.before_fork()
    held = (pg._connections.writing, pg._connections.reading, pg._listener._turn)
    pg._connections.after_fork(True)
    pg.after_fork(True)
    assert not {*map(id, held)} & {id(pg._connections.writing), id(pg._connections.reading), id(pg._listener._turn)}
    assert pg.append_event(NAME, {}).seq == 2
    assert pg.wait_for_events(1, 60)
    pg.close()
    pg.after_fork(True)
    assert not pg.wait_for_events(2, 0)


# -- a server that goes away --------------------------------------------------------------------------


@postgres.needs_server
def test_lost_connections_are_opened_again(pg: PostgresPersistence, postgres_url: str) -> None:
    """After the server ended all connections reading, writing and listening go on as if nothing had been."""
    pg.insert(RecoveryData("a", "work"))
    assert pg.get("a") is not None
    assert not pg.wait_for_events(1, 0)
    before = pids(pg)
    assert len(before) == 3
    thrown_out(postgres_url, *before)
    assert pg.get("a") is not None
    assert pg.append_event(NAME, {}).seq == 2
    other = PostgresPersistence(postgres_url)
    other.append_event(NAME, {})
    assert pg.wait_for_events(2, 60)
    assert set(before).isdisjoint(pids(pg))
    other.close()


@postgres.needs_server
def test_connection_lost_in_a_transaction(pg: PostgresPersistence, postgres_url: str) -> None:
    """What was under way is done again, whole, on a new connection."""
    cut: list[int | None] = [pg._connections.writer_pid]

    def work() -> int:
        pg._connections.execute("INSERT INTO recovery_owners VALUES ('x', 'host', 1, 't', 1)")
        while cut:
            thrown_out(postgres_url, cut.pop())
        return pg._connections.execute("SELECT count(*) FROM recovery_owners").fetchone()[0]

    assert pg._write(work) == 1
    assert [row.owner.owner_id for row in pg.owners()] == ["x"]


@postgres.needs_server
def test_connection_lost_in_a_commit(
    pg: PostgresPersistence, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was made is not known then: that is an error, and nothing is done twice."""
    commit, runs = pg._connections.commit, []

    def cutting(numbered: int) -> None:
        monkeypatch.undo()
        thrown_out(postgres_url, pg._connections.writer_pid)
        commit(numbered)

    monkeypatch.setattr(pg._connections, "commit", cutting)
    with pytest.raises(StoreError, match=r"cannot be used \(terminating connection") as caught:
        pg._write(lambda: runs.append(pg._enter_events([(NAME, None, "{}", False)])))
    assert isinstance(caught.value.__cause__, CommitUncertain)
    assert len(runs) == 1
    assert pg.append_event(NAME, {}).seq == 1


@postgres.needs_server
def test_commit_that_was_made_unheard(pg: PostgresPersistence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of a commit whose acknowledgement was lost are announced with the next one, also one without events."""
    commit = pg._connections.commit

    def unheard(numbered: int) -> None:
        commit(numbered)
        monkeypatch.undo()
        raise CommitUncertain("the connection was lost")

    monkeypatch.setattr(pg._connections, "commit", unheard)
    with pytest.raises(StoreError, match="the connection was lost"):
        pg.append_event(NAME, {})
    assert pg._latest == 0
    pg.heartbeat(Owner("a", "host", 1, "t"), 1)
    assert pg._latest == 1
    assert [event.seq for event in pg.events_since(0)] == [1]


@postgres.needs_server
def test_commit_refused_by_the_server(pg: PostgresPersistence) -> None:
    """A commit that fails on a connection that lives is an error of the commit, and the next one works."""
    deferred = "ALTER TABLE recovery_owners ADD CONSTRAINT one UNIQUE (host) DEFERRABLE INITIALLY DEFERRED"
    pg._write(lambda: pg._connections.execute(deferred))
    pg.heartbeat(Owner("a", "host", 1, "t"), 1)
    with pytest.raises(peewee.IntegrityError):
        pg.heartbeat(Owner("b", "host", 1, "t"), 1)
    assert [row.owner.owner_id for row in pg.owners()] == ["a"]


@postgres.needs_server
def test_wait_fails_when_the_server_cannot_be_reached(
    pg: PostgresPersistence, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait, a read and a write on a server that has gone are errors of ours; when it is back they work."""

    def gone() -> Any:
        raise peewee.OperationalError("connection refused")

    assert not pg.wait_for_events(0, 0)
    before = pids(pg)
    monkeypatch.setattr(pg._listener, "_connect", gone)
    for database in (pg._connections.writer, pg._connections.reader):
        monkeypatch.setattr(database, "_connect", gone)
    thrown_out(postgres_url, *before)
    ways: list[Callable[[], Any]] = [lambda: pg.wait_for_events(0, 60), pg.event_range, pg.check]
    for way in [*ways, *ways]:
        with pytest.raises(StoreError, match=r"cannot be used \(connection refused\): check that its server runs"):
            way()
    monkeypatch.undo()
    pg.reopen()
    assert not pg.wait_for_events(0, 0)
    pg.check()


@postgres.needs_server
def test_operations_go_on_while_the_server_is_away(
    pg: PostgresPersistence, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind `ResilientPersistence` nothing fails: all that happened meanwhile is on the server when it is back."""

    def gone() -> Any:
        raise peewee.OperationalError("connection refused")

    store = ResilientPersistence(pg, clock := VirtualClock())
    kit = Kit(store)
    kit.clock = clock
    begun = kit.lifecycle.begin_attempt(kit.open(key="k").operation_id, 3)
    before = pids(pg)
    for database in (pg._connections.writer, pg._connections.reader):
        monkeypatch.setattr(database, "_connect", gone)
    thrown_out(postgres_url, *before)
    assert store.finish_step(begun.operation_id, 1, StepRecord("clone", NOW, {"ref": "x"}))
    errors = [ConnectionError("gone")]

    def handler() -> None:
        if errors:
            raise errors.pop()

    kit.run(handler)
    assert store.problem is not None
    assert f"{pg.where} cannot be used (connection refused)" in store.problem
    monkeypatch.undo()
    clock.advance(6)
    store.check()
    assert store.problem is None
    assert pg.load_step(begun.operation_id, "clone") == StepRecord("clone", NOW, {"ref": "x"})
    assert kit.now.state is RecoveryState.SUCCESS
    failed, fine = pg.attempts(kit.data.operation_id)
    assert (failed.error_type, fine.error_type) == ("ConnectionError", None)
    assert "in handler" in (failed.traceback or "")
    numbers = [event.seq for event in pg.events_since(0)]
    assert numbers == sorted(set(numbers))
    assert pg.insert(RecoveryData("again", "work", key="k")) is None


# -- the database -------------------------------------------------------------------------------------


@postgres.needs_server
def test_newer_schema_is_refused(postgres_url: str) -> None:
    """A database of a newer version is refused, unchanged, and the message names both versions and no file."""
    PostgresPersistence(postgres_url).close()
    postgres.rows(postgres_url, "INSERT INTO recovery_migrations (name, applied) VALUES ('0999_future', now())")
    with pytest.raises(StoreError, match=r"newer version .*'0999_future', this version knows up to '0") as caught:
        PostgresPersistence(postgres_url)
    assert str(caught.value).endswith(
        "install the newer version again, or name another one with RECOVERY_DATABASE_URL."
    )


@postgres.needs_server
def test_older_schema_is_brought_up_to_date(postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was written before a change of the schema is there after it; a change that fails leaves nothing."""
    store = PostgresPersistence(postgres_url)
    store.insert(RecoveryData("a", "work"))
    store.close()
    folder = tmp_path / "migrations"
    shutil.copytree(schema._DIRECTORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "_DIRECTORY", folder)
    more = folder / "0999_more.py"
    more.write_text("def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (a int)')\n    db.execute_sql('x')\n")
    with pytest.raises(StoreError, match="syntax error"):
        PostgresPersistence(postgres_url)
    more.write_text("def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (a int)')\n")
    for _ in range(2):
        store = PostgresPersistence(postgres_url)
        assert store.get("a") is not None
        assert store._fetch("SELECT * FROM more") == []
        store.close()


@postgres.needs_server
def test_index_of_events_is_made_smaller(postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database whose events were all found by an index keeps them, replaces progress, and gives higher numbers."""
    is_kept_out = shutil.ignore_patterns("__pycache__", "0005_*")
    monkeypatch.setattr(schema, "_DIRECTORY", shutil.copytree(schema._DIRECTORY, tmp_path / "old", ignore=is_kept_out))
    store = PostgresPersistence(postgres_url)
    store.insert(RecoveryData("a", "work", state=RecoveryState.IN_PROGRESS, attempt=1, fence=1))
    store.save_progress("a", 1, Progress(1), 1, NOW)
    events = store.events_since(0)
    store.close()
    monkeypatch.undo()
    store = PostgresPersistence(postgres_url)
    assert store.events_of_operation("a") == store.events_since(0) == events
    store.save_progress("a", 1, Progress(2), 2, NOW)
    assert [event.seq for event in store.events_of_operation("a")] == [1, 3]
    store.close()


@postgres.needs_server
def test_cleanup_by_bytes(pg: PostgresPersistence) -> None:
    """The oldest are forgotten until the content of what is left fits."""
    for number in range(500):
        at = NOW + timedelta(seconds=number)
        pg._write(
            lambda number=number, at=at: pg._connections.execute(  # type: ignore[misc]
                "INSERT INTO recovery_data (operation_id, function_name, state, kind, title, created_at, updated_at,"
                " resumable) VALUES (?, 'work', 'success', 'function', ?, ?, ?, TRUE)",
                (str(number), os.urandom(500).hex(), at.timestamp(), at.timestamp()),
            ),
            durable=False,
        )
    pg.insert(RecoveryData("unfinished", "work"))
    used = pg._used_bytes()
    assert pg.cleanup(NOW, max_bytes=1 << 30) == pg.cleanup(NOW, max_bytes=used) == 0
    assert 200 <= pg.cleanup(NOW, max_bytes=used // 2) <= 400
    assert pg._used_bytes() <= used // 2
    assert (pg.get("0"), pg.get("499") is None) == (None, False)
    pg.cleanup(NOW, max_bytes=1)
    assert [data.operation_id for data in pg.find()] == ["unfinished"]


@postgres.needs_server
def test_texts_that_postgresql_lacks(pg: PostgresPersistence) -> None:
    """A NUL in a text is kept as its picture instead of failing; a key may be longer than an index takes."""
    key = "download:/" + os.urandom(20_000).hex()
    assert pg.insert(RecoveryData("a", "work", key=key, title="x\0y", metadata={"n": "\0"})) is not None
    assert pg.insert(RecoveryData("b", "work", key=key)) is None
    found = pg.latest_with_key(key)
    assert found is not None
    assert (found.title, found.metadata) == ("x\N{SYMBOL FOR NULL}y", {"n": "\0"})
    assert pg.find(project="\0") == []
    pending = {RecoveryState.PENDING}
    assert pg.change("a", Change(pending, {"state": RecoveryState.FAILED, "explanation": "\0"}, NOW)) is not None


@postgres.needs_server
def test_database_of_another_encoding_is_refused(postgres_url: str) -> None:
    """One that cannot hold every text is refused, with what to do."""
    may = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    if postgres.rows(postgres_url, may) != [(True,)]:
        pytest.skip("the user of RECOVERY_TEST_POSTGRES_URL may not create a database")
    name = f"latin_{uuid.uuid4().hex}"
    postgres.rows(postgres_url, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        url = f"{postgres.URL.partition('?')[0].rpartition('/')[0]}/{name}"
        with pytest.raises(
            StoreError, match="has the encoding LATIN1, but must have UTF8: make one with CREATE DATABASE"
        ):
            PostgresPersistence(url)
    finally:
        postgres.rows(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@postgres.needs_server
def test_statements_are_durable_even_on_a_careless_server(postgres_url: str) -> None:
    """Where the server is set not to wait for its disk, what must survive a power cut waits all the same."""
    name = postgres_url.rpartition("%3D")[2]
    store = PostgresPersistence(postgres_url + "%20-csynchronous_commit%3Doff")

    def setting() -> str:
        return str(store._connections.execute("SHOW synchronous_commit").fetchone()[0])

    assert store._write(setting) == "on"
    assert store._write(setting, durable=False) == "off"
    assert store._write(setting) == "on"
    assert store._fetch("SELECT current_schema()") == [(name,)]
    store.close()


@postgres.needs_server
def test_closed_store(pg: PostgresPersistence) -> None:
    """After `close` a wait ends after its time; closing twice is fine."""
    pg.close()
    pg.close()
    assert not pg.wait_for_events(0, 0.01)


# -- its address --------------------------------------------------------------------------------------


@postgres.needs_server
def test_the_environment_names_it(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the URL is that of RECOVERY_DATABASE_URL."""
    monkeypatch.setenv("RECOVERY_DATABASE_URL", postgres_url)
    store = PostgresPersistence()
    assert store.insert(RecoveryData("a", "work")) is not None
    assert postgres.rows(postgres_url, "SELECT operation_id FROM recovery_data") == [("a",)]
    store.close()


def test_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no URL at all the message names the setting and an example."""
    monkeypatch.delenv("RECOVERY_DATABASE_URL", raising=False)
    with pytest.raises(StoreError, match=r"needs its URL: set RECOVERY_DATABASE_URL to postgresql://"):
        PostgresPersistence()


SECRETS = ("alice", "h4nter2", "tops3cret")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://alice:h4nter2@db/x?p=tops3cret", "'mysql://…'"),
        ("alice:h4nter2@db", "'…'"),
        ("postgresql://alice:h4nter2@db:port/x?connect_timeout=tops3cret&nonsense", "'postgresql://…'"),
        ("postgres://alice:h4n%ter2@db/x", "'postgres://…'"),
    ],
)
def test_wrong_urls_are_refused_without_their_secrets(url: str, shown: str) -> None:
    """A URL that is for something else, or makes no sense, is refused with the setting's name and an example."""
    pytest.importorskip("psycopg")
    with pytest.raises(
        StoreError, match="is not usable: it must be like postgresql://user:password@host:5432/data"
    ) as e:
        PostgresPersistence(url)
    assert str(e.value).startswith(f"RECOVERY_DATABASE_URL={shown}")
    told = str(e.value) + repr(e.value.__cause__) + str(e.value.__suppress_context__)
    assert not [secret for secret in SECRETS if secret in told]


@postgres.needs_server
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:h4nter2@127.0.0.1:1/state?application_name=tops3cret",
        "{server}/no_such_database?user=alice&password=h4nter2&application_name=tops3cret",
        "postgresql://alice:h4nter2@no-such-host.invalid/state?options=-ctops3cret%3D1",
        "{server}/{database}?user=alice&password=h4nter2&options=-ctops3cret%3D1",
    ],
)
def test_errors_tell_no_secrets(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """When the server refuses, or is not there, the message has the database and the host, and nothing else of it."""
    server, _, rest = postgres.URL.partition("?")[0].rpartition("/")
    host = "postgresql://" + server.rpartition("@")[2].removeprefix("postgresql://")
    given = url.format(server=host, database=rest)
    with pytest.raises(
        StoreError, match=r"The recovery database \S+ on \S+ cannot be used \(.*\): check that"
    ) as caught:
        PostgresPersistence(given)
    error: BaseException | None = caught.value
    told = caplog.text
    while error is not None:
        told += str(error) + repr(error.args)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert not [secret for secret in SECRETS if secret in told], told
    assert "\n" not in str(caught.value)


def test_address_shows_nothing_secret() -> None:
    """Neither its text nor what it makes of messages has user, password or parameters in it; host and name stay."""
    pytest.importorskip("psycopg")
    found = Address("postgresql://alice:h4nter2@db.example:5433/state?application_name=tops3cret")
    assert repr(found) == "<Address state on db.example>"
    text = 'connection to "state" failed: FATAL: role "alice" and h4nter2 (tops3cret)\n\tat port 5433\n'
    assert found.scrub(text) == 'connection to "state" failed: FATAL: role and … (…); at port 5433'
    assert found.scrub('syntax error at or near "x"\nLINE 1: SELECT x\n        ^\n') == 'syntax error at or near "x"'
    assert (found.parameters["port"], found.parameters["connect_timeout"]) == ("5433", "5")
    assert given_url(" postgres://x/y ") == "postgres://x/y"


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg there is one sentence that names what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"needs the package psycopg.*pip install 'launcher-recovery\[postgres\]'"):
        PostgresPersistence("postgresql://alice:h4nter2@db/x")
    assert address.hidden("postgresql://alice@x") == "postgresql://…"


def test_package_loads_it_lazily() -> None:
    """The subpackage gives the store when it is asked for it."""
    assert persistence.PostgresPersistence is PostgresPersistence
