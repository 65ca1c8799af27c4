"""The partial file: what is written where, what its note says after kill -9, and who may write to it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher_recovery.errors import PartInUseError
from launcher_recovery.transfer.partial import part as part_module
from launcher_recovery.transfer.partial.part import (
    Note,
    Part,
    PartClosedError,
    boot_id,
    read_note,
    sync_folder,
)

ID = bytes(range(16))
SIZE, PIECE = 10, 4
DATA = b"abcdefghij"
FOOTER = 60
"""Bytes of what says whose note it is."""
same_each_time = settings(derandomize=True, deadline=None, database=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin.part"


@pytest.fixture
def part(path: Path) -> Iterator[Part]:
    opened = Part(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def laid_out(part: Part, filled: tuple[int, ...] = (0, 0, 0)) -> Part:
    part.lay_out(ID, SIZE, PIECE, filled)
    return part


def filled_in(path: Path) -> tuple[int, ...] | None:
    note = read_note(path)
    return None if note is None else note.filled


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- the note -------------------------------------------------------------------------------------------------


def test_the_note_says_what_is_there(part: Part, path: Path) -> None:
    laid_out(part)
    assert read_note(path) == Note(ID, boot_id(), SIZE, PIECE, (0, 0, 0))
    part.write(b"abcd", 0, [(0, 4)])
    part.write(b"ij", 8, [(2, 2)])
    assert filled_in(path) == (4, 0, 2)
    part.write(b"efg", 4, [(1, 3)])
    assert filled_in(path) == (4, 3, 2)
    assert path.read_bytes()[:SIZE] == b"abcdefg\0ij"


def test_a_note_alone_changes_no_data(part: Part, path: Path) -> None:
    laid_out(part).write(DATA, 0, [(0, 4), (1, 4), (2, 2)])
    part.note([(0, 0), (2, 1)])
    assert filled_in(path) == (0, 4, 1)
    assert path.read_bytes()[:SIZE] == DATA


def test_the_note_of_an_empty_file(part: Part, path: Path) -> None:
    part.lay_out(ID, 0, PIECE, ())
    assert read_note(path) == Note(ID, boot_id(), 0, PIECE, ())


def test_a_piece_may_be_larger_than_four_gigabytes(part: Part, path: Path) -> None:
    """As a Metalink file may have it; the file is sparse, and takes no room."""
    size = (5 << 30) + 3
    part.lay_out(ID, size, 1 << 40, [0])
    part.write(b"xyz", size - 3, [(0, size)])
    assert filled_in(path) == (size,)
    part.close()
    with path.open("rb") as file:
        file.seek(size - 3)
        assert file.read(3) == b"xyz"


def test_a_new_layout_replaces_the_old_one_and_keeps_the_data(part: Part, path: Path) -> None:
    laid_out(part).write(DATA, 0, [(0, 4)])
    part.lay_out(ID[::-1], SIZE, 5, (5, 1))
    assert read_note(path) == Note(ID[::-1], boot_id(), SIZE, 5, (5, 1))
    assert path.read_bytes()[:SIZE] == DATA


def test_a_layout_for_a_shorter_file_cuts_off_the_rest(part: Part, path: Path) -> None:
    laid_out(part).write(DATA, 0)
    part.lay_out(ID, 3, PIECE, (3,))
    note = read_note(path)
    assert note is not None
    assert (note.size, note.filled, path.read_bytes()[:3]) == (3, (3,), b"abc")
    assert part.length == path.stat().st_size == 4096 + 8 + 60


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 10_000])
def test_the_note_shares_no_block_with_the_data(
    part: Part, path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is safe on the disk is not written again, neither are its neighbours."""
    count = -(-size // 1000)
    writes: list[int] = []
    pwrite = os.pwrite
    part.write(b"x" * size, 0)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: (writes.append(offset), pwrite(fd, data, offset))[1])
    part.lay_out(ID, size, 1000, [0] * count)
    part.note([(index, 1) for index in range(count)])
    assert min(writes) == -(-size // 4096) * 4096
    assert filled_in(path) == (1,) * count
    assert path.read_bytes()[size : min(writes)] == bytes(min(writes) - size)


@given(st.data())
@settings(same_each_time, max_examples=30)
def test_a_note_torn_at_any_byte_is_read_as_nothing_or_as_what_was_written(folder: Path, data: st.DataObject) -> None:
    """Cut off anywhere; or with another byte anywhere in what says whose note it is."""
    size, piece = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 9))
    lengths = [min(piece, size - start) for start in range(0, size, piece)]
    filled = [data.draw(st.integers(0, length)) for length in lengths]
    path = folder / "torn.part"
    part = Part(path)
    part.lay_out(ID, size, piece, filled)
    part.close()
    content = path.read_bytes()
    assert read_note(path) == Note(ID, boot_id(), size, piece, tuple(filled))
    start = len(content) - FOOTER - 8 * len(filled)
    for length in (*reversed(range(start, len(content))), size):
        os.truncate(path, length)
        assert read_note(path) is None
    torn = bytearray(content)
    torn[data.draw(st.integers(len(content) - FOOTER, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(torn)
    assert read_note(path) is None
    path.unlink()


@given(st.binary(max_size=200))
@same_each_time
def test_what_is_no_note_is_none(folder: Path, content: bytes) -> None:
    path = folder / "other.part"
    path.write_bytes(content)
    assert read_note(path) is None


def test_a_note_in_an_earlier_place_is_none(path: Path) -> None:
    """Right behind the data, as it was before it had blocks of its own; what the journal has is gone on with."""
    footer = struct.pack("<8s16s16sQQ", b"LRPART2\n", ID, boot_id(), SIZE, PIECE)
    check = struct.pack("<I", zlib.crc32(footer))
    path.write_bytes(DATA + struct.pack("<3Q", 4, 4, 2) + footer + check)
    assert read_note(path) is None


def test_there_is_no_note_without_a_file(path: Path) -> None:
    assert read_note(path) is None


def test_a_note_that_counts_more_than_a_piece_has_is_none(part: Part, path: Path) -> None:
    laid_out(part, (4, 5, 0))
    assert read_note(path) is None
    laid_out(part, (4, 4, 3))
    assert read_note(path) is None
    laid_out(part, (4, 4, 2))
    assert filled_in(path) == (4, 4, 2)


@pytest.mark.parametrize("count", [2, 4])
def test_a_note_that_counts_other_pieces_than_the_file_has_is_none(part: Part, path: Path, count: int) -> None:
    part.lay_out(ID, SIZE, PIECE, [0] * count)
    assert read_note(path) is None


def test_a_note_with_pieces_of_no_length_is_none(part: Part, path: Path) -> None:
    part.lay_out(ID, SIZE, 0, ())
    assert read_note(path) is None


def test_a_file_that_is_cut_while_its_note_is_read_has_none(
    part: Part, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(part)

    def cut_first(*given: Any) -> int:
        part.cut(SIZE + 3)
        return 0

    monkeypatch.setattr(part_module.zlib, "crc32", lambda data, real=part_module.zlib.crc32: cut_first() or real(data))
    assert read_note(path) is None


# -- the boot -------------------------------------------------------------------------------------------------


def booted(monkeypatch: pytest.MonkeyPatch, said: Callable[[Path], str]) -> bytes:
    monkeypatch.setattr(part_module.Path, "read_text", said)
    return boot_id()


def test_each_boot_has_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    here = boot_id()
    assert (len(here), boot_id()) == (16, here)
    one, other = (booted(monkeypatch, lambda path, number=number: f"{number}\n") for number in range(2))
    assert len({here, one, other}) == 3


def test_without_an_id_no_two_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError

    assert len({booted(monkeypatch, refuse), booted(monkeypatch, refuse)}) == 2


def test_elsewhere_the_id_is_the_time_of_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    ids = []
    for seconds in (1700000000.2, 1700000000.4, 1700000060.0):
        fake = types.SimpleNamespace(boot_time=lambda seconds=seconds: seconds)
        monkeypatch.setitem(sys.modules, "psutil", fake)  # type: ignore[arg-type]
        ids.append(boot_id())
    assert ids[0] == ids[1] != ids[2]


# -- reading and writing --------------------------------------------------------------------------------------


def test_what_was_written_is_read(part: Part) -> None:
    laid_out(part).write(DATA, 0)
    view = memoryview(bytearray(4))
    part.read(view, 3)
    assert bytes(view) == b"defg"


def test_a_read_goes_on_until_all_is_there(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    part.write(DATA, 0)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: real(fd, [views[0][:3]], offset))
    view = memoryview(bytearray(10))
    part.read(view, 0)
    assert bytes(view) == DATA


def test_a_write_goes_on_until_all_is_there(part: Part, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, offset: real(fd, view[:3], offset))
    part.write(DATA, 2)
    assert path.read_bytes() == b"\0\0" + DATA


def test_a_read_behind_the_end_says_where_the_file_ends(part: Part, path: Path) -> None:
    part.write(DATA, 0)
    with pytest.raises(EOFError, match=f"^{path} ends before byte 12$"):
        part.read(memoryview(bytearray(4)), 8)


def test_where_there_is_no_pwrite(part: Part, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "pwrite")
    monkeypatch.delattr(os, "preadv")
    laid_out(part).write(b"abcdef", 0, [(0, 4), (1, 2)])
    part.write(b"ghij", 6, [(1, 4), (2, 2)])
    assert filled_in(path) == (4, 4, 2)
    view = memoryview(bytearray(5))
    part.read(view, 4)
    assert bytes(view) == b"efghi"
    part.cut(6)
    with pytest.raises(EOFError):
        part.read(view, 4)


def test_what_is_behind_is_cut_off(part: Part, path: Path) -> None:
    part.write(DATA, 0)
    assert part.length == 10
    part.cut(4)
    assert (part.length, path.read_bytes()) == (4, b"abcd")


def test_a_sync_syncs_the_data(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    part.sync()
    assert synced == [part.fd]
    monkeypatch.delattr(os, "fdatasync")  # as on macOS and Windows
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(-fd))
    part.sync()
    assert synced == [part.fd, -part.fd]


def test_what_was_given_to_the_kernel_outlives_kill_9(path: Path) -> None:
    """Every write that returned is there, and the note says so."""
    code = f"""
import sys
from pathlib import Path
from launcher_recovery.transfer.partial.part import Part
part = Part(Path({str(path)!r}))
part.lay_out(bytes(16), 1 << 20, 1 << 16, [0] * 16)
for number in range(1 << 10):
    index, within = divmod(number << 10, 1 << 16)
    part.write(bytes([number % 251]) * 1024, number << 10, [(index, within + 1024)])
    print(number + 1, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(100)][-1]
        os.kill(process.pid, signal.SIGKILL)
        told = max([told, *map(int, process.stdout.read().split(b"\n")[:-1])])
    filled = filled_in(path)
    assert filled is not None
    assert sum(filled) >> 10 in (told, told + 1)
    content = path.read_bytes()
    assert all(content[number << 10 : (number + 1) << 10] == bytes([number % 251]) * 1024 for number in range(told))


# -- one at a time --------------------------------------------------------------------------------------------


def test_another_program_that_writes_to_it_is_left_alone(part: Part, path: Path) -> None:
    laid_out(part).write(DATA, 0, [(0, 4)])
    before = open_files()
    with pytest.raises(PartInUseError, match=f"^.*another program is writing to {path}; .*$") as caught:
        Part(path)
    assert (caught.value.errno, caught.value.path) == (errno.EWOULDBLOCK, str(path))
    assert (open_files(), filled_in(path)) == (before, (4, 0, 0))


def test_the_lock_ends_with_the_attempt_also_while_a_sync_is_under_way(part: Part, path: Path) -> None:
    other = os.dup(part.fd)  # what holds the file open as a sync does
    try:
        part.close()
        Part(path).close()
    finally:
        os.close(other)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_it_is_opened_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    part = Part(path)
    part.write(DATA, 0)
    part.close()
    assert path.read_bytes() == DATA


def test_without_the_module_for_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # type: ignore[arg-type]
    one, other = Part(path), Part(path)
    one.close()
    other.close()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Part(tmp_path / "nowhere" / "model.bin.part")


def test_what_another_program_publishes_in_the_same_moment_is_not_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the lock, and gave it back after it had moved the file to its place."""
    destination = path.with_suffix("")
    path.write_bytes(DATA)
    real, calls = fcntl.flock, []

    def flock(fd: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            os.replace(path, destination)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    before = open_files()
    part = Part(path)
    part.write(b"new", 0)
    part.close()
    assert (destination.read_bytes(), path.read_bytes()) == (DATA, b"new")
    assert open_files() == before


def test_where_files_have_no_number_that_stays_it_is_opened_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems make one up for every look."""
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    part = Part(path)
    part.write(DATA, 0)
    part.close()
    assert path.read_bytes() == DATA


# -- the end --------------------------------------------------------------------------------------------------


def test_nothing_is_done_to_it_once_it_is_closed(part: Part, path: Path, tmp_path: Path) -> None:
    """Its descriptor may be that of another file by then."""
    laid_out(part).write(DATA, 0, [(0, 4)])
    before = path.read_bytes()
    part.close()
    part.close()
    calls: list[Callable[[], object]] = [
        lambda: part.write(b"zz", 0),
        lambda: part.note([(0, 1)]),
        lambda: part.lay_out(ID, SIZE, PIECE, (0, 0, 0)),
        lambda: part.cut(0),
        lambda: part.publish(tmp_path / "model.bin"),
        lambda: part.read(memoryview(bytearray(1)), 0),
        part.sync,
    ]
    for call in calls:
        with pytest.raises(PartClosedError, match=r"^the attempt is over$"):
            call()
    assert path.read_bytes() == before


def test_a_write_that_is_under_way_is_finished_before_it_is_closed(
    part: Part, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on, closed = (threading.Event() for _ in range(3))
    real = os.pwrite

    def pwrite(fd: int, view: Any, offset: int) -> int:
        writing.set()
        assert go_on.wait(10)
        assert not closed.is_set()
        return real(fd, view, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    writer = threading.Thread(target=part.write, args=(DATA, 0))
    closer = threading.Thread(target=lambda: (part.close(), closed.set()))
    writer.start()
    assert writing.wait(10)
    closer.start()
    go_on.set()
    for thread in (writer, closer):
        thread.join(10)
    assert closed.is_set()
    assert path.read_bytes() == DATA


def watched(monkeypatch: pytest.MonkeyPatch, path: Path, *names: str) -> list[tuple[str, str, tuple[int, ...] | None]]:
    """What is done to files from now on: the call, the name of what it is done to, and what the note says then."""
    done: list[tuple[str, str, tuple[int, ...] | None]] = []

    def watching(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(what: Any, *more: Any) -> Any:
            of = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)
            done.append((name, os.path.basename(of), filled_in(path)))
            return real(what, *more)

        return call

    for name in names:
        monkeypatch.setattr(os, name, watching(name, getattr(os, name)))
    return done


def test_it_is_published_whole_and_durably(
    part: Part, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long wait for the disk comes while the note is still there: a kill in it costs nothing."""
    destination = tmp_path / "model.bin"
    laid_out(part).write(DATA, 0, [(0, 4), (1, 4), (2, 2)])
    done = watched(monkeypatch, path, "fdatasync", "ftruncate", "fsync", "replace")
    before = open_files()
    part.publish(destination)
    assert done == [
        ("fdatasync", path.name, (4, 4, 2)),
        ("ftruncate", path.name, (4, 4, 2)),
        ("fsync", path.name, None),
        ("replace", path.name, None),
        ("fsync", tmp_path.name, None),
    ]
    assert destination.read_bytes() == DATA
    assert not path.exists()
    assert open_files() == before - 1


def test_both_folders_of_a_staged_partial_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging, models = tmp_path / "staging", tmp_path / "models"
    staging.mkdir()
    models.mkdir()
    part = Part(staging / "model.bin.part")
    part.write(DATA, 0)
    done = watched(monkeypatch, part.path, "fdatasync", "ftruncate", "fsync", "replace")
    part.publish(models / "model.bin")
    assert [(name, of) for name, of, _ in done] == [
        ("fsync", "model.bin.part"),
        ("replace", "model.bin.part"),
        ("fsync", "models"),
        ("fsync", "staging"),
    ]
    assert (models / "model.bin").read_bytes() == DATA


def test_what_was_there_before_is_replaced(part: Part, tmp_path: Path) -> None:
    destination = tmp_path / "model.bin"
    destination.write_bytes(b"what was there before")
    part.write(DATA, 0)
    part.publish(destination)
    assert destination.read_bytes() == DATA


def test_an_empty_file_is_published_without_its_note(part: Part, tmp_path: Path) -> None:
    part.lay_out(ID, 0, PIECE, ())
    part.publish(tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == b""


def test_a_file_that_cannot_be_moved_keeps_its_note(part: Part, path: Path, tmp_path: Path) -> None:
    """Another attempt need not fetch again what the journal does not have yet."""
    destination = tmp_path / "model.bin"
    (destination / "a folder in the way").mkdir(parents=True)
    laid_out(part).write(DATA, 0, [(0, 4), (1, 4), (2, 2)])
    with pytest.raises(OSError, match=r"model\.bin"):
        part.publish(destination)
    assert filled_in(path) == (4, 4, 2)
    assert path.read_bytes()[:SIZE] == DATA
    part.note([(0, 1)])
    assert filled_in(path) == (1, 4, 2)


class Ended(Exception):
    """Somebody does not want it any more."""


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_who_waits_for_the_disk_can_be_told_to_stop_and_loses_nothing(
    part: Part, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The call of the system goes on by itself, and comes to nothing."""
    began, go_on = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        began.set()
        assert go_on.wait(30)

    def check() -> None:
        if began.is_set():
            raise Ended

    monkeypatch.setattr(os, call, slow)
    laid_out(part).write(DATA, 0, [(0, 4), (1, 4), (2, 2)])
    with pytest.raises(Ended):
        part.publish(tmp_path / "model.bin", check)
    go_on.set()
    assert filled_in(path) == (4, 4, 2)
    assert not (tmp_path / "model.bin").exists()
    monkeypatch.undo()
    part.publish(tmp_path / "model.bin", lambda: None)
    assert (tmp_path / "model.bin").read_bytes() == DATA


def test_it_is_asked_a_last_time_just_before_it_is_moved(
    part: Part, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not any more after that: then it has succeeded."""
    done: list[str] = []
    for name in ("fdatasync", "fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (done.append(name), real(*given)))
    laid_out(part).write(DATA, 0)
    part.publish(tmp_path / "model.bin", lambda: done.append("check"))
    asked = [name for number, name in enumerate(done) if name != "check" or done[number - 1] != "check"]
    assert [name for name in asked if name != "check"] == ["fdatasync", "fsync", "replace", "fsync"]
    assert asked[-3:] == ["check", "replace", "fsync"]


def test_an_error_of_the_disk_is_told_by_whoever_waits_for_it(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "fdatasync", fail)
    laid_out(part).write(DATA, 0)
    with pytest.raises(OSError, match="the disk fails"):
        part.publish(tmp_path / "model.bin", lambda: None)
    assert not (tmp_path / "model.bin").exists()


def test_the_error_is_told_also_when_the_note_cannot_be_written_again(
    part: Part, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(part).write(DATA, 0)

    def gone(*given: Any) -> int:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "pwrite", gone)
    monkeypatch.setattr(os, "replace", lambda *given: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    with pytest.raises(PermissionError):
        part.publish(tmp_path / "model.bin")


def test_on_windows_it_is_closed_before_it_is_moved(
    part: Part, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(part).write(DATA, 0, [(0, 4), (1, 4), (2, 2)])
    fd, states = part.fd, []

    def replace(source: Path, target: Path) -> None:
        states.append(is_open(fd))
        raise PermissionError(errno.EACCES, "somebody has it open")

    monkeypatch.setattr(part_module.os, "name", "nt")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError):
        part.publish(tmp_path / "model.bin")
    monkeypatch.undo()
    assert states == [False]
    assert path.read_bytes() == DATA


def test_a_partial_that_is_of_no_use_is_deleted(part: Part, path: Path) -> None:
    laid_out(part)
    before = open_files()
    part.discard()
    assert not path.exists()
    assert open_files() == before - 1
    part.discard()


def test_on_windows_it_is_closed_before_it_is_deleted(part: Part, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd, states, real = part.fd, [], Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        states.append(is_open(fd))
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(part_module.os, "name", "nt")
    part.discard()
    monkeypatch.undo()
    assert (states, path.exists()) == ([False], False)


# -- folders --------------------------------------------------------------------------------------------------


def test_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    before = open_files()
    sync_folder(tmp_path)
    assert synced == [str(tmp_path)]
    assert open_files() == before


def test_on_windows_folders_are_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given))
    monkeypatch.setattr(part_module.os, "name", "nt")
    sync_folder(tmp_path)
    assert opened == []


@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize(
    ("number", "is_told"),
    [
        (errno.EINVAL, False),
        (errno.ENOTSUP, False),
        (errno.EACCES, False),
        (errno.EPERM, False),
        (errno.EIO, True),
        (errno.ENOENT, True),
    ],
)
def test_a_folder_that_cannot_be_synced_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, is_told: bool
) -> None:
    """Some file systems, and some rights, do not allow it: the file is at its place all the same."""

    def refuse(*given: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    if is_told:
        with pytest.raises(OSError, match=os.strerror(number)):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)
