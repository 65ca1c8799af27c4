"""The tables as Peewee models, and the mapping between rows and records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import peewee

from launcher_recovery.clock import to_datetime
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.encryption import Seal, UnreadableError
from launcher_recovery.records import AttemptRecord, Progress, RecoveryData, RecoveryState, StepRecord, WaitingFor
from launcher_recovery.signals import Event

# Bound to no database: several stores may be open in one process, so each query is told whose connection to use.


class OperationRow(peewee.Model):
    """One operation; times are seconds since the epoch, UTC."""

    operation_id = peewee.TextField(primary_key=True)
    function_name = peewee.TextField()
    state = peewee.TextField()
    attempt = peewee.IntegerField(default=0)
    args = peewee.TextField(null=True)
    kwargs = peewee.TextField(null=True)
    error = peewee.TextField(null=True)
    metadata = peewee.TextField(null=True)
    created_at = peewee.DoubleField()
    updated_at = peewee.DoubleField()
    kind = peewee.TextField()
    key = peewee.TextField(null=True)
    project = peewee.TextField(null=True)
    parent_id = peewee.TextField(null=True)
    title = peewee.TextField(default="")
    max_attempts = peewee.IntegerField(null=True)
    fruitless = peewee.IntegerField(default=0)
    watermark = peewee.DoubleField(default=0.0)
    category = peewee.TextField(null=True)
    explanation = peewee.TextField(null=True)
    fix = peewee.TextField(null=True)
    next_attempt_at = peewee.DoubleField(null=True)
    waiting_for = peewee.TextField(null=True)
    progress = peewee.TextField(null=True)
    result = peewee.TextField(null=True)
    owner = peewee.TextField(null=True)
    fence = peewee.IntegerField(default=0)
    resumable = peewee.BooleanField(default=True)
    completed_at = peewee.DoubleField(null=True)
    begun_at = peewee.DoubleField(null=True)

    class Meta:
        table_name = "recovery_data"


class AttemptRow(peewee.Model):
    """One attempt of an operation."""

    operation_id = peewee.TextField()
    number = peewee.IntegerField()
    started_at = peewee.DoubleField()
    ended_at = peewee.DoubleField(null=True)
    outcome = peewee.TextField(null=True)
    category = peewee.TextField(null=True)
    error = peewee.TextField(null=True)
    error_type = peewee.TextField(null=True)
    traceback = peewee.TextField(null=True)
    delay_s = peewee.DoubleField(null=True)
    resumed = peewee.DoubleField(null=True)

    class Meta:
        table_name = "recovery_attempts"
        primary_key = peewee.CompositeKey("operation_id", "number")


class StepRow(peewee.Model):
    """One finished step of an operation."""

    operation_id = peewee.TextField()
    name = peewee.TextField()
    finished_at = peewee.DoubleField()
    result = peewee.TextField(null=True)

    class Meta:
        table_name = "recovery_steps"
        primary_key = peewee.CompositeKey("operation_id", "name")


class EventRow(peewee.Model):
    """The outbox: events in the order in which they were committed. A transient one is replaced by the next."""

    seq = peewee.AutoField()
    name = peewee.TextField()
    operation_id = peewee.TextField(null=True)
    payload = peewee.TextField()
    transient = peewee.BooleanField(default=False)

    class Meta:
        table_name = "recovery_outbox"


class OwnerTableRow(peewee.Model):
    """A process that runs operations."""

    owner_id = peewee.TextField(primary_key=True)
    host = peewee.TextField()
    pid = peewee.IntegerField()
    started = peewee.TextField()
    heartbeat_at = peewee.DoubleField()
    about = peewee.TextField(null=True)

    class Meta:
        table_name = "recovery_owners"


class BreakerRow(peewee.Model):
    """A circuit breaker that all processes share; `recent` is JSON."""

    scope = peewee.TextField()
    operation_type = peewee.TextField()
    state = peewee.TextField()
    failure_count = peewee.IntegerField(default=0)
    last_failure_time = peewee.DoubleField(null=True)
    opened_at = peewee.DoubleField(null=True)
    generation = peewee.IntegerField(default=0)
    probe_owner = peewee.TextField(null=True)
    recent = peewee.TextField(default="[]")
    updated_at = peewee.DoubleField()

    class Meta:
        table_name = "recovery_breakers"
        primary_key = peewee.CompositeKey("scope", "operation_type")


class BudgetRow(peewee.Model):
    """A retry budget that all processes share."""

    scope = peewee.TextField(primary_key=True)
    tokens = peewee.DoubleField()
    next_probe_at = peewee.DoubleField(null=True)
    updated_at = peewee.DoubleField()

    class Meta:
        table_name = "recovery_budgets"


class SettingsRow(peewee.Model):
    """Settings that are kept over restarts; `kept` is JSON."""

    scope = peewee.TextField(primary_key=True)
    kept = peewee.TextField()
    updated_at = peewee.DoubleField()

    class Meta:
        table_name = "recovery_settings"


MODELS: tuple[type[peewee.Model], ...] = (
    OperationRow,
    AttemptRow,
    StepRow,
    EventRow,
    OwnerTableRow,
    BreakerRow,
    BudgetRow,
    SettingsRow,
)

_PLAIN = frozenset((
    "operation_id", "function_name", "attempt", "kind", "key", "project", "parent_id", "title", "max_attempts",
    "fruitless", "watermark", "category", "explanation", "fix", "owner", "fence", "resumable",
))  # fmt: skip
_JSON = ("args", "kwargs", "metadata", "result")
SEALED = frozenset((*_JSON, "error", "explanation"))
"""Columns that are encrypted when there is a key."""
SEALED_OF_ATTEMPTS = frozenset(("error", "traceback"))
_CALLED_WITH = ("args", "kwargs")
_TIMES = ("created_at", "updated_at", "next_attempt_at", "completed_at", "begun_at")


def to_columns(fields: Mapping[str, Any], seal: Seal) -> dict[str, Any]:
    """Fields of `RecoveryData` as column values."""
    columns = _plain_columns(fields)
    if not seal.is_closed:
        return columns
    return {name: seal.close(value) if name in SEALED else value for name, value in columns.items()}


def _plain_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or name in _PLAIN:
            columns[name] = value
        elif name in _JSON:
            columns[name] = codec.dumps(value)
        elif name in _TIMES:
            columns[name] = value.timestamp()
        elif name == "error":
            columns[name] = codec.dump_error(value)
        elif name == "progress":
            columns[name] = codec.dumps(asdict(value))
        else:  # state, waiting_for
            columns[name] = value.value
    return columns


def to_data(row: Mapping[str, Any], seal: Seal) -> RecoveryData:
    """The record of a row of `recovery_data`.

    What cannot be opened is left out; without its arguments the record is not resumable, and its error says why.
    """
    fields = dict(row)
    unreadable = _open(fields, seal)
    for name in _JSON:
        fields[name] = codec.loads(fields[name])
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = to_datetime(fields[name])
    fields["args"] = tuple(fields["args"] or ())
    fields["kwargs"] = fields["kwargs"] or {}
    fields["metadata"] = fields["metadata"] or {}
    fields["resumable"] = bool(fields["resumable"])
    fields["state"] = RecoveryState(fields["state"])
    if fields["waiting_for"] is not None:
        fields["waiting_for"] = WaitingFor(fields["waiting_for"])
    if fields["error"] is not None:
        fields["error"] = codec.load_error(fields["error"])
    if unreadable:
        fields["resumable"] = fields["resumable"] and unreadable.keys().isdisjoint(_CALLED_WITH)
        if not unreadable.keys().isdisjoint((*_CALLED_WITH, "error")):
            fields["error"] = next(iter(unreadable.values()))
    if fields["progress"] is not None:
        fields["progress"] = Progress(**codec.loads(fields["progress"]))
    return RecoveryData(**fields)


def _open(fields: dict[str, Any], seal: Seal) -> dict[str, UnreadableError]:
    """Open the sealed columns in place; those that cannot be are None, and returned with the error."""
    unreadable: dict[str, UnreadableError] = {}
    for name in SEALED:
        try:
            fields[name] = seal.open(fields[name])
        except UnreadableError as error:
            fields[name], unreadable[name] = None, error
    return unreadable


def to_attempt(row: Mapping[str, Any], seal: Seal) -> AttemptRecord:
    """The record of a row of `recovery_attempts`."""
    return AttemptRecord(
        number=row["number"],
        started_at=to_datetime(row["started_at"]),
        ended_at=None if row["ended_at"] is None else to_datetime(row["ended_at"]),
        outcome=row["outcome"],
        category=row["category"],
        error=seal.open_or_say(row["error"]),
        error_type=row["error_type"],
        traceback=seal.open_or_say(row["traceback"]),
        delay_s=row["delay_s"],
        resumed=row["resumed"],
    )


def to_step(row: Mapping[str, Any], seal: Seal) -> StepRecord | None:
    """The record of a row of `recovery_steps`; None when its result cannot be opened: the step is to be done again."""
    try:
        result = seal.open(row["result"])
    except UnreadableError:
        return None
    return StepRecord(row["name"], to_datetime(row["finished_at"]), codec.loads(result))


def to_event(row: Mapping[str, Any], seal: Seal) -> Event:
    """The event of a row of the outbox."""
    return Event(row["seq"], row["name"], seal.open_payload(codec.loads(row["payload"])))
