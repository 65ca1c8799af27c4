"""The environment of a project is whole or not there, whatever happened before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError, NoSpaceError, OperationCancelled, OperationPaused
from launcher_recovery.operation import Operation
from launcher_recovery.projects import environment
from launcher_recovery.projects.environment import MAKING, interpreter_of, make_environment
from tests.nodes import Attempts
from tests.nodes import make_environment as make_with_pip


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "project" / "venv"


def works(folder: Path) -> bool:
    python = interpreter_of(folder)
    return python.exists() and subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_one_is_made_and_left_alone_the_next_time(attempts: Attempts, folder: Path) -> None:
    python = make_environment(attempts.next(), folder, with_pip=False)
    assert python == str(interpreter_of(folder))
    assert works(folder)
    assert MAKING not in attempts.metadata
    before = (folder / "pyvenv.cfg").stat().st_mtime_ns
    assert make_environment(attempts.next(), folder, with_pip=False) == python
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns == before
    assert attempts.live is not None
    assert attempts.live.data.watermark == 1


def test_pip_is_there_if_it_is_wanted_and_added_where_it_is_not(attempts: Attempts, folder: Path) -> None:
    make_environment(attempts.next(), folder, with_pip=False)
    kept = folder / "kept"
    kept.touch()
    make_environment(attempts.next(), folder, with_pip=True)
    subprocess.run([interpreter_of(folder), "-m", "pip", "--version"], check=True, capture_output=True)
    assert kept.exists()


def test_one_with_pip_is_left_alone(attempts: Attempts, folder: Path) -> None:
    python = make_with_pip(folder)
    before = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
    assert make_environment(attempts.next(), folder, with_pip=True) == str(python)
    assert {path for path in folder.rglob("*") if "__pycache__" not in path.parts} == before


def test_what_a_killed_attempt_left_is_made_anew(attempts: Attempts, folder: Path) -> None:
    operation = attempts.next()
    operation.metadata[MAKING] = True
    operation.save_metadata()
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "half").touch()
    make_environment(attempts.next(), folder, with_pip=False)
    assert works(folder)
    assert not (folder / "lib" / "half").exists()
    assert MAKING not in attempts.metadata


def test_one_of_somebody_else_that_does_not_work_is_completed_and_never_removed(
    attempts: Attempts, folder: Path
) -> None:
    python = interpreter_of(folder)
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    (folder / "mine").touch()
    make_environment(attempts.next(), folder, with_pip=False)
    assert works(folder)
    assert (folder / "mine").exists()


def test_a_failure_leaves_nothing(attempts: Attempts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(_broken_python(folder.parent)))
    with pytest.raises(CommandError, match="ensurepip is not available"):
        make_environment(attempts.next(), folder, with_pip=True)
    assert not folder.exists()
    monkeypatch.undo()
    make_environment(attempts.next(), folder, with_pip=False)
    assert works(folder)


@pytest.mark.parametrize(("with_pip", "needed"), [(True, 40 << 20), (False, 1 << 20)])
def test_a_full_disk_is_told_from_a_python_that_has_no_pip(
    attempts: Attempts, folder: Path, monkeypatch: pytest.MonkeyPatch, with_pip: bool, needed: int
) -> None:
    free = iter([100_000, 500_000])
    monkeypatch.setattr(sys, "executable", str(_broken_python(folder.parent)))
    monkeypatch.setattr(environment, "free_bytes", lambda place: next(free))
    with pytest.raises(NoSpaceError) as raised:
        make_environment(attempts.next(), folder, with_pip=with_pip)
    assert (raised.value.folder, raised.value.needed, raised.value.free) == (str(folder.parent), needed, 500_000)
    assert not folder.exists()


def _broken_python(folder: Path) -> Path:
    """A Python that makes a part of an environment, and then has no pip for it, as Debian's without python3-venv."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.makedirs(sys.argv[-1])\nsys.exit('ensurepip is not available')"
    )
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("error", "is_kept"), [(OperationCancelled("x"), False), (OperationPaused("x"), True)], ids=["cancel", "pause"]
)
def test_a_cancel_leaves_nothing_and_a_pause_what_is_made_anew(
    attempts: Attempts, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, is_kept: bool
) -> None:
    def stop(operation: Operation, argv: list[str], **how: object) -> str:
        folder.mkdir(parents=True)
        (folder / "half").touch()
        raise error

    monkeypatch.setattr(environment, "run_command", stop)
    with pytest.raises(type(error)):
        make_environment(attempts.next(), folder, with_pip=False)
    assert folder.exists() is is_kept
    monkeypatch.undo()
    make_environment(attempts.next(), folder, with_pip=False)
    assert works(folder)
    assert not (folder / "half").exists()


def test_what_takes_long_is_told(attempts: Attempts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []
    operation = attempts.next()
    monkeypatch.setattr(operation, "progress", lambda done, total, unit, message: told.append(message))

    def run(operation: Operation, argv: list[str], *, silence: environment.Silence, **how: object) -> str:
        silence.tell(4.0)
        return ""

    monkeypatch.setattr(environment, "run_command", run)
    make_environment(operation, folder, with_pip=False)
    assert told == ["making it", *["making it, for 4 s without a word"] * 2, None]


def test_a_link_is_not_followed_when_it_is_removed(attempts: Attempts, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    operation = attempts.next()
    operation.metadata[MAKING] = True
    operation.save_metadata()
    make_environment(attempts.next(), folder, with_pip=False)
    assert (elsewhere / "mine").exists()
    assert works(folder)
