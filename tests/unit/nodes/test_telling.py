"""What a person is told while nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher_recovery.nodes import interpreter
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.telling import waiting_for
from launcher_recovery.programs.running import Silence


def test_who_is_waited_for_is_said_once_a_second() -> None:
    said: list[str] = []
    tell = waiting_for("an answer from github.com", said.append)
    for seconds in (3.0, 3.05, 3.95, 4.0, 12.2):
        tell(seconds)
    assert said == [f"waiting for an answer from github.com for {seconds} s" for seconds in (3, 4, 12)]


def test_it_is_said_after_three_seconds() -> None:
    """Sooner than a person asks what is going on, and not with every breath of a slow line."""
    assert Silence().told_after == 3.0


@pytest.mark.parametrize(
    ("words", "whom"),
    [
        (["-m", "pip", "list"], "pip"),
        (["-s", "install.py"], "install.py"),
        (["/a/look.py", "n=/b"], "Python"),
        (["-V"], "Python"),
    ],
)
def test_a_program_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch, words: list[str], whom: str) -> None:
    silences: list[Silence] = []

    def run(operation: object, argv: object, *, silence: Silence, **how: object) -> str:
        silences.append(silence)
        return ""

    monkeypatch.setattr(interpreter, "run_command", run)
    said: list[str] = []
    Interpreter(None, str(Path("/python")), said.append).run(words, lambda line: None, limit=60.0)
    silences[0].tell(7.0)
    assert said == [f"waiting for {whom} for 7 s"]
    assert silences[0].limit == 60.0
