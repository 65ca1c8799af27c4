"""The journal promises what was synced, and nothing else; it does so often enough, and not after the end."""

from __future__ import annotations

import errno
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_recovery.transfer.partial import durability as durability_module
from launcher_recovery.transfer.partial.durability import Durability
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import Pieces
from tests.support import wait_for

PIECE = 4
COUNT = 4


class Rig:
    """Pieces that are filled and hashed when a test says so, on a disk that does what it says."""

    def __init__(self, part: Part) -> None:
        self.pieces = Pieces(PIECE * COUNT, PIECE)
        self.lock = threading.RLock()
        self.events: list[str] = []
        self.kept: list[list[bool]] = []
        self.syncing: Callable[[], object] = lambda: None
        self.keeping: Callable[[], object] = lambda: None
        part.sync = self._sync  # type: ignore[method-assign]
        self.durability = Durability(part, self.pieces, self.lock, self._keep)

    def _sync(self) -> None:
        self.events.append("sync")
        self.syncing()

    def _keep(self) -> None:
        self.events.append("keep")
        self.keeping()
        self.kept.append(list(self.pieces.durable))

    def complete(self, *indices: int, value: bytes | None = b"hash") -> None:
        with self.lock:
            for index in indices:
                self.pieces.fill(index, PIECE)
                self.pieces.hashes[index] = value


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    part = Part(tmp_path / "model.bin.part")
    made = Rig(part)
    yield made
    made.durability.stop()
    assert made.durability.has_ended(10)
    part.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability_module, "SYNC_S", 0.01)


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes alone: no test takes that long."""
    monkeypatch.setattr(durability_module, "SYNC_BYTES", 100)
    monkeypatch.setattr(durability_module, "SYNC_S", 1000.0)


# -- what is promised -----------------------------------------------------------------------------------------


def test_a_piece_is_durable_after_it_was_synced_and_kept_after_that(rig: Rig) -> None:
    rig.complete(0, 2)
    rig.complete(3, value=None)
    rig.pieces.fill(1, 3)
    seen: list[list[bool]] = []
    rig.syncing = lambda: seen.append(list(rig.pieces.durable))
    rig.durability.mark()
    assert rig.events == ["sync", "keep"]
    assert seen == [[False] * 4]
    assert rig.kept == [[True, False, True, False]]


def test_the_disk_is_left_alone_while_there_is_nothing_new(rig: Rig) -> None:
    rig.durability.mark()
    rig.complete(1)
    rig.durability.mark()
    rig.durability.mark()
    assert rig.events == ["sync", "keep"]
    rig.complete(2)
    rig.durability.mark()
    assert rig.kept == [[False, True, False, False], [False, True, True, False]]


def test_what_changes_while_the_disk_is_busy_is_not_promised(rig: Rig) -> None:
    """Dropped, replaced by other bytes, or complete only since the sync began."""

    def meanwhile() -> None:
        rig.pieces.drop(0)
        rig.pieces.drop(1)
        rig.complete(1, value=b"other")
        rig.complete(3)

    rig.complete(0, 1, 2)
    rig.syncing = meanwhile
    rig.durability.mark()
    assert rig.kept == [[False, False, True, False]]
    rig.syncing = lambda: None
    rig.durability.mark()
    assert rig.kept[1:] == [[False, True, True, True]]


def test_the_pieces_are_free_while_the_disk_is_busy(rig: Rig) -> None:
    rig.complete(0)
    got: list[bool] = []

    def from_elsewhere() -> None:
        got.append(rig.lock.acquire(timeout=10))
        rig.lock.release()

    def meanwhile() -> None:
        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        thread.join(20)

    rig.syncing = meanwhile
    rig.durability.mark()
    assert got == [True]


# -- how often ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rarely")
def test_so_many_bytes_are_synced_at_once(rig: Rig) -> None:
    rig.durability.start()
    rig.complete(0)
    rig.durability.wrote(60)
    rig.durability.wrote(39)
    assert rig.events == []
    rig.durability.wrote(1)
    wait_for(lambda: rig.kept, 10)
    rig.complete(1)
    rig.durability.wrote(100)
    wait_for(lambda: len(rig.kept) == 2, 10)
    assert rig.kept == [[True, False, False, False], [True, True, False, False]]


@pytest.mark.usefixtures("rarely")
def test_fewer_bytes_wait(rig: Rig) -> None:
    rig.complete(0)
    rig.durability.start()
    rig.durability.wrote(99)
    rig.durability.stop()
    assert rig.durability.has_ended(10)
    assert rig.events == []


@pytest.mark.usefixtures("often")
def test_after_some_time_fewer_bytes_are_synced_as_well(rig: Rig) -> None:
    rig.durability.start()
    rig.complete(0)
    rig.durability.wrote(1)
    wait_for(lambda: rig.kept, 10)
    assert rig.kept == [[True, False, False, False]]


@pytest.mark.usefixtures("often")
def test_a_piece_that_is_hashed_late_is_synced_although_nothing_more_comes(rig: Rig) -> None:
    """As at the end of the file, or while the server is silent."""
    looked = threading.Event()
    rig.syncing = looked.set
    rig.complete(0)
    rig.complete(1, value=None)
    rig.durability.start()
    rig.durability.wrote(8)
    assert looked.wait(10)
    wait_for(lambda: rig.kept, 10)
    rig.complete(1)
    wait_for(lambda: len(rig.kept) > 1, 10)
    assert rig.kept == [[True, False, False, False], [True, True, False, False]]


@pytest.mark.usefixtures("often")
def test_without_bytes_nothing_is_synced(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def monotonic() -> float:
        looks.append(time.monotonic())
        return looks[-1]

    monkeypatch.setattr(durability_module, "time", types.SimpleNamespace(monotonic=monotonic))
    rig.complete(0)
    rig.durability.start()
    wait_for(lambda: len(looks) > 4, 10)
    rig.durability.stop()
    assert rig.durability.has_ended(10)
    assert rig.events == []


# -- the end --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rarely")
@pytest.mark.parametrize("failing", ["sync", "keep"])
def test_an_error_ends_the_thread_and_is_kept(rig: Rig, failing: str) -> None:
    problem = OSError(errno.EIO, "the disk is gone")

    def refuse() -> None:
        raise problem

    if failing == "sync":
        rig.syncing = refuse
    else:
        rig.keeping = refuse
    rig.complete(0)
    rig.durability.start()
    rig.durability.wrote(100)
    assert wait_for(lambda: rig.durability.error, 10) is problem
    rig.durability.wrote(100)
    rig.durability.stop()
    assert rig.durability.has_ended(10)
    assert rig.events == ["sync", "keep"][: 1 + (failing == "keep")]
    assert rig.pieces.durable[0] is (failing == "keep")


class Busy:
    """A disk that syncs until it is told that it has."""

    def __init__(self, rig: Rig) -> None:
        self.begun, self.done = threading.Event(), threading.Event()
        rig.syncing = self.wait
        rig.complete(0)
        rig.durability.start()
        rig.durability.wrote(100)
        assert self.begun.wait(10)

    def wait(self) -> None:
        self.begun.set()
        assert self.done.wait(10)


@pytest.mark.usefixtures("rarely")
def test_it_is_known_when_a_sync_that_was_under_way_at_the_end_is_over(rig: Rig) -> None:
    """What was made durable by it counts; the journal is not written, which may be that of the next attempt by then."""
    disk = Busy(rig)
    rig.durability.stop()
    assert not rig.durability.has_ended(0.0)
    disk.done.set()
    assert rig.durability.has_ended(10)
    assert rig.pieces.durable == [True, False, False, False]
    assert (rig.events, rig.durability.error) == (["sync"], None)


def test_one_that_was_never_started_ends_at_once(rig: Rig) -> None:
    rig.complete(0)
    rig.durability.wrote(1 << 30)
    rig.durability.stop()
    assert rig.durability.has_ended(10)
    assert rig.events == []
