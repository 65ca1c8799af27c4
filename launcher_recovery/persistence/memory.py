"""The store in memory: for tests, for calls that need no persistence, and for when a disk cannot be used."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Mapping
from copy import copy, deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks
from launcher_recovery.persistence.base import (
    FORGOTTEN,
    KEYS,
    LINGERING_S,
    SEARCHED,
    Change,
    Changed,
    Owner,
    OwnerRow,
    StatePersistence,
    begins,
)
from launcher_recovery.persistence.codec import error_to_stored
from launcher_recovery.persistence.memory_transfers import MemoryTransfers
from launcher_recovery.records import (
    FINAL,
    UNFINISHED,
    Activity,
    AttemptRecord,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
)
from launcher_recovery.rows import Row, Transition
from launcher_recovery.signals import Event, events_of

_KEPT_EVENTS = 10_000


class MemoryPersistence(MemoryTransfers, StatePersistence):
    """Recovery state in this process; gone when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition(threading.RLock())
        self._operations: OrderedDict[str, RecoveryData] = OrderedDict()
        self._attempts: dict[str, list[AttemptRecord]] = {}
        self._steps: dict[str, dict[str, StepRecord]] = {}
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._seq = 0
        self._transient: dict[str, Event] = {}
        self._owners: dict[str, OwnerRow] = {}
        self._shared: dict[tuple[str, tuple[str, ...]], Row] = {}
        forks.register(self)

    def _store_events(self, data: RecoveryData) -> tuple[Event, ...]:
        return tuple(self.append_event(name, payload) for name, payload in events_of(data))

    def before_fork(self) -> None:
        """Wait until nobody is in here."""
        self._changed.acquire()

    def after_fork(self, in_child: bool) -> None:
        """Undo `before_fork`."""
        if in_child:
            self._changed = threading.Condition(threading.RLock())
        else:
            self._changed.release()

    def adopt(
        self, data: RecoveryData, attempts: list[AttemptRecord], steps: Collection[StepRecord] | None = None
    ) -> None:
        """Take in what another store has, without an event; `steps` None: those that are known already."""
        with self._changed:
            self._operations[data.operation_id] = deepcopy(data)
            self._attempts[data.operation_id] = attempts
            if steps is not None:
                self._steps[data.operation_id] = {step.name: step for step in steps}

    def forget(self, operation_id: str) -> None:
        """Drop a record, not its events; silent when it is not known."""
        with self._changed:
            self._operations.pop(operation_id, None)
            self._attempts.pop(operation_id, None)
            self._steps.pop(operation_id, None)

    def number_events_after(self, seq: int) -> None:
        """Forget the events; the next one has a number above `seq` and above all that were given."""
        with self._changed:
            self._events.clear()
            self._transient.clear()
            self._seq = max(self._seq, seq)

    def insert(self, data: RecoveryData) -> Changed | None:
        with self._changed:
            if data.operation_id in self._operations or (data.state in UNFINISHED and self._is_key_taken(data)):
                return None
            self._operations[data.operation_id] = _kept(data)
            if begins(data):
                self._attempts[data.operation_id] = [AttemptRecord(data.attempt, data.updated_at)]
            return Changed(data, self._store_events(data))

    def _is_key_taken(self, data: RecoveryData) -> bool:
        return data.key is not None and any(
            other.key == data.key and other.state in UNFINISHED and other.operation_id != data.operation_id
            for other in self._operations.values()
        )

    def change(self, operation_id: str, change: Change) -> Changed | None:
        with self._changed:
            data = self._operations.get(operation_id)
            if data is None or data.state not in change.expected:
                return None
            if change.fence is not None and data.fence != change.fence:
                return None
            if data.state in FINAL and change.fields.get("state") in UNFINISHED and self._is_key_taken(data):
                return None
            return self._apply(data, change)

    def _apply(self, data: RecoveryData, change: Change) -> Changed:
        attempts = self._attempts.setdefault(data.operation_id, [])
        if change.attempt is not None and attempts and attempts[-1].ended_at is None:
            attempts[-1] = dataclasses.replace(attempts[-1], ended_at=change.at, **change.attempt)
        for name, value in change.fields.items():
            setattr(data, name, error_to_stored(value) if isinstance(value, Exception) else deepcopy(value))
        if change.metadata is not None:
            data.metadata.update(deepcopy(dict(change.metadata)))
        data.updated_at = change.at
        if change.claim:
            data.attempt += 1
            data.fence += 1
            attempts.append(AttemptRecord(data.attempt, change.at))
        return Changed(deepcopy(data), self._store_events(data) if change.is_news(data.state) else ())

    def get(self, operation_id: str) -> RecoveryData | None:
        with self._changed:
            return deepcopy(self._operations.get(operation_id))

    def latest_with_key(self, key: str) -> RecoveryData | None:
        with self._changed:
            found = [data for data in self._operations.values() if data.key == key]
            # Of several made at the same moment, the one that was entered last.
            latest = max(reversed(found), key=lambda data: (data.state in UNFINISHED, data.created_at), default=None)
            return deepcopy(latest)

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
        wanted = None if text is None else text.lower()
        with self._changed:
            found = [
                data
                for data in self._operations.values()
                if (states is None or data.state in states)
                and (kind is None or data.kind == kind)
                and (project is None or data.project == project)
                and (parent_id is None or data.parent_id == parent_id)
                and (wanted is None or _has(data, wanted))
                and (before is None or _position(data) < before)
            ]
            found.sort(key=_position, reverse=True)
            return deepcopy(found if limit < 0 else found[:limit])

    def _claimed(self, operation_id: str, fence: int | None) -> RecoveryData | None:
        data = self._operations.get(operation_id)
        if data is None or data.fence != fence or data.state is not RecoveryState.IN_PROGRESS:
            return None
        return data

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        with self._changed:
            data = self._claimed(operation_id, fence)
            if data is not None:
                data.metadata = deepcopy(dict(metadata))
            return data is not None

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        with self._changed:
            data = self._claimed(operation_id, fence)
            if data is None:
                return None
            data.progress, data.watermark, data.updated_at = progress, watermark, at
            replaced = self._transient.get(operation_id)
            if replaced is not None and replaced in self._events:
                self._events.remove(replaced)
            events = self._store_events(data)
            self._transient[operation_id] = events[0]
            return Changed(deepcopy(data), events)

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        with self._changed:
            return list(self._attempts.get(operation_id, ()))

    def steps(self, operation_id: str) -> list[StepRecord]:
        with self._changed:
            return deepcopy(list(self._steps.get(operation_id, {}).values()))

    def steps_of_many(self, operation_ids: Collection[str]) -> Mapping[str, list[StepRecord]]:
        with self._changed:
            found = {one: [*self._steps[one].values()] for one in operation_ids if self._steps.get(one)}
            return {one: [StepRecord(step.name, step.finished_at) for step in steps] for one, steps in found.items()}

    def load_step(self, operation_id: str, name: str) -> StepRecord | None:
        with self._changed:
            return deepcopy(self._steps.get(operation_id, {}).get(name))

    def finish_step(self, operation_id: str, fence: int, step: StepRecord) -> bool:
        with self._changed:
            data = self._claimed(operation_id, fence)
            if data is None:
                return False
            data.updated_at = step.finished_at
            self._steps.setdefault(operation_id, {})[step.name] = deepcopy(step)
            return True

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        with self._changed:
            self._seq += 1
            event = Event(self._seq, name, dict(payload))
            self._events.append(event)
            self._changed.notify_all()
            return event

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        with self._changed:
            return [event for event in self._events if event.seq > seq][:limit]

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        with self._changed:
            return [event for event in self._events if event.payload.get("operation_id") == operation_id][-limit:]

    def event_range(self) -> tuple[int, int]:
        with self._changed:
            return (self._events[0].seq if self._events else self._seq + 1, self._seq)

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        ends = time.monotonic() + timeout
        with self._changed:
            return self._changed.wait_for(lambda: self._seq > seq, max(0.0, ends - time.monotonic()))

    def activity(self, since: float, span: int) -> list[Activity]:
        spans: dict[int, Counter[str]] = {}
        resumed: dict[int, float] = {}
        with self._changed:
            for attempt in (one for attempts in self._attempts.values() for one in attempts):
                ended = attempt.ended_at
                if ended is None or ended.timestamp() < since:
                    continue
                number = int(ended.timestamp()) // span
                spans.setdefault(number, Counter())[attempt.outcome or ""] += 1
                resumed[number] = resumed.get(number, 0.0) + (attempt.resumed or 0)
        return [Activity(float(number * span), dict(spans[number]), resumed[number]) for number in sorted(spans)]

    def counts(self) -> Mapping[str, float]:
        totals: dict[str, float] = {state.value: 0 for state in RecoveryState}
        totals.update(recovered=0, recovery_seconds=0.0, attempts=0)
        with self._changed:
            for data in self._operations.values():
                totals[data.state.value] += 1
                totals["attempts"] += max(0, data.attempt - 1)
                if data.state is RecoveryState.SUCCESS and data.attempt > 1 and data.completed_at is not None:
                    totals["recovered"] += 1
                    totals["recovery_seconds"] += (data.completed_at - data.created_at).total_seconds()
        return totals

    def heartbeat(self, owner: Owner, at: float) -> None:
        with self._changed:
            self._owners[owner.owner_id] = OwnerRow(owner, at)

    def owners(self) -> list[OwnerRow]:
        with self._changed:
            return list(self._owners.values())

    def forget_owner(self, owner_id: str) -> None:
        with self._changed:
            self._owners.pop(owner_id, None)

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        changed = []
        with self._changed:
            orphans = [
                data
                for data in self._operations.values()
                if data.state in UNFINISHED
                and data.owner is not None
                and (data.owner not in self._owners or data.owner in dead)
            ]
            for data in orphans[:limit]:
                fields: dict[str, Any] = {"owner": None}
                if data.state in (RecoveryState.IN_PROGRESS, RecoveryState.RECOVERING):
                    fields["state"] = RecoveryState.PENDING
                changed.append(self._apply(data, Change((), fields, at, attempt={"outcome": "interrupted"})))
            for owner_id in dead:
                self._owners.pop(owner_id, None)
        return changed

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        with self._changed:
            changed = change(self._shared.get((table, key)))
            if changed is not None:
                self._shared[table, key] = {**changed, **dict(zip(KEYS[table], key, strict=True))}
            return self._shared.get((table, key))

    def shared(self, table: str, key: tuple[str, ...] | None = None) -> list[Row]:
        with self._changed:
            return [row for (found, own), row in self._shared.items() if found == table and key in (None, own)]

    def _forget_shared(self, before: float) -> None:
        for where, row in list(self._shared.items()):
            if where[0] not in FORGOTTEN:
                continue
            lingers = LINGERING_S if row.get("state", "closed") != "closed" else 0
            if row["updated_at"] < before - lingers:
                del self._shared[where]

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        with self._changed:
            finished = [data for data in self._operations.values() if data.state in FINAL]
            over = sorted((data for data in finished if not self._is_part(data)), key=lambda data: data.updated_at)
            too_many = 0 if keep is None else len(finished) - keep
            old = {
                data.operation_id
                for number, data in enumerate(over)
                if number < too_many or data.updated_at < older_than
            }
            self._forget(old)
            self._forget_shared(older_than.timestamp())
            return len(old)

    def _is_part(self, data: RecoveryData) -> bool:
        parent = None if data.parent_id is None else self._operations.get(data.parent_id)
        return parent is not None and parent.state in UNFINISHED

    def _forget(self, operation_ids: Collection[str]) -> None:
        tables: tuple[dict[str, Any], ...] = (self._operations, self._attempts, self._steps, self._transient)
        for table in tables:
            for operation_id in operation_ids:
                table.pop(operation_id, None)
        kept = [event for event in self._events if event.payload.get("operation_id") not in operation_ids]
        self._events = deque(kept, maxlen=_KEPT_EVENTS)

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    async def save(self, recovery_data: RecoveryData) -> None:
        with self._changed:
            if recovery_data.state in UNFINISHED and self._is_key_taken(recovery_data):
                raise StoreError(f"another unfinished operation has the key {recovery_data.key!r} already")
            self._operations[recovery_data.operation_id] = _kept(recovery_data)

    async def load(self, operation_id: str) -> RecoveryData | None:
        return self.get(operation_id)

    async def delete(self, operation_id: str) -> None:
        with self._changed:
            self._forget({operation_id})

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return self.find(states=[state], limit=-1)[::-1]

    async def cleanup_old(self, days: int = 7) -> int:
        return self.cleanup(datetime.now(timezone.utc) - timedelta(days=days))


def _position(data: RecoveryData) -> tuple[float, str]:
    return (data.created_at.timestamp(), data.operation_id)


def _has(data: RecoveryData, text: str) -> bool:
    return any(text in (getattr(data, name) or "").lower() for name in SEARCHED)


def _kept(data: RecoveryData) -> RecoveryData:
    # A copy of an exception has no traceback, and those with arguments of their own cannot be copied at all.
    kept = copy(data)
    kept.error = None if data.error is None else error_to_stored(data.error)
    return deepcopy(kept)
