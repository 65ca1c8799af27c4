"""A store in a database, whichever it is: operations, attempts and steps, through Peewee."""

from __future__ import annotations

import asyncio
import functools
import logging
import operator
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import peewee

from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import codec, shared, statements
from launcher_recovery.persistence.access import GIVEN_UP, IS_GIVEN_UP, IS_UNFINISHED
from launcher_recovery.persistence.base import SEARCHED, Change, Changed, Kept, StatePersistence, begins
from launcher_recovery.persistence.encryption import Cipher, Seal
from launcher_recovery.persistence.events import StoredEvents
from launcher_recovery.persistence.models import (
    SEALED,
    AttemptRow,
    OperationRow,
    OwnerTableRow,
    StepRow,
    to_attempt,
    to_columns,
    to_data,
    to_step,
)
from launcher_recovery.persistence.statements import Plan
from launcher_recovery.persistence.transfers import StoredTransfers
from launcher_recovery.persistence.upkeep import Upkeep
from launcher_recovery.records import UNFINISHED, AttemptRecord, Progress, RecoveryData, RecoveryState, StepRecord
from launcher_recovery.rows import Row, Transition
from launcher_recovery.signals import Event

logger = logging.getLogger("launcher_recovery")

T = TypeVar("T")

_ROWS_SEEN = 4096
_MOST_PARAMETERS = 500  # SQLite takes 999 at least


class DatabasePersistence(StoredEvents, StoredTransfers, Upkeep, StatePersistence):
    """What the stores in a database have in common; one for a kind of database adds its connections and its files."""

    _ENTERED: str
    """Column that grows with every row that is entered."""

    def __init__(self, cipher: Cipher | None = None) -> None:
        self._seal = Seal(Cipher.from_environment() if cipher is None else cipher)
        super().__init__()
        # By operation, what was last written here: saves a look when nobody else wrote since, which the transaction
        # itself makes sure of.
        self._rows_seen: dict[str, tuple[Any, ...]] = {}

    @property
    def is_encrypted(self) -> bool:
        return self._seal.is_closed

    @property
    def unreadable(self) -> str | None:
        """Why something here cannot be opened, as a sentence; None when nothing of that kind was met."""
        return self._seal.problem

    def _look_for_unreadable(self) -> None:
        """Find out soon, not when somebody asks for it, whether the key is the right one."""
        newest = "ORDER BY created_at DESC, operation_id DESC LIMIT 50"
        try:
            for which in (f"WHERE {IS_UNFINISHED.sql}", ""):
                for row in self._fetch(f"SELECT {', '.join(SEALED)} FROM recovery_data {which} {newest}"):
                    for column in row:
                        self._seal.open_or_say(column)
        except StoreError:
            pass  # a damaged page, which is dealt with when somebody needs it

    def insert(self, data: RecoveryData) -> Changed | None:
        plan = statements.plan_insert(data, self._seal)
        try:
            # A power cut may take it until its first attempt is begun: then nothing has been done for it yet.
            return self._changed(self._write(lambda: self._carry_out(plan), durable=begins(data)))
        except peewee.IntegrityError:
            return None

    def change(self, operation_id: str, change: Change) -> Changed | None:
        try:
            return self._write_planned(operation_id, lambda row: statements.plan_change(row, change, self._seal))
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
        if plan.row is not None:
            if len(self._rows_seen) >= _ROWS_SEEN:
                self._rows_seen.clear()
            self._rows_seen[plan.data.operation_id] = plan.row
        return Changed(plan.data, events)

    def _carry_out(self, plan: Plan | None) -> tuple[Plan, tuple[Event, ...]] | None:
        if plan is None:
            return None
        for sql, parameters in plan.statements:
            self._connections.execute(sql, parameters)
        return plan, self._store_events(plan.events, plan.data.operation_id, plan.transient)

    def get(self, operation_id: str) -> RecoveryData | None:
        row = self._raw(operation_id)
        return None if row is None else statements.record_of(row, self._seal)

    def latest_with_key(self, key: str) -> RecoveryData | None:
        query = OperationRow.select().where(OperationRow.key == key)
        unfinished = OperationRow.state.in_([state.value for state in UNFINISHED])
        # Of several made at the same moment, the one that was entered last.
        row = self._row(
            query.order_by(unfinished.desc(), OperationRow.created_at.desc(), peewee.SQL(f"{self._ENTERED} DESC"))
        )
        return None if row is None else to_data(row, self._seal)

    def find(
        self,
        *,
        states: Collection[RecoveryState] | None = None,
        kind: str | None = None,
        project: str | None = None,
        parent_id: str | None = None,
        text: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RecoveryData]:
        query = OperationRow.select()
        if states is not None:
            query = query.where(OperationRow.state.in_([state.value for state in states]))
            if UNFINISHED.issuperset(states):
                query = query.where(IS_UNFINISHED)
            elif GIVEN_UP.issuperset(states):
                query = query.where(IS_GIVEN_UP)
        if kind is not None:
            query = query.where(OperationRow.kind == kind)
        if project is not None:
            query = query.where(OperationRow.project == project)
        if parent_id is not None:
            query = query.where(OperationRow.parent_id == parent_id)
        if text is not None:
            found = [getattr(OperationRow, name).contains(text) for name in SEARCHED]
            query = query.where(functools.reduce(operator.or_, found))
        if before is not None:
            query = query.where(
                peewee.Tuple(OperationRow.created_at, OperationRow.operation_id) < peewee.Tuple(*before)
            )
        query = query.order_by(OperationRow.created_at.desc(), OperationRow.operation_id.desc())
        query = query.limit(limit if limit >= 0 else None)
        return [to_data(row, self._seal) for row in self._rows(query)]

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        statement = statements.update_claimed(operation_id, fence, to_columns({"metadata": dict(metadata)}, self._seal))
        return self._write(lambda: bool(self._connections.execute(*statement).rowcount), durable=False)

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        fields = {"progress": progress, "watermark": watermark, "updated_at": at}
        plan = functools.partial(statements.plan_progress, fence=fence, fields=fields, seal=self._seal)
        return self._write_planned(operation_id, plan, durable=False)

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        query = AttemptRow.select().where(AttemptRow.operation_id == operation_id).order_by(AttemptRow.number)
        return [to_attempt(row, self._seal) for row in self._rows(query)]

    def steps(self, operation_id: str) -> list[StepRecord]:
        query = StepRow.select().where(StepRow.operation_id == operation_id)
        rows = self._rows(query.order_by(StepRow.finished_at, peewee.SQL(self._ENTERED)))
        return [step for row in rows if (step := to_step(row, self._seal)) is not None]

    def steps_of_many(self, operation_ids: Collection[str]) -> Mapping[str, list[StepRecord]]:
        found: dict[str, list[StepRecord]] = {}
        wanted = [*operation_ids]
        for first in range(0, len(wanted), _MOST_PARAMETERS):
            batch = wanted[first : first + _MOST_PARAMETERS]
            marks = ", ".join("?" * len(batch))
            rows = self._fetch(
                "SELECT operation_id, name, finished_at FROM recovery_steps"
                f" WHERE operation_id IN ({marks}) ORDER BY finished_at, {self._ENTERED}",
                tuple(batch),
            )
            for operation_id, name, at in rows:
                found.setdefault(operation_id, []).append(StepRecord(name, to_datetime(at)))
        return found

    def load_step(self, operation_id: str, name: str) -> StepRecord | None:
        row = self._row(StepRow.select().where((StepRow.operation_id == operation_id) & (StepRow.name == name)))
        return None if row is None else to_step(row, self._seal)

    def finish_step(self, operation_id: str, fence: int, step: StepRecord) -> bool:
        at = step.finished_at.timestamp()
        claimed = statements.update_claimed(operation_id, fence, {"updated_at": at})
        columns = (operation_id, step.name, at, self._seal.close(codec.dumps(step.result)))

        def work() -> bool:
            if not self._connections.execute(*claimed).rowcount:
                return False
            self._connections.execute(statements.SAVE_STEP, columns)
            return True

        return self._write(work)

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        known = OwnerTableRow.select(OwnerTableRow.owner_id)
        orphans = OperationRow.select().where(
            IS_UNFINISHED
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
            return [self._carry_out(_released(row, at, self._seal)) for row in found]

        if not dead and not self._rows(orphans.limit(1)):
            return []  # as nearly always; nobody has to wait for this
        return [changed for done in self._write(work) if (changed := self._changed(done)) is not None]

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        return shared.share(self._write, self._fetch, self._connections.execute, table, key, change)

    def shared(self, table: str, key: tuple[str, ...] | None = None) -> list[Row]:
        return shared.shared(self._fetch, table, key)

    def take_over(self, kept: Collection[Kept], events: Collection[Event], after: int) -> None:
        def work() -> None:
            self._number_events_after(after - len(events))
            for one in kept:
                self._connections.execute("SAVEPOINT one")
                try:
                    for sql, parameters in statements.plan_take_over(one, self._seal):
                        self._connections.execute(sql, parameters)
                except peewee.IntegrityError:
                    self._connections.execute("ROLLBACK TO one")
                    logger.warning("%s is left as it is in %s: its key is taken", one.data.title, self.where)
                self._connections.execute("RELEASE one")
            for event in events:
                planned = statements.plan_event(event.name, event.payload, self._seal)
                self._store_event(planned, event.payload.get("operation_id"))

        self._write(work)

    async def save(self, recovery_data: RecoveryData) -> None:
        await _in_thread(self._save, recovery_data)

    def _save(self, data: RecoveryData) -> None:
        columns = to_columns(vars(data), self._seal)
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


def _released(row: tuple[Any, ...], at: datetime, seal: Seal) -> Plan:
    data = statements.record_of(row, seal)
    fields: dict[str, Any] = {"owner": None}
    if data.state in (RecoveryState.IN_PROGRESS, RecoveryState.RECOVERING):
        fields["state"] = RecoveryState.PENDING
    return statements.plan_apply(row, data, Change((), fields, at, attempt={"outcome": "interrupted"}), seal)


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args))
