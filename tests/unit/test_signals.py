"""What signals and events say of an operation, and to whom."""

from __future__ import annotations

import copy
import json
import operator
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from launcher_recovery import signals
from launcher_recovery.frozen import frozen
from launcher_recovery.records import Progress, RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.signals import Event, RecoveryUpdate, actions_for, events_of, send

NOW = datetime(2026, 11, 22, 23, 46, 31, 123456, timezone.utc)
DATA = RecoveryData(
    "id", "f", state=RecoveryState.RECOVERING, attempt=2, error=ValueError("bad"), created_at=NOW,
    updated_at=NOW + timedelta(seconds=90), next_attempt_at=NOW, waiting_for=WaitingFor.DISK_SPACE,
    progress=Progress(1, 2, "bytes"), title="model.bin",
)  # fmt: skip


def test_update() -> None:
    """An update is JSON: times in ISO UTC, words for states, the fields of progress."""
    update = asdict(RecoveryUpdate.of(DATA))
    assert update == {
        "operation_id": "id", "function_name": "f", "kind": "function", "key": None, "project": None,
        "parent_id": None, "title": "model.bin", "state": "recovering", "attempt": 2, "max_attempts": None,
        "error": "bad", "category": None, "explanation": None, "fix": None,
        "created_at": "2026-11-22T23:46:31.123456+00:00", "updated_at": "2026-11-22T23:48:01.123456+00:00",
        "next_attempt_at": "2026-11-22T23:46:31.123456+00:00", "waiting_for": "disk_space",
        "progress": asdict(Progress(1, 2, "bytes")),
        "resumable": True, "actions": ["pause", "retry", "cancel"], "timestamp": "2026-11-22T23:48:01.123456+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "resumable", "expected"),
    [
        ("pending", True, "pause cancel"),
        ("pending due", True, "pause retry cancel"),
        ("in_progress", True, "pause cancel"),
        ("recovering due", True, "pause retry cancel"),
        ("recovering due", False, "pause retry cancel"),
        ("recovering", True, "pause retry cancel"),
        ("paused", True, "resume cancel"),
        ("failed", True, "retry"),
        ("failed", False, ""),
        ("exhausted", True, "retry"),
        ("cancelled", True, "retry"),
        ("success", True, ""),
    ],
)
def test_actions(state: str, resumable: bool, expected: str) -> None:
    """A page shows the controls that are legal now, and no others."""
    name, _, due = state.partition(" ")
    data = replace(DATA, state=RecoveryState(name), resumable=resumable, next_attempt_at=NOW if due else None)
    assert " ".join(actions_for(data)) == expected


def test_nobody_is_asked_to_retry_what_waits_for_its_turn() -> None:
    """A place in a queue cannot be had by a retry."""
    data = replace(DATA, state=RecoveryState.RECOVERING, next_attempt_at=None, waiting_for=WaitingFor.SLOT)
    assert actions_for(data) == ["pause", "cancel"]


@pytest.mark.parametrize("state", RecoveryState)
def test_completed_goes_with_final_states(state: RecoveryState) -> None:
    """A final state gives a second event with its outcome and how long it took."""
    events = events_of(replace(DATA, state=state))
    final = state.value in ("success", "failed", "exhausted", "cancelled")
    assert [name for name, _ in events] == ["recovery_update", "recovery_completed"][: 1 + final]
    if final:
        assert events[1][1] == {
            "operation_id": "id", "success": state.value == "success", "final_state": state.value,
            "total_attempts": 2, "duration": 90, "timestamp": "2026-11-22T23:48:01.123456+00:00",
        }  # fmt: skip


@pytest.mark.parametrize("name", ["recovery_update", "recovery_completed", "circuit_breaker_update"])
def test_send(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The signal of the event's name is sent to its receivers for that sender; one that raises harms no other."""
    seen: list[Any] = []
    sender = object()

    def broken(sender: object, event: Event) -> None:
        raise RuntimeError("broken receiver")

    def sound(sender: object, event: Event) -> None:
        seen.append((sender, event))

    signal = signals._SIGNALS[name]
    event = Event(7, name, {"a": 1})
    with signal.connected_to(broken), signal.connected_to(sound):
        send(event, sender)
    send(event, sender)
    assert seen == [(sender, event)]
    assert "broken receiver" in caplog.text
    assert event.message() == {"seq": 7, "a": 1}
    assert signal.__doc__


CHANGES: list[Callable[[Any], object]] = [
    lambda payload: payload.update(state="hacked"),
    lambda payload: payload.pop("state"),
    lambda payload: payload.__setitem__("state", "hacked"),
    lambda payload: payload.__delitem__("state"),
    lambda payload: payload["progress"].clear(),
    lambda payload: payload["actions"].append("delete"),
    lambda payload: payload["actions"].sort(),
    lambda payload: operator.ior(payload, {"state": "hacked"}),
    lambda payload: operator.iadd(payload["actions"], ["delete"]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_receivers_cannot_change_what_others_get(change: Callable[[Any], object]) -> None:
    """What one receiver tries to do to the payload is refused, in its parts as well; all get the same."""
    name, payload = events_of(DATA)[0]
    original = copy.deepcopy(payload)
    seen: list[dict[str, Any]] = []

    def spoil(sender: object, event: Event) -> None:
        with pytest.raises(TypeError, match="cannot be changed"):
            change(event.payload)
        seen.append(event.payload)

    signals.recovery_updated.connect(spoil)
    try:
        send(Event(1, name, payload), DATA)
    finally:
        signals.recovery_updated.disconnect(spoil)
    assert seen == [original]
    assert payload == original


def test_frozen_payload_is_a_dict_of_json() -> None:
    """What receivers get can be encoded, merged and copied; copies are plain and may change."""
    value = {"a": [1, {"b": None}], "c": {"d": "e"}}
    given = frozen(value)
    assert (given, json.loads(json.dumps(given)), {**given, "f": 1}) == (value, value, {**value, "f": 1})
    assert Event(7, "recovery_update", given).message()["seq"] == 7
    for made in (copy.copy(given), copy.deepcopy(given), given.copy()):
        assert (type(made), made) == (dict, value)
        made["c"] = 1
    again = copy.deepcopy(given["a"])
    again.append(2)
    assert (again, given["a"]) == ([1, {"b": None}, 2], [1, {"b": None}])
