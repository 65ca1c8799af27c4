"""Small disks of their own for tests that fill them or take them away; they need the right to mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


def _run(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True).returncode == 0


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """`mount OPTIONS FOLDER`, undone at the end unless somebody has done so; skips the test where nobody may."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    if not _run("mount", *options, str(folder)):
        pytest.skip(f"this machine does not let us mount {' '.join(options)}")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def memory_disk(folder: Path, size: int, *options: str) -> AbstractContextManager[Path]:
    """A disk of `size` bytes in memory, mounted at `folder`."""
    return mounted(folder, "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "tmpfs")


def resize(folder: Path, size: int) -> None:
    """Give a `memory_disk` another size."""
    remount(folder, f"size={size}")


def remount(folder: Path, options: str) -> None:
    """Give a disk other options, such as "ro"."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


@contextmanager
def real_disk(folder: Path, image: Path, size: int) -> Iterator[Path]:
    """An ext4 file system of `size` bytes in the file `image`, mounted at `folder`."""
    program = _program("mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(size)
    # Without the blocks that are kept for root, who runs this.
    subprocess.run([program, "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
    with mounted(folder, "-o", "loop", str(image)) as disk:
        yield disk


@contextmanager
def limited_disk(folder: Path, image: Path, limit: int) -> Iterator[Callable[[int], None]]:
    """A folder on a btrfs file system that may take `limit` bytes by a quota; gives what changes that."""
    programs = _program("mkfs.btrfs"), _program("btrfs")
    with image.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run([programs[0], "-q", str(image)], check=True, capture_output=True)

    def btrfs(*argv: object) -> None:
        subprocess.run([programs[1], *map(str, argv)], check=True, capture_output=True)

    with mounted(folder.parent, "-o", "loop", str(image)) as disk:
        btrfs("quota", "enable", disk)
        btrfs("subvolume", "create", folder)
        btrfs("qgroup", "limit", limit, folder)
        yield lambda size: btrfs("qgroup", "limit", size, folder)
