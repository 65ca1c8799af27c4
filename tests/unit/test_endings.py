"""What is noted on an error when an operation gives up."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from launcher_recovery.endings import mark_given_up
from launcher_recovery.records import AttemptRecord, RecoveryData

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=timezone.utc)


def attempt(number: int, begins: float, ends: float | None, delay: float | None = None) -> AttemptRecord:
    ended_at = None if ends is None else NOW + timedelta(seconds=ends)
    return AttemptRecord(number, NOW + timedelta(seconds=begins), ended_at, delay_s=delay)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], "gave up after 3 attempts (operation id)"),
        ([attempt(1, 0, 1, 2.0), attempt(2, 3, 4, 4.5), attempt(3, 8.5, 9)], "3 attempts and 6.5 s of waiting"),
        # A person ended the first wait early, and the clock was set back during the second.
        ([attempt(1, 0, 1, 30.0), attempt(2, 1.5, 2, 30.0), attempt(3, 0, 1)], "3 attempts and 0.5 s of waiting"),
        ([attempt(1, 0, 1, 0.0), attempt(2, 1.001, 2)], "gave up after 3 attempts (operation id)"),
        ([attempt(1, 0, None), attempt(2, 3, 4)], "gave up after 3 attempts (operation id)"),
    ],
)
def test_note_tells_how_long_it_really_waited(history: list[AttemptRecord], expected: str) -> None:
    """The note counts the time between the attempts, not the waits that were planned."""
    error = ConnectionError("gone")
    mark_given_up(error, RecoveryData("id", "f", attempt=3), history)
    [note] = error.__notes__
    assert expected in note
