"""Has the blocks of a file reserved before it is written, where the file system can do that at no cost.

A disk that is too small is then found out at the start, nobody else can take the room meanwhile, and the file lies in
few pieces.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
from collections.abc import Callable
from errno import EDQUOT, EFBIG, EINTR, EIO, ENOSPC
from pathlib import Path
from typing import Any

from launcher_recovery.errors import NoSpaceError

# Linux: fallocate(2), the file's size stays as it is.
_KEEP_SIZE = 0x01
# macOS: fcntl(2) and <sys/fcntl.h>; all or nothing, behind what the file has already.
_F_PREALLOCATE, _F_GETPATH, _F_ALLOCATEALL, _F_PEOFPOSMODE = 42, 50, 0x4, 3
# Everything else means that it cannot be done here, and the file is written all the same.
_WORTH_TELLING = (ENOSPC, EDQUOT, EFBIG, EIO)
# Reserving is no promise there but takes the memory at once, before a byte has arrived: 0.6 s and 1 GiB of RAM for a
# file of 1 GiB.
_IN_MEMORY = ("tmpfs", "ramfs")


def preallocate(descriptor: int, size: int) -> bool:
    """Reserve room for `size` bytes of an open file, whose size stays what it is. Call it before anything writes to it.

    It never writes zeros, as glibc's posix_fallocate(3) does where the file system cannot reserve.

    Returns:
        Whether all of it is reserved; False where the file system cannot, or only at a cost.

    Raises:
        NoSpaceError: there is not enough room, or a quota forbids it; nothing more than before is reserved then.
        OSError: the file system takes no files of that size, or does not answer.
    """
    if size <= allocated_bytes(descriptor):
        return True
    if sys.platform == "linux":
        reserve = _fallocate
        if _file_system_of(descriptor) in _IN_MEMORY:
            return False
    elif sys.platform == "darwin":
        reserve = _f_preallocate
    else:
        return False
    number = reserve(descriptor, size)
    if number in _WORTH_TELLING:
        raise _refused(descriptor, size, number)
    # Some say yes and reserve nothing, as ZFS does.
    return number == 0 and allocated_bytes(descriptor) >= size


def allocated_bytes(file: int | str | os.PathLike[str]) -> int:
    """Bytes that a file, given by path or descriptor, takes on the disk; 0 when it is not there.

    Where the system does not count blocks, its size.
    """
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return 0
    blocks: int | None = getattr(found, "st_blocks", None)
    return found.st_size if blocks is None else blocks * 512


def _refused(descriptor: int, size: int, number: int) -> OSError:
    needed = size - allocated_bytes(descriptor)
    with contextlib.suppress(OSError):
        # What could be reserved before the disk was full would stay so, and be missing elsewhere.
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)
        needed = size - allocated_bytes(descriptor)
    path = _path_of(descriptor)
    if number not in (ENOSPC, EDQUOT):
        return OSError(number, os.strerror(number), path)
    found = os.fstatvfs(descriptor)
    return NoSpaceError(os.path.dirname(path), needed, found.f_bavail * found.f_frsize, number)


# -- the systems ----------------------------------------------------------------------------------------


@functools.cache
def _linux_fallocate() -> Callable[..., int] | None:
    library = ctypes.CDLL(None, use_errno=True)
    # 64 bits also on machines of 32; musl has these under the plain name alone.
    function: Any = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def _fallocate(descriptor: int, size: int) -> int:
    """fallocate(2): 0, or the number of the error; -1 where the C library has none."""
    function = _linux_fallocate()
    if function is None:
        return -1
    while function(descriptor, _KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        if number != EINTR:
            return number
    return 0


def _f_preallocate(descriptor: int, size: int) -> int:
    """F_PREALLOCATE of fcntl(2) on macOS: 0, or the number of the error."""
    import fcntl

    missing = size - allocated_bytes(descriptor)
    request = struct.pack("=IiqqQ", _F_ALLOCATEALL, _F_PEOFPOSMODE, 0, missing, 0)
    try:
        fcntl.fcntl(descriptor, _F_PREALLOCATE, request)
    except OSError as error:
        return error.errno or -1
    return 0


def _path_of(descriptor: int) -> str:
    """The path of an open file, as far as the system tells it."""
    with contextlib.suppress(OSError):
        if sys.platform == "darwin":
            import fcntl

            return os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).partition(b"\0")[0])
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return os.getcwd()


def _file_system_of(descriptor: int) -> str | None:
    """The kind of file system, such as "ext4", by proc_pid_mountinfo(5); None when it is not listed there."""
    device = os.fstat(descriptor).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            if before.split(" ", 3)[2] == wanted:
                return after.partition(" ")[0]
    return None
