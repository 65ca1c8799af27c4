"""Room for downloads: what each needs, beside what others still have to write; and what errors of a disk mean."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import FolderGoneError, NoSpaceError, RecoveryData, RecoveryState
from launcher_recovery.persistence.base import Store
from launcher_recovery.records import UNFINISHED, Progress, WaitingFor
from launcher_recovery.transfer.disk import folders as disk
from launcher_recovery.transfer.disk import reservations
from launcher_recovery.transfer.disk.folders import (
    Reservations,
    check_room,
    explained,
    folder_for,
    partial_path,
    queued_bytes,
)
from tests.disks import memory_disk

S = RecoveryState
NOW = datetime(2027, 1, 15, tzinfo=timezone.utc)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much is free on every disk, in a list of one."""
    figures = [100]
    monkeypatch.setattr(reservations, "free_bytes", lambda folder: figures[0])
    return figures


# -- room ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "reserved", "missing"), [(100, 0, 0), (101, 0, 1), (60, 40, 0), (60, 41, 1), (0, 500, 0), (-5, 0, 0)]
)
def test_what_is_needed_has_to_fit_beside_what_is_reserved(
    tmp_path: Path, free: list[int], needed: int, reserved: int, missing: int
) -> None:
    """To the byte; who needs nothing finds room on every disk."""
    if not missing:
        check_room(tmp_path, needed, reserved)
        return
    with pytest.raises(NoSpaceError) as caught:
        check_room(tmp_path, needed, lambda: reserved)
    error = caught.value
    assert (error.folder, error.needed, error.free) == (str(tmp_path), needed + reserved, 100)
    assert f"{missing} B are missing in {tmp_path}" in str(error)


def test_who_waits_looks_at_what_is_so_then(tmp_path: Path, free: list[int]) -> None:
    """What others need, and what is free, is not that of the moment of the failure."""
    others = [50]
    with pytest.raises(NoSpaceError) as caught:
        check_room(tmp_path, 80, lambda: others[0])
    assert caught.value.look is not None
    assert caught.value.look() == (130, 100)
    others[0], free[0] = 10, 70
    assert caught.value.look() == (90, 70)


def test_a_real_disk(tmp_path: Path) -> None:
    """What is free on a small disk is there for the asking, and not a byte more."""
    with memory_disk(tmp_path / "disk", 1 << 20) as folder:
        there = disk.free_bytes(folder / "new")
        check_room(folder / "new", there)
        with pytest.raises(NoSpaceError):
            check_room(folder / "new", there + 1)


def test_reservations_are_counted_by_device(tmp_path: Path) -> None:
    """What is entered counts for its disk until it is written or given back, and not for other disks."""
    held = Reservations()
    with memory_disk(tmp_path / "disk", 1 << 20) as other:
        one = held.reserve(tmp_path / "models" / "new", 70)
        with held.reserve(other, 5), held.reserve(tmp_path, -3):
            assert (held.on(tmp_path), held.on(other)) == (70, 5)
            assert held.on(tmp_path, besides=one) == 0
            one.update(30)
            assert held.on(tmp_path) == 30
            one.update(-1)
            assert held.on(tmp_path) == 0
        assert held.on(other) == 0
        one.update(9)
        one.release()
        one.release()
        assert held.on(tmp_path) == 0


def test_a_claim_checks_and_reserves(tmp_path: Path, free: list[int]) -> None:
    """A second one finds only what the first has left, and what others need that are not of this process counts too."""
    held = Reservations()
    first = held.claim(tmp_path, 60)
    with pytest.raises(NoSpaceError) as caught:
        held.claim(tmp_path, 50)
    assert caught.value.needed == 110
    with pytest.raises(NoSpaceError) as caught:
        held.claim(tmp_path, 30, lambda: 75)
    # What is known of both ways is not counted twice.
    assert caught.value.needed == 105
    first.update(20)
    assert held.claim(tmp_path, 80).remaining == 80


def test_only_one_gets_the_last_room(tmp_path: Path, free: list[int]) -> None:
    """Of many that ask at the same moment as many get it as fit."""
    held = Reservations()
    start = threading.Barrier(8)
    got: list[bool] = []

    def ask() -> None:
        start.wait(10)
        try:
            held.claim(tmp_path, 40)
            got.append(True)
        except NoSpaceError:
            got.append(False)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(got) == [False] * 6 + [True] * 2
    assert held.on(tmp_path) == 80


FORKS = """
import os, sys
from launcher_recovery.transfer.disk.folders import RESERVATIONS
with RESERVATIONS.reserve(".", 7):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if RESERVATIONS.on(".") == 0 else 1)
    child = os.waitpid(pid, 0)[1]
    sys.exit(child or RESERVATIONS.on(".") != 7)
"""


def test_a_forked_child_begins_anew() -> None:
    """What the parent writes is not written by the child."""
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)


# -- what others of the store need ---------------------------------------------------------------------


class Queue:
    """Downloads in a store, entered one after the other."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.count = 0

    def enter(self, size: Any = 100, state: S = S.IN_PROGRESS, **more: Any) -> str:
        self.count += 1
        name = f"{self.count}.bin"
        data = RecoveryData(
            operation_id=str(self.count),
            function_name="launcher_download",
            kwargs={"destination": str(self.folder / name), "size": size},
            state=state,
            attempt=1,
            kind="download",
            owner="me",
            created_at=NOW + timedelta(seconds=self.count),
        )
        assert self.store.insert(replace(data, **more)) is not None
        return data.operation_id

    def written(self, operation_id: str, count: int, staging: Path | None = None) -> None:
        part = partial_path(self.folder / f"{operation_id}.bin", staging)
        part.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            file.write(os.urandom(count))
            os.fsync(file.fileno())


@pytest.fixture
def queue(store: Store, tmp_path: Path) -> Queue:
    return Queue(store, tmp_path)


def test_what_others_need_is_counted(queue: Queue, tmp_path: Path) -> None:
    """Older ones that run, wait for another attempt or stand in a queue; the size may be known from the progress."""
    queue.enter(1)
    queue.enter(10, S.RECOVERING, waiting_for=WaitingFor.BACKOFF)
    queue.enter(100, S.PENDING, waiting_for=WaitingFor.SLOT)
    queue.enter(None, progress=Progress(5, 1000.0, "bytes"))
    asking = queue.enter(10_000)
    queue.enter(100_000)
    assert queued_bytes(queue.store, tmp_path / "new", asking) == 1111
    assert queued_bytes(queue.store, tmp_path / "new") == 111_111
    assert queued_bytes(queue.store, tmp_path / "new", "unknown") == 111_111


@pytest.mark.parametrize(
    "given",
    [
        {"state": S.PAUSED},
        {"state": S.PENDING, "owner": None},
        {"state": S.RECOVERING, "waiting_for": WaitingFor.DISK_SPACE},
        {"state": S.RECOVERING, "waiting_for": WaitingFor.DISK},
        {"state": S.SUCCESS},
        {"state": S.FAILED},
        {"kind": "install_node"},
        {"size": None},
        {"size": None, "progress": Progress(1, 100, "steps")},
        {"size": None, "progress": Progress(1, None, "bytes")},
        {"kwargs": {"size": 100}},
        {"kwargs": {"size": "100", "destination": "/m.bin"}},
    ],
    ids=str,
)
def test_what_does_not_count(queue: Queue, tmp_path: Path, given: dict[str, Any]) -> None:
    """Who looks for himself before he goes on, is over, is no download, or of unknown size or place."""
    queue.enter(**given)
    assert queued_bytes(queue.store, tmp_path) == 0


def test_bytes_that_are_there_count_as_had(queue: Queue, tmp_path: Path) -> None:
    """What the partial takes on the disk already is not needed once more, wherever partials lie."""
    one = queue.enter(1 << 20)
    queue.written(one, 400 << 10)
    assert queued_bytes(queue.store, tmp_path) == 624 << 10
    staging = tmp_path / "staging"
    assert queued_bytes(queue.store, tmp_path, staging=staging) == 1 << 20
    queue.written(one, 1 << 20, staging)
    queue.written(one, 1 << 20)
    assert queued_bytes(queue.store, tmp_path, staging=staging) == queued_bytes(queue.store, tmp_path) == 0


def test_other_disks_do_not_count(queue: Queue, tmp_path: Path) -> None:
    """Each disk has its own."""
    with memory_disk(tmp_path / "disk", 1 << 20) as other:
        queue.enter(5)
        queue.enter(7, kwargs={"destination": str(other / "new" / "m.bin"), "size": 7})
        assert (queued_bytes(queue.store, tmp_path), queued_bytes(queue.store, other)) == (5, 7)


def test_the_store_is_asked_once(tmp_path: Path) -> None:
    """However many there are, it is one query, for unfinished downloads alone."""
    asked: list[Any] = []

    class One:
        def find(
            self, *, states: Collection[S] | None = None, kind: str | None = None, limit: int = 50
        ) -> list[RecoveryData]:
            asked.append((states, kind, limit))
            return []

    assert queued_bytes(One(), tmp_path) == 0
    assert asked == [(UNFINISHED, "download", -1)]


def test_of_two_that_do_not_fit_together_one_goes_first(queue: Queue, tmp_path: Path) -> None:
    """The older one does not count the younger one, so that they cannot wait for each other."""
    older, younger = queue.enter(60), queue.enter(70)
    assert queued_bytes(queue.store, tmp_path, older) == 0
    assert queued_bytes(queue.store, tmp_path, younger) == 60


# -- the folder, and errors ----------------------------------------------------------------------------


def test_the_folder_is_made(tmp_path: Path) -> None:
    """With all above it; what is there is left as it is."""
    destination = tmp_path / "a" / "b" / "m.pt"
    for had_before in (False, True):
        assert folder_for(destination, had_before) == destination.parent
        assert destination.parent.is_dir()


def test_a_folder_that_had_bytes_and_is_gone_is_not_made(tmp_path: Path) -> None:
    """Else what was on a disk that is unplugged would be fetched again onto another one."""
    with pytest.raises(FolderGoneError) as caught:
        folder_for(tmp_path / "usb" / "models" / "m.pt", had_before=True)
    assert caught.value.folder == str(tmp_path / "usb" / "models")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_taken_away_and_comes_back(tmp_path: Path) -> None:
    """After an unmount nothing is made below the mount point; when the disk is back the bytes are there."""
    image = tmp_path / "usb"
    with memory_disk(image, 1 << 20):
        folder = folder_for(image / "models" / "m.pt", had_before=False)
        (folder / "m.pt.part").write_bytes(b"kept")
        with memory_disk(image, 1 << 20):  # stands for the empty mount point: hides what is below
            with pytest.raises(FolderGoneError):
                folder_for(image / "models" / "m.pt", had_before=True)
            assert list(image.iterdir()) == []
        assert (folder_for(image / "models" / "m.pt", had_before=True) / "m.pt.part").read_bytes() == b"kept"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_without_a_name_is_explained(tmp_path: Path, number: int) -> None:
    """Writing to an open file does not say where; with the folder it does, and how much is missing."""
    found = explained(OSError(number, "full"), tmp_path, 1 << 60)
    assert isinstance(found, NoSpaceError)
    assert (found.errno, found.folder, found.needed) == (number, str(tmp_path), 1 << 60)
    assert found.free is not None
    assert explained(found, tmp_path / "other") is found


def test_a_full_disk_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a full disk all the same."""

    def refuse(folder: object) -> int:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(disk, "free_bytes", refuse)
    found = explained(OSError(errno.ENOSPC, "full"), tmp_path, 5)
    assert isinstance(found, NoSpaceError)
    assert (found.needed, found.free) == (5, None)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_disk_that_is_gone_is_explained(tmp_path: Path, number: int) -> None:
    """Only when its folder is not there any more; else the error means what it says."""
    error = OSError(number, "gone")
    found = explained(error, tmp_path / "usb")
    assert isinstance(found, FolderGoneError)
    assert found.folder == str(tmp_path / "usb")
    assert explained(error, tmp_path) is error
    assert explained(found, tmp_path) is found


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG])
def test_other_errors_stay_as_they_are(tmp_path: Path, number: int) -> None:
    """Neither room nor a disk is missing."""
    error = OSError(number, "no")
    assert explained(error, tmp_path / "usb") is error
