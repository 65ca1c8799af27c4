"""The statements of the hot path, prepared outside of the transaction that runs them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from launcher_recovery.persistence import codec, transfer_rows
from launcher_recovery.persistence.base import Change, Kept, begins
from launcher_recovery.persistence.encryption import Seal
from launcher_recovery.persistence.models import SEALED_OF_ATTEMPTS, OperationRow, to_columns, to_data
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.signals import events_of

Statement = tuple[str, tuple[Any, ...]]


def _replaced(names: Iterable[str]) -> str:
    """What follows DO UPDATE SET, so that the new row's columns replace the old one's."""
    return ", ".join(f"{name} = excluded.{name}" for name in names)


COLUMNS: tuple[str, ...] = tuple(OperationRow._meta.sorted_field_names)
_in_order: Callable[[Mapping[str, Any]], tuple[Any, ...]] = operator.itemgetter(*COLUMNS)
SELECT = f"SELECT {', '.join(COLUMNS)} FROM recovery_data WHERE operation_id = ?"
_INSERT = f"INSERT INTO recovery_data ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_FORGET_TRANSIENT = "DELETE FROM recovery_outbox WHERE operation_id = ? AND transient"
_ENDED = ("outcome", "category", "error", "error_type", "traceback", "delay_s", "resumed")
_ATTEMPT = ("operation_id", "number", "started_at", "ended_at", *_ENDED)
_END_ATTEMPT = (
    f"UPDATE recovery_attempts SET ended_at = ?, {', '.join(f'{name} = ?' for name in _ENDED)}"
    " WHERE operation_id = ? AND number = ? AND ended_at IS NULL"
)
_BEGIN_ATTEMPT = "INSERT INTO recovery_attempts (operation_id, number, started_at) VALUES (?, ?, ?)"
SAVE_STEP = (
    "INSERT INTO recovery_steps (operation_id, name, finished_at, result) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (operation_id, name) DO UPDATE SET finished_at = excluded.finished_at, result = excluded.result"
)
_TAKE_ATTEMPT = (
    f"INSERT INTO recovery_attempts ({', '.join(_ATTEMPT)}) SELECT {', '.join('?' * len(_ATTEMPT))}"
    " WHERE EXISTS (SELECT 1 FROM recovery_data WHERE operation_id = ? AND fence = ? AND updated_at = ?)"
    f" ON CONFLICT (operation_id, number) DO UPDATE SET {_replaced(_ATTEMPT[2:])}"
)
_TAKE_STEP = (
    "INSERT INTO recovery_steps (operation_id, name, finished_at, result) SELECT ?, ?, ?, ?"
    " WHERE EXISTS (SELECT 1 FROM recovery_data WHERE operation_id = ? AND fence = ?)"
    " ON CONFLICT (operation_id, name) DO UPDATE SET finished_at = excluded.finished_at, result = excluded.result"
)


class PlannedEvent(NamedTuple):
    """An event that has no number yet, with its payload as text."""

    name: str
    payload: dict[str, Any]
    text: str


class Plan(NamedTuple):
    """What a change writes: the statements, the record as it will be, and its events."""

    statements: tuple[Statement, ...]
    data: RecoveryData
    events: tuple[PlannedEvent, ...]
    row: tuple[Any, ...] | None
    """As `SELECT` will give it; None when the operation is finished, and need not be remembered."""
    transient: bool = False


def _planned(data: RecoveryData, seal: Seal) -> tuple[PlannedEvent, ...]:
    return tuple(
        PlannedEvent(name, payload, codec.dumps_plain(seal.close_payload(payload))) for name, payload in events_of(data)
    )


def plan_event(name: str, payload: Mapping[str, Any], seal: Seal) -> PlannedEvent:
    """An event that comes with no change."""
    return PlannedEvent(name, dict(payload), codec.dumps(seal.close_payload(payload)))


def record_of(row: tuple[Any, ...], seal: Seal) -> RecoveryData:
    """The record of a row of `SELECT`."""
    return to_data(dict(zip(COLUMNS, row, strict=True)), seal)


def plan_insert(data: RecoveryData, seal: Seal) -> Plan:
    """Enter a new record, with its first attempt if that is under way."""
    columns = to_columns(vars(data), seal)
    row = _in_order(columns)
    statements: tuple[Statement, ...] = ((_INSERT, row),)
    if begins(data):
        statements += ((_BEGIN_ATTEMPT, (data.operation_id, data.attempt, columns["updated_at"])),)
    return Plan(statements, data, _planned(data, seal), row)


def _updated(row: tuple[Any, ...], columns: Mapping[str, Any]) -> tuple[Any, ...]:
    return _in_order({**dict(zip(COLUMNS, row, strict=True)), **columns})


@functools.cache
def insert_events(count: int) -> str:
    """Enters so many events, with name, operation id, payload and whether it is transient of each."""
    rows = ", ".join(["(?, ?, ?, ?)"] * count)
    return f"INSERT INTO recovery_outbox (name, operation_id, payload, transient) VALUES {rows}"


@functools.cache
def _update_of(names: tuple[str, ...]) -> str:
    return f"UPDATE recovery_data SET {', '.join(f'{name} = ?' for name in names)} WHERE operation_id = ?"


def _update(operation_id: str, columns: Mapping[str, Any]) -> Statement:
    return (_update_of(tuple(columns)), (*columns.values(), operation_id))


def _sealed(name: str, value: Any, seal: Seal) -> Any:
    return seal.close(value) if name in SEALED_OF_ATTEMPTS else value


def plan_change(row: tuple[Any, ...] | None, change: Change, seal: Seal) -> Plan | None:
    """Make `change` to the operation of `row`; None when it is not where it is expected."""
    if row is None:
        return None
    data = record_of(row, seal)
    if data.state not in change.expected or change.fence not in (None, data.fence):
        return None
    return plan_apply(row, data, change, seal)


def plan_apply(row: tuple[Any, ...], data: RecoveryData, change: Change, seal: Seal) -> Plan:
    """Make `change` to the record of `row`, without a look at state and fence."""
    operation_id, at = data.operation_id, change.at.timestamp()
    fields = dict(change.fields, updated_at=change.at)
    if change.metadata is not None:
        fields["metadata"] = {**data.metadata, **change.metadata}
    statements: list[Statement] = []
    if change.attempt is not None:
        ended = [_sealed(name, change.attempt.get(name), seal) for name in _ENDED]
        statements.append((_END_ATTEMPT, (at, *ended, operation_id, data.attempt)))
    if change.claim:
        fields.update(attempt=data.attempt + 1, fence=data.fence + 1)
        statements.append((_BEGIN_ATTEMPT, (operation_id, data.attempt + 1, at)))
    columns = to_columns(fields, seal)
    statements.append(_update(operation_id, columns))
    for name, value in fields.items():
        setattr(data, name, value)
    events = _planned(data, seal) if change.is_news(data.state) else ()
    updated = _updated(row, columns) if data.state in UNFINISHED else None
    return Plan(tuple(statements), data, events, updated)


def plan_progress(row: tuple[Any, ...] | None, fence: int, fields: Mapping[str, Any], seal: Seal) -> Plan | None:
    """Keep progress with an event that replaces the one before; None when the claim is gone."""
    if row is None:
        return None
    data = record_of(row, seal)
    if data.fence != fence or data.state is not RecoveryState.IN_PROGRESS:
        return None
    columns = to_columns(fields, seal)
    for name, value in fields.items():
        setattr(data, name, value)
    statements = (_update(data.operation_id, columns), (_FORGET_TRANSIENT, (data.operation_id,)))
    return Plan(statements, data, _planned(data, seal), _updated(row, columns), transient=True)


def update_claimed(operation_id: str, fence: int, columns: Mapping[str, Any]) -> Statement:
    """Set columns of an operation that is in progress under this fence; touches no row when it is not."""
    sql, parameters = _update(operation_id, columns)
    return (f"{sql} AND fence = ? AND state = 'in_progress'", (*parameters, fence))


def plan_take_over(kept: Kept, seal: Seal) -> list[Statement]:
    """Enter an operation with what belongs to it, unless it was claimed or changed in the store since."""
    data, columns = kept.data, to_columns(vars(kept.data), seal)
    others = _replaced(name for name in COLUMNS if name != "operation_id")
    ours = (data.operation_id, data.fence, columns["updated_at"])
    upsert = (
        f"{_INSERT} ON CONFLICT (operation_id) DO UPDATE SET {others} WHERE recovery_data.fence < excluded.fence"
        " OR (recovery_data.fence = excluded.fence"
        " AND (recovery_data.updated_at <= excluded.updated_at OR recovery_data.updated_at = ?))"
    )
    stored_at = data.updated_at if kept.stored_at is None else kept.stored_at
    found: list[Statement] = [(upsert, (*_in_order(columns), stored_at.timestamp()))]
    for attempt in kept.attempts:
        ended = None if attempt.ended_at is None else attempt.ended_at.timestamp()
        began = (data.operation_id, attempt.number, attempt.started_at.timestamp())
        rest = (_sealed(name, getattr(attempt, name), seal) for name in _ENDED)
        found.append((_TAKE_ATTEMPT, (*began, ended, *rest, *ours)))
    for step in kept.steps:
        row = (data.operation_id, step.name, step.finished_at.timestamp(), seal.close(codec.dumps(step.result)))
        found.append((_TAKE_STEP, (*row, *ours[:2])))
    for transfer in kept.transfers:
        found += transfer_rows.plan_take_over(transfer, data.operation_id, data.fence, seal)
    return found
