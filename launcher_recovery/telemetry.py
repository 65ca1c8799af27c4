"""OpenTelemetry spans: one for each operation, and within it one for each attempt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import RecoveryError
from launcher_recovery.happenings import Follower, Happening
from launcher_recovery.operation import Operation, surroundings

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

# Operations whose span is open; beyond it the oldest span is ended, which was probably left by a deleted record.
_OPEN = 10_000
_ENDINGS = {Happening.SUCCEEDED, Happening.GAVE_UP, Happening.CANCELLED}
_FAILURES = {Happening.ATTEMPT_FAILED, Happening.GAVE_UP}


class TelemetryMissingError(RecoveryError, ImportError):
    """`enable_telemetry` was called where the OpenTelemetry API is not installed."""


@dataclass
class _Spans:
    operation: Span
    attempt: Span | None = None


class Telemetry:
    """Makes spans of what happens to the operations of this process.

    The span of an attempt is the current one in the code of the operation, whose own spans are its children. That
    of an operation is a child of the one around it when that operation runs in this process, else of the
    span that is current where the operation was begun. Their times are those of the record.

    Args:
        tracer: makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._follower = Follower(self._on_happening)
        self._spans: OrderedDict[str, _Spans] = OrderedDict()
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Make spans from now on."""
        if self not in _attached:
            surroundings.append(self._inside)
        _attached.add(self)
        self._follower.attach()

    def detach(self) -> None:
        """Undo `attach`; spans that are open are ended as they are."""
        self._follower.detach()
        if self in _attached:
            surroundings.remove(self._inside)
        _attached.discard(self)
        with self._lock:
            left = list(self._spans.values())
            self._spans.clear()
        for spans in left:
            _end(spans, None)

    def _inside(self, operation: Operation) -> AbstractContextManager[object]:
        """Makes the span of the running attempt the current one."""
        from opentelemetry.trace import use_span

        with self._lock:
            spans = self._spans.get(operation.operation_id)
        if spans is None or spans.attempt is None:
            return nullcontext()
        # How the attempt ends is told by the record, and by nothing else.
        return use_span(spans.attempt, record_exception=False, set_status_on_exception=False)

    def _on_happening(self, happening: Happening, payload: Mapping[str, Any]) -> None:
        with self._lock:
            spans = self._spans.get(payload["operation_id"]) or self._open(payload)
        at = _nanoseconds(payload["updated_at"])
        if happening is Happening.ATTEMPT_STARTED:
            if spans.attempt is not None:  # its end was not seen: another process had the operation meanwhile
                spans.attempt.end(at)
            spans.attempt = self._start(f"attempt {payload['attempt']}", payload, at, spans.operation)
        elif spans.attempt is not None and happening is not Happening.WAITING:
            _describe(spans.attempt, payload, failed=happening in _FAILURES)
            spans.attempt.end(at)
            spans.attempt = None
        if happening is Happening.WAITING:
            spans.operation.add_event(
                "waiting",
                {
                    "launcher_recovery.waiting_for": payload["waiting_for"] or "",
                    "until": payload["next_attempt_at"] or "",
                },
                at,
            )
        if happening in _ENDINGS:
            _describe(spans.operation, payload, failed=happening in _FAILURES)
            with self._lock:
                self._spans.pop(payload["operation_id"], None)
            _end(spans, at)

    def _open(self, payload: Mapping[str, Any]) -> _Spans:
        found = self._spans.get(payload["parent_id"] or "")
        around = None if found is None else found.attempt or found.operation
        begun = _nanoseconds(payload["created_at"])
        span = self._start(payload["function_name"], payload, begun, around)
        spans = self._spans[payload["operation_id"]] = _Spans(span)
        if len(self._spans) > _OPEN:
            _end(self._spans.popitem(last=False)[1], None)
        return spans

    def _start(self, name: str, payload: Mapping[str, Any], at: int, around: Span | None) -> Span:
        from opentelemetry.trace import set_span_in_context

        context = None if around is None else set_span_in_context(around)
        attributes = {
            f"launcher_recovery.{field}": payload[field]
            for field in ("operation_id", "function_name", "kind", "attempt", "project")
            if payload[field] is not None
        }
        return self._tracer.start_span(name, context, start_time=at, attributes=attributes)


# Signals hold their receivers weakly, and a caller of `enable_telemetry` need not keep what it returns.
_attached: set[Telemetry] = set()


def _describe(span: Span, payload: Mapping[str, Any], failed: bool) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("launcher_recovery.state", payload["state"])
    span.set_attribute("launcher_recovery.attempt", payload["attempt"])
    if payload["category"] is not None:
        span.set_attribute("launcher_recovery.category", payload["category"])
    if failed:
        span.set_status(Status(StatusCode.ERROR, payload["error"] or ""))


def _end(spans: _Spans, at: int | None) -> None:
    if spans.attempt is not None:
        spans.attempt.end(at)
    spans.operation.end(at)


def _nanoseconds(moment: str) -> int:
    """Nanoseconds since the epoch, as OpenTelemetry counts, from the ISO time of a payload."""
    whole = datetime.fromisoformat(moment)
    return int(whole.replace(microsecond=0).timestamp()) * 10**9 + whole.microsecond * 1000


def enable_telemetry(tracer_provider: TracerProvider | None = None) -> Telemetry:
    """Make spans of every operation of this process from now on; `detach` of what it returns ends that.

    Args:
        tracer_provider: where the spans go; default: the one that is set for the process.

    Raises:
        TelemetryMissingError: the OpenTelemetry API is not installed.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        raise TelemetryMissingError(
            "spans need the OpenTelemetry API, which is not installed: pip install 'launcher-recovery[telemetry]'"
        ) from None
    telemetry = Telemetry(trace.get_tracer("launcher_recovery", tracer_provider=tracer_provider))
    telemetry.attach()
    return telemetry
