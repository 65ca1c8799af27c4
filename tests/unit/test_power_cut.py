"""The simulated power cut leaves what a disk may leave: all that was synced, and of the rest anything."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.records import Progress, RecoveryData, RecoveryState, utc_now
from tests.powercut import Disk, Tape
from tests.powercut.contents import SECTOR, Contents, Resize, Write
from tests.torture.files import database

OLD, NEW, NOTHING = (bytes([byte]) * SECTOR for byte in (1, 2, 0))
SECTORS = 64
SEEDS = 60


@contextmanager
def cut_after(folder: Path, seed: int) -> Iterator[Disk]:
    """A disk that loses its power at the end of the block, and is what was left of it from then on."""
    disk = Disk(folder, random.Random(seed))
    with disk.watched():
        yield disk
    disk.cut()
    disk.restore()
    disk.close()


def save(path: Path, data: bytes, *, sync: bool, flags: int = os.O_CREAT) -> None:
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.pwrite(fd, data, 0)
        if sync:
            os.fdatasync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def outcomes(tmp_path: Path, work: Callable[[Path], None]) -> Counter[bytes | None]:
    """What is found in the file `x` after cuts of all seeds; None when there is none."""
    found: Counter[bytes | None] = Counter()
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with cut_after(folder, seed):
            work(folder)
        found[(folder / "x").read_bytes() if (folder / "x").exists() else None] += 1
    return found


def test_what_was_synced_is_there_however_the_power_goes(tmp_path: Path) -> None:
    assert set(outcomes(tmp_path, lambda folder: save(folder / "x", OLD * SECTORS, sync=True))) == {OLD * SECTORS}


def test_what_was_written_since_is_lost_kept_torn_or_zeroed_sector_by_sector(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD * SECTORS, sync=True)
        save(folder / "x", NEW * SECTORS, sync=False)

    found = outcomes(tmp_path, work)
    assert {OLD * SECTORS, NEW * SECTORS} <= set(found)
    mixed = 0
    for contents in found:
        assert contents is not None
        assert len(contents) == SECTORS * SECTOR
        sectors = {contents[at : at + SECTOR] for at in range(0, len(contents), SECTOR)}
        assert sectors <= {OLD, NEW, NOTHING}
        mixed += sectors == {OLD, NEW, NOTHING}
    assert mixed > SEEDS // 10


def test_what_lies_beside_the_unsynced_bytes_is_not_touched(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD * SECTORS, sync=True)
        fd = os.open(folder / "x", os.O_WRONLY)
        os.pwrite(fd, NEW, 8 * SECTOR + 5)
        os.close(fd)

    for contents in outcomes(tmp_path, work):
        assert contents is not None
        assert contents[: 8 * SECTOR] == OLD * 8
        assert contents[10 * SECTOR :] == OLD * (SECTORS - 10)


def test_what_shares_a_sector_with_zeros_that_are_cut_off_or_added_is_not_touched(tmp_path: Path) -> None:
    whole = OLD * 4 + OLD[:100]

    def work(folder: Path) -> None:
        save(folder / "x", whole, sync=True)
        fd = os.open(folder / "x", os.O_WRONLY)
        os.pwrite(fd, NEW, 8 * SECTOR)
        os.ftruncate(fd, len(whole))
        os.close(fd)

    found = {contents for contents in outcomes(tmp_path, work) if contents is not None}
    assert {contents[: len(whole)] for contents in found} == {whole}
    assert len(found) > 2


def test_what_shares_a_sector_with_bytes_that_are_cut_off_is_touched(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD * 5, sync=True)
        fd = os.open(folder / "x", os.O_WRONLY)
        os.ftruncate(fd, 4 * SECTOR + 100)
        os.close(fd)

    found = {contents for contents in outcomes(tmp_path, work) if contents is not None}
    assert {contents[: 4 * SECTOR] for contents in found} == {OLD * 4}
    assert {contents[4 * SECTOR :] for contents in found} >= {OLD, OLD[:100], NOTHING[:100]}


def test_a_length_that_was_not_synced_may_be_the_old_or_the_new_one(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD * 4, sync=True)
        fd = os.open(folder / "x", os.O_WRONLY)
        os.ftruncate(fd, SECTOR)
        os.posix_fallocate(fd, 0, 8 * SECTOR)
        os.close(fd)

    found = {contents for contents in outcomes(tmp_path, work) if contents is not None}
    assert {len(contents) for contents in found} == {SECTOR, 4 * SECTOR, 8 * SECTOR}
    assert all(contents[:SECTOR] == OLD for contents in found)
    assert OLD * 4 in found
    assert OLD + NOTHING * 7 in found


def test_a_new_file_that_was_never_synced_may_not_be_there_at_all(tmp_path: Path) -> None:
    found = outcomes(tmp_path, lambda folder: save(folder / "x", NEW, sync=False))
    assert {None, b"", NEW} <= set(found)


def test_what_is_written_in_a_way_that_is_not_watched_is_not_safe_either(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        with (folder / "x").open("wb") as file:
            file.write(OLD * SECTORS)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            file.write(NEW * SECTORS)

    found = outcomes(tmp_path, work)
    assert None not in found
    assert {OLD * SECTORS, NEW * SECTORS} < set(found)


@pytest.mark.parametrize("syncs_folder", [False, True])
def test_a_rename_may_be_undone_until_the_folder_was_synced(tmp_path: Path, syncs_folder: bool) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD, sync=True)
        save(folder / "y", NEW, sync=True)
        os.replace(folder / "y", folder / "x")
        if syncs_folder:
            sync_folder(folder)

    assert set(outcomes(tmp_path, work)) == ({NEW} if syncs_folder else {OLD, NEW})


def test_a_rename_of_what_was_not_synced_can_leave_a_bad_file(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD * SECTORS, sync=True)
        save(folder / "y", NEW * SECTORS, sync=False)
        os.rename(folder / "y", folder / "x")
        sync_folder(folder)

    bad = set(outcomes(tmp_path, work)) - {OLD * SECTORS, NEW * SECTORS}
    assert len(bad) > SEEDS // 10


def test_a_deletion_may_be_undone_until_the_folder_was_synced(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        save(folder / "x", OLD, sync=True)
        (folder / "x").unlink()

    assert set(outcomes(tmp_path, work)) == {OLD, None}
    (tmp_path / "again").mkdir()
    assert set(outcomes(tmp_path / "again", lambda folder: (work(folder), sync_folder(folder)))) == {None}


def test_a_sync_makes_safe_what_was_there_when_it_began(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    contents = Contents(str(path), is_new=True)

    def write(data: bytes, offset: int) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        contents.changed(Write(offset, data))

    write(OLD, 0)
    sync = contents.sync_begins()
    write(NEW, SECTOR)
    contents.sync_ends(sync)
    found = {contents.after_cut(random.Random(seed)) for seed in range(SEEDS)}
    assert {OLD, OLD + NEW, OLD + NOTHING} == found
    contents.changed(Resize(0))
    assert b"" in {contents.after_cut(random.Random(seed)) for seed in range(SEEDS)}
    contents.close()


def test_the_power_goes_where_it_is_due_and_the_code_goes_on(tmp_path: Path) -> None:
    is_cut: list[bool] = []
    operations = iter(range(100))
    disk = Disk(tmp_path, random.Random(1), lambda: next(operations) == 3, lambda: is_cut.append(True))
    with disk.watched():
        for name in ("x", "y"):  # each of them is opened, written, and synced in two moments
            save(tmp_path / name, OLD, sync=True)
    assert is_cut == [True]
    assert disk.image is not None
    assert "y" not in disk.image
    assert (tmp_path / "y").read_bytes() == OLD
    disk.restore()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(disk.image)
    disk.close()


def test_files_elsewhere_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with cut_after(tmp_path / "disk", 1) as disk:
        save(tmp_path / "x", NEW, sync=False)
        os.replace(tmp_path / "x", tmp_path / "y")
        save(tmp_path / "x", NEW, sync=True)
        (tmp_path / "x").unlink()
        sync_folder(tmp_path)
    assert disk.image == {}
    assert (tmp_path / "y").read_bytes() == NEW


def test_of_a_store_the_last_durable_commit_is_left_or_what_came_after_it(tmp_path: Path) -> None:
    found: Counter[float | None] = Counter()
    for seed in range(20):
        path = database(tmp_path / f"{seed}.db")
        store = SQLitePersistence(path)
        commits: list[int] = []
        tape = Tape(path, random.Random(seed), lambda commits=commits: commits.append(1))  # type: ignore[misc]
        with tape.watched():
            begun = RecoveryData("1", "work", state=RecoveryState.IN_PROGRESS, attempt=1, fence=1)
            store.insert(begun)  # the intent, which survives a power cut
            assert len(commits) == 2
            store.save_progress("1", 1, Progress(5.0), 5.0, utc_now())  # which need not
            tape.cut()
            store.save_progress("1", 1, Progress(6.0), 6.0, utc_now())
        store.close()
        tape.restore()
        again = SQLitePersistence(path)
        kept = again.get("1")
        assert kept is not None
        found[None if kept.progress is None else kept.progress.done] += 1
        again.close()
    assert set(found) == {None, 5.0}
