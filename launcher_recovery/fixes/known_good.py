"""The last commit of ComfyUI with which an import worked, kept among the launcher's own data."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

from launcher_recovery.fixes.vault import in_use

logger = logging.getLogger("launcher_recovery")

_NAME = "known-good.json"
COMMIT = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}")


def note_worked(commit: str) -> None:
    """Keep that an import worked with this commit, in the folder that this process uses; for who imports to call when
    it did. That it cannot be written is logged: the import worked all the same.

    Raises:
        ValueError: it is no commit.
    """
    folder = in_use(os.environ).path.parent
    try:
        note(folder, commit)
    except OSError as error:
        logger.warning("which ComfyUI worked could not be noted in %s: %s", folder, error)


def note(folder: Path, commit: str) -> None:
    """Keep in a folder that an import worked with this commit.

    Raises:
        ValueError: it is no commit.
        OSError: it cannot be written.
    """
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r} is not a commit")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = folder / f".{_NAME}.{os.getpid()}"
    written.write_text(json.dumps({"comfyui": commit}), encoding="utf-8")
    written.replace(folder / _NAME)


def last(folder: Path) -> str | None:
    """The commit that was noted last; None: none was."""
    try:
        found = json.loads((folder / _NAME).read_text(encoding="utf-8"))["comfyui"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and COMMIT.fullmatch(found) else None
