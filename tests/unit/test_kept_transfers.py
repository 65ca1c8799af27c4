"""What is kept of downloads, in each kind of store; the rules of all of them are in `test_conformance.py`."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from cryptography.fernet import Fernet

from launcher_recovery import (
    OperationCancelled,
    PostgresPersistence,
    RecoveryData,
    SQLitePersistence,
    StoreError,
    current_operation,
    recoverable,
)
from launcher_recovery.clock import to_datetime
from launcher_recovery.operation import Operation
from launcher_recovery.owners import let_go
from launcher_recovery.persistence import MemoryPersistence, Store, schema, transfers
from launcher_recovery.persistence.base import keeps_transfers
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.encryption import Cipher
from launcher_recovery.persistence.fallback import RETRY_S
from launcher_recovery.persistence.resilient import ResilientPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryState, Transfer
from launcher_recovery.stores import MirroredStore, store_for
from launcher_recovery.testing import VirtualClock
from launcher_recovery.testing.conformance.samples import at_once
from tests import postgres
from tests.unit import isolated
from tests.unit.folder_store import FolderStore
from tests.unit.kit import Kit, killed, says
from tests.unit.test_operation import started

S = RecoveryState
NOW = to_datetime(VirtualClock().time())
KEY, OTHER = (Fernet.generate_key().decode() for _ in range(2))
# Looks like a token, an address and a password, as base64 may.
LOOKS_SECRET = "hf_abcdefghijklmnopqrstuvwxyz012345 https://u:p@h/?token=x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"


def transfer(destination: str = "/models/a", age_s: float = 0, **given: Any) -> Transfer:
    about: dict[str, Any] = {"journal": {}, "partial": f"{destination}.part", "content": None, "size": None, **given}
    return Transfer(destination, updated_at=NOW - timedelta(seconds=age_s), **about)


class Lacking(MemoryPersistence):
    """A store of somebody's own that does everything but keep transfers."""

    @property
    def keep_transfer(self) -> Any:
        raise AttributeError("keep_transfer")


class Refusing(MemoryPersistence):
    """A store that fails with what is kept of files."""

    def transfer(self, destination: str) -> Transfer | None:
        raise StoreError("the disk is full")

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        raise StoreError("the disk is full")


# -- the handle ---------------------------------------------------------------------------------------


def test_what_one_attempt_kept_the_next_one_finds(each: Kit) -> None:
    """A transfer is there in the next attempt, whole, also where it looks like secrets; and after the operation."""
    kept = transfer(journal={"hashes": LOOKS_SECRET, "nested": [{"token": "t0ken"}]}, size=5)
    found: list[Transfer | None] = []

    def handler() -> None:
        operation = current_operation()
        assert operation is not None
        found.append(operation.kept_transfer("/models/a"))
        assert operation.keep_transfer(kept)
        if operation.attempt == 1:
            raise ConnectionError("gone")

    each.run(handler, Policy(classify=says()))
    assert found == [None, kept]
    assert each.store.transfer("/models/a") == kept


def test_who_lost_the_claim_keeps_nothing_and_is_told(each: Kit) -> None:
    """After a cancellation nothing is kept any more, and the next check raises, also where no event woke the call."""
    live = started(each)
    assert live.keep_transfer(transfer())
    each.lifecycle.cancel(live.operation_id)
    live.wake.clear()
    assert live.keep_transfer(transfer(size=9)) is False
    assert each.store.transfer("/models/a") == transfer()
    with pytest.raises(OperationCancelled):
        live.check()


def test_store_that_fails_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once for each operation; the code goes on as if it were kept, and finds nothing."""
    kit = Kit(Refusing())
    for title in ("a.safetensors", "b.safetensors"):
        live = started(kit, title=title)
        for _ in range(3):
            assert live.keep_transfer(transfer()) is True
            assert live.kept_transfer("/models/a") is None
        live.check()
        kit.lifecycle.succeed(live, None)
        kit.lifecycle.detach(live)
    assert caplog.messages == [
        f"what is known of the download {title} could not be kept: the disk is full"
        for title in ("a.safetensors", "b.safetensors")
    ]
    assert kit.lifecycle._complained_of == set()


def test_store_without_a_place_for_them() -> None:
    """In a store of somebody's own that keeps none they are there for the attempts of one call, and then gone."""
    kit = Kit(Lacking())
    assert not keeps_transfers(kit.store)
    assert keeps_transfers(MemoryPersistence())
    journal = {"list": [1]}
    found: list[Transfer | None] = []

    def handler() -> None:
        operation = current_operation()
        assert operation is not None
        found.append(operation.kept_transfer("/models/a"))
        assert operation.keep_transfer(transfer(journal=journal))
        journal["list"].append(2)
        if operation.attempt == 1:
            raise ConnectionError("gone")

    kit.run(handler, Policy(classify=says()))
    assert found == [None, transfer(journal={"list": [1]})]
    assert kit.lifecycle._transfers_here == {}
    live = started(kit)
    kit.lifecycle.cancel(live.operation_id)
    assert live.keep_transfer(transfer()) is False
    assert live.kept_transfer("/models/a") is None


def test_isolated_attempts_keep_transfers() -> None:
    """A function in a process of its own keeps a transfer, and its next process finds it."""
    store = MemoryPersistence()
    fetch = recoverable(isolate=True, persistence=store, clock=VirtualClock(), max_retries=1)(isolated.transfers)
    assert fetch(LOOKS_SECRET) == ["/models/a", {"hashes": LOOKS_SECRET}, True]
    kept = store.transfer("/models/a")
    assert kept is not None
    assert (kept.journal, kept.partial, kept.size) == ({"hashes": LOOKS_SECRET}, "/models/a.part", 2**40)
    let_go(store)


# -- in a database ------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "recovery.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=postgres.needs_server)])
def where(request: pytest.FixtureRequest, path: Path) -> str:
    """The path or the URL of a database."""
    return str(request.getfixturevalue("postgres_url") if request.param == "postgres" else path)


@pytest.fixture
def opened(where: str) -> Iterator[Callable[..., DatabasePersistence]]:
    """Opens one database again and again, with a key or without."""
    stores: list[DatabasePersistence] = []

    def again(key: str | None = None) -> DatabasePersistence:
        kind = PostgresPersistence if "://" in where else SQLitePersistence
        stores.append(kind(where, None if key is None else Cipher(key)))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


def test_keeping_survives_a_power_cut_and_forgetting_need_not(
    opened: Callable[..., DatabasePersistence], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that bytes are safe is committed as safely as they are."""
    store = opened()
    durable: list[bool] = []
    begin = store._connections.begin
    monkeypatch.setattr(store._connections, "begin", lambda safe: (durable.append(safe), begin(safe))[1])
    store.keep_transfer(transfer())
    store.forget_transfer("/models/a")
    assert durable == [True, False]


_KEEPER = """
import itertools, sys
from datetime import datetime, timezone
from launcher_recovery import PostgresPersistence, SQLitePersistence
from launcher_recovery.records import Transfer
store = (PostgresPersistence if "://" in sys.argv[1] else SQLitePersistence)(sys.argv[1])
for number in itertools.count(1):
    at = datetime.fromtimestamp(number, timezone.utc)
    store.keep_transfer(Transfer("/models/a", {"n": number, "hashes": "x" * 50000}, "/p.part", None, None, at))
    print(number, flush=True)
"""


def test_what_was_kept_survives_kill_9(where: str, opened: Callable[..., DatabasePersistence]) -> None:
    """The journal after a kill is the last one that was acknowledged or a later one, whole."""
    store = opened()
    process = subprocess.Popen([sys.executable, "-c", _KEEPER, where], text=True, stdout=subprocess.PIPE)
    acknowledged = killed(process, 20)
    kept = store.transfer("/models/a")
    assert kept is not None
    assert kept.journal["n"] in (acknowledged, acknowledged + 1)
    assert len(kept.journal["hashes"]) == 50000


def test_lists_are_made_by_indexes(opened: Callable[..., DatabasePersistence]) -> None:
    """None of the statements looks through all transfers, or sorts what it found by time."""
    store = opened()
    expected = {
        transfers.BY_DESTINATION: ("sqlite_autoindex_recovery_transfers_1", "recovery_transfers_destination"),
        transfers.BY_CONTENT: ("recovery_transfers_content", "recovery_transfers_content"),
        transfers.PARTIALS: ("recovery_transfers_partial", "recovery_transfers_partial"),
    }
    if isinstance(store, PostgresPersistence):  # in an empty table it finds everything quicker without
        store._fetch("SELECT set_config('enable_seqscan', 'off', false), set_config('enable_sort', 'off', false)")
    explain = "EXPLAIN" if isinstance(store, PostgresPersistence) else "EXPLAIN QUERY PLAN"
    for sql, indexes in expected.items():
        plan = str(store._fetch(f"{explain} {sql}", ("x",) * sql.count("?")))
        assert indexes[isinstance(store, PostgresPersistence)] in plan, plan


def test_any_path_is_a_key(opened: Callable[..., DatabasePersistence]) -> None:
    """Paths longer than an index takes, that begin like JSON, or hold lone surrogates are told apart and come back."""
    store = opened()
    long = "/" + os.urandom(4000).hex()
    paths = [long, long + "2", '"/models/a"', "/models/a", '"', "/caf\udce9", "/caf\udcea"]
    for number, path in enumerate(paths):
        store.keep_transfer(transfer(path, size=number))
    assert [store.transfer(path) for path in paths] == [transfer(path, size=n) for n, path in enumerate(paths)]
    assert {found.partial for found in store.partials()} == {f"{path}.part" for path in paths}
    for path in paths:
        store.forget_transfer(path)
    assert store.partials() == []


def test_one_thread_of_many_replaces_the_other(store: Store) -> None:
    """Of many that keep one destination at once the last one counts, and there is one."""

    def keep(number: int) -> None:
        for part in range(5):
            assert store.keep_transfer(transfer(journal={"n": [number, part]}, age_s=part))

    at_once(6, keep)
    [kept] = store.partials()
    assert kept == store.transfer("/models/a")
    assert kept.journal["n"][1] == 4


def test_journal_is_encrypted(opened: Callable[..., DatabasePersistence]) -> None:
    """With a key the journal cannot be read in the database, and comes back with it; paths can be read."""
    kept = transfer(journal={"hashes": "Rosebud"}, content="sha256:00")
    store = opened(KEY)
    store.keep_transfer(kept)
    row = store._fetch("SELECT * FROM recovery_transfers")
    assert "Rosebud" not in str(row)
    assert "/models/a.part" in str(row)
    assert opened(KEY).transfer("/models/a") == kept
    plain = transfer("/models/b", journal={"hashes": "Rosebud"})
    opened().keep_transfer(plain)
    assert "Rosebud" in str(store._fetch("SELECT * FROM recovery_transfers"))
    assert store.transfer("/models/b") == plain


@pytest.mark.parametrize("key", [OTHER, None], ids=["another", "none"])
def test_journal_that_cannot_be_opened(
    opened: Callable[..., DatabasePersistence], caplog: pytest.LogCaptureFixture, key: str | None
) -> None:
    """Without its key nothing is known of a file, but lists have it, so that its partial can be cleaned up; it is
    said once."""
    partial, whole = transfer(journal={"n": 1}), transfer("/models/b", partial=None, content="sha256:00")
    first = opened(KEY)
    first.keep_transfer(partial)
    first.keep_transfer(whole)
    store = opened(key)
    assert (store.transfer("/models/a"), store.transfer("/models/b")) == (None, None)
    assert store.partials() == [replace(partial, journal={})]
    assert store.transfers_of("sha256:00") == [replace(whole, journal={})]
    assert len(caplog.messages) == 1
    assert store.unreadable is not None
    again = transfer(journal={"n": 2})
    store.keep_transfer(again)
    assert store.transfer("/models/a") == again


def test_older_database_gets_the_table(
    opened: Callable[..., DatabasePersistence], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A database from before is copied where it is a file, keeps what it has, and keeps transfers from then on."""
    is_kept_out = shutil.ignore_patterns("__pycache__", "0006_*")
    monkeypatch.setattr(schema, "_DIRECTORY", shutil.copytree(schema._DIRECTORY, tmp_path / "old", ignore=is_kept_out))
    old = opened()
    old.insert(RecoveryData("a", "work"))
    with pytest.raises(StoreError, match="recovery_transfers"):
        old.keep_transfer(transfer())
    old.close()
    monkeypatch.undo()
    store = opened()
    assert store.get("a") is not None
    assert store.keep_transfer(transfer())
    if isinstance(store, SQLitePersistence):
        [copy] = (found for found in Path(store.path).parent.iterdir() if ".before-" in found.name)
        assert copy.name == "recovery.db.before-0006_transfers"
        assert copy.stat().st_mode & 0o777 == 0o600
        tables = peewee.SqliteDatabase(copy)
        assert "recovery_transfers" not in tables.get_tables()
        tables.close()


def test_journals_take_no_room_from_operations(opened: Callable[..., DatabasePersistence]) -> None:
    """What is kept of files does not make what is over be forgotten before its time."""
    store = opened()
    for number in range(5):
        store.insert(RecoveryData(str(number), "work", state=S.SUCCESS, updated_at=NOW))
    used = store._used_bytes()
    for number in range(20):
        store.keep_transfer(transfer(f"/{number}", journal={"hashes": os.urandom(50_000).hex()}))
    assert store.cleanup(NOW, max_bytes=used + 200_000) == 0
    assert store.cleanup(NOW, max_bytes=1) == 5
    assert len(store.partials()) == 20


# -- while the disk fails -----------------------------------------------------------------------------


@pytest.fixture
def failing(disk: SQLitePersistence) -> Kit:
    """A kit on a store that goes on in memory while its disk fails, which `fail` makes it do."""
    kit = Kit(disk)
    kit.store = kit.lifecycle.store = ResilientPersistence(disk, kit.clock)
    return kit


def fail(kit: Kit) -> ResilientPersistence:
    assert isinstance(kit.store, ResilientPersistence)
    kit.store._fails(StoreError("full"))
    return kit.store


def come_back(kit: Kit) -> None:
    kit.clock.advance(RETRY_S)
    kit.store.check()


def test_transfers_of_live_operations_go_on_through_trouble(failing: Kit, disk: SQLitePersistence) -> None:
    """What was kept before and while the disk failed is found meanwhile, and is on the disk afterwards."""
    live = started(failing)
    before, meanwhile = transfer(journal={"n": 1}), transfer("/models/b", journal={"n": 2})
    assert live.keep_transfer(before)
    store = fail(failing)
    disk._connections.close()
    disk._connections.path = "/dev/null/nowhere"
    assert live.kept_transfer("/models/a") == before
    assert live.keep_transfer(meanwhile)
    assert live.keep_transfer(published := replace(before, partial=None, content="sha256:00"))
    assert (store.partials(), store.transfers_of("sha256:00")) == ([meanwhile], [published])
    assert store.published(NOW + timedelta(seconds=1)) == ["/models/a"]
    disk._connections.path = disk.path
    failing.lifecycle.succeed(live, None)
    assert live.keep_transfer(transfer(size=1)) is False
    come_back(failing)
    assert store.problem is None
    assert (disk.transfer("/models/a"), disk.partials()) == (published, [meanwhile])
    assert store._memory.partials() == store._memory.transfers_of("sha256:00") == []


def test_transfers_of_live_operations_are_written_into_a_new_database(
    failing: Kit, disk: SQLitePersistence, path: Path
) -> None:
    """When the database was deleted what is live is in the new one, with its journal; what was over is gone."""
    over, live = started(failing), started(failing)
    over.keep_transfer(transfer("/models/over"))
    failing.lifecycle.succeed(over, None)
    live.keep_transfer(transfer(journal={"n": 1}))
    shutil.rmtree(path.parent)
    assert live.keep_transfer(transfer(journal={"n": 2}))
    come_back(failing)
    assert [kept.journal for kept in disk.partials()] == [{"n": 2}]
    assert live.keep_transfer(transfer(journal={"n": 3}))
    assert [kept.journal for kept in disk.partials()] == [{"n": 3}]


def test_memory_has_only_what_is_live(failing: Kit) -> None:
    """While all is well journals are remembered of live operations only: not of ended ones, or of none."""
    store = failing.store
    assert isinstance(store, ResilientPersistence)
    ended, live, taken = started(failing), started(failing), started(failing)
    for one, name in ((ended, "ended"), (live, "live"), (taken, "taken")):
        one.keep_transfer(transfer(f"/{name}"))
    store.keep_transfer(transfer("/free"))
    failing.lifecycle.succeed(ended, None)
    store.store.forget_owner("me")
    store.store.release_orphans([], NOW)
    assert {one.destination for one in store._memory.partials()} == {"/live", "/taken"}
    store.keep_transfer(transfer("/taken", size=1))
    store.forget_transfer("/live")
    assert store._memory.partials() == []
    assert len(store.partials()) == 3


def test_what_another_process_took_over_is_not_written_over(failing: Kit, disk: SQLitePersistence) -> None:
    """A transfer of an operation that was claimed on the disk meanwhile stays the one of the new claim."""
    live = started(failing)
    live.keep_transfer(transfer(journal={"n": 1}))
    fail(failing)
    assert live.keep_transfer(transfer(journal={"late": 1}))
    other = Kit(disk)
    other.clock.advance(60)
    disk.release_orphans(["me"], NOW)
    taken = other.lifecycle.begin_attempt(live.operation_id, 4)
    theirs = transfer(journal={"n": 2})
    assert Operation(taken, other.lifecycle, other.clock).keep_transfer(theirs)
    come_back(failing)
    assert failing.store.transfer("/models/a") == theirs
    assert live.keep_transfer(transfer(journal={"late": 2})) is False


def test_outside_of_operations_the_newest_counts(failing: Kit, disk: SQLitePersistence) -> None:
    """What is kept and forgotten under no operation while the disk fails is done there, if nobody knows better."""
    for name in ("/forgotten", "/again", "/replaced"):
        failing.store.keep_transfer(transfer(name, 100))
    store = fail(failing)
    for name in ("/forgotten", "/again", "/unknown"):
        store.forget_transfer(name)
        assert store.transfer(name) is None
    store.keep_transfer(transfer("/replaced", 50, size=2))
    store.keep_transfer(transfer("/new", 40))
    store.keep_transfer(transfer("/unknown", 30))
    late = transfer("/replaced", 20, size=3)
    disk.keep_transfer(late)
    disk.keep_transfer(transfer("/again", -9))
    assert [(one.destination, one.size) for one in store.partials()] == [
        ("/replaced", 2),
        ("/new", None),
        ("/unknown", None),
    ]
    come_back(failing)
    found = [late, transfer("/unknown", 30), transfer("/new", 40), transfer("/again", -9)]
    assert sorted(disk.partials(), key=str) == sorted(found, key=str)
    assert store._memory.partials() == []


def test_operation_deleted_while_the_disk_fails(failing: Kit, disk: SQLitePersistence) -> None:
    """Who deletes the record does not lose what is known of the file."""
    live = started(failing)
    store = fail(failing)
    live.keep_transfer(transfer())
    asyncio.run(store.delete(live.operation_id))
    come_back(failing)
    assert disk.partials() == [transfer()]


# -- in a store of five methods -----------------------------------------------------------------------


def test_store_of_five_methods_keeps_them(tmp_path: Path) -> None:
    """They are there after a restart, and are no operations; what was forgotten is gone."""
    folder = FolderStore(tmp_path / "records")
    store = MirroredStore(folder)
    partial = transfer("/models/caf\udce9", journal={"n": 1}, size=2**40)
    whole = transfer("/models/b", 5, partial=None, content="sha256:00")
    for one in (partial, whole, transfer("/models/c")):
        assert store.keep_transfer(one)
    store.forget_transfer("/models/c")
    store.insert(RecoveryData("a", "work"))
    again = MirroredStore(folder)
    assert again.transfer(partial.destination) == partial
    assert (again.partials(), again.transfers_of("sha256:00")) == ([partial], [whole])
    assert again.published(NOW) == ["/models/b"]
    assert [data.operation_id for data in again.find()] == ["a"]
    again.forget_transfer("/models/b")
    assert MirroredStore(folder).transfers_of("sha256:00") == []
    assert again.keep_transfer(partial, "a", 0) is False


def test_store_of_five_methods_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Transfers go on in memory, and it is said once."""
    folder = FolderStore(tmp_path / "records")
    kit = Kit(store_for(folder))
    live = started(kit)
    shutil.rmtree(folder.folder)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            assert live.keep_transfer(transfer(size=number))
    kit.store.forget_transfer("/nowhere")
    assert live.kept_transfer("/models/a") == transfer(size=2)
    assert len([line for line in caplog.messages if "the store FolderStore failed" in line]) == 1
