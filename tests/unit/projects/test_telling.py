"""How far a project is goes on from where it was."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from launcher_recovery.projects.part import Part, Stage
from launcher_recovery.projects.telling import Telling
from launcher_recovery.records import Progress, RecoveryData, RecoveryState
from tests.nodes import Attempts


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (None, 0),
        (Progress(44, 100, "percent"), 44),
        (Progress(100, 100, "percent"), 99),
        (Progress(44, 100, "bytes"), 0),
    ],
)
def test_a_later_attempt_begins_where_the_last_one_was(before: Progress | None, told: int) -> None:
    operation = Attempts().next()
    operation.data.progress = before
    launcher = Mock()
    arguments: dict[str, Any] = {"project_id": "p", "project_folder": "/p"}
    parts = [Part("node", "a", 50, run=lambda: None), Part("node", "b", 50, run=lambda: None)]
    telling = Telling(operation, arguments, launcher, parts)
    telling.now()
    parts[0].do()
    assert parts[0].stage is Stage.DONE
    telling.now()
    percents = [call.args[1]["details"]["progress"] for call in launcher.tell.call_args_list]
    assert percents == [told, *([50] if told < 50 else [])]


@pytest.mark.parametrize(
    ("state", "explanation", "message", "reason"),
    [
        ("in_progress", None, "Downloading a.pt", None),
        (
            "recovering",
            "127.0.0.1 is busy. It goes on by itself.",
            "Downloading a.pt (127.0.0.1 is busy)",
            "127.0.0.1 is busy",
        ),
        ("recovering", None, "Downloading a.pt (it waits)", "it waits"),
        ("paused", None, "The model a.pt is paused", None),
    ],
)
def test_what_a_part_waits_for_is_told(state: str, explanation: str | None, message: str, reason: str | None) -> None:
    launcher = Mock()
    record = RecoveryData("1", "f", state=RecoveryState(state), explanation=explanation)
    part = Part("model", "a.pt", 50, run=lambda: None, record=lambda: record, stage=Stage.RUNNING)
    Telling(Attempts().next(), {"project_id": "p", "project_folder": "/p"}, launcher, [part]).now()
    told = launcher.tell.call_args.args[1]
    assert told["status_message"] == message
    assert told["details"]["parts"][0].get("reason") == reason


def test_what_is_over_is_not_looked_at_again() -> None:
    looked = []

    def record() -> RecoveryData:
        looked.append(1)
        return RecoveryData("1", "f", state=RecoveryState.SUCCESS)

    part = Part("model", "a.pt", 50, run=lambda: None, record=record, stage=Stage.DONE)
    part.look()
    part.look()
    assert part.seen is not None
    assert len(looked) == 1


def test_no_more_than_three_are_named() -> None:
    launcher = Mock()
    parts = [Part("model", f"{number}.pt", 50, run=lambda: None, stage=Stage.RUNNING) for number in range(5)]
    Telling(Attempts().next(), {"project_id": "p", "project_folder": "/p"}, launcher, parts).now()
    told = launcher.tell.call_args.args[1]
    assert told["status_message"] == "Downloading 0.pt, downloading 1.pt, downloading 2.pt and 2 more"
