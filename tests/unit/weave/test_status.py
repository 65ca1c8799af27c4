"""What ComfyUI Launcher shows of a project, and what it says itself."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.engine import Engine
from launcher_recovery.errors import OperationCancelled
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.weave.advice import status
from launcher_recovery.weave.advice.setup import Setup, current_setup
from launcher_recovery.weave.advice.status import is_ready, keep_state, state_of, write_state

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


@pytest.mark.parametrize("state", ["ready", "running"])
def test_what_is_ready_stays_so(project: Path, state: str) -> None:
    """A worker without recovery has set it up, and then what was kept of it is cancelled."""
    put(project, {"state": state, "status_message": "as it is"})
    assert is_ready(project)
    write_state(project, "failed", "Cancelled")
    write_state(project, "download_files", "Downloading")
    assert shown(project)["state"] == state
    write_state(project, "ready", "Ready without a.pt")
    assert shown(project) == {"state": "ready", "status_message": "Ready without a.pt"}


@pytest.mark.parametrize("text", ["", "[]", '{"state": "failed"}', None])
def test_what_is_not_known_to_be_ready_is_not(project: Path, text: str | None) -> None:
    if text is None:
        (project / ".launcher" / "state.json").unlink()
    else:
        put(project, text)
    assert not is_ready(project)


@pytest.mark.parametrize("written", [0, 30])
def test_a_disk_that_is_full_leaves_the_state_that_was_there(
    project: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher cannot list any project when the state of one is not JSON."""
    before = shown(project)
    write = os.write
    turns = [written]

    def short(file: int, text: bytes) -> int:
        return write(file, text[: turns.pop()]) if turns else write(file, text)

    monkeypatch.setattr(status.os, "write", short)
    with pytest.raises(OSError, match="No space left"):
        write_state(project, "failed", "Not ready: " + "a long story " * 20)
    assert shown(project) == before


def test_two_that_tell_a_state_at_once_do_not_mix_it_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process of the launcher tells what it learns."""
    write = os.write
    other = threading.Thread(target=write_state, args=(project, "failed", "Not ready: " + "a long story " * 20))

    def meanwhile(file: int, text: bytes) -> int:
        written = write(file, text)
        if threading.current_thread() is not other and not other.ident:
            other.start()
            other.join(0.2)  # it waits for this one
        return written

    monkeypatch.setattr(status.os, "write", meanwhile)
    write_state(project, "download_files", "Paused")
    other.join(60)
    assert shown(project)["status_message"].startswith("Not ready")


def test_a_lock_that_nobody_gives_back_is_not_waited_for_for_ever(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_WAIT_S", 0)
    with open(project / ".launcher" / "state.json", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_state(project, "failed", "Cancelled")
    assert shown(project)["status_message"] == "Cancelled"


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


def test_its_own_function_ends_when_a_person_has_cancelled(project: Path) -> None:
    written: list[Any] = []
    lifecycle = Lifecycle(MemoryPersistence())
    data = lifecycle.open("finish", (), {})

    def finish() -> None:
        token = current_setup.set(Setup(project, project / "comfyui", project / "venv/bin/python"))
        try:
            lifecycle.cancel(data.operation_id)
            says(project, {"status_message": "Ready", "state": "ready"}, written)
        finally:
            current_setup.reset(token)

    with pytest.raises(OperationCancelled):
        Engine(lifecycle).run(data, Policy(), finish)
    assert written == []


def test_elsewhere_it_says_what_it_says(project: Path) -> None:
    written: list[Any] = []
    running = {"state": "running", "status_message": "Running...", "pid": 5}
    says(project, running, written)
    assert within(lambda: says(project, running, written)) == []
    assert written == [running, running]
