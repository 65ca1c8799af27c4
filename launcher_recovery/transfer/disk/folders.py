"""What a download asks of the disk: its folder, its partial's name, room, and what an error of the disk means."""

from __future__ import annotations

import os
from errno import EDQUOT, EIO, ENODEV, ENOENT, ENOSPC, ENOTCONN, ENXIO, ESTALE
from pathlib import Path

from launcher_recovery.errors import FolderGoneError, NoSpaceError, RefusedError
from launcher_recovery.room import free_bytes
from launcher_recovery.transfer.disk.allocation import allocated_bytes, preallocate
from launcher_recovery.transfer.disk.naming import partial_path
from launcher_recovery.transfer.disk.reservations import (
    RESERVATIONS,
    Reservation,
    Reservations,
    check_room,
    queued_bytes,
)

__all__ = [
    "RESERVATIONS",
    "Reservation",
    "Reservations",
    "allocated_bytes",
    "check_place",
    "check_room",
    "explained",
    "folder_for",
    "free_bytes",
    "partial_path",
    "preallocate",
    "queued_bytes",
]

# What comes of a disk that is not there any more, also of a network or FUSE file system.
_GONE = (ENOENT, ENODEV, ENXIO, EIO, ESTALE, ENOTCONN)


def folder_for(destination: Path, had_before: bool) -> Path:
    """The folder of `destination`, made with all above it if it is not there.

    Args:
        had_before: whether bytes for it were kept there before. Then a folder that is not there is not made: its disk
            is gone, and what is below its mount point is another disk.

    Raises:
        FolderGoneError: it is gone.
        OSError: it cannot be made.
    """
    folder = destination.parent
    if had_before and not folder.is_dir():
        raise FolderGoneError(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_place(destination: Path) -> None:
    """Return when a destination that was resolved still is where it was then.

    Raises:
        RefusedError: a folder above it has become a link since, so that what is written would come elsewhere.
    """
    real = os.path.realpath(destination.parent)
    if real != os.fspath(destination.parent):
        raise RefusedError(
            f"{destination.parent} is a link to {real} now, and was a folder when {destination.name} was begun: remove "
            "the link, or retry if it is meant"
        )


def explained(error: OSError, folder: Path, needed: int | None = None) -> OSError:
    """An error of a file in `folder` as one that says what is missing: room, or the folder itself; else as it is.

    Args:
        needed: bytes that were still to be written to the file; None: unknown.
    """
    if isinstance(error, (NoSpaceError, FolderGoneError)):
        return error
    if error.errno in _GONE and not folder.is_dir():
        return FolderGoneError(str(folder))
    if error.errno not in (ENOSPC, EDQUOT):
        return error
    try:
        free = free_bytes(folder)
    except OSError:
        free = None
    return NoSpaceError(os.fspath(folder), needed, free, error.errno)
