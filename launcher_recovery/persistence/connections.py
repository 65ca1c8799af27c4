"""The connections of a SQLite store: one that writes and one that reads, and the patience with other processes."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks

if sys.platform != "win32":
    import fcntl

MEMORY = ":memory:"
BUSY_TIMEOUT_S = 30.0
_POLL_S = 0.04
# Between attempts to get SQLite's write lock. Its own busy handler sleeps up to 100 ms, far longer than a commit takes.
_SPIN_S = (0.0003, 0.0005, 0.001)
_TURN_AT_MOST_S = 1.0

_all: weakref.WeakSet[Connections] = weakref.WeakSet()


class Connections:
    """A writing connection, used in turns, and a reading one that sees what is committed and waits for nobody.

    A database in memory has one for both. They are closed around a fork, and open again when they are next used.
    """

    # There is nobody between a process and its file who could go away.
    writer_is_lost = reader_is_lost = False

    def __init__(self, path: str) -> None:
        self.path = path
        self.writing = threading.RLock()
        self.reading = self.writing if path == MEMORY else threading.RLock()
        self.writer = self._database()
        self.reader = self.writer if path == MEMORY else self._database()
        self._durable = self._patient = True
        self._file: tuple[int, int] | None = None
        self._folder = -1
        _all.add(self)
        forks.register(self)

    def _database(self) -> peewee.SqliteDatabase:
        return peewee.SqliteDatabase(
            self.path,
            pragmas={"journal_mode": "wal", "synchronous": "full", "busy_timeout": int(BUSY_TIMEOUT_S * 1000)},
            timeout=BUSY_TIMEOUT_S,
            thread_safe=False,
            check_same_thread=False,
            autoconnect=False,
        )

    # -- opening and closing ------------------------------------------------------------------------

    def open_writer(self) -> None:
        """Connect the writing connection if need be."""
        with self.writing:
            if self.writer.is_closed():
                self._connect(self.writer)
                self._raw: sqlite3.Connection = self.writer.connection()
                self._durable = self._patient = True
                self._file = None if self.path == MEMORY else _identity(self.path)

    def open_reader(self) -> None:
        """Connect the reading connection if need be."""
        with self.reading:
            if self.reader.is_closed():
                self._connect(self.reader)

    def _connect(self, database: peewee.SqliteDatabase) -> None:
        # SQLite's own patience does not cover the switch to WAL mode, at which several processes may be at once.
        ends = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                database.connect()
                return
            except peewee.OperationalError as error:
                database.close()
                if "locked" not in str(error) or time.monotonic() >= ends:
                    raise
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Disconnect; nothing may be under way."""
        with self.writing, self.reading:
            self.close_connections()
            if self._folder >= 0:
                os.close(self._folder)
                self._folder = -1

    def close_connections(self) -> None:
        """Like `close`, and keep the turn."""
        self.writer.close()
        self.reader.close()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """With the turn of all processes for this folder; whether the file is still the one that was opened."""
        has_turn = self._take_turn()
        try:
            yield self._file is None or _identity(self.path) == self._file
        finally:
            if has_turn:
                self._end_turn()

    def check_present(self) -> None:
        """Return if the file is still the one that was opened.

        Raises:
            StoreError: it was deleted or replaced; what would be written to it would be gone.
        """
        if self._file is not None and _identity(self.path) != self._file:
            raise StoreError(
                f"The recovery database {self.path} was deleted or replaced while it was in use: "
                "put it back, or restart the launcher to begin a new one."
            )

    def before_fork(self) -> None:
        self.writing.acquire()
        self.reading.acquire()
        if self.path != MEMORY:
            self.close()

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self.writing = threading.RLock()
            self.reading = self.writing if self.path == MEMORY else threading.RLock()
        else:
            self.reading.release()
            self.writing.release()

    # -- transactions of the writing connection; the caller has the lock `writing` -------------------

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run a prepared statement on the writing connection, past the ORM; raises Peewee's errors."""
        try:
            cursor: sqlite3.Cursor = self._raw.execute(sql, parameters)
            return cursor
        except sqlite3.Error as error:
            raise getattr(peewee, type(error).__name__, peewee.DatabaseError)(*error.args) from error

    def begin(self, durable: bool) -> None:
        """Begin a transaction that writes, when other processes let it; `durable`: it will survive a power cut."""
        self.open_writer()
        self.check_present()
        if durable is not self._durable:
            # Takes effect for the next transaction only.
            self.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        has_turn = self._take_turn()
        try:
            self._begin()
        finally:
            if has_turn:
                self._end_turn()

    def _begin(self) -> None:
        if self._patient:
            self.execute("PRAGMA busy_timeout = 0")
            self._patient = False
        ends = time.monotonic() + BUSY_TIMEOUT_S
        tried = 0
        while True:
            try:
                self.execute("BEGIN IMMEDIATE")
                return
            except peewee.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= ends:
                    raise
            time.sleep(_SPIN_S[min(tried, len(_SPIN_S) - 1)])
            tried += 1

    def _take_turn(self) -> bool:
        """One process at a time waits for the write lock; who has just committed queues behind the one that waits.

        Without it a process that commits one transaction after another leaves the others only moments too short to
        be hit. The turn is a lock on the folder: it needs no further file, ends with its process, and is given up
        after a second, since the process that has it may have been stopped. Returns whether it was taken.
        """
        if sys.platform == "win32" or self.path == MEMORY:
            return False
        if self._folder < 0:
            self._folder = os.open(Path(self.path).parent, os.O_RDONLY | os.O_CLOEXEC)
        ends = time.monotonic() + _TURN_AT_MOST_S
        while time.monotonic() < ends:
            try:
                fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(_SPIN_S[0])
            except OSError:  # a file system without locks
                break
        return False

    def _end_turn(self) -> None:
        if sys.platform != "win32":
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def commit(self, numbered: int) -> None:
        """Make what was written since `begin` permanent; SQLite keeps the number of the newest event by itself."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since `begin`, if anything is still to be undone."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; some errors of SQLite end it."""
        return not self.writer.is_closed() and self._raw.in_transaction


def is_open_here(path: str) -> bool:
    """Whether a store of this process has the file open."""
    identity = _identity(path)
    return identity is not None and any(
        known._file == identity and not (known.writer.is_closed() and known.reader.is_closed()) for known in list(_all)
    )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
