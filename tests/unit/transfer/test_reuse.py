"""A file that is on the disk already is put at its place: whole, durable, and without touching the source."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.disk import reuse
from launcher_recovery.transfer.disk.reuse import WAYS, place, verified
from launcher_recovery.transfer.integrity.checksums import Checksum

BLOCK = 1 << 16
DATA = hashlib.shake_128(b"reuse").digest(2 * BLOCK + 5)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "_BLOCK", BLOCK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / "blob"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "models" / "checkpoints" / "model.safetensors"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder in another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("how", [*WAYS, "auto"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_the_file_is_put_at_its_place_or_nothing_happens(
    source: Path, destination: Path, how: Any, there: bool
) -> None:
    """Whole, alone in its folder, and the source as it was; where a way cannot be gone, that is said."""
    if there:
        destination.parent.mkdir(parents=True)
        destination.write_bytes(b"old")
    before = source.stat()
    try:
        done = place(source, destination, how)
    except RefusedError as error:
        done, said = "", str(error)
    if not done:
        assert how == "reflink", "only this one depends on the file system of the tests"
        assert "the file system cannot do it; use auto" in said
        assert names(destination.parent) == (["model.safetensors"] if there else [])
        return
    assert done == how or (how == "auto" and done in ("reflink", "hardlink"))
    assert destination.read_bytes() == DATA
    assert names(destination.parent) == ["model.safetensors"]
    assert os.path.samefile(source, destination) is (done == "hardlink")
    after = source.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (before.st_size, before.st_mtime_ns, before.st_mode)


@pytest.mark.parametrize("how", ["reflink", "copy"])
def test_writing_to_one_of_them_does_not_change_the_other(source: Path, destination: Path, how: Any) -> None:
    """They share at most what both still have."""
    try:
        place(source, destination, how)
    except RefusedError:
        pytest.skip("this file system has no reflinks")
    with destination.open("r+b") as file:
        file.write(b"changed")
    assert source.read_bytes() == DATA


def test_a_new_file_has_the_rights_that_new_files_have(source: Path, destination: Path) -> None:
    """Not those of a cache that is read-only."""
    source.chmod(0o400)
    mask = os.umask(0o027)
    try:
        place(source, destination, "copy")
    finally:
        os.umask(mask)
    assert destination.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("how", ["hardlink", "copy", "auto"])
def test_a_symbolic_link_stands_for_its_target(source: Path, destination: Path, how: Any, tmp_path: Path) -> None:
    """As the cache of Hugging Face has them."""
    link = tmp_path / "snapshot"
    link.symlink_to(source)
    place(link, destination, how)
    assert not destination.is_symlink()
    assert destination.read_bytes() == DATA
    assert link.is_symlink()


def test_a_symbolic_link_at_the_destination_is_replaced_and_not_followed(source: Path, tmp_path: Path) -> None:
    """What it pointed to stays as it is."""
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_bytes(b"other")
    link.symlink_to(other)
    place(source, link, "copy")
    assert (link.is_symlink(), link.read_bytes(), other.read_bytes()) == (False, DATA, b"other")


@pytest.mark.parametrize("how", WAYS)
def test_one_file_under_both_names_is_left_alone(source: Path, destination: Path, how: Any) -> None:
    """Also under two names."""
    assert place(source, source, how) == "same"
    place(source, destination, "hardlink")
    assert place(source, destination, how) == "same"
    assert names(destination.parent) == ["model.safetensors"]


def test_another_file_system_gets_a_copy(source: Path, elsewhere: Path) -> None:
    """What is asked for by name and cannot be done is refused."""
    assert place(source, elsewhere / "a", "auto") == "copy"
    assert (elsewhere / "a").read_bytes() == DATA
    for how in ("hardlink", "reflink"):
        with pytest.raises(RefusedError, match=f"by {how}: the file system cannot do it"):
            place(source, elsewhere / "b", how)
    assert names(elsewhere) == ["a"]


def test_the_longest_name_has_room(source: Path, tmp_path: Path) -> None:
    """The name in between does not grow with it."""
    place(source, tmp_path / ("n" * 255), "copy")
    assert (tmp_path / ("n" * 255)).stat().st_size == len(DATA)


@pytest.mark.parametrize("how", [*WAYS, "auto"])
def test_what_is_no_file_is_refused(tmp_path: Path, destination: Path, how: Any) -> None:
    """A folder, and a file that is not there."""
    with pytest.raises(RefusedError, match="is no file"):
        place(tmp_path, destination, how)
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "absent", destination, how)
    assert not destination.parent.exists()


def test_an_unknown_way_is_refused(source: Path, destination: Path) -> None:
    """With those that are known."""
    with pytest.raises(RefusedError, match="how='move' is not known; give one of reflink, hardlink, copy, auto"):
        place(source, destination, "move")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["hardlink", "copy"])
def test_a_folder_at_the_destination_stays(source: Path, destination: Path, how: Any) -> None:
    """And nothing is left beside it."""
    destination.mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        place(source, destination, how)
    assert names(destination.parent) == ["model.safetensors"]


class Stopped(Exception):
    """What a check raises."""


@pytest.mark.parametrize("named", [False, True], ids=["O_TMPFILE", "named"])
def test_a_copy_that_is_stopped_leaves_nothing(
    source: Path, destination: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is called between blocks; what was at the destination is still there."""
    destination.parent.mkdir(parents=True)
    destination.write_bytes(b"old")
    calls = []

    def check() -> None:
        calls.append(names(destination.parent))
        if len(calls) == 2:
            raise Stopped

    if named:
        without_unnamed_files(monkeypatch)
    with pytest.raises(Stopped):
        place(source, destination, "copy", check)
    assert len(calls) == 2
    assert all(len(seen) == 1 + named for seen in calls)
    assert destination.read_bytes() == b"old"
    assert names(destination.parent) == ["model.safetensors"]


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have O_TMPFILE answer as on file systems that do not know it, with EISDIR."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)


def test_without_unnamed_files_there_is_a_name_in_between(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on network file systems."""
    without_unnamed_files(monkeypatch)
    assert place(source, destination, "copy") == "copy"
    assert destination.read_bytes() == DATA
    assert names(destination.parent) == ["model.safetensors"]


@pytest.mark.parametrize("answer", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, None])
@pytest.mark.parametrize("first", [0, 1], ids=["at once", "after a block"])
def test_what_the_kernel_cannot_copy_is_read_and_written(
    source: Path, destination: Path, answer: int | None, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where the kernel left off, also when it says that there is nothing (as it did of some file systems)."""
    real, calls = os.copy_file_range, []

    def copy_file_range(from_fd: int, to_fd: int, count: int) -> int:
        calls.append(count)
        if len(calls) <= first:
            return real(from_fd, to_fd, count)
        if answer is None:
            return 0
        raise OSError(answer, "cannot")

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    place(source, destination, "copy")
    assert len(calls) == first + 1
    assert destination.read_bytes() == DATA


def test_a_full_disk_is_no_reason_to_try_another_way(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and nothing is left."""

    def copy_file_range(*given: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    with pytest.raises(OSError, match="full"):
        place(source, destination, "copy")
    assert names(destination.parent) == []


def test_a_source_that_changes_meanwhile_is_not_published(source: Path, destination: Path) -> None:
    """Half of it would be the old one."""

    def check() -> None:
        with source.open("r+b") as file:
            file.write(b"new")
        os.utime(source, ns=(1, 1))

    with pytest.raises(RefusedError, match="changed while it was being copied"):
        place(source, destination, "copy", check)
    assert names(destination.parent) == []


def test_a_process_killed_in_the_middle_of_a_copy_leaves_no_half_file(source: Path, destination: Path) -> None:
    """SIGKILL while the second block is waited for: what was there is there, and the copy is gone."""
    destination.parent.mkdir(parents=True)
    destination.write_bytes(b"old")
    code = (
        "import sys, time, pathlib\n"
        "from launcher_recovery.transfer.disk import reuse\n"
        "reuse._BLOCK = 1 << 16\n"
        "def check():\n    print('copying', flush=True)\n    time.sleep(600)\n"
        "reuse.place(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'copy', check)\n"
    )
    arguments = [sys.executable, "-c", code, str(source), str(destination)]
    root = str(Path(reuse.__file__).parents[2])
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copying\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert destination.read_bytes() == b"old"
    assert [name for name in names(destination.parent) if not name.startswith(".")] == ["model.safetensors"]


# -- verified -------------------------------------------------------------------------------------------------------


def nothing() -> None:
    """No check."""


@pytest.mark.parametrize(
    "checksum",
    [
        Checksum("sha256", hashlib.sha256(DATA).hexdigest()),
        Checksum("md5", hashlib.md5(DATA).hexdigest()),
        Checksum("autov2", hashlib.sha256(DATA).hexdigest()[:10]),
    ],
    ids=str,
)
def test_a_source_is_trusted_only_after_it_was_read(source: Path, checksum: Checksum) -> None:
    """Every byte of it, each time."""
    calls: list[int] = []
    assert verified(source, checksum, lambda: calls.append(1))
    assert len(calls) == 3
    with source.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([DATA[-1] ^ 1]))
    assert not verified(source, checksum, nothing)


def test_what_cannot_be_read_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, a folder, a pipe (which would be waited for), and one on a broken disk."""
    checksum = Checksum("sha256", hashlib.sha256(b"").hexdigest())
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", ".", "pipe"):
        assert not verified(tmp_path / name, checksum, nothing)
    (tmp_path / "file").write_bytes(b"")
    assert verified(tmp_path / "file", checksum, nothing)
    monkeypatch.setattr(Path, "open", lambda *given, **named: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    assert not verified(tmp_path / "file", checksum, nothing)


def test_a_weak_checksum_is_not_enough_to_trust_a_file(source: Path) -> None:
    """Another file may well have the same CRC-32."""
    hasher = Checksum("crc32", "00000000").hasher()
    hasher.update(DATA)
    assert not verified(source, Checksum("crc32", hasher.hexdigest()), nothing)


def test_what_the_check_raises_ends_the_reading(source: Path) -> None:
    """Whatever it is, also an error such as those of files."""
    checksum = Checksum("sha256", hashlib.sha256(DATA).hexdigest())

    def check() -> None:
        raise PermissionError("stopped")

    with pytest.raises(PermissionError, match="stopped"):
        verified(source, checksum, check)


def test_a_file_that_is_written_to_while_it_is_read_is_not_trusted(source: Path) -> None:
    """Its first bytes may be others by now."""
    checksum = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
    assert not verified(source, checksum, lambda: os.utime(source, ns=(1, 1)))
