"""Puts a node that is whole in its place: paths set right, safe on the disk, and at once.

Scripts of nodes, and `pip install -e`, write down where they ran: in a configuration, in a `.pth` file. Such a path
would lead nowhere once the folder has its name. So the staging folder's path is replaced by the final one in small text
files of the node, and in what pip wrote into the environment; in a file of another kind it stays, and the person is
told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from launcher_recovery.nodes.interpreter import Environment
from launcher_recovery.nodes.staging import Staging
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.transfer.disk.folders import check_place

_LARGEST_TEXT = 1 << 20
_IN_ENVIRONMENT = ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json")


def set_paths_right(telling: Telling, staging: Staging, environment: Environment | None) -> None:
    """Replace the staging folder's path where it was written down; see the module."""
    for root, folders, names in os.walk(staging.folder):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]
        for name in names:
            _replace(telling, Path(root, name), staging)
    if environment is not None and environment.folder is not None:
        for pattern in _IN_ENVIRONMENT:
            for path in environment.folder.glob(pattern):
                _replace(telling, path, staging)


def _replace(telling: Telling, path: Path, staging: Staging) -> None:
    old, new = os.fsencode(staging.folder), os.fsencode(staging.destination)
    try:
        if path.is_symlink():
            _relink(path, os.fspath(staging.folder), os.fspath(staging.destination))
            return
        if not path.is_file() or path.stat().st_size > _LARGEST_TEXT or path.suffix == ".pyc":
            return
        data = path.read_bytes()
        if old not in data:
            return
        if b"\0" in data:
            telling.warn("staging_path", f"{path.name} of {telling.name} holds a path that is not there any more.")
            return
        made = path.with_name(f"{path.name}.launcher-recovery")
        made.write_bytes(data.replace(old, new))
        made.chmod(path.stat().st_mode & 0o7777)
        os.replace(made, path)
    except OSError as error:
        telling.warn("staging_path", f"{path.name} of {telling.name} could not be set right: {error.strerror}.")


def _relink(path: Path, old: str, new: str) -> None:
    target = os.readlink(path)
    if target.startswith(old):
        path.unlink()
        path.symlink_to(target.replace(old, new, 1))


def publish(staging: Staging, check: Callable[[], object] = lambda: None) -> None:
    """Give the folder its name, once all of it is safe on the disk.

    Args:
        check: raises what is to end it; asked last before the folder gets its name, since the disk may take its time.

    Raises:
        OSError: the place was taken meanwhile, or the disk failed.
        RefusedError: a folder above it has become a link, see `check_place`.
    """
    _sync(staging.folder)
    check()
    check_place(staging.destination)
    if staging.destination.exists():
        staging.destination.rmdir()  # empty, or it fails
    os.replace(staging.folder, staging.destination)
    _sync_folder(staging.destination.parent)
    staging.unmark()


def _sync(folder: Path) -> None:
    """Have all files and folders on the disk, the folder itself last."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(root, name)
            if not os.path.islink(path) and os.path.isfile(path):
                _sync_file(path)
        _sync_folder(Path(root))


def _sync_file(path: str) -> None:
    # Windows syncs only what is open for writing, which git's own objects do not allow.
    if os.name == "nt" and not os.access(path, os.W_OK):
        return
    opened = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
