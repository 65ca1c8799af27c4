"""Confines destinations to the folders that are allowed."""

from __future__ import annotations

import os
from pathlib import Path

from launcher_recovery.errors import RefusedError


def confined(destination: str, roots: tuple[str, ...]) -> Path:
    """The destination with links resolved, provided that it lies below one of `roots` (any, if there are none).

    Raises:
        RefusedError: it does not, or is no usable path.
    """
    if not destination or "\0" in destination:
        raise RefusedError(f"{destination!r} is not a file name: a path below {_words(roots)} is needed")
    path = Path(os.path.realpath(destination))
    if roots and not any(path != root and path.is_relative_to(root) for root in map(_resolved, roots)):
        raise RefusedError(f"{destination} is outside the allowed folders: it must lie below {_words(roots)}")
    return path


def resolved(destination: str) -> str:
    """The path with links resolved; as it is when it cannot be one, which `confined` then refuses."""
    try:
        return os.path.realpath(destination)
    except (TypeError, ValueError):
        return str(destination)


def _resolved(root: str) -> Path:
    return Path(os.path.realpath(root))


def _words(roots: tuple[str, ...]) -> str:
    return " or ".join(roots) or "a folder"
