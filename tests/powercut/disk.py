"""Watches what code does to the files of a folder, and makes the image of a disk that loses its power."""

from __future__ import annotations

import os
import random
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Union
from unittest import mock

from .contents import Contents, Resize, Write

_Key = tuple[int, int]
_SYNC_S = 0.002


class _Create(NamedTuple):
    path: str
    key: _Key


class _Rename(NamedTuple):
    path: str
    target: str


class _Unlink(NamedTuple):
    path: str


_Entry = Union[_Create, _Rename, _Unlink]


class Disk:
    """The disk under a folder.

    Data is safe when it was synced; a name when its folder was, or, of a new file, when the file was, as ext4, XFS and
    Btrfs have it. What is not safe may be lost, kept, torn or zeroed, as `rng` decides.

    Args:
        root: the folder.
        rng: decides what a cut leaves.
        is_due: asked at each operation until the power is cut there; the code under test does not notice, and goes on.
        on_cut: called at the cut.
    """

    def __init__(
        self,
        root: Path,
        rng: random.Random,
        is_due: Callable[[], bool] = lambda: False,
        on_cut: Callable[[], object] = lambda: None,
    ) -> None:
        self.image: dict[str, bytes] | None = None
        """What is found after the cut: contents by path relative to the folder; None before."""
        self._root = os.path.realpath(root)
        self._rng = rng
        self._is_due = is_due
        self._on_cut = on_cut
        self._lock = threading.RLock()
        self._files: dict[_Key, Contents] = {}
        self._names: dict[str, _Key] = {}
        self._pending: list[_Entry] = []
        for path in self._present():
            self._names[path] = self._learn(path, is_new=False)

    # -- the cut ------------------------------------------------------------------------------------

    def happens(self) -> None:
        """Something happens to the disk, or to what goes with it: the moment for a cut."""
        with self._lock:
            if self.image is None and self._is_due():
                self.cut()

    def cut(self) -> None:
        """The power goes now, unless it is gone already."""
        with self._lock:
            if self.image is not None:
                return
            for path in self._present():
                self._see(path)
            names = dict(self._names)
            survived = self._rng.choice((0, len(self._pending), self._rng.randint(0, len(self._pending))))
            for entry in self._pending[:survived]:
                _enter(entry, names)
            self.image = {
                os.path.relpath(path, self._root): self._files[key].after_cut(self._rng)
                for path, key in sorted(names.items())
            }
            self._on_cut()

    def restore(self) -> None:
        """The machine starts again: the folder holds what the cut left. Nothing may be watched any more."""
        assert self.image is not None, "the power was not cut"
        for path in self._present():
            os.unlink(path)
        for name, contents in self.image.items():
            Path(self._root, name).write_bytes(contents)

    def close(self) -> None:
        """Let go of the files."""
        for contents in self._files.values():
            contents.close()
        self._files.clear()

    # -- watching -----------------------------------------------------------------------------------

    @contextmanager
    def watched(self) -> Iterator[Disk]:
        """Meanwhile every file operation of `os` in the folder is seen; what is not, counts as written since."""
        watching: dict[str, Any] = {
            "open": self._open,
            "pwrite": self._pwrite,
            "write": self._write,
            "ftruncate": self._ftruncate,
            "posix_fallocate": self._posix_fallocate,
            "fsync": self._fsync,
            "fdatasync": self._fsync,
            "replace": self._replace,
            "rename": self._replace,
            "unlink": self._unlink,
            "remove": self._unlink,
        }
        self._real = SimpleNamespace(**{name: getattr(os, name) for name in watching})
        with mock.patch.multiple(os, **watching):
            yield self

    def _present(self) -> list[str]:
        return [os.path.join(folder, name) for folder, _, files in os.walk(self._root) for name in files]

    def _learn(self, path: str, is_new: bool) -> _Key:
        found = os.stat(path)
        key = (found.st_dev, found.st_ino)
        self._files[key] = Contents(path, is_new)
        return key

    def _see(self, path: str) -> None:
        """Take in a file that was made in a way that is not watched."""
        found = os.stat(path)
        if (found.st_dev, found.st_ino) not in self._files:
            self._pending.append(_Create(path, self._learn(path, is_new=True)))

    def _inside(self, path: Any) -> str | None:
        if isinstance(path, int):
            return None
        whole = os.path.realpath(os.path.dirname(os.path.abspath(os.fspath(path))))
        whole = os.path.join(whole, os.path.basename(os.fspath(path)))
        return whole if whole.startswith(self._root + os.sep) else None

    def _of(self, fd: int) -> Contents | None:
        """The file of the folder that is open there."""
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        known = self._files.get((found.st_dev, found.st_ino))
        if known is None and (path := self._inside(os.readlink(f"/proc/self/fd/{fd}"))) and os.path.exists(path):
            with self._lock:
                self._see(path)
            known = self._files.get((found.st_dev, found.st_ino))
        return known

    # -- operations ---------------------------------------------------------------------------------

    def _open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        inside = self._inside(path)
        if inside is None:
            return int(self._real.open(path, flags, mode, **more))
        self.happens()
        with self._lock:
            before = self._of_path(inside)
            fd = int(self._real.open(path, flags, mode, **more))
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._see(inside)
                if before is not None and flags & os.O_TRUNC:
                    before.changed(Resize(0))
        return fd

    def _of_path(self, path: str) -> Contents | None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return self._files.get((found.st_dev, found.st_ino))

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        contents = self._of(fd)
        if contents is None:
            return int(self._real.pwrite(fd, data, offset))
        self.happens()
        with self._lock:
            done = int(self._real.pwrite(fd, data, offset))
            contents.changed(Write(offset, bytes(memoryview(data).cast("B")[:done])))
        return done

    def _write(self, fd: int, data: Any) -> int:
        contents = self._of(fd)
        if contents is None:
            return int(self._real.write(fd, data))
        self.happens()
        with self._lock:
            offset = os.lseek(fd, 0, os.SEEK_CUR)
            done = int(self._real.write(fd, data))
            contents.changed(Write(offset, bytes(memoryview(data).cast("B")[:done])))
        return done

    def _ftruncate(self, fd: int, length: int) -> None:
        contents = self._of(fd)
        if contents is not None:
            self.happens()
        with self._lock:
            self._real.ftruncate(fd, length)
            if contents is not None:
                contents.changed(Resize(length))

    def _posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        contents = self._of(fd)
        if contents is not None:
            self.happens()
        with self._lock:
            self._real.posix_fallocate(fd, offset, length)
            if contents is not None:
                contents.changed(Resize(os.fstat(fd).st_size))

    def _fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self._sync_folder(os.readlink(f"/proc/self/fd/{fd}"))
            return
        contents = self._of(fd)
        if contents is None:
            self._real.fsync(fd)
            return
        self.happens()
        with self._lock:
            sync = contents.sync_begins()
        time.sleep(self._rng.random() * _SYNC_S)  # others write meanwhile, and the power may go
        self.happens()
        with self._lock:
            contents.sync_ends(sync)
            entries = [one for one in self._pending if isinstance(one, _Create) and self._files[one.key] is contents]
            self._settle(entries)

    def _sync_folder(self, folder: str) -> None:
        self.happens()
        with self._lock:
            paths = ((entry, entry[:2] if isinstance(entry, _Rename) else entry[:1]) for entry in self._pending)
            self._settle([entry for entry, of in paths if folder in map(os.path.dirname, of)])

    def _settle(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            _enter(entry, self._names)
            self._pending.remove(entry)

    def _replace(self, source: Any, target: Any, **more: Any) -> None:
        entry = _Rename(self._inside(source) or str(source), self._inside(target) or str(target))
        if self._inside(source):
            self.happens()
        with self._lock:
            if self._inside(source):
                self._see(entry.path)
            self._real.replace(source, target, **more)
            if self._inside(source):
                self._pending.append(entry)

    def _unlink(self, path: Any, **more: Any) -> None:
        inside = self._inside(path)
        if inside is not None:
            self.happens()
        with self._lock:
            if inside is not None and os.path.exists(inside):
                self._see(inside)
            self._real.unlink(path, **more)
            if inside is not None:
                self._pending.append(_Unlink(inside))


def _enter(entry: _Entry, names: dict[str, _Key]) -> None:
    if isinstance(entry, _Create):
        names[entry.path] = entry.key
    elif isinstance(entry, _Rename):
        if entry.path in names:
            names[entry.target] = names.pop(entry.path)
    else:
        names.pop(entry.path, None)
