"""The folder of bodies that are kept, so that a later attempt or process of the same operation goes on with them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from launcher_recovery.redaction import Redactor, redact_url
from launcher_recovery.room import free_bytes
from launcher_recovery.transfer.healing.body_log import SPARE_BYTES, BodyLog, Head, read_head, write_head
from launcher_recovery.transfer.http.representation import Representation

logger = logging.getLogger("launcher_recovery")

SMALLEST = 1 << 20
"""Bytes of a body below which it is not kept: to ask for all of it again costs less than to look after a file."""

_SUFFIX = ".body"
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# What is about the connection or the one answer, and not about what is sent (RFC 9110 §7.6.1, §8.6, §14.4; RFC 6265).
_NOT_KEPT = frozenset(
    {"connection", "content-length", "content-range", "keep-alive", "set-cookie", "trailer", "transfer-encoding"}
)


class KeptBodies:
    """The folder, with a folder for each operation in it. Safe to use from several threads.

    What is kept is known by the operation and the address. Only one response at a time has it; when nothing can be
    kept, that is told of once.

    Args:
        folder: need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[Path, BodyLog] = weakref.WeakValueDictionary()
        self._has_complained = False

    def find(self, operation_id: str, url: str, attempt: int) -> BodyLog | None:
        """What is kept of a body, opened for an attempt.

        Returns:
            None when there is nothing, or another response of the same attempt has it. From one of an earlier attempt
            it is taken: that was dropped when its attempt failed, and something still holds on to it. None as well
            when the disk has no room for what the handler is going to write; then it is deleted.
        """
        path = self._path(operation_id, url)
        if not path.exists():
            return None
        with self._lock:
            found = self._opened(path, attempt, None)
        if found is not None and not self._has_room(found.head.size):
            found.delete()
            return None
        return found

    def begin(
        self,
        operation_id: str,
        url: str,
        attempt: int,
        representation: Representation,
        headers: Iterable[tuple[str, str]],
        had: int = 0,
    ) -> BodyLog | None:
        """Begin to keep a body, in place of what was kept of it.

        Args:
            headers: of its answer; those that hold secrets are left out.
            had: see `Head`.

        Returns:
            None when it is too small or of unknown size, when another response of this attempt keeps it, or when
            nothing can be kept.
        """
        if representation.size is None or representation.size < SMALLEST:
            return None
        path = self._path(operation_id, url)
        with self._lock:
            return self._opened(path, attempt, Head(representation, _without_secrets(headers), had))

    def drop(self, operation_id: str) -> None:
        """Delete what is kept for an operation."""
        folder = self._folder_of(operation_id)
        with self._lock:
            for path, log in list(self._open.items()):
                if path.parent == folder:
                    log.close()
        _delete(folder, None)

    def clean(self, older_than: datetime) -> None:
        """Delete what was not written to since `older_than`."""
        with contextlib.suppress(OSError):
            for folder in list(self.folder.iterdir()):
                if folder.is_dir() and not folder.is_symlink():
                    _delete(folder, older_than.timestamp())

    def _has_room(self, size: int) -> bool:
        try:
            return free_bytes(self.folder) >= size + SPARE_BYTES
        except OSError:
            return True  # who knows

    def _folder_of(self, operation_id: str) -> Path:
        return self.folder / hashlib.sha256(operation_id.encode()).hexdigest()[:32]

    def _path(self, operation_id: str, url: str) -> Path:
        # Without its secrets: a signature is another one each time. Whether it is the same body, validators tell.
        name = hashlib.sha256(f"GET {redact_url(url)}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self._folder_of(operation_id) / f"{name}{_SUFFIX}"

    def _opened(self, path: Path, attempt: int, new: Head | None) -> BodyLog | None:
        """The log at `path`, or a new one that begins with `new`."""
        holder = self._open.get(path)
        if holder is not None and holder.is_open:
            if holder.attempt >= attempt:
                return None
            holder.close()
        fd = None
        try:
            if new is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | _FLAGS | (0 if new is None else os.O_CREAT), 0o600)
            log = self._log(path, fd, attempt, new) if _is_ours_alone(fd) else None
        except OSError as error:
            log = None
            if not isinstance(error, FileNotFoundError) or new is not None:
                self._complain(f"{self.folder} cannot be used: {error}")
        if log is not None:
            self._open[path] = log
        elif fd is not None:
            os.close(fd)
        return log

    def _log(self, path: Path, fd: int, attempt: int, new: Head | None) -> BodyLog | None:
        if new is not None:
            os.ftruncate(fd, 0)
            return BodyLog(path, fd, new, write_head(fd, new), attempt, self._complain)
        found = read_head(fd)
        if found is None:
            path.unlink()
            return None
        return BodyLog(path, fd, *found, attempt, self._complain)

    def _complain(self, why: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            logger.warning("what arrives is not kept for later attempts: %s", why)


def _without_secrets(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    redactor = Redactor()
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _NOT_KEPT and redactor.value({name: value}) == {name: value}
    ]


def _is_ours_alone(fd: int) -> bool:
    """Whether no other process has it open, as far as that can be told."""
    try:
        import fcntl
    except ImportError:  # Windows, where one process runs an operation all the same
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _delete(folder: Path, older_than: float | None) -> None:
    """Delete the bodies in the folder of an operation, and the folder itself once it is empty."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if path.suffix == _SUFFIX and (older_than is None or path.stat().st_mtime < older_than):
                path.unlink()
        folder.rmdir()
