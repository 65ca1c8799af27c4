"""Where the partial of a file lies and what it is called, whatever the file system allows."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path

from launcher_recovery.room import device_of, nearest

SUFFIX = ".part"
# What nearly all file systems allow, in bytes (NAME_MAX of limits.h(0p)); eCryptfs has 143, for one.
_NAME_MAX = 255
# Of a SHA-256 in hexadecimal: enough to tell apart what lies in one folder.
_HASH_DIGITS = 10

logger = logging.getLogger("launcher_recovery")

_told_of: set[Path] = set()
_telling = threading.Lock()


def partial_path(destination: Path, staging: Path | None = None, kept: str | None = None) -> Path:
    """Where the partial of `destination` lies until the file is whole.

    That is `NAME.part` beside it, or in the folder `staging` when that is on the same file system: from elsewhere the
    finished file could not be moved into its place at once. A name that would be too long is cut, and gets a part of
    the hash of the whole path in place of what is cut off; in `staging`, where files of many folders meet, every name
    has that.

    The same arguments give the same path, as long as the folders stay on their file systems.

    Args:
        destination: an absolute path; nothing of it need be there yet.
        staging: a folder for partials; need not be there yet.
        kept: where it lay until now. If it is still there, on the same file system, it stays there, though `staging`
            may be another one by now.
    """
    folder = destination.parent
    if kept is not None and kept.endswith(SUFFIX) and os.path.isfile(kept) and device_of(kept) == device_of(folder):
        return Path(kept)
    is_staged = staging is not None and _is_usable(staging, folder)
    if is_staged and staging is not None:
        folder = staging
    name, longest = destination.name, _longest_name(folder)
    if is_staged or len(os.fsencode(name + SUFFIX)) > longest:
        end = f"-{_hash_of(destination)}{SUFFIX}"
        return folder / (_cut(name, longest - len(end)) + end)
    return folder / (name + SUFFIX)


def _is_usable(staging: Path, folder: Path) -> bool:
    if device_of(staging) == device_of(folder):
        return True
    with _telling:
        is_news = staging not in _told_of
        _told_of.add(staging)
    if is_news:
        logger.warning(
            "partial downloads for %s lie beside their files, and not in %s, because that is on another disk",
            folder,
            staging,
        )
    return False


def _longest_name(folder: Path) -> int:
    """Bytes that a name may have there."""
    try:
        return os.pathconf(nearest(folder), "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, and file systems that do not say
        return _NAME_MAX


def _hash_of(path: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:_HASH_DIGITS]


def _cut(name: str, longest: int) -> str:
    """The beginning of `name` that fits, of whole characters."""
    while len(os.fsencode(name)) > longest:
        name = name[:-1]
    return name
