"""Puts a file that is on the disk already at another place as well: shared, linked or copied, whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Literal

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests
from launcher_recovery.transfer.partial.part import sync_folder

How = Literal["reflink", "hardlink", "copy", "auto"]
WAYS: tuple[How, ...] = ("reflink", "hardlink", "copy")
"""In the order in which "auto" tries them: the first two take no space and no time."""

_BLOCK = 1 << 22
_FICLONE = 0x40049409  # <linux/fs.h>, where Python does not know it (before 3.12)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# What systems and file systems say that cannot do a thing: ioctl_ficlone(2), link(2), copy_file_range(2), open(2).
_CANNOT = frozenset(
    {
        errno.EBADF,
        errno.EINVAL,
        errno.EISDIR,  # O_TMPFILE
        errno.EMLINK,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.ETXTBSY,
        errno.EXDEV,
    }
)


def place(source: Path, destination: Path, how: How = "auto", check: Callable[[], None] = lambda: None) -> str:
    """Make `destination` a file with the content of `source`, at once and durably; what was there is replaced.

    Args:
        source: stays as it is; a symbolic link stands for its target.
        destination: nobody ever sees half a file there, also after a kill or a power cut.
        how: "reflink" shares the blocks of the disk until one of the files is written to (Btrfs, XFS and others, on
            Linux), "hardlink" makes another name of the very same file, "copy" copies, "auto" takes the first that
            can be done.
        check: is called between the blocks of a copy; what it raises ends the call, and nothing is left behind.

    Returns:
        Which of the three it was, or "same" when both are one file already.

    Raises:
        RefusedError: `source` is no file, changed meanwhile, or what was asked for cannot be done there.
        OSError: the disk is full, a folder cannot be written to, ….
    """
    if how != "auto" and how not in WAYS:
        raise RefusedError(f"how={how!r} is not known; give one of {', '.join(WAYS)}, auto")
    source = source.resolve(strict=True)
    if not source.is_file():
        raise RefusedError(f"{source} is no file; give a file whose content {destination} is to have")
    if destination.exists() and os.path.samefile(source, destination):
        return "same"
    destination.parent.mkdir(parents=True, exist_ok=True)
    for way in WAYS if how == "auto" else (how,):
        if _MAKERS[way](source, destination, check):
            return way
    raise RefusedError(f"{source} cannot be used for {destination} by {how}: the file system cannot do it; use auto")


def verified(source: Path, checksum: Checksum, check: Callable[[], None]) -> bool:
    """Whether the file has that checksum now, and did not change while it was read.

    Args:
        source: a file; one that is not there, or cannot be read, does not have it.
        checksum: of the whole file; one that is no proof, such as CRC-32, never suffices.
        check: is called between blocks of 4 MiB; what it raises ends the call.
    """
    if not checksum.is_proof or not source.is_file():
        return False
    digests = Digests([checksum])
    buffer = memoryview(bytearray(_BLOCK))
    try:
        file = source.open("rb", buffering=0)
    except OSError:
        return False
    with file:
        before = _signature(file.fileno())
        while count := _read_into(file, buffer):
            digests.update(buffer[:count])
            check()
        return not digests.wrong() and _signature(file.fileno()) == before


def _read_into(file: FileIO, buffer: memoryview) -> int:
    try:
        return file.readinto(buffer)
    except OSError:  # a damaged disk
        return 0


def _hardlink(source: Path, destination: Path, check: Callable[[], None]) -> bool:
    temporary = _temporary(destination)
    try:
        if os.name != "nt":
            _sync(source)
        os.link(source, temporary)
    except OSError as error:
        return _cannot(error)
    _publish(temporary, destination)
    return True


def _reflink(source: Path, destination: Path, check: Callable[[], None]) -> bool:
    return _with_new_file(source, destination, _share)


def _copy(source: Path, destination: Path, check: Callable[[], None]) -> bool:
    return _with_new_file(source, destination, lambda from_fd, to_fd: _copy_all(from_fd, to_fd, check))


_MAKERS = {"reflink": _reflink, "hardlink": _hardlink, "copy": _copy}


def _with_new_file(source: Path, destination: Path, fill: Callable[[int, int], bool]) -> bool:
    """Make the destination a new file that `fill` was able to fill from the source."""
    from_fd = os.open(source, os.O_RDONLY | _BINARY)
    try:
        before = _signature(from_fd)
        temporary = _temporary(destination)
        to_fd, is_named = _new_file(temporary)
        try:
            try:
                if not fill(from_fd, to_fd):
                    return False
                if _signature(from_fd) != before or os.fstat(to_fd).st_size != before[0]:
                    raise RefusedError(f"{source} changed while it was being copied to {destination}")
                os.fsync(to_fd)
                if not is_named:
                    _name(to_fd, temporary)
                    is_named = True
            finally:
                os.close(to_fd)
            _publish(temporary, destination)
            is_named = False
        finally:
            if is_named:
                temporary.unlink(missing_ok=True)
    finally:
        os.close(from_fd)
    return True


def _share(from_fd: int, to_fd: int) -> bool:
    """Have the new file share the blocks of the old one (ioctl_ficlone(2)); False where that cannot be done."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(to_fd, getattr(fcntl, "FICLONE", _FICLONE), from_fd)
    except OSError as error:
        return _cannot(error)
    return True


def _copy_all(from_fd: int, to_fd: int, check: Callable[[], None]) -> bool:
    """Copy from the beginning to the end, inside the kernel where it can."""
    in_kernel = getattr(os, "copy_file_range", None)
    while True:
        count = 0
        if in_kernel is not None:
            try:
                count = in_kernel(from_fd, to_fd, _BLOCK)
            except OSError as error:
                _cannot(error)
        if not count:  # it cannot, or this is the end; both files are where they were
            in_kernel = None
            block = os.read(from_fd, _BLOCK)
            if not block:
                return True
            _write(to_fd, block)
        check()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _new_file(temporary: Path) -> tuple[int, bool]:
    """A new file to write to, and whether it has that name already; one without a name is gone after a kill."""
    if sys.platform == "linux" and os.path.exists("/proc/self/fd"):
        try:
            return os.open(temporary.parent, os.O_WRONLY | os.O_TMPFILE | _BINARY, 0o666), False
        except OSError as error:
            _cannot(error)
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), True


def _name(fd: int, path: Path) -> None:
    # open(2), O_TMPFILE; with a folder given, Python calls linkat(2) so that it follows the link.
    folder = os.open(path.parent, os.O_RDONLY | _BINARY)
    try:
        os.link(f"/proc/self/fd/{fd}", path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _publish(temporary: Path, destination: Path) -> None:
    try:
        os.replace(temporary, destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(destination.parent)


def _temporary(destination: Path) -> Path:
    """A name beside the destination that no other call has, however long that of the destination is."""
    return destination.parent / f".{secrets.token_hex(8)}.part"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | _BINARY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _signature(fd: int) -> tuple[int, int, int]:
    """Size and times; another one says that the file was written to."""
    found = os.fstat(fd)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _cannot(error: OSError) -> Literal[False]:
    """False when the error says that a way cannot be gone there; any other is raised again."""
    if error.errno not in _CANNOT:
        raise error
    return False
