"""Any sequence of calls while the disk under the store fails and works again: as if it had worked all the time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from launcher_recovery import RecoveryState, RecoveryStateError, SQLitePersistence, StoreError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import ResilientPersistence
from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.fallback import RETRY_S
from launcher_recovery.records import UNFINISHED
from tests.support import let_go
from tests.torture.files import database
from tests.torture.kinds import run_examples
from tests.torture.model import Walks
from tests.torture.test_state_machine import Operations
from tests.unit.kit import ME, Kit

WRITES = ("insert", "change", "update_metadata", "save_progress", "finish_step", "append_event", "heartbeat",
    "forget_owner", "release_orphans", "cleanup", "take_over", "check")  # fmt: skip


class Disk(SQLitePersistence):
    """A disk that may be full: it can be read, and not written to."""

    is_full = False


def _failing_when_full(name: str) -> Callable[..., Any]:
    method = getattr(SQLitePersistence, name)

    @functools.wraps(method)
    def call(self: Disk, *args: Any, **kwargs: Any) -> Any:
        if self.is_full:
            raise StoreError("the disk is full")
        return method(self, *args, **kwargs)

    return call


for _name in WRITES:
    setattr(Disk, _name, _failing_when_full(_name))


class OnAFailingDisk(Operations):
    """All in one process: what others do with a disk that fails here cannot be known here."""

    kind = "failing"

    def open_stores(self, folder: Path) -> tuple[Store, Store]:
        self.disk = Disk(database(folder / "r.db"))
        self.resilient = ResilientPersistence(self.disk, self.clock)
        return self.resilient, self.resilient

    def teardown(self) -> None:
        self.disk.is_full = False
        super().teardown()

    @property
    def works(self) -> bool:
        return not self.disk.is_full

    @rule(is_full=st.booleans())
    def disk_changes(self, is_full: bool) -> None:
        self.disk.is_full = is_full
        self.clock.advance(RETRY_S)

    @invariant()
    def is_as_expected(self) -> None:
        self.model.check(self.resilient, with_counts=self.works)

    @invariant()
    def disk_has_it_all(self) -> None:
        """Whenever it works, without a look at what stands before it."""
        if self.works:
            self.resilient.owners()  # comes back
            self.model.check(self.disk)
            Walks().follow(self.disk.events_since(0, limit=10**6))

    # Nobody is declared dead, and nothing forgotten, while it cannot be written down.

    @precondition(lambda self: self.works)
    @rule(who=st.integers(0, 1), is_known=st.booleans())
    def crash(self, who: int, is_known: bool) -> None:
        super().crash(who, is_known)

    @rule(who=st.integers(0, 1))
    def nobody_died(self, who: int) -> None:
        if self.works:
            super().nobody_died(who)

    @precondition(lambda self: self.works)
    @rule(who=st.integers(0, 1), age=st.floats(0, 7200), keep=st.none() | st.integers(0, 3))
    def cleanup(self, who: int, age: float, keep: int | None) -> None:
        super().cleanup(who, age, keep)


def test_key_is_taken_on_a_disk_that_can_only_be_read(tmp_path: Path) -> None:
    """What a dead process left is joined, and blocks a retry of an older one, also when it is only on the disk."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        old = kit.open(key="a")
        kit.lifecycle.cancel(old.operation_id)
        kit.clock.advance(1)
        left = kit.open(key="a")
        kit.lifecycle.release_orphans({ME.owner_id})
        disk.is_full = True
        for _ in range(2):
            assert kit.open(key="a").operation_id == left.operation_id
            with pytest.raises(RecoveryStateError, match="the same is under way"):
                kit.lifecycle.retry(old.operation_id)
        kit.lifecycle.cancel(left.operation_id)
        assert kit.lifecycle.retry(old.operation_id).state is RecoveryState.PENDING
        disk.is_full = False
        kit.clock.advance(RETRY_S)
        kit.store.check()
        assert [data.operation_id for data in disk.find(states=UNFINISHED)] == [old.operation_id]


def test_retried_before_the_disk_is_full(tmp_path: Path) -> None:
    """What was over is known with all of its attempts and steps when it goes on in memory."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        live = Operation(kit.lifecycle.begin_attempt(kit.open().operation_id, 9), kit.lifecycle, kit.clock)
        live.step("first", lambda: "done")
        kit.lifecycle.cancel(live.operation_id)
        kit.lifecycle.retry(live.operation_id)
        disk.is_full = True
        kit.lifecycle.begin_attempt(live.operation_id, 9)
        for _ in range(2):
            outcomes = [(one.number, one.outcome) for one in kit.store.attempts(live.operation_id)]
            assert outcomes == [(1, "cancelled"), (2, None)]
            assert [step.name for step in kit.store.steps(live.operation_id)] == ["first"]
            disk.is_full = False
            kit.clock.advance(RETRY_S)


def test_begun_anew_while_the_disk_is_full(tmp_path: Path) -> None:
    """What was cancelled then makes room for the next one of its key, on the disk as well."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        kit.lifecycle.cancel(kit.open(key="a").operation_id)
        old = kit.open(key="a")
        disk.is_full = True
        kit.lifecycle.cancel(old.operation_id)
        kit.clock.advance(1)
        new = kit.open(key="a")
        disk.is_full = False
        kit.clock.advance(RETRY_S)
        kit.store.check()
        assert [data.operation_id for data in disk.find(states=UNFINISHED)] == [new.operation_id]


@pytest.mark.parametrize("others", [0, 60])
def test_newest_is_only_on_the_disk(tmp_path: Path, others: int) -> None:
    """An older one of the key that was begun again ends while the disk is full: the newer one stays the latest."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        old = kit.open(key="a")
        for number in range(2 + others):
            kit.clock.advance(1)
            kit.lifecycle.cancel(
                kit.open(key="a" if number == 1 else None).operation_id if number else old.operation_id
            )
        newer = disk.latest_with_key("a")
        kit.lifecycle.retry(old.operation_id)
        disk.is_full = True
        assert kit.store.latest_with_key("a") == kit.record(old.operation_id)
        kit.lifecycle.cancel(old.operation_id)
        assert newer is not None
        assert newer.operation_id != old.operation_id
        assert kit.store.latest_with_key("a") == newer


def test_metadata_that_were_not_saved(tmp_path: Path) -> None:
    """What code notes for itself is not what is kept, in memory as little as on the disk."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        live = Operation(kit.lifecycle.begin_attempt(kit.open().operation_id, 9), kit.lifecycle, kit.clock)
        live.metadata["token"] = "not to be kept"
        disk.is_full = True
        kit.lifecycle.pause(live.operation_id)
        assert kit.record(live.operation_id).metadata == {}


@pytest.mark.parametrize("is_claimed_again", [False, True])
def test_clock_is_set_back_while_the_disk_is_full(tmp_path: Path, is_claimed_again: bool) -> None:
    """What happened then is written back all the same, unless somebody touched the operation on the disk."""
    with opened(tmp_path / "recovery.db") as (disk, kit):
        lives = [Operation(kit.lifecycle.begin_attempt(kit.open().operation_id, 9), kit.lifecycle, kit.clock)]
        lives += [Operation(kit.lifecycle.begin_attempt(kit.open().operation_id, 9), kit.lifecycle, kit.clock)]
        disk.is_full = True
        kit.store.append_event("circuit_breaker_update", {})
        kit.clock._start -= 3600
        for number, live in enumerate(lives):
            if is_claimed_again:
                kit.lifecycle.give_back(live)
                lives[number] = Operation(kit.lifecycle.begin_attempt(live.operation_id, 9), kit.lifecycle, kit.clock)
            kit.lifecycle.succeed(lives[number], "fine")
        disk.is_full = False
        if not is_claimed_again:
            kit.clock.advance(1)
            Lifecycle(disk, owner_id="another", clock=kit.clock).pause(lives[1].operation_id)
        kit.clock.advance(RETRY_S)
        kit.store.check()
        states = [data.state for live in lives if (data := disk.get(live.operation_id)) is not None]
        touched = RecoveryState.SUCCESS if is_claimed_again else RecoveryState.PAUSED
        assert states == [RecoveryState.SUCCESS, touched]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Disk, Kit]]:
    disk = Disk(database(path))
    kit = Kit(disk)
    kit.store = kit.lifecycle.store = ResilientPersistence(disk, kit.clock)
    try:
        yield disk, kit
    finally:
        let_go(disk)
        disk.close()


def test_any_sequence_of_calls_on_a_failing_disk() -> None:
    """A seeded sample of sequences, the same in every run."""
    run_examples(OnAFailingDisk, 12, 40, Phase.generate)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_long_sequence_of_calls_on_a_failing_disk() -> None:
    run_examples(OnAFailingDisk, 1000, 100, Phase.generate, Phase.shrink)
