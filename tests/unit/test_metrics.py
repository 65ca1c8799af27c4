"""What is counted: each operation and each retry once, whatever else the signals say in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from launcher_recovery import RecoveryMetrics
from launcher_recovery.happenings import Follower, Happening, delay_of
from launcher_recovery.metrics import Counter
from launcher_recovery.operation import current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.signals import Event, send
from tests.unit.kit import Kit


@pytest.fixture
def metrics() -> Iterator[RecoveryMetrics]:
    counting = RecoveryMetrics()
    counting.attach()
    yield counting
    counting.detach()


def flaky(failures: int, error: Exception | None = None) -> Any:
    left = [error or ConnectionError("broken")] * failures

    def handler() -> str:
        operation = current_operation()
        assert operation is not None
        operation.progress(1, 2)
        if left:
            raise left.pop()
        return "done"

    return handler


def test_counter_counts_from_many_threads() -> None:
    """No increase is lost, and none goes down."""
    counter = Counter()
    threads = [threading.Thread(target=lambda: [counter.inc() for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counter.inc(0)
    assert int(counter) == counter.value == 8000
    assert repr(counter) == "Counter(8000)"
    with pytest.raises(ValueError, match="only grows: it cannot be increased by -1"):
        counter.inc(-1)


def test_each_operation_and_retry_is_counted_once(kit: Kit, metrics: RecoveryMetrics) -> None:
    """Progress between the changes of state counts nothing."""
    kit.run(flaky(0))
    kit.run(flaky(2))
    with pytest.raises(ConnectionError):
        kit.run(flaky(9), Policy(max_attempts=2))
    with pytest.raises(ValueError, match="bad"):
        kit.run(flaky(1, ValueError("bad")))
    assert metrics.as_dict() == {
        "total_operations": 4,
        "recovered_operations": 1,
        "failed_operations": 2,
        "retry_attempts": 4,  # an attempt that moved on is not counted against the limit
        "circuit_breaker_trips": 0,
    }
    metrics.detach()
    kit.run(flaky(1))
    assert int(metrics.total_operations) == 4


def test_a_resumed_or_repeated_operation_is_no_new_one(kit: Kit, metrics: RecoveryMetrics) -> None:
    """Pausing before the first attempt, and a person's retry, begin no other operation."""
    data = kit.open()
    kit.clock.advance(1)
    kit.lifecycle.pause(data.operation_id)
    kit.lifecycle.resume(data.operation_id)
    kit.lifecycle.cancel(data.operation_id)
    kit.lifecycle.retry(data.operation_id)
    kit.engine.run(data, Policy(), flaky(0))
    assert int(metrics.total_operations) == 1
    assert int(metrics.retry_attempts) == int(metrics.recovered_operations) == 0


def test_a_trip_is_a_closed_breaker_that_opens(metrics: RecoveryMetrics) -> None:
    """A failed probe is no new trip; the same scope of another kind is another breaker."""
    for kind, state in [
        ("a", "open"), ("a", "half_open"), ("a", "open"), ("b", "open"),
        ("a", "half_open"), ("a", "closed"), ("a", "open"),
    ]:  # fmt: skip
        send(Event(1, "circuit_breaker_update", {"scope": "h", "operation_type": kind, "state": state}), None)
    assert int(metrics.circuit_breaker_trips) == 3


def test_a_follower_tells_the_story_of_an_operation(kit: Kit) -> None:
    """Every change once, in order, with the wait that follows a failure."""
    told: list[tuple[str, int, float | None]] = []
    follower = Follower(lambda happening, payload: told.append((happening, payload["attempt"], delay_of(payload))))
    follower.attach()
    follower.attach()
    kit.run(flaky(1))
    follower.detach()
    kit.run(flaky(0))
    assert told == [
        ("opened", 0, None),
        ("attempt_started", 1, None),
        ("attempt_failed", 1, 1.0),
        ("waiting", 1, 1.0),
        ("attempt_started", 2, None),
        ("succeeded", 2, None),
    ]


def test_a_follower_forgets_what_ended_and_what_was_quiet_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory has a bound, so that a process may run for months."""
    monkeypatch.setattr("launcher_recovery.happenings._REMEMBERED", 2)
    follower = Follower(lambda happening, payload: None)
    times = {"created_at": "1", "updated_at": "1", "next_attempt_at": None}
    for name in "abc":
        follower.follow({"operation_id": name, "state": "in_progress", "attempt": 1, **times})
    assert list(follower._last) == ["b", "c"]
    ended = follower.follow({"operation_id": "b", "state": "exhausted", "attempt": 1, **times})
    assert ended == [Happening.ATTEMPT_FAILED, Happening.GAVE_UP]
    assert list(follower._last) == ["c"]


def test_a_call_that_is_entered_with_its_first_attempt_is_opened_and_begun(kit: Kit, metrics: RecoveryMetrics) -> None:
    """Also when it is only seen as in progress; what another process began is not opened here."""
    told: list[str] = []
    follower = Follower(lambda happening, payload: told.append(happening.value))
    follower.attach()
    live = kit.lifecycle.start(kit.lifecycle.draft("work", (), {}))[1]
    assert live is not None
    kit.lifecycle.succeed(live, 1)
    follower.detach()
    assert told == ["opened", "attempt_started", "succeeded"]
    assert int(metrics.total_operations) == 1
    later = {"created_at": "1", "updated_at": "2", "next_attempt_at": None}
    elsewhere = {"operation_id": "x", "state": "in_progress", "attempt": 1, **later}
    assert follower.follow(elsewhere) == [Happening.ATTEMPT_STARTED]
