"""The outbox of a store in a database: numbered events, of which about the last ten thousand are kept."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import peewee

from launcher_recovery.persistence.access import DatabaseAccess
from launcher_recovery.persistence.models import EventRow, to_event
from launcher_recovery.persistence.statements import PlannedEvent, plan_event
from launcher_recovery.signals import Event

_KEPT_EVENTS = 10_000
_PRUNE_EVERY = 256


class StoredEvents(DatabaseAccess):
    """The outbox."""

    _NEWEST: str
    """Query of the newest number that was ever given."""

    def __init__(self) -> None:
        super().__init__()
        self._since_prune = 0

    @abc.abstractmethod
    def _enter_events(self, rows: Sequence[tuple[str, str | None, str, bool]]) -> int:
        """Insert name, operation id, payload and whether it is transient of each; returns the number of the last one,
        before which the others have theirs without a gap."""

    @abc.abstractmethod
    def _number_events_after(self, seq: int) -> None:
        """Make the next number one above `seq`, unless it is already."""

    def _store_events(
        self, events: Sequence[PlannedEvent], operation_id: str | None, transient: bool = False
    ) -> tuple[Event, ...]:
        if not events:
            return ()
        last = self._enter_events([(event.name, operation_id, event.text, transient) for event in events])
        self._group.numbered = last
        self._prune(last, len(events))
        first = last - len(events) + 1
        return tuple(Event(first + place, event.name, event.payload) for place, event in enumerate(events))

    def _store_event(self, event: PlannedEvent, operation_id: str | None) -> Event:
        return self._store_events((event,), operation_id)[0]

    def _prune(self, seq: int, entered: int) -> None:
        """Forget what is old, from time to time."""
        self._since_prune += entered
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            self._connections.execute("DELETE FROM recovery_outbox WHERE seq <= ?", (seq - _KEPT_EVENTS,))

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        event = plan_event(name, payload, self._seal)
        return self._write(lambda: self._store_event(event, None))

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        query = EventRow.select().where(EventRow.seq > seq).order_by(EventRow.seq).limit(limit)
        return [to_event(row, self._seal) for row in self._rows(query)]

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        query = EventRow.select().where(EventRow.operation_id == operation_id)
        rows = self._rows(query.order_by(EventRow.seq.desc()).limit(limit))
        return [to_event(row, self._seal) for row in reversed(rows)]

    def event_range(self) -> tuple[int, int]:
        # The newest may be deleted; its number is never given again.
        return self._read(self._newest)

    def _newest(self, database: peewee.Database) -> tuple[int, int]:
        low, high = database.execute_sql(f"SELECT (SELECT min(seq) FROM recovery_outbox), ({self._NEWEST})").fetchone()
        return (high + 1 if low is None else low, high)
