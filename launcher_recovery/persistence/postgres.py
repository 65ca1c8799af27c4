"""The store in a PostgreSQL database."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Sequence

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks, schema
from launcher_recovery.persistence.address import Address, given_url
from launcher_recovery.persistence.database import DatabasePersistence
from launcher_recovery.persistence.encryption import Cipher
from launcher_recovery.persistence.listener import Listener
from launcher_recovery.persistence.postgres_connections import PostgresConnections, connect
from launcher_recovery.persistence.statements import Plan
from launcher_recovery.signals import Event

_TABLES = ("recovery_data", "recovery_attempts", "recovery_steps", "recovery_outbox")
_INSERT_EVENT = "INSERT INTO recovery_outbox (seq, name, operation_id, payload, transient) VALUES (?, ?, ?, ?, ?)"


@functools.cache
def _joined(statements: tuple[str, ...]) -> str:
    """One statement that does all of them, none of which looks at what another one does."""
    *before, last = statements
    parts = ", ".join(f"part{number} AS ({sql})" for number, sql in enumerate(before))
    return f"WITH {parts} {last}" if before else last


class PostgresPersistence(DatabasePersistence):
    """Recovery state in a PostgreSQL database, which several processes and machines may share.

    What was acknowledged survives the death of the process; state changes and step results also survive a power cut
    of the server, progress and heartbeats need not, nor what was entered and not yet begun. Those who write do so one
    after the other. The tables are made in the first schema of the search path, and brought up to date when it is
    opened; no copy is made before that, the server's own backups are for it. Connections that are lost are opened
    again. Behind PgBouncer it needs session pooling.

    Args:
        url: such as `postgresql://user:password@host:5432/database`, with the parameters of libpq after a question
            mark; default: `RECOVERY_DATABASE_URL`. It is kept secret: messages name the database and the host only.
        cipher: encrypts arguments, results, metadata, steps, errors and the journals of transfers; default: that of
            `RECOVERY_ENCRYPTION_KEY`, none when it is not set.

    Raises:
        StoreError: psycopg is missing, the URL makes no sense, the key is not usable, the server cannot be used, or the
            database was written by a newer version.
    """

    # A table with one row, which is written by who has the lock; so there is no gap, and no number is given twice.
    _NEWEST = "SELECT seq FROM recovery_outbox_number"
    _ENTERED = "entered"

    def __init__(self, url: str | None = None, cipher: Cipher | None = None) -> None:
        self._address = Address(given_url(url))
        self._connections: PostgresConnections = PostgresConnections(self._address)
        make = functools.partial(connect, self._address)
        self._listener = Listener(make, lambda: self._connections.channel, lambda: self._connections.writer_pid)
        super().__init__(cipher)
        try:
            self._open()
            self._look_for_unreadable()
        except StoreError:
            self.close()
            raise
        forks.register(self)

    @property
    def where(self) -> str:
        return self._address.name

    def _open(self) -> None:
        try:
            self._connections.open_writer()
            self._connections.open_reader()
            writer = self._connections.writer
            schema.migrate(writer, f"The recovery database {self.where}", "name another one with RECOVERY_DATABASE_URL")
            self._group.numbered = self._newest(self._connections.reader)[1]
            ((number,),) = writer.execute_sql("SELECT hashtext(current_schema())").fetchall()
        except peewee.DatabaseError as error:
            raise self._refusal(error) from error
        self._latest = max(self._latest, self._group.numbered)
        # Of this database and schema; who listens looks into the table for what it was.
        self._connections.channel = f"launcher_recovery_{number & 0xFFFFFFFF:08x}"

    def reopen(self) -> None:
        self._listener.rest()
        try:
            with self._connections.writing, self._connections.reading:
                self._connections.close()
                self._is_closed = False
                self._open()
        finally:
            self._listener.resume()

    def close(self) -> None:
        self._listener.close()
        super().close()

    def before_fork(self) -> None:
        self._listener.rest()

    def after_fork(self, in_child: bool) -> None:
        super().after_fork(in_child)
        self._listener.resume(in_child)
        with self._committed:
            self._committed.notify_all()

    def _refusal(self, error: Exception) -> StoreError:
        return self._address.refusal(error)

    # -- events -------------------------------------------------------------------------------------

    def _enter_events(self, rows: Sequence[tuple[str, str | None, str, bool]]) -> int:
        for row in rows:
            self._connections.execute(_INSERT_EVENT, (self._next_number(), *row))
        return self._group.numbered

    def _next_number(self) -> int:
        """The commit keeps it; nobody else gives numbers before that."""
        self._group.numbered = max(self._group.numbered, self._connections.numbered) + 1
        return self._group.numbered

    def _number_events_after(self, seq: int) -> None:
        self._group.numbered = max(self._group.numbered, self._connections.numbered, seq)

    def _carry_out(self, plan: Plan | None) -> tuple[Plan, tuple[Event, ...]] | None:
        """All of a plan in one statement, and thus in one journey to the server."""
        if plan is None:
            return None
        events = tuple(Event(self._next_number(), event.name, event.payload) for event in plan.events)
        entered = [
            (_INSERT_EVENT, (event.seq, event.name, plan.data.operation_id, planned.text, plan.transient))
            for event, planned in zip(events, plan.events, strict=True)
        ]
        texts, parameters = zip(*plan.statements, *entered, strict=True)
        self._connections.execute(_joined(texts), tuple(itertools.chain.from_iterable(parameters)))
        self._prune(self._group.numbered, len(events))
        return plan, events

    def _on_commit(self, numbered: int) -> None:
        # Others may have committed between this transaction and the one before.
        super()._on_commit(max(numbered, self._connections.numbered))
        self._listener.wake()

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        ends = time.monotonic() + timeout
        while self._latest <= seq:
            self._wait(seq, max(0.0, ends - time.monotonic()))
            if self._latest <= seq and time.monotonic() >= ends:
                return False
        return True

    def _wait(self, seq: int, seconds: float) -> None:
        """Until something may have happened: one thread listens to the server, the others wait for that one."""
        with self._committed:
            listens = self._listener.take_turn()
            if not listens:
                if self._latest <= seq:
                    self._committed.wait(seconds)
                return
        try:
            # What is committed here from now on wakes this thread, and what was before shows here.
            if self._latest <= seq and self._listener.listen(seconds):
                super()._on_commit(self.event_range()[1])
        except peewee.DatabaseError as error:
            raise self._refusal(error) from error
        finally:
            self._listener.end_turn()
            with self._committed:
                self._committed.notify_all()

    # -- upkeep -------------------------------------------------------------------------------------

    def _used_bytes(self) -> int:
        # What the rows have in them: the files on the server do not shrink when rows are deleted.
        sizes = (f"SELECT coalesce(sum(pg_column_size(one.*)), 0) FROM {table} AS one" for table in _TABLES)
        return sum(int(self._fetch(sql)[0][0]) for sql in sizes)

    def _uses_more_than(self, max_bytes: int) -> bool:
        # As nearly always the files are small enough themselves, and the rows need not be read.
        total = " + ".join(f"pg_total_relation_size('{table}')" for table in _TABLES)
        return int(self._fetch(f"SELECT {total}")[0][0]) > max_bytes and super()._uses_more_than(max_bytes)
