"""What of fixes survives a crash: which one is under way, in a file that is written before anything is done."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from launcher_recovery.fixes.fix import FixConflictError, Say

_FOLDER = "fixes"
_SUFFIX = ".json"


class Journal:
    """The fixes that are under way, of all processes that have one folder.

    Args:
        folder: of the launcher's own data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    @property
    def is_there(self) -> bool:
        """Whether a fix was ever begun in this folder."""
        return self._folder.is_dir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it no other fix is applied or undone, in no thread and no process; a crash ends that too.

        Raises:
            FixConflictError: another one is.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if not _locked(descriptor):
                raise FixConflictError(Say("cannot.busy"))
            yield
        finally:
            os.close(descriptor)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry, found by its "id"; when it returns, that survives a power cut."""
        descriptor, name = tempfile.mkstemp(prefix=".new-", dir=self._folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(entry, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, self._path(entry["id"]))
        if os.name != "nt":
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def forget(self, id: str) -> None:
        """Keep nothing of it any more."""
        with suppress(FileNotFoundError):
            self._path(id).unlink()

    def entries(self) -> list[dict[str, Any]]:
        """All that are kept, oldest first."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with suppress(OSError, ValueError):
                found.append(json.loads(path.read_text(encoding="utf-8")))
        return found

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}{_SUFFIX}"


def _locked(descriptor: int) -> bool:
    """Whether the lock of an open file could be had; the system gives it back when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
