"""The store in a SQLite file, through Peewee."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import peewee

from launcher_recovery.errors import StoreError
from launcher_recovery.operation import (
    UNFINISHED,
    AttemptRecord,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
)
from launcher_recovery.persistence import codec, forks, schema, statements
from launcher_recovery.persistence.base import Change, Changed, Kept, Owner, OwnerRow, StatePersistence
from launcher_recovery.persistence.connections import MEMORY, Connections, is_open_here
from launcher_recovery.persistence.file import check_file, default_path, is_damage, refusal, set_aside
from launcher_recovery.persistence.group import GroupCommit
from launcher_recovery.persistence.models import (
    AttemptRow,
    EventRow,
    OperationRow,
    OwnerTableRow,
    StepRow,
    to_attempt,
    to_columns,
    to_data,
    to_event,
    to_step,
)
from launcher_recovery.persistence.statements import Plan, PlannedEvent
from launcher_recovery.signals import Event

logger = logging.getLogger("launcher_recovery")

T = TypeVar("T")

# As in the migration, to the letter: SQLite uses a partial index only for a query that has the index's condition in
# it, and does not look into parameters for that.
_IS_UNFINISHED = peewee.SQL("state IN ('pending', 'in_progress', 'recovering', 'paused')")
_IS_FINISHED = peewee.SQL("state IN ('success', 'failed', 'exhausted', 'cancelled')")
_KEPT_EVENTS = 10_000
_PRUNE_EVERY = 256
_BATCH = 200
_ROWS_SEEN = 4096
_NEWEST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'recovery_outbox'), 0)"
# A file up to this size is looked through when it is opened, which takes milliseconds; damage in a larger one shows
# when it is met.
_CHECKED_BYTES = 4 << 20
_POLL_S = 0.04


class SQLitePersistence(StatePersistence):
    """Recovery state in one SQLite file in WAL mode.

    What was acknowledged survives the death of the process; state changes and step results also survive a power
    cut (`synchronous=FULL`), progress and heartbeats need not, nor what was entered and not yet begun.

    Args:
        path: the file, made with its folder when it is not there; ":memory:" for none; default: `default_path`.

    A damaged database is kept under another name, which `set_aside` says, and a new one begun.

    Raises:
        StoreError: the path cannot be used, is no SQLite database, or was written by a newer version.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = MEMORY if path == MEMORY else str(default_path() if path is None else Path(path))
        self.set_aside: Path | None = None
        self._is_damaged = False
        self._committed = threading.Condition()
        self._latest = 0
        self._since_prune = 0
        # By operation, what was last written here: saves a look when nobody else wrote since, which the transaction
        # itself makes sure of.
        self._rows_seen: dict[str, tuple[Any, ...]] = {}
        self._tail_version = -1
        self._connections = Connections(self.path)
        self._group = GroupCommit(self._connections, self._on_commit)
        self._open()
        forks.register(self)

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
        schema.migrate(self._connections.writer, self.path)
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
            self._tail_version = -1
            self._open(thorough=self._is_damaged)
            self._is_damaged = False

    def take_over(self, kept: Collection[Kept], events: Collection[Event], after: int) -> None:
        def work() -> None:
            ((newest,),) = self._connections.execute(_NEWEST).fetchall()
            if newest < after - len(events):
                self._connections.execute("DELETE FROM sqlite_sequence WHERE name = 'recovery_outbox'")
                row = (after - len(events),)
                self._connections.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('recovery_outbox', ?)", row)
            for one in kept:
                self._connections.execute("SAVEPOINT one")
                try:
                    for sql, parameters in statements.plan_take_over(one):
                        self._connections.execute(sql, parameters)
                except peewee.IntegrityError:
                    self._connections.execute("ROLLBACK TO one")
                    logger.warning("%s is left as it is in %s: its key is taken", one.data.title, self.path)
                self._connections.execute("RELEASE one")
            for event in events:
                planned = PlannedEvent(event.name, event.payload, codec.dumps(event.payload))
                self._store_event(planned, event.payload.get("operation_id"))

        self._write(work)

    def before_fork(self) -> None:
        return  # the connections see to it

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self._committed = threading.Condition()
            self._group.reset()
        self._tail_version = -1

    # -- reading and writing ------------------------------------------------------------------------

    def _write(self, work: Callable[[], T], durable: bool = True) -> T:
        """Run `work` in a transaction, perhaps with those of other threads."""
        try:
            return self._group.run(work, durable)
        except peewee.IntegrityError:
            raise
        except (peewee.DatabaseError, OSError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> StoreError:
        self._is_damaged = self._is_damaged or is_damage(error)
        return refusal(self.path, error)

    def _on_commit(self, numbered: int) -> None:
        with self._committed:
            self._latest = max(self._latest, numbered)
            self._committed.notify_all()

    @contextmanager
    def _reader(self) -> Iterator[peewee.SqliteDatabase]:
        with self._connections.reading:
            try:
                self._connections.open_reader()
                yield self._connections.reader
            except (peewee.DatabaseError, OSError) as error:
                raise self._refusal(error) from error

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        with self._reader() as database:
            return list(query.dicts().execute(database))

    def _row(self, query: Any) -> dict[str, Any] | None:
        rows = self._rows(query.limit(1))
        return rows[0] if rows else None

    def _fetch(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reader() as database:
            return list(database.execute_sql(sql, parameters).fetchall())

    def _raw(self, operation_id: str) -> tuple[Any, ...] | None:
        rows = self._fetch(statements.SELECT, (operation_id,))
        return rows[0] if rows else None

    def _upsert(self, model: type[peewee.Model], key: tuple[peewee.Field, ...], columns: dict[str, Any]) -> None:
        model.insert(columns).on_conflict(conflict_target=key, update=columns).execute(self._connections.writer)

    # -- operations ---------------------------------------------------------------------------------

    def insert(self, data: RecoveryData) -> Changed | None:
        plan = statements.plan_insert(data)
        try:
            # A power cut may take it until its first attempt is begun: then nothing has been done for it yet.
            return self._changed(self._write(lambda: self._carry_out(plan), durable=False))
        except peewee.IntegrityError:
            return None

    def change(self, operation_id: str, change: Change) -> Changed | None:
        try:
            return self._write_planned(operation_id, lambda row: statements.plan_change(row, change))
        except peewee.IntegrityError:
            return None  # its key was taken by another one meanwhile

    def _write_planned(
        self, operation_id: str, plan: Callable[[tuple[Any, ...] | None], Plan | None], durable: bool = True
    ) -> Changed | None:
        """Compare and set. What is written is worked out before the transaction, and again in it if need be."""
        seen = self._rows_seen.pop(operation_id, None)
        guess = None if seen is None else plan(seen)
        if guess is None:  # nobody here has just written it, or somebody else has meanwhile
            seen = self._raw(operation_id)
            guess = plan(seen)
        if guess is None:
            return None

        def work() -> tuple[Plan, tuple[Event, ...]] | None:
            row = self._connections.execute(statements.SELECT, (operation_id,)).fetchone()
            return self._carry_out(guess if row == seen else plan(row))

        return self._changed(self._write(work, durable))

    def _changed(self, done: tuple[Plan, tuple[Event, ...]] | None) -> Changed | None:
        if done is None:
            return None
        plan, events = done
        if plan.data.state in UNFINISHED:
            if len(self._rows_seen) >= _ROWS_SEEN:
                self._rows_seen.clear()
            self._rows_seen[plan.data.operation_id] = plan.row
        return Changed(plan.data, events)

    def _carry_out(self, plan: Plan | None) -> tuple[Plan, tuple[Event, ...]] | None:
        if plan is None:
            return None
        for sql, parameters in plan.statements:
            self._connections.execute(sql, parameters)
        operation_id, transient = plan.data.operation_id, plan.transient
        return plan, tuple(self._store_event(event, operation_id, transient) for event in plan.events)

    def get(self, operation_id: str) -> RecoveryData | None:
        row = self._raw(operation_id)
        return None if row is None else statements.record_of(row)

    def latest_with_key(self, key: str) -> RecoveryData | None:
        query = OperationRow.select().where(OperationRow.key == key)
        unfinished = OperationRow.state.in_([state.value for state in UNFINISHED])
        # Of several made at the same moment, the one that was entered last.
        row = self._row(query.order_by(unfinished.desc(), OperationRow.created_at.desc(), peewee.SQL("rowid DESC")))
        return None if row is None else to_data(row)

    def find(
        self,
        *,
        states: Collection[RecoveryState] | None = None,
        kind: str | None = None,
        project: str | None = None,
        parent_id: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RecoveryData]:
        query = OperationRow.select()
        if states is not None:
            query = query.where(OperationRow.state.in_([state.value for state in states]))
            if UNFINISHED.issuperset(states):
                query = query.where(_IS_UNFINISHED)
        if kind is not None:
            query = query.where(OperationRow.kind == kind)
        if project is not None:
            query = query.where(OperationRow.project == project)
        if parent_id is not None:
            query = query.where(OperationRow.parent_id == parent_id)
        if before is not None:
            query = query.where(
                peewee.Tuple(OperationRow.created_at, OperationRow.operation_id) < peewee.Tuple(*before)
            )
        query = query.order_by(OperationRow.created_at.desc(), OperationRow.operation_id.desc()).limit(limit)
        return [to_data(row) for row in self._rows(query)]

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        statement = statements.update_claimed(operation_id, fence, {"metadata": codec.dumps(dict(metadata))})
        return self._write(lambda: bool(self._connections.execute(*statement).rowcount), durable=False)

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        fields = {"progress": progress, "watermark": watermark, "updated_at": at}
        plan = functools.partial(statements.plan_progress, fence=fence, fields=fields)
        return self._write_planned(operation_id, plan, durable=False)

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        query = AttemptRow.select().where(AttemptRow.operation_id == operation_id).order_by(AttemptRow.number)
        return [to_attempt(row) for row in self._rows(query)]

    def steps(self, operation_id: str) -> list[StepRecord]:
        query = StepRow.select().where(StepRow.operation_id == operation_id)
        return [to_step(row) for row in self._rows(query.order_by(StepRow.finished_at, peewee.SQL("rowid")))]

    def load_step(self, operation_id: str, name: str) -> StepRecord | None:
        row = self._row(StepRow.select().where((StepRow.operation_id == operation_id) & (StepRow.name == name)))
        return None if row is None else to_step(row)

    def finish_step(self, operation_id: str, fence: int, step: StepRecord) -> bool:
        at = step.finished_at.timestamp()
        claimed = statements.update_claimed(operation_id, fence, {"updated_at": at})
        columns = (operation_id, step.name, at, codec.dumps(step.result))

        def work() -> bool:
            if not self._connections.execute(*claimed).rowcount:
                return False
            self._connections.execute(statements.SAVE_STEP, columns)
            return True

        return self._write(work)

    # -- outbox -------------------------------------------------------------------------------------

    def _store_event(self, event: PlannedEvent, operation_id: str | None, transient: bool = False) -> Event:
        row = (event.name, operation_id, event.text, transient)
        seq = self._group.numbered = self._connections.execute(statements.INSERT_EVENT, row).lastrowid or 0
        self._since_prune += 1
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            self._connections.execute("DELETE FROM recovery_outbox WHERE seq <= ?", (seq - _KEPT_EVENTS,))
        return Event(seq, event.name, event.payload)

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        event = PlannedEvent(name, dict(payload), codec.dumps(dict(payload)))
        return self._write(lambda: self._store_event(event, None))

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        query = EventRow.select().where(EventRow.seq > seq).order_by(EventRow.seq).limit(limit)
        return [to_event(row) for row in self._rows(query)]

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        query = EventRow.select().where(EventRow.operation_id == operation_id)
        rows = self._rows(query.order_by(EventRow.seq.desc()).limit(limit))
        return [to_event(row) for row in reversed(rows)]

    def event_range(self) -> tuple[int, int]:
        # The newest may be deleted; its number is never given again.
        with self._reader() as database:
            return self._newest(database)

    def _newest(self, database: peewee.SqliteDatabase) -> tuple[int, int]:
        low, high = database.execute_sql(f"SELECT (SELECT min(seq) FROM recovery_outbox), ({_NEWEST})").fetchone()
        return (high + 1 if low is None else low, high)

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
        if self.path == MEMORY:
            return
        with self._reader() as database:
            self._connections.check_present()
            version = database.execute_sql("PRAGMA data_version").fetchone()[0]
            if version != self._tail_version:
                newest = self.event_range()[1]
                self._tail_version = version
                self._on_commit(newest)

    # -- totals, owners, upkeep ---------------------------------------------------------------------

    def counts(self) -> Mapping[str, float]:
        totals: dict[str, float] = {state.value: 0 for state in RecoveryState}
        with self._connections.reading:
            by_state = self._fetch("SELECT state, count(*) FROM recovery_data GROUP BY state")
            ((recovered, seconds, attempts),) = self._fetch(
                "SELECT coalesce(sum(CASE WHEN state = 'success' AND attempt > 1 THEN 1 END), 0),"
                " coalesce(sum(CASE WHEN state = 'success' AND attempt > 1 THEN completed_at - created_at END), 0),"
                " coalesce(sum(CASE WHEN attempt > 1 THEN attempt - 1 END), 0) FROM recovery_data"
            )
        totals.update(by_state)
        totals.update(recovered=recovered, recovery_seconds=seconds, attempts=attempts)
        return totals

    def heartbeat(self, owner: Owner, at: float) -> None:
        columns = {"heartbeat_at": at, **asdict(owner)}
        self._write(lambda: self._upsert(OwnerTableRow, (OwnerTableRow.owner_id,), columns), durable=False)

    def owners(self) -> list[OwnerRow]:
        return [
            OwnerRow(Owner(row["owner_id"], row["host"], row["pid"], row["started"]), row["heartbeat_at"])
            for row in self._rows(OwnerTableRow.select())
        ]

    def forget_owner(self, owner_id: str) -> None:
        query = OwnerTableRow.delete().where(OwnerTableRow.owner_id == owner_id)
        self._write(lambda: query.execute(self._connections.writer), durable=False)

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        known = OwnerTableRow.select(OwnerTableRow.owner_id)
        orphans = OperationRow.select().where(
            _IS_UNFINISHED
            & OperationRow.owner.is_null(False)
            & (OperationRow.owner.in_(list(dead)) | OperationRow.owner.not_in(known))
        )
        orphans = orphans.limit(limit)
        gone = OwnerTableRow.delete().where(OwnerTableRow.owner_id.in_(list(dead)))

        def work() -> list[tuple[Plan, tuple[Event, ...]] | None]:
            writer = self._connections.writer
            found = list(orphans.clone().tuples().execute(writer))
            if dead:
                gone.execute(writer)
            return [self._carry_out(_released(row, at)) for row in found]

        if not dead and not self._rows(orphans.limit(1)):
            return []  # as nearly always; nobody has to wait for this
        return [changed for done in self._write(work) if (changed := self._changed(done)) is not None]

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        total = 0
        while count := self._forget_oldest(_BATCH, older_than.timestamp()):
            total += count
        if keep is not None:
            ((finished,),) = self._fetch(f"SELECT count(*) FROM recovery_data WHERE {_IS_FINISHED.sql}")
            while finished > keep and (count := self._forget_oldest(min(_BATCH, finished - keep))):
                finished -= count
                total += count
        while max_bytes is not None and self._used_bytes() > max_bytes:
            count = self._forget_oldest(_BATCH)
            total += count
            if not count:
                break
        return total

    def _used_bytes(self) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (self._fetch(f"PRAGMA {name}")[0][0] for name in names)
        return int((pages - free) * size)

    def _forget_oldest(self, limit: int, before: float | None = None) -> int:
        """Forget up to `limit` finished operations last touched before that time (in seconds); returns how many."""
        unfinished = OperationRow.select(OperationRow.operation_id).where(_IS_UNFINISHED)
        is_free = OperationRow.parent_id.is_null() | OperationRow.parent_id.not_in(unfinished)
        chosen = OperationRow.select(OperationRow.operation_id).where(_IS_FINISHED & is_free)
        if before is not None:
            chosen = chosen.where(OperationRow.updated_at < before)
        chosen = chosen.order_by(OperationRow.updated_at).limit(limit)

        def work() -> int:
            old = [row["operation_id"] for row in chosen.clone().dicts().execute(self._connections.writer)]
            self._forget(old)
            return len(old)

        return self._write(work, durable=False)

    def _forget(self, operation_ids: Collection[str]) -> None:
        for model in (StepRow, AttemptRow, EventRow, OperationRow):
            model.delete().where(model.operation_id.in_(operation_ids)).execute(self._connections.writer)

    def check(self) -> None:
        # A write that changes nothing, yet fails where a write would.
        self.forget_owner("")

    def close(self) -> None:
        self._connections.close()

    # -- the five async methods ---------------------------------------------------------------------

    async def save(self, recovery_data: RecoveryData) -> None:
        await _in_thread(self._save, recovery_data)

    def _save(self, data: RecoveryData) -> None:
        columns = to_columns(vars(data))
        try:
            self._write(lambda: self._upsert(OperationRow, (OperationRow.operation_id,), columns))
        except peewee.IntegrityError as error:
            raise StoreError(f"another unfinished operation has the key {data.key!r} already") from error

    async def load(self, operation_id: str) -> RecoveryData | None:
        return await _in_thread(self.get, operation_id)

    async def delete(self, operation_id: str) -> None:
        await _in_thread(self._delete, operation_id)

    def _delete(self, operation_id: str) -> None:
        self._write(lambda: self._forget([operation_id]))

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        newest_first = await _in_thread(functools.partial(self.find, states=[state], limit=-1))
        return newest_first[::-1]

    async def cleanup_old(self, days: int = 7) -> int:
        return await _in_thread(self.cleanup, datetime.now(timezone.utc) - timedelta(days=days))


def _released(row: tuple[Any, ...], at: datetime) -> Plan:
    data = statements.record_of(row)
    fields: dict[str, Any] = {"owner": None}
    if data.state in (RecoveryState.IN_PROGRESS, RecoveryState.RECOVERING):
        fields["state"] = RecoveryState.PENDING
    return statements.plan_apply(row, data, Change((), fields, at, attempt={"outcome": "interrupted"}))


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args))
