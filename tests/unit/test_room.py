"""Room on a disk: how much there is, and what a waiting operation is told about it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher_recovery import room
from launcher_recovery.room import FileFree, FolderThere, QuotaThere, RoomThere, amount, device_of, free_bytes, nearest
from tests.support import but_for

MB = 1_000_000
END = "It goes on by itself as soon as there is room."


class Disk:
    """What statvfs(3) says of every folder."""

    def __init__(self, free: int, total: int = 100_000 * MB, files: tuple[int, int] = (1000, 500)) -> None:
        self.free, self.total, self.files = free, total, files
        self.asked: list[Path] = []

    def __call__(self, folder: Any) -> os.statvfs_result:
        self.asked.append(folder)
        # More is free for root than for us, as on many disks.
        figures = (4096, 1, self.total, self.free + 5 * MB, self.free, self.files[0], self.files[1] + 1, self.files[1])
        return os.statvfs_result((*figures, 0, 255))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Disk]:
    def made(*given: Any, **more: Any) -> Disk:
        disk = Disk(*given, **more)
        monkeypatch.setattr(room, "os", but_for(os, statvfs=disk))
        return disk

    return made


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1500, "1.5 kB"), (640_000, "640 kB"), (999_600, "1 MB"),
        (4_210_000, "4.2 MB"), (70 * MB, "70 MB"), (999_499_999, "999 MB"), (6_936_000_000, "6.94 GB"),
        (3_200 * MB, "3.2 GB"), (100_000 * MB, "100 GB"), (5e15, "5000 TB"),
    ],
)  # fmt: skip
def test_amounts_in_words(count: float, words: str) -> None:
    """Amounts are written as the page writes them."""
    assert amount(count) == words


def test_nearest_folder_that_is_there(tmp_path: Path) -> None:
    """What is not there yet lies on the disk of the nearest folder above it."""
    assert nearest(tmp_path) == tmp_path
    assert nearest(tmp_path / "a" / "b" / "c") == tmp_path
    assert device_of(tmp_path / "a" / "b") == os.stat(tmp_path).st_dev


def test_free_bytes_are_those_that_this_user_may_use(tmp_path: Path, disk: Callable[..., Disk]) -> None:
    """What is kept for root is not counted, and a folder may still have to be made."""
    made = disk(7 * MB)
    assert free_bytes(tmp_path / "new" / "folder") == 7 * MB
    assert made.asked == [tmp_path]


def test_free_bytes_where_there_is_no_statvfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the standard library is asked."""
    expected = free_bytes(tmp_path)
    without = but_for(os)
    del without.statvfs
    monkeypatch.setattr(room, "os", without)
    usage = SimpleNamespace(free=3, total=5)
    monkeypatch.setitem(sys.modules, "shutil", but_for(shutil, disk_usage=lambda path: usage))
    assert expected > 3
    assert free_bytes(tmp_path / "new") == 3
    assert RoomThere(str(tmp_path), 3)() is None


def test_room_is_there_once_all_that_is_needed_is_free(tmp_path: Path, disk: Callable[..., Disk]) -> None:
    """While it waits it is told how much is missing now; one byte too few is too few."""
    made = disk(1_800 * MB)
    wait = RoomThere("/models", 5_000 * MB, 1_000 * MB)
    assert wait.told == "There is not enough room on the disk: 4 GB are missing in /models."
    assert wait() == f"There is not enough room on the disk: 3.2 GB are missing in /models. {END}"
    made.free = 5_000 * MB - 1
    assert wait() == f"There is not enough room on the disk: 1 B are missing in /models. {END}"
    made.free = 5_000 * MB
    assert wait() is None


def test_what_others_need_is_looked_up_anew(disk: Callable[..., Disk]) -> None:
    """Once others are done, nobody waits for their room."""
    disk(0)
    now = (9 * MB, 4 * MB)
    wait = RoomThere("/models", 9 * MB, 0, lambda: now)
    assert wait() == f"There is not enough room on the disk: 5 MB are missing in /models. {END}"
    now = (4 * MB, 4 * MB)
    assert wait() is None


@pytest.mark.parametrize(("total", "more"), [(100_000 * MB, 64 << 20), (50 * MB, 50 * MB // 100)])
def test_without_a_known_need_more_than_a_little_has_to_become_free(
    disk: Callable[..., Disk], total: int, more: int
) -> None:
    """It goes on with 64 MiB more than at the failure, or on a small disk with a hundredth of it."""
    made = disk(20_000, total)
    wait = RoomThere("/models")
    assert wait.told == "The disk with /models is full."
    assert wait() == f"The disk with /models is full: 20 kB are free. {END}"
    made.free = 20_000 + more - 1
    assert wait() is not None
    made.free += 1
    assert wait() is None


def test_a_disk_that_was_full(disk: Callable[..., Disk]) -> None:
    """Where much is free again nobody is told that the disk is full, but more is waited for: it was not enough."""
    made = disk(5_000 * MB)
    wait = RoomThere("/models")
    assert wait() == f"There was no room left on the disk with /models, where 5 GB are free now. {END}"
    made.free += 64 << 20
    assert wait() is None


def test_room_for_bytes_but_for_no_more_files(disk: Callable[..., Disk]) -> None:
    """A disk that has used up its inodes is full as well, unless it is one that has none."""
    made = disk(100 * MB, files=(1000, 0))
    told = RoomThere("/models", 5)()
    assert told is not None
    assert "can take no more files" in told
    made.files = (0, 0)
    assert RoomThere("/models", 5)() is None


@pytest.mark.parametrize(("needed", "size"), [(None, 1 << 20), (5 << 20, 1 << 20), (77, 77), (0, 1)])
def test_a_quota_is_found_out_by_a_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int | None, size: int
) -> None:
    """It writes no more than a MiB, sees to it that it is really taken, and leaves nothing behind."""
    written: list[int] = []
    fsync = os.fsync

    def told(descriptor: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(room, "os", but_for(os, fsync=told))
    wait = QuotaThere(str(tmp_path / "new"), needed)
    assert wait() is None
    assert written == [size]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
def test_a_quota_that_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, number: int) -> None:
    """It waits for as long as the system refuses the small file, at the write or when it comes to the disk."""

    def refuse(descriptor: int) -> None:
        raise OSError(number, "used up")

    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def write(self, data: bytes) -> None:
            refuse(0)

    if when == "fsync":
        monkeypatch.setattr(room, "os", but_for(os, fsync=refuse))
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Refusing())
    wait = QuotaThere(str(tmp_path))
    assert wait.told == f"What this user may store in {tmp_path} is used up (a quota)."
    assert wait() == f"{wait.told} {END}"


def test_another_error_of_the_probe_is_not_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else goes wrong is said, and not waited for."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EROFS, "read only")

    monkeypatch.setattr(room, "os", but_for(os, fsync=refuse))
    with pytest.raises(OSError, match="read only"):
        QuotaThere(str(tmp_path))()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """It waits until the folder is there; a file of that name is none."""
    folder = tmp_path / "usb" / "models"
    wait = FolderThere(str(folder))
    told = f"The folder {folder} is not there any more: its disk was unplugged, or it was deleted."
    assert (wait.told, wait()) == (told, f"{told} It goes on by itself as soon as the folder is back.")
    folder.parent.mkdir()
    folder.touch()
    assert wait() is not None
    folder.unlink()
    folder.mkdir()
    assert wait() is None


def test_a_file_that_another_program_writes_to(tmp_path: Path) -> None:
    """It is waited for as long as the file is locked, and nobody is kept from locking it."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a.part"
    wait = FileFree(str(path))
    assert wait() is None  # it is at its place by now
    with path.open("wb") as file:
        assert wait() is None
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert wait() == f"Another program is writing to {path}. It goes on by itself when that has ended."
        assert wait() == f"{wait.told} {FileFree.ends}"
    assert wait() is None


def test_where_files_are_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows nobody is waited for."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / "a.part").touch()
    assert FileFree(str(tmp_path / "a.part"))() is None
