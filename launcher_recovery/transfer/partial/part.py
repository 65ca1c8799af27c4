"""The partial file: written at any place, with a note behind the data of how far each piece is filled.

The note is written right after the data, so that after kill -9 it says what is there to the byte: what a process has
given to the kernel stays as long as that runs. It holds the id of the boot; after a power cut it says nothing, and the
journal in the store does, which is written only after the data was synced.

It begins at a block of its own. Data that is safe on the disk is never written again, nor is what shares a block with
it, since a disk that loses its power in the middle of that may lose all of the block.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from launcher_recovery.errors import PartInUseError, RecoveryError

# Magic, id of the transfer, digest of the boot's id, size, bytes of a piece; a checksum of these follows.
_FOOTER = struct.Struct("<8s16s16sQQ")
_CHECK = struct.Struct("<I")
_COUNT = struct.Struct("<Q")
_MAGIC = b"LRPART3\n"
_FOOTER_BYTES = _FOOTER.size + _CHECK.size
# What a disk writes at once, and a file system as well; those that give out larger blocks write parts of them.
_BLOCK = 4096
# Where folders cannot be synced, or not by this user.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)
# How often a file that is not at its path any more, since another program has just published it, is let go.
_MOST_LOOKS = 10
# What is given to the kernel at once. It takes a block of memory of that size for it, and large ones are what a virtual
# machine has given back to its host: having them returned takes ten times as long as the copying (measured on ext4).
_AT_ONCE = 256 << 10
# How often it is looked whether the disk is to be waited for still.
_LOOK_S = 0.02

Data = Union[bytes, bytearray, memoryview]


class PartClosedError(RecoveryError):
    """The attempt that the partial was opened for is over; nothing is written any more."""


def boot_id() -> bytes:
    """16 bytes that differ from one start of the machine to the next."""
    return hashlib.sha256(_boot().encode()).digest()[:16]


def _boot() -> str:
    if sys.platform == "linux":
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text()
        except OSError:
            return os.urandom(16).hex()  # nothing that was noted is trusted then
    import psutil  # everywhere else

    return f"{psutil.boot_time():.0f}"


@dataclass(frozen=True)
class Note:
    """What stands behind the data: how far each piece is filled."""

    transfer_id: bytes
    boot: bytes
    size: int
    piece: int
    filled: tuple[int, ...]


def read_note(path: Path) -> Note | None:
    """The note in a partial; None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            if length < _FOOTER_BYTES:
                return None
            file.seek(length - _FOOTER_BYTES)
            footer = file.read(_FOOTER_BYTES)
            magic, transfer_id, boot, size, piece = _FOOTER.unpack_from(footer)
            if magic != _MAGIC or _CHECK.unpack_from(footer, _FOOTER.size)[0] != zlib.crc32(footer[: _FOOTER.size]):
                return None
            if not piece:
                return None
            count = -(-size // piece)
            start = _start_of_note(size)
            if length != start + count * _COUNT.size + _FOOTER_BYTES:
                return None
            file.seek(start)
            filled = struct.unpack(f"<{count}Q", file.read(count * _COUNT.size))
    except (OSError, struct.error):  # the latter: it was cut meanwhile
        return None
    if any(number > min(piece, size - index * piece) for index, number in enumerate(filled)):
        return None
    return Note(transfer_id, boot, size, piece, filled)


class Part:
    """An open partial. Safe to use from several threads; nothing is written once it is closed.

    Args:
        path: where it lies; its folder is there.

    Raises:
        PartInUseError: another program has it open to write. Where file locks do not work (some network file
            systems), that is not noticed here; the claim in the store keeps others away as well.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._size: int | None = None
        self._fd = _opened(path)
        self._is_open = True

    @property
    def fd(self) -> int:
        return self._fd

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def length(self) -> int:
        """Bytes of the file, the note included."""
        return os.fstat(self._fd).st_size

    def lay_out(self, transfer_id: bytes, size: int, piece: int, filled: Sequence[int]) -> None:
        """Make it a partial of a file of `size` bytes: cut off what is behind, and write the note."""
        footer = _FOOTER.pack(_MAGIC, transfer_id, boot_id(), size, piece)
        note = struct.pack(f"<{len(filled)}Q", *filled) + footer + _CHECK.pack(zlib.crc32(footer))
        with self._lock:
            self._check_open()
            self._size = size
            if self.length > size:
                os.ftruncate(self._fd, size)
            _write(self._fd, note, _start_of_note(size))

    def write(self, data: Data, offset: int, filled: Sequence[tuple[int, int]] = ()) -> None:
        """Write `data` at `offset`, then note for each (piece, bytes) how far it is filled."""
        with self._lock:
            self._check_open()
            _write(self._fd, data, offset)
            for index, number in filled:
                assert self._size is not None
                _write(self._fd, _COUNT.pack(number), _start_of_note(self._size) + index * _COUNT.size)

    def note(self, filled: Sequence[tuple[int, int]]) -> None:
        """Note for each (piece, bytes) how far it is filled, without writing data."""
        self.write(b"", 0, filled)

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` with what is there from `offset` on.

        Raises:
            EOFError: there is less.
        """
        self._check_open()
        done = 0
        while done < len(view):
            count = _read_into(self._fd, view[done:], offset + done, self._lock)
            if not count:
                raise EOFError(f"{self.path} ends before byte {offset + len(view)}")
            done += count

    def cut(self, length: int) -> None:
        """Cut off what is behind `length` bytes."""
        with self._lock:
            self._check_open()
            os.ftruncate(self._fd, length)

    def sync(self) -> None:
        """Have what was written so far survive a power cut."""
        self._check_open()
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def publish(self, destination: Path, check: Callable[[], object] | None = None) -> None:
        """Make it the destination, durably and at once: nobody ever sees half a file there.

        Args:
            check: called again and again while the disk is waited for. What it raises ends that at once, and this with
                it; from when the file is at its place, it is not asked any more: then it has succeeded.

        Raises:
            OSError: it cannot be moved there; what is there of it, and its note, stay as they are.
            Exception: what `check` raises; so does it all.
        """
        # The long wait comes while the note is still there, so that a kill in it costs nothing.
        if self._size is not None:
            _do(self.sync, check)
        with self._lock:
            self._check_open()
            note = self._cut_note()
            _do(lambda: os.fsync(self._fd), check, lambda: self._put_back(note))
            if os.name == "nt":  # a file that is open cannot be renamed there
                self._close()
            try:
                os.replace(self.path, destination)
            except OSError:
                self._put_back(note)
                raise
        sync_folder(destination.parent)
        if self.path.parent != destination.parent:
            sync_folder(self.path.parent)
        self.close()

    def _cut_note(self) -> bytes:
        if self._size is None:
            return b""
        start = _start_of_note(self._size)
        note = os.pread(self._fd, max(0, self.length - start), start) if hasattr(os, "pread") else b""
        os.ftruncate(self._fd, self._size)
        return note

    def _put_back(self, note: bytes) -> None:
        if self._is_open and self._size is not None:
            with contextlib.suppress(OSError):
                _write(self._fd, note, _start_of_note(self._size))

    def discard(self) -> None:
        """Delete it, and end."""
        with self._lock:
            if os.name == "nt":
                self._close()
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """End; whoever is in the middle of a write finishes it first."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            # Said before it is closed: a sync that is under way in another thread would keep the lock until it ends.
            _unlock_file(self._fd)
            os.close(self._fd)

    def _check_open(self) -> None:
        if not self._is_open:
            raise PartClosedError("the attempt is over")


def _do(
    job: Callable[[], object], check: Callable[[], object] | None, undo: Callable[[], object] = lambda: None
) -> None:
    """Have a call of the system made, which nothing can end, by a thread that is left to it when `check` raises.

    Args:
        undo: called then.
    """
    if check is None:
        job()
        return
    is_done, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)
        finally:
            is_done.set()

    threading.Thread(target=run, name="recovery-sync", daemon=True).start()
    while True:
        has_ended = is_done.wait(_LOOK_S)
        if errors:
            raise errors[0]
        try:
            check()
        except BaseException:
            undo()
            raise
        if has_ended:
            return


def _start_of_note(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where folders can be synced."""
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _opened(path: Path) -> int:
    """The descriptor of the file at `path`, made if need be, and locked."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    looks = 0
    while True:
        fd = os.open(path, flags, 0o666)
        looks += 1
        try:
            _lock_file(fd, path)
            # Some network file systems make up another number for every look at a file: one cannot go on for ever.
            if _lies_at(fd, path) or looks == _MOST_LOOKS:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _lies_at(fd: int, path: Path) -> bool:
    """Whether an open file is the one at `path`: whoever had the lock before may have published it meanwhile."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _write(fd: int, data: Data, offset: int) -> None:
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            done = os.pwrite(fd, view[:_AT_ONCE], offset)
        else:  # Windows; the lock of the partial keeps others from moving the position
            os.lseek(fd, offset, os.SEEK_SET)
            done = os.write(fd, view)
        view, offset = view[done:], offset + done


def _read_into(fd: int, view: memoryview, offset: int, lock: threading.Lock) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    with lock:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


def _unlock_file(fd: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        return  # a file system without locks


def _lock_file(fd: int, path: Path) -> None:
    """Keep other programs from writing to it, where that can be done."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PartInUseError(str(path)) from None
    except OSError:
        return  # a file system without locks
