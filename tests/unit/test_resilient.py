"""A store that fails while it is in use does not fail the operations: they go on in memory, and are written back."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from launcher_recovery import RecoveryData, SQLitePersistence, StoreError, shared_breaker, shared_budget
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.persistence.base import Owner
from launcher_recovery.persistence.fallback import RETRY_S
from launcher_recovery.persistence.resilient import ResilientPersistence
from launcher_recovery.records import RecoveryState
from tests.unit.kit import Kit

S = RecoveryState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "recovery.db"


@pytest.fixture
def kit(disk: SQLitePersistence) -> Kit:
    kit = Kit(disk)
    kit.store = kit.lifecycle.store = ResilientPersistence(disk, kit.clock)
    kit.store.heartbeat(Owner("me", "this-host", 1, "boot/1"), kit.clock.time())
    return kit


def resilient(kit: Kit) -> ResilientPersistence:
    assert isinstance(kit.store, ResilientPersistence)
    return kit.store


def full(disk: SQLitePersistence) -> None:
    """From now on the database may not grow, until it is opened again."""
    with disk._connections.writing:
        pages = disk._connections.execute("PRAGMA page_count").fetchone()[0]
        disk._connections.execute(f"PRAGMA max_page_count = {pages}")


def delete(path: Path) -> None:
    for found in list(path.parent.iterdir()):
        found.unlink()
    path.parent.rmdir()


def test_without_trouble_everything_is_on_the_disk(kit: Kit, disk: SQLitePersistence) -> None:
    """A healthy store is used as if nothing stood before it, and nothing that is over stays in memory."""
    assert kit.run(lambda: "fine") == "fine"
    assert disk.get(kit.data.operation_id) is not None
    assert kit.now.state is S.SUCCESS
    assert resilient(kit).problem is None
    assert resilient(kit)._live == {}
    kit.store.check()


def test_what_another_process_ended_is_not_kept_in_memory(kit: Kit, disk: SQLitePersistence) -> None:
    data = kit.open()
    assert data.operation_id in resilient(kit)._live
    other = SQLitePersistence(disk.path)
    Lifecycle(other, owner_id="another").cancel(data.operation_id)
    other.close()
    found = kit.store.get(data.operation_id)
    assert found is not None
    assert (found.state, resilient(kit)._live) == (S.CANCELLED, {})


def test_deleted_while_running(kit: Kit, disk: SQLitePersistence, path: Path) -> None:
    """The folder is deleted under a running operation: it ends well, says so, and is on the disk again later."""
    steps: list[str] = []

    def handler() -> str:
        operation = current_operation()
        assert operation is not None
        operation.step("before", lambda: steps.append("before"))
        delete(path)
        operation.step("after", lambda: steps.append("after"))
        operation.progress(1, 2)
        operation.save_metadata()
        return "fine"

    kit.run(lambda: None)
    newest = kit.store.event_range()[1]
    assert kit.run(handler, title="work") == "fine"
    assert steps == ["before", "after"]
    assert "was deleted or replaced" in (resilient(kit).problem or "")
    assert kit.now.state is S.SUCCESS
    assert [step.name for step in kit.store.steps(kit.data.operation_id)] == ["before", "after"]
    with pytest.raises(StoreError, match="was deleted"):
        kit.store.check()
    seqs = [event.seq for event in kit.store.events_since(newest)]
    assert seqs == sorted(set(seqs))
    kit.clock.advance(RETRY_S)
    kit.store.check()
    assert resilient(kit).problem is None
    kept = disk.get(kit.data.operation_id)
    assert kept is not None
    assert (kept.state, kept.result, kept.attempt) == (S.SUCCESS, "fine", 1)
    assert [step.name for step in disk.steps(kit.data.operation_id)] == ["before", "after"]
    assert [attempt.outcome for attempt in disk.attempts(kit.data.operation_id)] == ["success"]
    assert disk.event_range()[1] >= seqs[-1]
    assert [row.owner.owner_id for row in disk.owners()] == ["me"]
    kit.run(lambda: None)
    assert kit.store.event_range()[1] > seqs[-1]


def test_full_disk(kit: Kit, disk: SQLitePersistence, caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk new operations run and retry, old ones can be read, and it is said once."""
    kit.run(lambda: None, title="old")
    old = kit.data.operation_id
    full(disk)
    rest = [ConnectionError("gone"), None]

    def handler() -> str:
        error = rest.pop(0)
        if error is not None:
            raise error
        return "x" * 5000

    with caplog.at_level(logging.ERROR):
        for _ in range(30):
            rest = [ConnectionError("gone"), None]
            kit.run(handler, title="new", args=("y" * 3000,))
            if resilient(kit).problem:
                break
    assert "disk is full" in (resilient(kit).problem or "")
    assert len([line for line in caplog.messages if "nothing is written to the disk for now" in line]) == 1
    assert kit.now.state is S.SUCCESS
    assert kit.now.attempt == 2
    assert kit.record(old).title == "old"
    assert {data.title for data in kit.store.find()} == {"old", "new"}
    kit.clock.advance(RETRY_S)
    kit.run(lambda: None, title="later")
    assert resilient(kit).problem is None
    assert {data.state for data in disk.find(limit=-1)} == {S.SUCCESS}


def test_is_tried_again_only_from_time_to_time(kit: Kit, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it fails the disk is looked at every few seconds, not at each call."""
    tried: list[float] = []

    def refuse() -> None:
        tried.append(kit.clock.monotonic())
        raise StoreError("still gone")

    monkeypatch.setattr(resilient(kit).store, "reopen", refuse)
    delete(path)
    for _ in range(10):
        kit.run(lambda: None)
    assert tried == []
    kit.clock.advance(RETRY_S)
    for _ in range(10):
        kit.open()
    assert len(tried) == 1
    assert resilient(kit).problem == "still gone"


def test_control_of_what_is_only_on_the_disk(kit: Kit, disk: SQLitePersistence) -> None:
    """What failed earlier can be retried while the disk takes no writes, as long as it can be read."""
    with pytest.raises(ValueError, match="bad"):
        kit.run(lambda: int("bad"))
    operation_id = kit.data.operation_id
    resilient(kit)._fails(StoreError("full"))
    assert kit.lifecycle.retry(operation_id).state is S.PENDING
    assert kit.record(operation_id).state is S.PENDING
    assert len(kit.store.attempts(operation_id)) == 1
    kit.clock.advance(RETRY_S)
    kit.store.check()
    kept = disk.get(operation_id)
    assert kept is not None
    assert kept.state is S.PENDING


def test_what_another_process_took_over_stays_its_own(kit: Kit, disk: SQLitePersistence) -> None:
    """A record that was claimed on the disk meanwhile is not written over; the late one learns that it lost."""
    data = kit.lifecycle.begin_attempt(kit.open().operation_id, 4)
    live = Operation(data, kit.lifecycle, kit.clock)
    resilient(kit)._fails(StoreError("full"))
    other = Kit(disk)
    other.clock.advance(60)
    disk.release_orphans(["me"], data.updated_at)
    taken = other.lifecycle.begin_attempt(data.operation_id, 4)
    assert kit.store.update_metadata(data.operation_id, 1, {"late": True})
    kit.clock.advance(RETRY_S)
    with pytest.raises(Exception, match="cannot be finished now"):
        kit.lifecycle.succeed(live, "late")
    kept = disk.get(data.operation_id)
    assert kept is not None
    assert (kept.fence, kept.state, kept.metadata) == (taken.fence, S.IN_PROGRESS, {})


def test_damaged_while_running(kit: Kit, disk: SQLitePersistence, path: Path) -> None:
    """Damage that shows while it is in use: the file is set aside, what is live goes into a new one."""
    live = kit.lifecycle.begin_attempt(kit.open(title="live", key="k").operation_id, 4)
    for number in range(30):
        kit.store.insert(RecoveryData(str(number), "work", title="z" * 900))
    disk._connections.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for database in (disk._connections.reader, disk._connections.writer):
        database.execute_sql("PRAGMA shrink_memory")
    disk._connections.close()
    assert kit.lifecycle.succeed(Operation(live, kit.lifecycle, kit.clock), "fine").state is S.SUCCESS
    kit.clock.advance(RETRY_S)
    kit.store.check()
    assert disk.set_aside is not None
    assert disk.set_aside.exists()
    kept = disk.get(live.operation_id)
    assert kept is not None
    assert kept.state is S.SUCCESS


def test_events_go_on_through_trouble(kit: Kit, path: Path) -> None:
    """Who waits for events gets those made in memory as well, with numbers that grow."""
    first = kit.store.append_event("circuit_breaker_update", {})
    resilient(kit)._fails(StoreError("full"))
    got: list[bool] = []
    waiter = threading.Thread(target=lambda: got.append(kit.store.wait_for_events(first.seq, 20)))
    waiter.start()
    second = kit.store.append_event("circuit_breaker_update", {})
    waiter.join(20)
    assert got == [True]
    assert second.seq == first.seq + 1
    assert [event.seq for event in kit.store.events_since(0)] == [first.seq, second.seq]
    kit.clock.advance(RETRY_S)
    assert [event.seq for event in kit.store.events_since(0)] == [first.seq, second.seq]
    assert resilient(kit).problem is None


def test_what_is_shared_goes_on_through_trouble(kit: Kit, disk: SQLitePersistence) -> None:
    """A breaker is known while the disk fails, and what happened to it meanwhile is written back."""
    breaker = shared_breaker(kit.store, "hub", 2, 60, clock=kit.clock)
    other = shared_breaker(disk, "hub", 2, 60, clock=kit.clock)
    budget = shared_budget(kit.store, "hub", clock=kit.clock)
    other.failure()
    assert (breaker.acquire(), budget.take()) == (0, 5)
    kit.clock.advance(1)
    resilient(kit)._fails(StoreError("full"))
    breaker.failure()
    assert (breaker.acquire(), [row["failure_count"] for row in kit.store.shared("breakers")]) == (60, [2])
    assert (other.acquire(), budget.take()) == (0, 5)
    assert budget.tokens == 490
    kit.clock.advance(RETRY_S)
    kit.store.check()
    assert (other.acquire(), disk.shared("budgets")[0]["tokens"]) == (60 - RETRY_S, 490)


async def test_async_methods(kit: Kit, path: Path) -> None:
    """The five methods for everybody work before and in trouble."""
    store = resilient(kit)
    await store.save(RecoveryData("a", "work"))
    loaded = await store.load("a")
    assert loaded is not None
    assert [data.operation_id for data in await store.list_by_state(S.PENDING)] == ["a"]
    assert await store.cleanup_old() == 0
    await store.save(RecoveryData("k", "work", key="k"))
    with pytest.raises(StoreError, match="has the key 'k' already"):
        await store.save(RecoveryData("other", "work", key="k"))
    assert store.problem is None
    delete(path)
    await store.save(RecoveryData("b", "work"))
    assert await store.load("b") is not None
    await store.delete("b")
    assert await store.load("b") is None


def test_what_was_entered_with_its_first_attempt(kit: Kit, disk: SQLitePersistence, path: Path) -> None:
    """When the disk fails right after it, the attempt is known in memory, and is written back with its end."""
    live = kit.lifecycle.start(kit.lifecycle.draft("work", (), {}))[1]
    assert live is not None
    delete(path)
    kit.lifecycle.succeed(live, "fine")
    assert resilient(kit).problem is not None
    kit.clock.advance(RETRY_S)
    kit.store.check()
    [attempt] = disk.attempts(live.operation_id)
    assert (attempt.number, attempt.outcome) == (1, "success")
