"""What every store in a database does for its parts: writes in turns, and reads what is committed."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import statements
from launcher_recovery.persistence.encryption import Seal
from launcher_recovery.persistence.group import GroupCommit, WritingConnection
from launcher_recovery.records import RecoveryState

T = TypeVar("T")

# As in the migrations, to the letter: SQLite uses a partial index only for a query that has the index's condition in
# it, and does not look into parameters for that.
IS_UNFINISHED = peewee.SQL("state IN ('pending', 'in_progress', 'recovering', 'paused')")
GIVEN_UP = frozenset({RecoveryState.FAILED, RecoveryState.EXHAUSTED})
IS_GIVEN_UP = peewee.SQL("state IN ('failed', 'exhausted')")
IS_FINISHED = peewee.SQL("state IN ('success', 'failed', 'exhausted', 'cancelled')")


@functools.cache
def _in_style(sql: str, mark: str) -> str:
    return sql.replace("?", mark)


def in_style(sql: str, database: peewee.Database) -> str:
    """A prepared statement with the mark for parameters that the database has."""
    return _in_style(sql, database.param)


class DatabaseConnections(WritingConnection, Protocol):
    """A connection that writes, used in turns, and one that reads what is committed and waits for nobody."""

    reading: threading.RLock

    @property
    def writer(self) -> peewee.Database:
        """The connection that writes, for queries of the ORM within a transaction."""

    @property
    def reader(self) -> peewee.Database:
        """The connection that reads."""

    @property
    def reader_is_lost(self) -> bool:
        """Whether the connection that reads broke; `open_reader` makes a new one."""

    def open_reader(self) -> None:
        """Connect the reading connection if need be."""

    def close(self) -> None:
        """Disconnect; nothing may be under way."""


class DatabaseAccess(abc.ABC):
    """Reading and writing, with errors of the database turned into `StoreError`."""

    _connections: DatabaseConnections
    _seal: Seal

    def __init__(self) -> None:
        self._committed = threading.Condition()
        self._latest = 0
        self._is_closed = False
        self._group = GroupCommit(self._connections, self._on_commit)

    def before_fork(self) -> None:
        return  # the connections see to it

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self._committed = threading.Condition()
            self._group.reset()

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """What to call the database in messages."""

    @abc.abstractmethod
    def _refusal(self, error: Exception) -> StoreError:
        """The error for a database that failed."""

    def _write(self, work: Callable[[], T], durable: bool = True) -> T:
        """Run `work` in a transaction, perhaps with those of other threads."""
        self._check_open()
        try:
            return self._group.run(work, durable)
        except peewee.IntegrityError:
            raise
        except (peewee.DatabaseError, OSError) as error:
            raise self._refusal(error) from error

    def _check_open(self) -> None:
        """Nobody connects again for who is late, such as a thread that looks for changes: that would never end."""
        if self._is_closed:
            raise StoreError(f"{self.where} was closed by this process: nothing is read or written any more.")

    def _on_commit(self, numbered: int) -> None:
        with self._committed:
            self._latest = max(self._latest, numbered)
            self._committed.notify_all()

    def _read(self, work: Callable[[peewee.Database], T]) -> T:
        """The result of `work` with the connection that reads, which is made anew when it was lost."""
        connections = self._connections
        with connections.reading:
            self._check_open()
            try:
                try:
                    connections.open_reader()
                    return work(connections.reader)
                except peewee.DatabaseError:
                    if not connections.reader_is_lost:
                        raise
                    connections.open_reader()
                    return work(connections.reader)
            except (peewee.DatabaseError, OSError) as error:
                raise self._refusal(error) from error

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        return self._read(lambda database: list(query.dicts().execute(database)))

    def _row(self, query: Any) -> dict[str, Any] | None:
        rows = self._rows(query.limit(1))
        return rows[0] if rows else None

    def _fetch(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows of a prepared statement, past the ORM."""
        return self._read(lambda database: list(database.execute_sql(in_style(sql, database), parameters).fetchall()))

    def _raw(self, operation_id: str) -> tuple[Any, ...] | None:
        rows = self._fetch(statements.SELECT, (operation_id,))
        return rows[0] if rows else None

    def _upsert(self, model: type[peewee.Model], key: tuple[peewee.Field, ...], columns: dict[str, Any]) -> None:
        model.insert(columns).on_conflict(conflict_target=key, update=columns).execute(self._connections.writer)
