"""The file of a SQLite store: where it is, whether it can be one, and what to say when it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import platformdirs

from launcher_recovery.errors import StoreError

_HEADER = b"SQLite format 3\x00"
_FULL = "disk is full"
# A new database with its log needs more than this.
_NO_ROOM_BYTES = 256 << 10


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """`RECOVERY_PERSISTENCE_PATH`, else `recovery.db` in the user's state folder."""
    given = environ.get("RECOVERY_PERSISTENCE_PATH")
    if given:
        return Path(given)
    return Path(platformdirs.user_state_dir("launcher-recovery", appauthor=False)) / "recovery.db"


def check_file(path: Path, is_open_here: bool = False) -> None:
    """Refuse what is no database before SQLite touches it, and make the folder and file private.

    A file that this process has open already is not read: closing it again would drop the locks that SQLite holds
    on it (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    try:
        if path.is_dir():
            raise StoreError(
                f"{path} is a folder, but RECOVERY_PERSISTENCE_PATH must name a file, such as {path / 'recovery.db'}."
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
        if is_open_here:
            return
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
    except OSError as error:
        raise StoreError(
            f"The recovery database {path} cannot be opened ({error.strerror or error}): "
            "make its folder writable, or name another file with RECOVERY_PERSISTENCE_PATH."
        ) from error
    if start and start != _HEADER:
        raise StoreError(
            f"{path} is not a SQLite database, it was left as it is: move it away, "
            "or name another file with RECOVERY_PERSISTENCE_PATH."
        )


def set_aside(path: Path, at: datetime) -> Path:
    """Rename a damaged database, with what belongs to it, so that a new one can begin; returns where it is now."""
    aside = path.with_name(f"{path.name}.corrupt-{at:%Y%m%d-%H%M%S}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def is_damage(error: Exception) -> bool:
    """Whether this error of SQLite means that what is in the file makes no sense."""
    return any(words in str(error) for words in ("malformed", "file is not a database"))


def refusal(path: str, error: Exception) -> StoreError:
    """The error for a database that failed."""
    reason = str(error)
    advice = "check the disk and its folder"
    if _is_full(path, reason):
        advice = "make room on its disk"
        # Where not even the index of its log has room, SQLite says "disk I/O error".
        reason = reason if _FULL in reason else f"the {_FULL}: {reason}"
    return StoreError(
        f"The recovery database {path} cannot be used ({reason}): {advice}, "
        "or name another file with RECOVERY_PERSISTENCE_PATH."
    )


def _is_full(path: str, reason: str) -> bool:
    if _FULL in reason:
        return True
    try:
        return "disk" in reason and shutil.disk_usage(Path(path).parent).free < _NO_ROOM_BYTES
    except OSError:
        return False
