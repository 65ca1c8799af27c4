"""What recovery did over the last hours, for charts: attempts by how they ended, and bytes not fetched again."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.persistence.base import Store, beneath
from launcher_recovery.records import Activity

MOST_SPANS = 48
MOST_HOURS = 24 * 90
_SHORTEST_S = 60
_GOOD = "success"
# An attempt that a person ended, or a crash, says nothing about whether attempts work.
_SILENT = ("paused", "cancelled", "interrupted", "")


@dataclass(frozen=True)
class Span:
    """What attempts did in one span of time.

    Args:
        begins: when it begins.
        attempts: how many ended in it, however they did.
        succeeded, failed: how many of them ended well, or with an error.
        bytes_resumed: what they did not fetch again, because earlier ones had.
    """

    begins: datetime
    attempts: int
    succeeded: int
    failed: int
    bytes_resumed: float

    def to_json(self) -> dict[str, Any]:
        """As the API gives it."""
        return {
            "from": to_iso(self.begins),
            "attempts": self.attempts,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "bytes_resumed": self.bytes_resumed,
        }


def history(store: Store, hours: float, now: float | None = None) -> tuple[list[Span], int]:
    """The last hours in at most `MOST_SPANS` spans of equal length, oldest first, those without attempts among them.

    Args:
        store: one of somebody's own that has no `activity` gives nothing.
        hours: above 0, at most `MOST_HOURS`.
        now: seconds since the epoch.

    Returns:
        The spans, and how many seconds one is.
    """
    now = time.time() if now is None else now
    span = max(_SHORTEST_S, math.ceil(hours * 3600 / (MOST_SPANS - 1) / _SHORTEST_S) * _SHORTEST_S)
    last = int(now) // span
    first = last - min(MOST_SPANS, math.ceil(hours * 3600 / span) + 1) + 1
    if not hasattr(beneath(store), "activity"):
        return [], span
    found = {int(one.begins) // span: one for one in store.activity(first * span, span)}
    return [_span(found.get(number), number * span) for number in range(first, last + 1)], span


def _span(found: Activity | None, begins: float) -> Span:
    outcomes = {} if found is None else found.outcomes
    good = outcomes.get(_GOOD, 0)
    silent = sum(outcomes.get(name, 0) for name in _SILENT)
    total = sum(outcomes.values())
    resumed = 0.0 if found is None else found.resumed
    return Span(to_datetime(begins), total, good, total - good - silent, resumed)


def totals(spans: Sequence[Span]) -> dict[str, Any]:
    """Sums of spans; `success_rate` is the share of the attempts that ended by themselves, None: there were none."""
    good, bad = sum(span.succeeded for span in spans), sum(span.failed for span in spans)
    return {
        "attempts": sum(span.attempts for span in spans),
        "success_rate": round(good / (good + bad), 4) if good + bad else None,
        "bytes_resumed": sum(span.bytes_resumed for span in spans),
    }
