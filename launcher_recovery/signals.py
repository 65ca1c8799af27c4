"""Blinker signals of the package, and the frozen payloads that they and the outbox carry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from blinker import Namespace

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.clock import to_iso
from launcher_recovery.frozen import frozen
from launcher_recovery.records import FINAL, RUNNABLE, RecoveryData, RecoveryState, WaitingFor

logger = logging.getLogger("launcher_recovery")

_namespace = Namespace()

recovery_updated = _namespace.signal(
    "recovery_update",
    doc="An operation changed state or moved on. Sent with `event=Event(...)` after the change was stored; "
    "in the process and thread that made it. Its payload is that of `RecoveryUpdate`.",
)
recovery_completed = _namespace.signal(
    "recovery_completed",
    doc="An operation reached a final state. Sent like `recovery_updated`, with a `RecoveryCompleted`.",
)
circuit_breaker_updated = _namespace.signal(
    "circuit_breaker_update",
    doc="A circuit breaker changed state. Sent like `recovery_updated`, with a `CircuitBreakerUpdate`.",
)


@dataclass(frozen=True)
class Event:
    """A stored event: its sequence number (grows, unique in one store), its name, and its JSON payload.

    The number is 0 for what happened to something that has no store. What a receiver gets cannot be changed.
    """

    seq: int
    name: str
    payload: dict[str, Any]

    def message(self) -> dict[str, Any]:
        """The payload as clients get it, with the sequence number."""
        return {"seq": self.seq, **self.payload}

    def to_json(self) -> dict[str, Any]:
        """The whole event, with its name beside the payload."""
        return {"seq": self.seq, "event": self.name, "data": self.payload}


@dataclass(frozen=True)
class RecoveryUpdate:
    """An operation as it is now. Times are ISO 8601 UTC, `progress` is None or the fields of `Progress`."""

    operation_id: str
    function_name: str
    kind: str
    key: str | None
    project: str | None
    parent_id: str | None
    title: str
    state: str
    attempt: int
    max_attempts: int | None
    error: str | None
    category: str | None
    explanation: str | None
    fix: str | None
    created_at: str | None
    updated_at: str | None
    next_attempt_at: str | None
    waiting_for: str | None
    progress: dict[str, Any] | None
    resumable: bool
    actions: list[str]
    timestamp: str | None

    @classmethod
    def of(cls, data: RecoveryData) -> RecoveryUpdate:
        return cls(**update_of(data))


@dataclass(frozen=True)
class RecoveryCompleted:
    """An operation ended; `duration` is in seconds since it was created."""

    operation_id: str
    success: bool
    final_state: str
    total_attempts: int
    duration: float
    timestamp: str | None

    @classmethod
    def of(cls, data: RecoveryData) -> RecoveryCompleted:
        return cls(**_completed(data))


@dataclass(frozen=True)
class CircuitBreakerUpdate:
    """A breaker changed; `timeout_remaining` is in seconds until the next probe, 0 unless open."""

    scope: str
    operation_type: str
    state: str
    failure_count: int
    timeout_remaining: float
    timestamp: str | None

    @classmethod
    def of(cls, breaker: CircuitBreaker, at: datetime) -> CircuitBreakerUpdate:
        return cls(
            scope=breaker.scope,
            operation_type=breaker.operation_type,
            state=breaker.state.value,
            failure_count=breaker.failure_count,
            timeout_remaining=round(breaker.timeout_remaining, 3),
            timestamp=to_iso(at),
        )


def actions_for(data: RecoveryData) -> list[str]:
    """The controls that are legal for the operation as it is now, in the order in which a page shows them."""
    actions = []
    if data.state in RUNNABLE or data.state is RecoveryState.IN_PROGRESS:
        actions.append("pause")
    # A wait that a restart interrupted goes on as pending, and still has its due time.
    waits = data.state in RUNNABLE and data.next_attempt_at is not None
    if data.state is RecoveryState.RECOVERING and data.waiting_for not in (None, WaitingFor.SLOT):
        waits = True  # for something that is missing, which has no due time
    if waits or (data.state in FINAL and data.state is not RecoveryState.SUCCESS and data.resumable):
        actions.append("retry")
    if data.state is RecoveryState.PAUSED:
        actions.append("resume")
    if data.state not in FINAL:
        actions.append("cancel")
    return actions


# The fields apart from their records, since these alone are stored: every change of an operation has events.


def update_of(data: RecoveryData) -> dict[str, Any]:
    """The fields of `RecoveryUpdate`."""
    at = to_iso(data.updated_at)
    return {
        "operation_id": data.operation_id,
        "function_name": data.function_name,
        "kind": data.kind,
        "key": data.key,
        "project": data.project,
        "parent_id": data.parent_id,
        "title": data.title,
        "state": data.state.value,
        "attempt": data.attempt,
        "max_attempts": data.max_attempts,
        "error": None if data.error is None else str(data.error),
        "category": data.category,
        "explanation": data.explanation,
        "fix": data.fix,
        "created_at": to_iso(data.created_at),
        "updated_at": at,
        "next_attempt_at": to_iso(data.next_attempt_at),
        "waiting_for": None if data.waiting_for is None else data.waiting_for.value,
        "progress": None if data.progress is None else asdict(data.progress),
        "resumable": data.resumable,
        "actions": actions_for(data),
        "timestamp": at,
    }


def _completed(data: RecoveryData) -> dict[str, Any]:
    """The fields of `RecoveryCompleted`."""
    return {
        "operation_id": data.operation_id,
        "success": data.state is RecoveryState.SUCCESS,
        "final_state": data.state.value,
        "total_attempts": data.attempt,
        "duration": (data.updated_at - data.created_at).total_seconds(),
        "timestamp": to_iso(data.updated_at),
    }


def events_of(data: RecoveryData) -> list[tuple[str, dict[str, Any]]]:
    """The events (name, payload) that a state change leaving the operation at `data` gives."""
    events = [("recovery_update", update_of(data))]
    if data.state in FINAL:
        events.append(("recovery_completed", _completed(data)))
    return events


_SIGNALS = {signal.name: signal for signal in (recovery_updated, recovery_completed, circuit_breaker_updated)}


_silent: ContextVar[bool] = ContextVar("launcher_recovery_silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Within it what happens in this context is told to no receiver: for trials that are no operations of anybody."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def send(event: Event, sender: object) -> None:
    """Tell this process's receivers; the signal is the one of the event's name.

    A receiver that raises is logged and harms neither the operation nor the other receivers; nor can it change what
    the others get.
    """
    signal = _SIGNALS[event.name]
    if not signal.receivers or _silent.get():
        return
    told = Event(event.seq, event.name, frozen(event.payload))
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, event=told)
        except Exception:
            logger.exception("a receiver of the signal %s raised: %r", event.name, receiver)
