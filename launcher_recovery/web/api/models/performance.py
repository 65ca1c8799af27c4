"""Figures in requests and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from launcher_recovery.activity import MOST_HOURS, MOST_SPANS
from launcher_recovery.selftest.figures import MOST_SECONDS
from launcher_recovery.web.api.models.base import Answer, Part, Request
from launcher_recovery.web.api.models.operations import Whole


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("no number")
    return value


class HistoryQuery(Request):
    """Of how many hours."""

    hours: Whole = Field(24, ge=1, le=MOST_HOURS, description=f"a whole number from 1 to {MOST_HOURS}")


class SecondsBody(Request):
    """How long is measured."""

    seconds: Annotated[float, BeforeValidator(_no_flag)] = Field(
        2.0, ge=0.1, le=MOST_SECONDS, description=f"a number of seconds from 0.1 to {MOST_SECONDS:g}"
    )


class Span(Part):
    """What attempts did in a span of time."""

    from_: str = Field(alias="from")
    attempts: int
    succeeded: int
    failed: int
    bytes_resumed: float = Field(description="bytes not fetched again, because earlier attempts had them")


class Totals(Part):
    """Sums over the history."""

    attempts: int
    success_rate: float | None = Field(description="of the attempts that ended by themselves; null: there were none")
    bytes_resumed: float


class Latency(Part):
    """What answers took in this process."""

    requests: int
    p50_ms: float | None
    p99_ms: float | None


class Process(Part):
    """What happened in this process since it began."""

    total_operations: int
    recovered_operations: int
    failed_operations: int
    retry_attempts: int
    circuit_breaker_trips: int
    api: dict[str, Latency] = Field(description="by route")


class Performance(Part):
    """What was done, and how fast."""

    history: list[Span] = Field(description=f"oldest first, at most {MOST_SPANS}")
    span_s: int = Field(description="seconds of one span")
    totals: Totals
    process: Process


class PerformanceAnswer(Answer):
    """What was done, and how fast."""

    performance: Performance


class Figure(Part):
    """One measurement."""

    name: str
    value: float
    unit: str
    limit: float | None
    meaning: str


class ValidateAnswer(Answer):
    """Whether the limits are kept that recovery promises to keep."""

    valid: bool
    figures: list[Figure]
    seconds: float = Field(description="what measuring took")


class BenchmarkAnswer(Answer):
    """How much this machine can do."""

    figures: list[Figure]
    seconds: float
