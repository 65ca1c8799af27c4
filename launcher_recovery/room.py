"""Room on a disk: how much there is, and what an operation that waits for it, the disk, or a file on it, looks at."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from pathlib import Path

# Where nobody knows how much is needed, it goes on with so much more room than there was, or with a hundredth of a
# small disk: what comes and goes by itself, such as a log, is no reason to try again.
_MORE = 64 << 20
# What is written to find out whether a quota lets us. A quota cannot be asked for in a way that all file systems have.
_PROBE = 1 << 20

_UNITS = ("B", "kB", "MB", "GB", "TB")


def amount(count: float) -> str:
    """Bytes as people read them, such as 640 kB, 4.2 MB or 6.94 GB (powers of 1000)."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or count >= 100 else 2 if unit >= 3 else 1 if count < 10 else 0
    number = f"{count:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if digits else number} {_UNITS[unit]}"


def nearest(path: str | os.PathLike[str]) -> Path:
    """`path`, or the nearest folder above it that is there."""
    found = Path(os.path.abspath(path))
    while not found.exists() and found != found.parent:
        found = found.parent
    return found


def free_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes that this user may still write to the disk of `folder`, which need not be there yet.

    What the system keeps for itself is not among them (`f_bavail` of statvfs(3), not `f_bfree`).

    Raises:
        OSError: the disk cannot be asked.
    """
    return room_of(folder)[0]


def room_of(folder: str | os.PathLike[str]) -> tuple[int, int]:
    """Bytes that are free for this user, and in all."""
    if hasattr(os, "statvfs"):
        found = os.statvfs(nearest(folder))
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    import shutil

    usage = shutil.disk_usage(nearest(folder))
    return usage.free, usage.total


def device_of(path: str | os.PathLike[str]) -> int:
    """The number of the file system on which `path` is, or would come to be."""
    return nearest(path).stat().st_dev


class Awaited(abc.ABC):
    """What an operation waits for. Called, it gives None once that is there, else what to tell people meanwhile."""

    ends: str
    """When the wait is over, as a sentence."""

    @property
    @abc.abstractmethod
    def told(self) -> str:
        """What was missing when the operation failed, as a sentence."""

    @abc.abstractmethod
    def missing(self) -> str | None:
        """What is missing now, as a sentence; None: nothing."""

    def __call__(self) -> str | None:
        missing = self.missing()
        return None if missing is None else f"{missing} {self.ends}"


class RoomThere(Awaited):
    """Waits for room on the disk of `folder`.

    Args:
        needed, free: bytes, as they were when the operation failed; None: unknown.
        look: gives both as they are now; None: `needed` stays as it is.
    """

    ends = "It goes on by itself as soon as there is room."

    def __init__(
        self,
        folder: str,
        needed: int | None = None,
        free: int | None = None,
        look: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._folder, self._needed, self._free = folder, needed, free
        self._look = look
        self._enough: int | None = None

    @property
    def told(self) -> str:
        if self._needed is None or self._free is None:
            return f"The disk with {self._folder} is full."
        return self._too_little(self._needed, self._free) or f"The disk with {self._folder} is full."

    def missing(self) -> str | None:
        if not _takes_more_files(self._folder):
            return f"The disk with {self._folder} can take no more files, however small; some have to be deleted."
        if self._look is not None:
            return self._too_little(*self._look())
        free, total = room_of(self._folder)
        if self._needed is not None:
            return self._too_little(self._needed, free)
        if self._enough is None:
            self._enough = free + min(_MORE, total // 100)
        if free >= self._enough:
            return None
        if free < _MORE:
            return f"The disk with {self._folder} is full: {amount(free)} are free."
        # What failed has cleaned up after itself, or needed very much at once.
        return f"There was no room left on the disk with {self._folder}, where {amount(free)} are free now."

    def _too_little(self, needed: int, free: int) -> str | None:
        if free >= needed:
            return None
        return f"There is not enough room on the disk: {amount(needed - free)} are missing in {self._folder}."


class QuotaThere(Awaited):
    """Waits until this user may write to `folder` again, where a quota is used up: it tries with a small file.

    Args:
        needed: bytes; None: unknown.
    """

    ends = RoomThere.ends

    def __init__(self, folder: str, needed: int | None = None) -> None:
        self._folder = folder
        self._size = _PROBE if needed is None else max(1, min(_PROBE, needed))

    @property
    def told(self) -> str:
        return f"What this user may store in {self._folder} is used up (a quota)."

    def missing(self) -> str | None:
        import tempfile  # which few processes need

        try:
            with tempfile.TemporaryFile(dir=nearest(self._folder), buffering=0) as file:
                file.write(bytes(self._size))
                os.fsync(file.fileno())  # some file systems say it only then
        except OSError as error:
            if error.errno in (EDQUOT, ENOSPC):
                return self.told
            raise
        return None


class FolderThere(Awaited):
    """Waits until `folder` is there again."""

    ends = "It goes on by itself as soon as the folder is back."

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @property
    def told(self) -> str:
        return f"The folder {self._folder} is not there any more: its disk was unplugged, or it was deleted."

    def missing(self) -> str | None:
        return None if os.path.isdir(self._folder) else self.told


class FileFree(Awaited):
    """Waits until no other program writes to the file `path`, which has it locked meanwhile."""

    ends = "It goes on by itself when that has ended."

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def told(self) -> str:
        return f"Another program is writing to {self._path}."

    def missing(self) -> str | None:
        return self.told if _is_locked(self._path) else None


def _is_locked(path: str) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows, where no partial is locked
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # whoever wrote it has put it at its place
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _takes_more_files(folder: str) -> bool:
    if not hasattr(os, "statvfs"):
        return True
    found = os.statvfs(nearest(folder))
    return found.f_files == 0 or found.f_favail > 0  # 0 in all: the file system does not count them
