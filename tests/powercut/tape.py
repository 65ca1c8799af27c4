"""A SQLite store that loses its power: as of its last durable commit, or with what was committed since."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from launcher_recovery.persistence.connections import Connections


class Tape:
    """Follows the commits of one store.

    In WAL mode a commit with `synchronous=FULL` is on the disk when it returns, with all before it; one with
    `synchronous=NORMAL` is not, and may be lost (https://sqlite.org/pragma.html#pragma_synchronous).

    Args:
        path: the file of the store, which is there.
        rng: decides what a cut leaves.
        on_commit: called before and after each commit.
    """

    def __init__(self, path: Path, rng: random.Random, on_commit: Callable[[], object]) -> None:
        self._path = str(path)
        self._rng = rng
        self._on_commit = on_commit
        self._durable = self._copy()
        self._found: sqlite3.Connection | None = None

    def cut(self) -> None:
        """The power goes now."""
        self._found = self._rng.choice((self._durable, self._copy()))

    def restore(self) -> None:
        """The machine starts again: the file holds what the cut left. The store is closed."""
        assert self._found is not None, "the power was not cut"
        for suffix in ("", "-wal", "-shm"):
            Path(self._path + suffix).unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self._path)) as fresh:
            self._found.backup(fresh)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Tape]:
        """Meanwhile the commits are followed."""
        real = Connections.commit

        def commit(connections: Connections, *arguments: Any) -> None:
            if connections.path != self._path:
                real(connections, *arguments)
                return
            self._on_commit()
            real(connections, *arguments)
            if connections._durable:
                self._durable = self._copy()
            self._on_commit()

        with mock.patch.object(Connections, "commit", commit):
            yield self

    def _copy(self) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with contextlib.closing(sqlite3.connect(self._path)) as source:
            source.backup(copy)
        return copy
