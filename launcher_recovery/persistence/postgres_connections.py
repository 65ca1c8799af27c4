"""The connections of a PostgreSQL store: one that writes and one that reads; lost ones are opened again."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks, schema
from launcher_recovery.persistence.access import in_style
from launcher_recovery.persistence.address import Address, driver
from launcher_recovery.persistence.group import CommitUncertain

if TYPE_CHECKING:
    import psycopg

# A process that is stopped in the middle of a transaction (Ctrl-Z, a laptop's lid) is thrown out by the server before
# those that wait for it lose patience.
_SESSION = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '20s'"


class PostgresConnections:
    """A writing connection, used in turns, and a reading one that sees what is committed and waits for nobody.

    They are closed around a fork, and open again when they are next used; so are those that the server has closed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.writing = threading.RLock()
        self.reading = threading.RLock()
        self.writer: peewee.PostgresqlDatabase = _Database(address)
        self.reader: peewee.PostgresqlDatabase = _Database(address)
        self.channel = ""
        """Where other processes are told that there are new events."""
        self.numbered = 0
        """The newest event number of all processes when the transaction began."""
        self.writer_pid: int | None = None
        """The server's process of the writing connection."""
        self._raw: psycopg.Connection[Any] | None = None
        forks.register(self)

    # -- opening and closing ------------------------------------------------------------------------

    def open_writer(self) -> None:
        """Connect the writing connection if need be."""
        with self.writing:
            if self.writer_is_lost:
                self.writer.close()
            if self.writer.is_closed():
                self.writer.connect()
                self._raw = self.writer.connection()
                with translated():
                    self._cursor: psycopg.Cursor[Any] = self._raw.cursor()
                    self._cursor.execute(_SESSION)
                    if self._cursor.execute("SHOW synchronous_commit").fetchone() == ("off",):
                        self._cursor.execute("SET synchronous_commit = on")
                self.writer_pid = self._raw.info.backend_pid
                encoding = self._raw.info.parameter_status("server_encoding")
                if encoding != "UTF8":
                    self.writer.close()
                    raise StoreError(
                        f"The recovery database {self.address.name} has the encoding {encoding}, but must have UTF8: "
                        "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
                    )

    def open_reader(self) -> None:
        """Connect the reading connection if need be."""
        with self.reading:
            if self.reader_is_lost:
                self.reader.close()
            if self.reader.is_closed():
                self.reader.connect()

    @property
    def writer_is_lost(self) -> bool:
        """Whether the server has gone away from the writing connection."""
        return _is_lost(self.writer)

    @property
    def reader_is_lost(self) -> bool:
        """Whether the server has gone away from the reading connection."""
        return _is_lost(self.reader)

    def close(self) -> None:
        """Disconnect; nothing may be under way."""
        with self.writing, self.reading:
            self.writer.close()
            self.reader.close()

    def before_fork(self) -> None:
        self.writing.acquire()
        self.reading.acquire()
        self.close()

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self.writing, self.reading = threading.RLock(), threading.RLock()
        else:
            self.reading.release()
            self.writing.release()

    # -- transactions of the writing connection; the caller has the lock `writing` -------------------

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Run a prepared statement on the writing connection, past the ORM; raises Peewee's errors."""
        with translated():
            return self._cursor.execute(in_style(sql, self.writer), parameters or None)

    def begin(self, durable: bool) -> None:
        """Begin a transaction that writes, when other processes let it; `durable`: it will survive a power cut.

        One lock for all who write: they queue, first come, first served, as they do for a SQLite file, so that
        events become visible in the order of their numbers.
        """
        self.open_writer()
        self.execute(_BEGIN_DURABLE if durable else _BEGIN)
        while self._cursor.nextset():
            pass  # the last result is that of the number
        ((self.numbered,),) = self._cursor.fetchall()

    def commit(self, numbered: int) -> None:
        """Make what was written since `begin` permanent, and announce that there are events, if there are any."""
        announced = f"{_KEEP_NUMBER.format(numbered, self.channel)}; " if numbered > self.numbered else ""
        try:
            self.execute(f"{announced}COMMIT")
        except peewee.DatabaseError as error:
            if self.writer_is_lost:
                raise CommitUncertain(*error.args) from None
            raise

    def rollback(self) -> None:
        """Undo what was written since `begin`, if anything is still to be undone."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, be it a failed one."""
        return self._raw is not None and not self._raw.closed and self._raw.info.transaction_status in (2, 3)


_NUMBER = "SELECT seq FROM recovery_outbox_number"
_BEGIN_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_KEEP_NUMBER = "UPDATE recovery_outbox_number SET seq = {}; NOTIFY {}"
# All in one go to the server. One statement sees what was committed before it began, so the number is asked for in one
# of its own, after the lock was got.
_BEGIN_DURABLE = f"{_BEGIN_WRITING}; {schema.LOCK}; {_NUMBER}"
_BEGIN = f"{_BEGIN_WRITING}; SET LOCAL synchronous_commit = off; {schema.LOCK}; {_NUMBER}"


def _is_lost(database: peewee.PostgresqlDatabase) -> bool:
    return not database.is_closed() and bool(database.connection().closed)


class _Database(peewee.PostgresqlDatabase):
    """Connects as the address says; only one thread at a time uses it."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.name, prefer_psycopg3=True, thread_safe=False, autoconnect=False)
        self._address = address

    def _connect(self) -> Any:
        return connect(self._address)


def connect(address: Address) -> psycopg.Connection[Any]:
    """A connection that commits each statement by itself; raises Peewee's errors, without anything secret."""
    package = driver()
    try:
        raw: psycopg.Connection[Any] = package.connect(**address.parameters, autocommit=True)
    except package.Error as error:
        raise peewee.OperationalError(address.scrub(str(error))) from None
    raw.adapters.register_dumper(str, _text_dumper())
    return raw


@functools.cache
def _text_dumper() -> type[Any]:
    from psycopg.types.string import StrDumperUnknown

    class TextDumper(StrDumperUnknown):
        """PostgreSQL has no NUL in its texts; a picture of it stands for it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{SYMBOL FOR NULL}") if "\0" in obj else obj)

    return TextDumper


@contextmanager
def translated() -> Iterator[None]:
    """Errors of psycopg as those of Peewee."""
    package = driver()
    try:
        yield
    except package.Error as error:
        names = (kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("psycopg"))
        known = next((found for name in names if (found := getattr(peewee, name, None))), peewee.DatabaseError)
        raise known(*error.args) from error
