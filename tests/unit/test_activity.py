"""What recovery did over the last hours: spans of equal length, none missing, none too many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from launcher_recovery.activity import MOST_HOURS, MOST_SPANS, history, totals
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import Activity

NOW = 1_800_000_000.0


class Told(MemoryPersistence):
    """A store that says what attempts did at which times."""

    def __init__(self, ended: Mapping[float, Mapping[str, int]]) -> None:
        super().__init__()
        self.ended = ended

    def activity(self, since: float, span: int) -> list[Activity]:
        found = {at: outcomes for at, outcomes in self.ended.items() if at >= since}
        return [Activity(float(at // span * span), dict(outcomes), 10.0) for at, outcomes in sorted(found.items())]


@pytest.mark.parametrize(("hours", "span"), [(1, 120), (2, 180), (24, 1860), (MOST_HOURS, 165_480)])
def test_the_spans_are_equal_and_reach_back_as_far_as_is_asked(hours: int, span: int) -> None:
    spans, seconds = history(Told({}), hours, NOW)
    assert seconds == span
    assert len(spans) <= MOST_SPANS
    begins = [one.begins.timestamp() for one in spans]
    assert begins == [begins[0] + number * span for number in range(len(spans))]
    assert begins[-1] <= NOW < begins[-1] + span
    assert begins[0] <= NOW - hours * 3600
    assert totals(spans) == {"attempts": 0, "success_rate": None, "bytes_resumed": 0.0}


def test_what_a_person_or_a_crash_ended_is_no_failure() -> None:
    outcomes = {"success": 3, "failed": 1, "exhausted": 1, "paused": 5, "cancelled": 2, "interrupted": 4, "": 1}
    spans, _ = history(Told({NOW - 60: outcomes, NOW - 3 * 3600: {"failed": 9}}), 1, NOW)
    busy = [one for one in spans if one.attempts]
    assert [(one.attempts, one.succeeded, one.failed) for one in busy] == [(17, 3, 2)]
    assert busy[0].to_json()["bytes_resumed"] == 10.0
    assert busy[0].to_json()["from"].endswith("+00:00")
    assert totals(spans) == {"attempts": 17, "success_rate": 0.6, "bytes_resumed": 10.0}


def test_a_store_that_cannot_tell_gives_nothing() -> None:
    class Poor:
        """It has only what the engine needs."""

    poor: Any = Poor()
    assert history(poor, 1, NOW) == ([], 120)
