"""The store in a SQLite file."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks, schema, statements
from launcher_recovery.persistence.connections import MEMORY, Connections, is_open_here
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.encryption import Cipher
from launcher_recovery.persistence.file import check_file, default_path, is_damage, refusal, set_aside

logger = logging.getLogger("launcher_recovery")

# A file up to this size is looked through when it is opened, which takes milliseconds; damage in a larger one shows
# when it is met.
_CHECKED_BYTES = 4 << 20
_POLL_S = 0.04


class SQLitePersistence(DatabasePersistence):
    """Recovery state in one SQLite file in WAL mode.

    What was acknowledged survives the death of the process; state changes and step results also survive a power
    cut (`synchronous=FULL`), progress and heartbeats need not, nor what was entered and not yet begun.

    Args:
        path: the file, made with its folder when it is not there; ":memory:" for none; default: `default_path`.
        cipher: encrypts arguments, results, metadata, steps, errors and the journals of transfers; default: that of
            `RECOVERY_ENCRYPTION_KEY`, none when it is not set.

    A damaged database is kept under another name, which `set_aside` says, and a new one begun.

    Raises:
        StoreError: the path cannot be used, is no SQLite database, or was written by a newer version, or
            the key is not usable.
    """

    _ENTERED = "rowid"
    _NEWEST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'recovery_outbox'), 0)"

    def __init__(self, path: str | os.PathLike[str] | None = None, cipher: Cipher | None = None) -> None:
        # Whoever changes the current folder later, or forks, has the same file.
        self.path = MEMORY if path == MEMORY else os.path.abspath(default_path() if path is None else path)
        self.set_aside: Path | None = None
        self._is_damaged = False
        self._tail_version = -1
        self._connections: Connections = Connections(self.path)
        super().__init__(cipher)
        self._open()
        self._look_for_unreadable()
        forks.register(self)

    @property
    def where(self) -> str:
        return self.path

    def _open(self, thorough: bool = False) -> None:
        if self.path != MEMORY:
            check_file(Path(self.path), is_open_here=is_open_here(self.path))
        try:
            self._set_up(thorough)
        except (peewee.DatabaseError, OSError) as error:
            if self.path == MEMORY or not is_damage(error):
                self._connections.close()
                raise refusal(self.path, error) from error
            self._begin_anew(error)
        except StoreError:
            self._connections.close()
            raise

    def _set_up(self, thorough: bool = False) -> None:
        self._connections.open_writer()
        self._connections.open_reader()
        if self.path != MEMORY and (thorough or os.path.getsize(self.path) <= _CHECKED_BYTES):
            found = self._connections.reader.execute_sql("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise peewee.DatabaseError(f"database disk image is malformed: {found}")
        file = None if self.path == MEMORY else Path(self.path)
        other = "name another file with RECOVERY_PERSISTENCE_PATH"
        schema.migrate(self._connections.writer, self.path, other, file)
        self._group.numbered = self._newest(self._connections.reader)[1]
        self._latest = max(self._latest, self._group.numbered)

    def _begin_anew(self, error: Exception) -> None:
        try:
            with self._connections.alone() as is_same:
                self._connections.close_connections()
                if is_same:  # else another process was faster
                    self.set_aside = set_aside(Path(self.path), datetime.now(timezone.utc))
                    Path(self.path).touch(mode=0o600)
            self._set_up()
        except (peewee.DatabaseError, OSError) as second:
            self._connections.close()
            raise refusal(self.path, second) from error
        logger.error("%s is damaged (%s): it is kept as %s, and a new one begins", self.path, error, self.set_aside)

    def reopen(self) -> None:
        with self._connections.writing, self._connections.reading:
            self._connections.close()
            self._is_closed = False
            self._tail_version = -1
            self._open(thorough=self._is_damaged)
            self._is_damaged = False

    def after_fork(self, in_child: bool) -> None:
        super().after_fork(in_child)
        self._tail_version = -1

    def _refusal(self, error: Exception) -> StoreError:
        self._is_damaged = self._is_damaged or is_damage(error)
        return refusal(self.path, error)

    def _enter_events(self, rows: Sequence[tuple[str, str | None, str, bool]]) -> int:
        parameters = tuple(itertools.chain.from_iterable(rows))
        return self._connections.execute(statements.insert_events(len(rows)), parameters).lastrowid or 0

    def _number_events_after(self, seq: int) -> None:
        ((newest,),) = self._connections.execute(self._NEWEST).fetchall()
        if newest < seq:
            self._connections.execute("DELETE FROM sqlite_sequence WHERE name = 'recovery_outbox'")
            self._connections.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('recovery_outbox', ?)", (seq,))

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        ends = time.monotonic() + timeout
        while True:
            if self._latest <= seq:
                self._look_for_others()
            if self._latest > seq:
                return True
            remaining = ends - time.monotonic()
            if remaining <= 0:
                return False
            with self._committed:
                if self._latest <= seq:
                    self._committed.wait(min(_POLL_S, remaining))

    def _look_for_others(self) -> None:
        """Take in the newest number if the file changed; `PRAGMA data_version` of the connection that never writes.

        The number is kept for all who wait here: the next one no longer sees that the file has changed.
        """
        if self.path != MEMORY:
            self._read(self._take_in)

    def _take_in(self, database: peewee.Database) -> None:
        self._connections.check_present()
        version = database.execute_sql("PRAGMA data_version").fetchone()[0]
        if version != self._tail_version:
            newest = self._newest(database)[1]
            self._tail_version = version
            self._on_commit(newest)

    def _used_bytes(self) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (self._fetch(f"PRAGMA {name}")[0][0] for name in names)
        return int((pages - free) * size)

    def _uses_more_than(self, max_bytes: int) -> bool:
        # As nearly always the file is small enough itself, and transfers, for which no room is made, need not be read.
        used = self._used_bytes()
        if used <= max_bytes:
            return False
        ((journals,),) = self._fetch("SELECT coalesce(sum(length(journal)), 0) FROM recovery_transfers")
        return used - int(journals) > max_bytes
