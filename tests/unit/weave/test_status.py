"""What ComfyUI Launcher shows of a project, and what it says itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.engine import Engine
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.weave.advice.setup import Setup, current_setup
from launcher_recovery.weave.advice.status import keep_state, state_of, write_state

POINT = JoinPoint("utils", "set_launcher_state_data", "create_project", tolerant=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".launcher").mkdir()
    put(tmp_path, {"id": "a", "name": "A", "state": "download_comfyui", "status_message": "Downloading ComfyUI..."})
    return tmp_path


def put(folder: Path, state: Any) -> None:
    (folder / ".launcher" / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))


def shown(folder: Path) -> Any:
    return json.loads((folder / ".launcher" / "state.json").read_text())


def test_a_state_is_written_over_the_one_that_is_there(project: Path) -> None:
    write_state(project, "failed", "Not ready: 1 of 3 parts is missing: the model a.pt (there is no such file)")
    long = shown(project)
    assert (long["id"], long["name"]) == ("a", "A")
    assert (long["state"], long["status_message"][:9]) == ("failed", "Not ready")
    write_state(project, "ready", "Ready")
    assert shown(project) == {"id": "a", "name": "A", "state": "ready", "status_message": "Ready"}


def test_nothing_is_made_where_the_project_is_not(project: Path) -> None:
    """It may be being deleted at this moment."""
    (project / ".launcher" / "state.json").unlink()
    write_state(project, "failed", "Cancelled")
    assert list((project / ".launcher").iterdir()) == []
    (project / ".launcher").rmdir()
    write_state(project, "failed", "Cancelled")
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("half", ["", '{"id": "a", "na', "[]"])
def test_what_the_launcher_is_writing_is_left_to_it(project: Path, half: str) -> None:
    put(project, half)
    write_state(project, "failed", "Cancelled")
    assert (project / ".launcher" / "state.json").read_text() == half


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ([], "download_comfyui"),
        ([("environment", "running"), ("model", "running")], "download_comfyui"),
        ([("comfyui", "running"), ("model", "running")], "install_comfyui"),
        ([("comfyui", "done"), ("node", "running"), ("model", "running")], "install_custom_nodes"),
        ([("node", "done"), ("model", "running"), ("closing", "waiting")], "download_files"),
        ([("something new", "running")], "download_comfyui"),
    ],
)
def test_the_state_is_one_of_the_launchers_own(parts: list[tuple[str, str]], state: str) -> None:
    assert state_of([{"what": what, "state": stage} for what, stage in parts]) == state


# -- its own states -----------------------------------------------------------------------------------


def says(folder: Path, data: dict[str, Any], written: list[Any]) -> None:
    def set_launcher_state_data(project_folder_path: Path, data: dict[str, Any]) -> None:
        written.append(data)

    keep_state(Call(POINT, set_launcher_state_data, (folder, data), {}, None))


def within(handler: Callable[[], object]) -> list[str]:
    """Run it as an operation; the names of the steps that are kept of it."""
    lifecycle = Lifecycle(MemoryPersistence())
    data = lifecycle.open("finish", (), {})
    Engine(lifecycle).run(data, Policy(), handler)
    return [step.name for step in lifecycle.store.steps(data.operation_id)]


def test_its_own_states_are_steps_and_do_not_go_back_to_the_beginning(project: Path) -> None:
    written: list[Any] = []

    def finish() -> None:
        token = current_setup.set(Setup(project, project / "comfyui", project / "venv/bin/python"))
        says(project, {"id": "a", "name": "A", "status_message": "Downloading ComfyUI...", "state": "first"}, written)
        says(project, {"status_message": "Installing...", "state": "second"}, written)
        says(project, {"port": 4001}, written)
        says(project, {"status_message": "Ready", "state": "ready"}, written)
        current_setup.reset(token)

    assert within(finish) == ["first", "second", "ready"]
    assert written == [{"port": 4001}, {"status_message": "Ready", "state": "ready"}]


def test_elsewhere_it_says_what_it_says(project: Path) -> None:
    written: list[Any] = []
    running = {"state": "running", "status_message": "Running...", "pid": 5}
    says(project, running, written)
    assert within(lambda: says(project, running, written)) == []
    assert written == [running, running]
