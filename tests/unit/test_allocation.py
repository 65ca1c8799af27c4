"""Reserving the blocks of a file before it is written."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher_recovery import NoSpaceError
from launcher_recovery.room import free_bytes
from launcher_recovery.transfer.disk import allocation
from launcher_recovery.transfer.disk.allocation import allocated_bytes, preallocate
from tests.disks import limited_disk, memory_disk, real_disk
from tests.support import but_for

MIB = 1 << 20


class Part:
    """An open file."""

    def __init__(self, path: Path, content: bytes = b"") -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.write(self.descriptor, content)

    @property
    def size(self) -> int:
        return self.path.stat().st_size


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    made = Part(tmp_path / "m.part", b"kept")
    yield made
    os.close(made.descriptor)


def answering(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> list[tuple[int, int, int, int]]:
    """fallocate(2) gives these numbers one after the other; returns what it was called with."""
    rest, calls = list(numbers), []

    def fallocate(*given: int) -> int:
        calls.append(given)
        number = rest.pop(0)
        ctypes.set_errno(number)
        return -1 if number else 0

    monkeypatch.setattr(allocation, "_linux_fallocate", lambda: fallocate)
    monkeypatch.setattr(allocation, "_file_system_of", lambda descriptor: "ext4")
    return calls  # type: ignore[return-value]


def test_blocks_are_reserved_and_the_size_stays(tmp_path: Path) -> None:
    """On a real file system the room is taken at once, the file keeps its size and content, and gets what it took."""
    with real_disk(tmp_path / "disk", tmp_path / "image", 32 * MIB) as disk:
        part = Part(disk / "m.part", b"kept")
        before = free_bytes(disk)
        assert preallocate(part.descriptor, 8 * MIB)
        assert (part.size, part.path.read_bytes()) == (4, b"kept")
        assert allocated_bytes(part.path) >= 8 * MIB
        assert before - free_bytes(disk) >= 7 * MIB
        assert preallocate(part.descriptor, 8 * MIB)
        os.pwrite(part.descriptor, b"y" * MIB, 7 * MIB)
        assert before - free_bytes(disk) < 9 * MIB
        os.close(part.descriptor)


def test_a_disk_that_is_too_small_is_found_out_at_once(tmp_path: Path) -> None:
    """It says what is missing where, nothing of the disk stays taken, and what was written is kept."""
    with real_disk(tmp_path / "disk", tmp_path / "image", 16 * MIB) as disk:
        part = Part(disk / "m.part", b"kept" * MIB)
        os.fsync(part.descriptor)
        before, had = free_bytes(disk), allocated_bytes(part.path)
        with pytest.raises(NoSpaceError) as caught:
            preallocate(part.descriptor, 64 * MIB)
        error = caught.value
        assert (error.errno, error.folder) == (errno.ENOSPC, str(disk))
        # The file system keeps a block or two of its own for a file that it tried to lay out.
        assert error.needed == pytest.approx(64 * MIB - had, abs=8192)
        assert error.free == free_bytes(disk) == pytest.approx(before, abs=8192)
        assert allocated_bytes(part.path) == pytest.approx(had, abs=8192)
        assert part.path.read_bytes() == b"kept" * MIB
        os.close(part.descriptor)


def test_a_quota_that_is_used_up(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told apart from a full disk."""
    answering(monkeypatch, errno.EDQUOT)
    with pytest.raises(NoSpaceError, match="a quota is used up") as caught:
        preallocate(part.descriptor, MIB)
    assert (caught.value.errno, caught.value.folder) == (errno.EDQUOT, str(part.path.parent))
    assert part.path.read_bytes() == b"kept"


def test_a_real_quota(tmp_path: Path) -> None:
    """A disk with room enough may still refuse; what it began to reserve is given back."""
    folder = tmp_path / "disk" / "models"
    with limited_disk(folder, tmp_path / "image", 8 * MIB):
        part = Part(folder / "m.part", b"kept")
        with pytest.raises(NoSpaceError, match="a quota is used up"):
            preallocate(part.descriptor, 64 * MIB)
        assert allocated_bytes(part.path) < MIB
        assert preallocate(part.descriptor, 4 * MIB)
        assert part.path.read_bytes() == b"kept"
        os.close(part.descriptor)


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EIO])
def test_errors_that_writing_would_meet_as_well_are_told(
    part: Part, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file too large for the file system, or a broken disk, need not be filled to find out."""
    answering(monkeypatch, number)
    with pytest.raises(OSError, match=r"m\.part") as caught:
        preallocate(part.descriptor, MIB)
    assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENODEV])
def test_file_systems_that_cannot(part: Part, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where it cannot be done nothing is, and the file is written all the same."""
    answering(monkeypatch, number)
    assert not preallocate(part.descriptor, MIB)
    assert part.path.read_bytes() == b"kept"


def test_an_interrupted_call_is_made_again(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is no reason to give up; the call asks for all of it and keeps the size."""
    calls = answering(monkeypatch, errno.EINTR, errno.EINTR, 0)
    preallocate(part.descriptor, MIB)
    assert calls == [(part.descriptor, 1, 0, MIB)] * 3


def test_a_yes_without_blocks_is_none(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that says yes and takes no room, as ZFS does, has reserved nothing."""
    answering(monkeypatch, 0)
    assert not preallocate(part.descriptor, MIB)


def test_without_the_function(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without it means that it cannot be done."""
    monkeypatch.setattr(allocation, "_linux_fallocate", lambda: None)
    monkeypatch.setattr(allocation, "_file_system_of", lambda descriptor: None)
    assert not preallocate(part.descriptor, MIB)


@pytest.mark.parametrize("size", [0, 4])
def test_what_is_there_already_need_not_be_reserved(part: Part, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Nothing is called when the file has the blocks, or needs none."""
    os.fsync(part.descriptor)
    calls = answering(monkeypatch)
    assert preallocate(part.descriptor, size)
    assert calls == []


def test_nothing_is_reserved_in_memory(tmp_path: Path) -> None:
    """A disk in memory would take the memory at once."""
    with memory_disk(tmp_path / "disk", 4 * MIB) as disk:
        part = Part(disk / "m.part")
        assert not preallocate(part.descriptor, 2 * MIB)
        assert not preallocate(part.descriptor, 8 * MIB)
        assert allocated_bytes(part.path) == 0
        os.close(part.descriptor)


class Mac:
    """fcntl(2) of macOS: tells the path of `part`, and answers requests for room with `answers`."""

    def __init__(self, part: Part) -> None:
        self.path = part.path
        self.answers: list[int] = []
        self.asked: list[tuple[int, bytes]] = []

    def fcntl(self, descriptor: int, command: int, given: bytes) -> bytes:
        if command == 50:
            assert len(given) == 1024
            return os.fsencode(self.path) + b"\0" * 8
        self.asked.append((command, given))
        if number := self.answers.pop(0):
            raise OSError(number, "no")
        return given


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, part: Part) -> Mac:
    made = Mac(part)
    monkeypatch.setattr(allocation, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setitem(sys.modules, "fcntl", made)
    return made


def test_macos(mac: Mac, part: Part) -> None:
    """There F_PREALLOCATE is asked for what is missing behind the blocks that the file has."""
    os.fsync(part.descriptor)
    missing = MIB - allocated_bytes(part.path)
    mac.answers = [0]
    preallocate(part.descriptor, MIB)
    assert mac.asked == [(42, struct.pack("=IiqqQ", 4, 3, 0, missing, 0))]


def test_macos_full(mac: Mac, part: Part) -> None:
    """A full disk is told there as well, and a file system that cannot is none."""
    mac.answers = [errno.ENOSPC, errno.ENOTSUP]
    with pytest.raises(NoSpaceError) as caught:
        preallocate(part.descriptor, MIB)
    assert caught.value.folder == str(part.path.parent)
    assert not preallocate(part.descriptor, MIB)


def test_other_systems(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows nothing is reserved, and sizes stand for blocks."""
    monkeypatch.setattr(allocation, "sys", SimpleNamespace(platform="win32"))
    assert not preallocate(part.descriptor, MIB)
    stat: Any = SimpleNamespace(st_size=77)
    monkeypatch.setattr(allocation, "os", but_for(os, stat=lambda file: stat))
    assert allocated_bytes("m.part") == 77


def test_allocated_bytes_of_nothing(tmp_path: Path) -> None:
    """A file that is not there takes nothing."""
    assert allocated_bytes(tmp_path / "m.part") == 0


def test_unknown_file_systems(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of file system is looked up by its device; one that is not listed has none."""
    assert allocation._file_system_of(part.descriptor) is not None
    monkeypatch.setattr(allocation, "os", but_for(os, major=lambda device: 4095))
    assert allocation._file_system_of(part.descriptor) is None


@pytest.mark.parametrize(("names", "expected"), [(("fallocate64", "fallocate"), 64), (("fallocate",), 0), ((), None)])
def test_the_function_of_the_c_library(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], expected: int | None
) -> None:
    """That with 64 bits where there are two; musl has one, and others none."""
    functions = {name: SimpleNamespace(bits=64 if name.endswith("64") else 0) for name in names}
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: SimpleNamespace(**functions))
    allocation._linux_fallocate.cache_clear()
    try:
        function: Any = allocation._linux_fallocate()
        assert getattr(function, "bits", None) == expected
        if function is not None:
            assert function.argtypes == (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    finally:
        allocation._linux_fallocate.cache_clear()


def test_where_a_file_lies_is_told_as_far_as_it_is_known(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    assert allocation._path_of(part.descriptor) == str(part.path)

    def refuse(path: str) -> str:
        raise OSError(errno.EACCES, "no /proc here")

    monkeypatch.setattr(allocation, "os", but_for(os, readlink=refuse))
    assert allocation._path_of(part.descriptor) == os.getcwd()
