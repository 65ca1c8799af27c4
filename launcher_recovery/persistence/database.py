"""The store in a SQLite file, through Peewee."""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
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
    FINAL,
    UNFINISHED,
    AttemptRecord,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
)
from launcher_recovery.persistence import codec, schema
from launcher_recovery.persistence.base import Change, Changed, Owner, OwnerRow, StatePersistence
from launcher_recovery.persistence.file import check_file, default_path, refusal
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
from launcher_recovery.signals import Event, events_of

T = TypeVar("T")

# As in the migration, to the letter: SQLite uses a partial index only for a query that has the index's condition in
# it, and does not look into parameters for that.
_IS_UNFINISHED = peewee.SQL("state IN ('pending', 'in_progress', 'recovering', 'paused')")
_KEPT_EVENTS = 10_000
_PRUNE_EVERY = 256
_POLL_S = 0.04
_BUSY_TIMEOUT_S = 30


class SQLitePersistence(StatePersistence):
    """Recovery state in one SQLite file in WAL mode.

    What was acknowledged survives the death of the process; state changes and step results also survive a power
    cut (`synchronous=FULL`), progress and heartbeats need not.

    Args:
        path: the file, made with its folder when it is not there; ":memory:" for none; default: `default_path`.

    Raises:
        StoreError: the path cannot be used, is no SQLite database, or was written by a newer version.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = ":memory:" if path == ":memory:" else str(default_path() if path is None else Path(path))
        self._lock = threading.RLock()
        self._committed = threading.Condition()
        self._latest = 0
        self._since_prune = 0
        self._tail: sqlite3.Connection | None = None
        self._tail_version = -1
        # One connection for all threads, taken in turns: SQLite has one writer anyway.
        self._db = peewee.SqliteDatabase(
            self.path,
            pragmas={"journal_mode": "wal", "synchronous": "full", "busy_timeout": _BUSY_TIMEOUT_S * 1000},
            timeout=_BUSY_TIMEOUT_S,
            thread_safe=False,
            check_same_thread=False,
        )
        self._open()

    def _open(self) -> None:
        if self.path != ":memory:":
            check_file(Path(self.path))
        try:
            self._connect()
            schema.migrate(self._db, self.path)
            self._latest = self.event_range()[1]
        except (peewee.DatabaseError, OSError) as error:
            self._db.close()
            raise refusal(self.path, error) from error
        except StoreError:
            self._db.close()
            raise

    def _connect(self) -> None:
        # SQLite's own patience does not cover the switch to WAL mode, at which several processes may be at once.
        ends = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._db.connect()
                return
            except peewee.OperationalError as error:
                self._db.close()
                if "locked" not in str(error) or time.monotonic() >= ends:
                    raise
            time.sleep(_POLL_S)

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[None]:
        with self._lock:
            latest = self._latest
            try:
                # The pragma takes effect for the next transaction only, so it is set outside of one.
                self._db.execute_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                with self._db.atomic("IMMEDIATE"):
                    yield
            except BaseException as error:
                self._latest = latest  # nobody is to look for an event that was rolled back
                if isinstance(error, peewee.DatabaseError) and not isinstance(error, peewee.IntegrityError):
                    raise refusal(self.path, error) from error
                raise
        with self._committed:
            self._committed.notify_all()

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        with self._lock:
            try:
                return list(query.dicts().execute(self._db))
            except peewee.DatabaseError as error:
                raise refusal(self.path, error) from error

    def _row(self, query: Any) -> dict[str, Any] | None:
        rows = self._rows(query.limit(1))
        return rows[0] if rows else None

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return list(self._db.execute_sql(sql).fetchall())
            except peewee.DatabaseError as error:
                raise refusal(self.path, error) from error

    def _upsert(self, model: type[peewee.Model], key: tuple[peewee.Field, ...], columns: dict[str, Any]) -> None:
        model.insert(columns).on_conflict(conflict_target=key, update=columns).execute(self._db)

    # -- operations ---------------------------------------------------------------------------------

    def insert(self, data: RecoveryData) -> Changed | None:
        try:
            with self._transaction():
                OperationRow.insert(to_columns(vars(data))).execute(self._db)
                return Changed(data, self._store_events(data))
        except peewee.IntegrityError:
            return None

    def change(self, operation_id: str, change: Change) -> Changed | None:
        try:
            with self._transaction():
                data = self.get(operation_id)
                if data is None or data.state not in change.expected:
                    return None
                if change.fence is not None and data.fence != change.fence:
                    return None
                return self._apply(data, change)
        except peewee.IntegrityError:
            return None  # its key was taken by another one meanwhile

    def _apply(self, data: RecoveryData, change: Change) -> Changed:
        fields = dict(change.fields, updated_at=change.at)
        if change.claim:
            fields.update(attempt=data.attempt + 1, fence=data.fence + 1)
        if change.attempt is not None:
            (
                AttemptRow.update(ended_at=change.at.timestamp(), **change.attempt)
                .where(
                    (AttemptRow.operation_id == data.operation_id)
                    & (AttemptRow.number == data.attempt)
                    & AttemptRow.ended_at.is_null()
                )
                .execute(self._db)
            )
        for name, value in fields.items():
            setattr(data, name, value)
        (
            OperationRow.update(to_columns(fields))
            .where(OperationRow.operation_id == data.operation_id)
            .execute(self._db)
        )
        if change.claim:
            AttemptRow.insert(
                operation_id=data.operation_id, number=data.attempt, started_at=change.at.timestamp()
            ).execute(self._db)
        return Changed(data, self._store_events(data))

    def get(self, operation_id: str) -> RecoveryData | None:
        row = self._row(OperationRow.select().where(OperationRow.operation_id == operation_id))
        return None if row is None else to_data(row)

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
        with self._transaction(durable=False):
            return self._update_claimed(operation_id, fence, metadata=codec.dumps(dict(metadata)))

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        with self._transaction(durable=False):
            columns = {"progress": codec.dumps(asdict(progress)), "watermark": watermark}
            if not self._update_claimed(operation_id, fence, updated_at=at.timestamp(), **columns):
                return None
            data = self.get(operation_id)
            assert data is not None
            EventRow.delete().where((EventRow.operation_id == operation_id) & EventRow.transient).execute(self._db)
            return Changed(data, self._store_events(data, transient=True))

    def _update_claimed(self, operation_id: str, fence: int, **columns: Any) -> bool:
        query = OperationRow.update(columns).where(
            (OperationRow.operation_id == operation_id)
            & (OperationRow.fence == fence)
            & (OperationRow.state == RecoveryState.IN_PROGRESS.value)
        )
        return bool(query.execute(self._db))

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
        with self._transaction():
            if not self._update_claimed(operation_id, fence, updated_at=step.finished_at.timestamp()):
                return False
            columns = {
                "operation_id": operation_id,
                "name": step.name,
                "finished_at": step.finished_at.timestamp(),
                "result": codec.dumps(step.result),
            }
            self._upsert(StepRow, (StepRow.operation_id, StepRow.name), columns)
            return True

    # -- outbox -------------------------------------------------------------------------------------

    def _store_events(self, data: RecoveryData, transient: bool = False) -> tuple[Event, ...]:
        return tuple(
            self._store_event(name, payload, data.operation_id, transient) for name, payload in events_of(data)
        )

    def _store_event(self, name: str, payload: Mapping[str, Any], operation_id: str | None, transient: bool) -> Event:
        seq = EventRow.insert(
            name=name, operation_id=operation_id, payload=codec.dumps(dict(payload)), transient=transient
        ).execute(self._db)
        self._latest = seq
        self._since_prune += 1
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            EventRow.delete().where(EventRow.seq <= seq - _KEPT_EVENTS).execute(self._db)
        return Event(seq, name, dict(payload))

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        with self._transaction():
            return self._store_event(name, payload, None, False)

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        query = EventRow.select().where(EventRow.seq > seq).order_by(EventRow.seq).limit(limit)
        return [to_event(row) for row in self._rows(query)]

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        query = EventRow.select().where(EventRow.operation_id == operation_id)
        rows = self._rows(query.order_by(EventRow.seq.desc()).limit(limit))
        return [to_event(row) for row in reversed(rows)]

    def event_range(self) -> tuple[int, int]:
        # The newest may be deleted; its number is never given again.
        ((low, high),) = self._fetch(
            "SELECT (SELECT min(seq) FROM recovery_outbox),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'recovery_outbox'), 0)"
        )
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
        """Take in the newest number if the file changed; `PRAGMA data_version` of a connection that never writes.

        The number is kept for all who wait here: the next one no longer sees that the file has changed.
        """
        if self.path == ":memory:":
            return
        with self._lock:
            try:
                if self._tail is None:
                    self._tail = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                version = self._tail.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise refusal(self.path, error) from error
            if version != self._tail_version:
                self._latest = self.event_range()[1]
                self._tail_version = version

    # -- totals, owners, upkeep ---------------------------------------------------------------------

    def counts(self) -> Mapping[str, float]:
        totals: dict[str, float] = {state.value: 0 for state in RecoveryState}
        with self._lock:
            by_state = self._fetch("SELECT state, count(*) FROM recovery_data GROUP BY state")
            ((recovered, seconds, attempts),) = self._fetch(
                "SELECT coalesce(sum(state = 'success' AND attempt > 1), 0),"
                " coalesce(sum(CASE WHEN state = 'success' AND attempt > 1 THEN completed_at - created_at END), 0),"
                " coalesce(sum(max(attempt - 1, 0)), 0) FROM recovery_data"
            )
        totals.update(by_state)
        totals.update(recovered=recovered, recovery_seconds=seconds, attempts=attempts)
        return totals

    def heartbeat(self, owner: Owner, at: float) -> None:
        with self._transaction(durable=False):
            self._upsert(OwnerTableRow, (OwnerTableRow.owner_id,), {"heartbeat_at": at, **asdict(owner)})

    def owners(self) -> list[OwnerRow]:
        return [
            OwnerRow(Owner(row["owner_id"], row["host"], row["pid"], row["started"]), row["heartbeat_at"])
            for row in self._rows(OwnerTableRow.select())
        ]

    def forget_owner(self, owner_id: str) -> None:
        with self._transaction(durable=False):
            OwnerTableRow.delete().where(OwnerTableRow.owner_id == owner_id).execute(self._db)

    def release_orphans(self, dead: Collection[str], at: datetime) -> list[Changed]:
        changed = []
        with self._transaction():
            known = OwnerTableRow.select(OwnerTableRow.owner_id)
            rows = self._rows(
                OperationRow.select().where(
                    _IS_UNFINISHED
                    & OperationRow.owner.is_null(False)
                    & (OperationRow.owner.in_(list(dead)) | OperationRow.owner.not_in(known))
                )
            )
            for data in map(to_data, rows):
                fields: dict[str, Any] = {"owner": None}
                if data.state in (RecoveryState.IN_PROGRESS, RecoveryState.RECOVERING):
                    fields["state"] = RecoveryState.PENDING
                ended = {"outcome": "interrupted"}
                changed.append(self._apply(data, Change((), fields, at, attempt=ended)))
            OwnerTableRow.delete().where(OwnerTableRow.owner_id.in_(list(dead))).execute(self._db)
        return changed

    def cleanup(self, older_than: datetime) -> int:
        final = [state.value for state in FINAL]
        with self._transaction(durable=False):
            old = [
                row["operation_id"]
                for row in self._rows(
                    OperationRow.select(OperationRow.operation_id)
                    .where(OperationRow.state.in_(final) & (OperationRow.updated_at < older_than.timestamp()))
                    .limit(500)
                )
            ]
            for model in (StepRow, AttemptRow, EventRow, OperationRow):
                model.delete().where(model.operation_id.in_(old)).execute(self._db)
        return len(old) + (self.cleanup(older_than) if len(old) == 500 else 0)

    def check(self) -> None:
        with self._transaction(durable=False):
            # A write that changes nothing, yet fails where a write would.
            OwnerTableRow.delete().where(OwnerTableRow.owner_id == "").execute(self._db)

    def close(self) -> None:
        with self._lock:
            self._db.close()
            if self._tail is not None:
                self._tail.close()
                self._tail = None

    # -- the five async methods ---------------------------------------------------------------------

    async def save(self, recovery_data: RecoveryData) -> None:
        await _in_thread(self._save, recovery_data)

    def _save(self, data: RecoveryData) -> None:
        try:
            with self._transaction():
                self._upsert(OperationRow, (OperationRow.operation_id,), to_columns(vars(data)))
        except peewee.IntegrityError as error:
            raise StoreError(f"another unfinished operation has the key {data.key!r} already") from error

    async def load(self, operation_id: str) -> RecoveryData | None:
        return await _in_thread(self.get, operation_id)

    async def delete(self, operation_id: str) -> None:
        await _in_thread(self._delete, operation_id)

    def _delete(self, operation_id: str) -> None:
        with self._transaction():
            for model in (StepRow, AttemptRow, EventRow, OperationRow):
                model.delete().where(model.operation_id == operation_id).execute(self._db)

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        newest_first = await _in_thread(functools.partial(self.find, states=[state], limit=-1))
        return newest_first[::-1]

    async def cleanup_old(self, days: int = 7) -> int:
        return await _in_thread(self.cleanup, datetime.now(timezone.utc) - timedelta(days=days))


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args))
