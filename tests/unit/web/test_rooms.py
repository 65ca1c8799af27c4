"""Which rooms an event belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import RecoveryData
from launcher_recovery.signals import Event, events_of
from launcher_recovery.web.live import rooms as module
from launcher_recovery.web.live.rooms import Rooms


@pytest.fixture
def integrator() -> Iterator[RecoveryIntegrator]:
    made = RecoveryIntegrator(RecoveryConfig(), persistence=MemoryPersistence())
    yield made
    made.stop()


def opened(integrator: RecoveryIntegrator, name: str, around: RecoveryData | None = None, **more: Any) -> RecoveryData:
    parent = None if around is None else around.operation_id
    return integrator.lifecycle.open("f", (), {}, kind="download", title=name, parent_id=parent, **more)


def names(*operations: RecoveryData, project: str | None = None) -> frozenset[str]:
    found = {f"operation:{data.operation_id}" for data in operations}
    return frozenset(found if project is None else {*found, f"project:{project}"})


def test_a_part_belongs_to_what_is_around_it_and_to_the_project_of_that(integrator: RecoveryIntegrator) -> None:
    whole = opened(integrator, "whole", project="p")
    part = opened(integrator, "part", whole)
    piece = opened(integrator, "piece", part)
    rooms = Rooms(integrator.persistence)
    for data, expected in ((piece, (piece, part, whole)), (part, (part, whole)), (whole, (whole,))):
        assert rooms.of(Event(1, *events_of(data)[0])) == names(*expected, project="p")


def test_the_end_of_an_operation_of_which_nothing_was_told_is_in_its_rooms_as_well(
    integrator: RecoveryIntegrator,
) -> None:
    whole = opened(integrator, "whole", project="p")
    part = opened(integrator, "part", whole)
    event = Event(1, "recovery_completed", {"operation_id": part.operation_id, "success": True})
    assert Rooms(integrator.persistence).of(event) == names(part, whole, project="p")


def test_what_is_about_no_operation_is_for_everybody(integrator: RecoveryIntegrator) -> None:
    rooms = Rooms(integrator.persistence)
    assert rooms.of(Event(1, "circuit_breaker_update", {"scope": "h"})) is None
    assert rooms.of(Event(2, "settings_update", {"names": []})) is None


def test_an_unknown_operation_and_a_store_that_fails_are_no_reason_to_tell_nobody(
    integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Event(1, "recovery_completed", {"operation_id": "gone"})
    assert Rooms(integrator.persistence).of(event) == {"operation:gone"}

    def broken(operation_id: str) -> RecoveryData:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(integrator.persistence, "get", broken)
    rooms = Rooms(integrator.persistence)
    assert rooms.of(event) == {"operation:gone"}
    monkeypatch.undo()
    whole = opened(integrator, "whole", project="p")
    again = Event(1, "recovery_completed", {"operation_id": whole.operation_id})
    assert rooms.of(again) == names(whole, project="p")


def test_a_circle_of_operations_ends(integrator: RecoveryIntegrator) -> None:
    rooms = Rooms(integrator.persistence)
    rooms.of(Event(1, "recovery_update", {"operation_id": "a", "parent_id": "b", "project": None}))
    event = Event(2, "recovery_update", {"operation_id": "b", "parent_id": "a", "project": None})
    assert rooms.of(event) == {"operation:a", "operation:b"}


def test_what_is_remembered_is_bounded(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    rooms = Rooms(integrator.persistence)
    for number in range(10):
        rooms.of(Event(number, "recovery_update", {"operation_id": str(number), "parent_id": None, "project": "p"}))
    assert list(rooms._places) == ["7", "8", "9"]
