"""How often progress is told, on a clock that is moved by hand: five times a second, and the latest in the end."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.signals import Event
from launcher_recovery.web.live import pace
from launcher_recovery.web.live.pace import Pace


class Told(Pace):
    """A pace whose time is `now`, with what it let through."""

    def __init__(self) -> None:
        self.now = 50.0
        self.seq = 0
        self.told: list[int] = []
        super().__init__(lambda: self.now)

    def happens(self, done: int, state: str = "in_progress", operation: str = "a", **more: Any) -> None:
        self.seq += 1
        payload = {
            "operation_id": operation, "state": state, "progress": {"done": done}, "updated_at": str(self.seq),
            "timestamp": str(self.seq), "error": None, **more,
        }  # fmt: skip
        event = Event(self.seq, "recovery_update", payload)
        if self.admit(event):
            self.told.append(done)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.told += [event.payload["progress"]["done"] for event in self.due()]


def test_progress_is_told_five_times_a_second_and_the_latest_in_the_end() -> None:
    told = Told()
    for tick in range(201):
        told.later(0.0078125)  # 1/128 s, which adds up exactly
        told.happens(tick)
    assert [done // 25 for done in told.told] == list(range(8))
    assert told.told[0] == 0
    assert told.wait_s() is not None
    told.later(told.wait_s() or 0)
    assert told.told[-1] == 200
    assert told.wait_s() is None
    told.later(100)
    assert told.told.count(200) == 1


def test_progress_that_comes_slowly_is_never_held_back() -> None:
    told = Told()
    for done in range(50):
        told.happens(done)
        told.later(0.25)
    assert told.told == list(range(50))


def test_what_changes_the_state_is_told_at_once_and_what_was_held_back_is_old_then() -> None:
    told = Told()
    for done in range(20):
        told.happens(done)
    assert told.told == [0]
    told.happens(20, "recovering", error="broken")
    told.happens(21, "in_progress", error="broken")
    told.happens(22, "in_progress", error=None)
    told.happens(23, "success")
    assert told.told == [0, 20, 21, 22, 23]
    told.later(10)
    assert told.told[-1] == 23
    assert told.wait_s() is None


def test_operations_do_not_slow_each_other_down() -> None:
    told = Told()
    for done in range(5):
        told.happens(done, operation="a")
        told.happens(100 + done, operation="b")
    assert told.told == [0, 100]
    told.later(0.25)
    assert told.told == [0, 100, 4, 104]


def test_other_events_are_not_progress() -> None:
    told = Told()
    for seq in range(20):
        assert told.admit(Event(seq, "circuit_breaker_update", {"scope": "h"}))
        assert told.admit(Event(seq, "recovery_completed", {"operation_id": "a"}))


def test_what_was_held_back_is_told_in_its_order() -> None:
    told = Told()
    for operation in ("a", "b"):
        for done in range(6):
            told.happens(done, operation=operation)
    told.happens(7, operation="a")
    told.now += 1
    assert [(event.seq, event.payload["operation_id"]) for event in told.due()] == [(12, "b"), (13, "a")]


def test_the_number_of_operations_is_bounded_and_nothing_that_was_held_back_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_REMEMBERED", 2)
    told = Told()
    for done in range(6):
        told.happens(done)
    assert 5 not in told.told
    for operation in ("b", "c"):
        told.happens(0, operation=operation)
    assert told.wait_s() == 0
    told.later(0)
    assert told.told[-1] == 5
    assert len(told._of) == 2
