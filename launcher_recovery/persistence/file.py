"""The file of a SQLite store: where it is, whether it can be one, and what to say when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from launcher_recovery.errors import StoreError

_HEADER = b"SQLite format 3\x00"


def default_path() -> Path:
    """`RECOVERY_PERSISTENCE_PATH`, else `recovery.db` in the user's state folder."""
    given = os.environ.get("RECOVERY_PERSISTENCE_PATH")
    if given:
        return Path(given)
    return Path(platformdirs.user_state_dir("launcher-recovery", appauthor=False)) / "recovery.db"


def check_file(path: Path) -> None:
    """Refuse what is no database before SQLite touches it, and make the folder and file private."""
    try:
        if path.is_dir():
            raise StoreError(
                f"{path} is a folder, but RECOVERY_PERSISTENCE_PATH must name a file, such as {path / 'recovery.db'}."
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
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


def refusal(path: str, error: Exception) -> StoreError:
    """The error for a database that failed."""
    return StoreError(
        f"The recovery database {path} cannot be used ({error}): check the disk and its folder, "
        "or name another file with RECOVERY_PERSISTENCE_PATH."
    )
