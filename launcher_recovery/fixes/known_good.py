"""The last commit of ComfyUI with which an import worked, kept among the launcher's own data."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

_NAME = "known-good.json"
COMMIT = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}")


def note(folder: Path, commit: str) -> None:
    """Keep that an import worked with this commit; for who imports to call when it did.

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
