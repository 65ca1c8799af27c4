"""Files and folders as fixes see them: what was there, whether it still is, and how they are deleted."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Print:
    """By what a file or folder is known again.

    Args:
        size: bytes on the disk of all files in it.
        files: how many there are.
        digest: of the name, size and time of change of each.
    """

    size: int
    files: int
    digest: str


def print_of(path: Path) -> Print:
    """The print of what is at a path; links are not followed. Where nothing is, it has no files."""
    digest = hashlib.sha256()
    size = files = 0
    for name, status in sorted(_files(path), key=lambda found: found[0]):
        files += 1
        # A file with holes takes less than its length.
        size += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{stat.S_IFMT(status.st_mode)}\0"))
    return Print(size, files, digest.hexdigest()[:32])


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    try:
        status = path.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        yield "", status
        return
    for folder, _, names in os.walk(path):
        for name in names:
            found = os.path.join(folder, name)
            try:
                yield os.path.relpath(found, path), os.lstat(found)
            except OSError:
                continue  # it went meanwhile


def delete_tree(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it.

    Raises:
        OSError: something of it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def free_name(path: Path, suffix: str = "") -> Path:
    """The first path of the form "name.1<suffix>", "name.2<suffix>", … at which nothing is."""
    number = 1
    while os.path.lexists(found := path.with_name(f"{path.name}.{number}{suffix}")):
        number += 1
    return found
