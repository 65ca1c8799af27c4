"""How far a project is goes on from where it was."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from launcher_recovery.projects.part import Part, Stage
from launcher_recovery.projects.telling import Telling
from launcher_recovery.records import Progress
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


def test_no_more_than_three_are_named() -> None:
    launcher = Mock()
    parts = [Part("model", f"{number}.pt", 50, run=lambda: None, stage=Stage.RUNNING) for number in range(5)]
    Telling(Attempts().next(), {"project_id": "p", "project_folder": "/p"}, launcher, parts).now()
    told = launcher.tell.call_args.args[1]
    assert told["status_message"] == "Downloading 0.pt, downloading 1.pt, downloading 2.pt and 2 more"
