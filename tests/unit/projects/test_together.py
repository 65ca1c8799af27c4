"""Two imports that want the same file at the same time: what becomes of one is none of the other's business."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import OperationCancelled, ProjectIncompleteError
from launcher_recovery.records import RecoveryData, RecoveryState
from sample_launcher.hookspecs import hookimpl
from tests.nodes import make_environment
from tests.projects import Creator
from tests.support import wait_for

MODEL = {"url": "http://127.0.0.1:1/a.pt", "path": "a.pt"}


class Two(Creator):
    """A launcher with the projects "p" and "q"."""

    @hookimpl
    def launcher_project_changed(
        self, project_id: str, project_folder: str, state: str, status_message: str, details: dict[str, Any]
    ) -> None:
        self.told.append({"project": project_id, "state": state, "message": status_message})

    @hookimpl
    def launcher_download(self, url: str, destination: str) -> str | None:
        name = url.rpartition("/")[2]
        self.calls.append(name)
        self.doing.get(name, lambda given: None)({"url": url})
        Path(destination).parent.mkdir(parents=True, exist_ok=True)
        Path(destination).write_text(url)
        return destination

    def set_up(self, project_id: str, model: dict[str, Any] = MODEL) -> Import:
        folder = self.folder.with_name(project_id)
        folder.mkdir()
        make_environment(folder / "venv")
        return Import(self, project_id, folder, model)


class Import(threading.Thread):
    """One of them; it runs at once."""

    def __init__(self, two: Two, project_id: str, folder: Path, model: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.two, self.id, self.folder, self.model = two, project_id, folder, model
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.two.host.manager.hook.launcher_create_project(
                project_id=self.id,
                name=self.id,
                import_json={"nodes": [], "models": [self.model]},
                project_folder=str(self.folder),
                models_folder=str(self.two.models),
            )
        except Exception as error:
            self.result = error

    def ended(self) -> Any:
        self.join(60)
        assert not self.is_alive()
        return self.result

    @property
    def record(self) -> RecoveryData:
        return wait_for(
            lambda: next((one for one in self.two.host.operations("create_project") if one.project == self.id), None)
        )

    def waits(self) -> bool:
        """Whether it has come to the download, with which the other one is busy."""
        store = self.two.host.integrator.persistence
        parts = store.find(parent_id=self.record.operation_id, limit=-1)
        return [part.state for part in parts if part.kind == "make_environment"] == [RecoveryState.SUCCESS]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    made.close()


class Gate:
    """Holds the first download up until it is let go, or its operation is cancelled."""

    def __init__(self, two: Two, name: str = "a.pt") -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        two.doing[name] = self.hold

    def hold(self, given: dict[str, Any]) -> None:
        self.begun.set()
        assert self.open.wait(60)


def test_a_cancel_of_one_leaves_the_other(two: Two) -> None:
    gate = Gate(two)
    one = two.set_up("p")
    assert gate.begun.wait(60)
    other = two.set_up("q")
    wait_for(other.waits)
    two.host.integrator.cancel(one.record.operation_id)
    assert isinstance(one.ended(), OperationCancelled)
    gate.open.set()
    assert other.ended()["state"] == "ready"
    assert two.calls == ["a.pt", "a.pt"]
    (download,) = two.host.operations("download")
    assert (download.project, download.parent_id) == ("q", other.record.operation_id)
    assert two.told[-1] == {"project": "q", "state": "ready", "message": "Ready"}


def test_a_cancel_of_the_one_that_waits_leaves_the_one_that_downloads(two: Two) -> None:
    gate = Gate(two)
    one = two.set_up("p")
    assert gate.begun.wait(60)
    other = two.set_up("q")
    wait_for(other.waits)
    two.host.integrator.cancel(other.record.operation_id)
    assert isinstance(other.ended(), OperationCancelled)
    gate.open.set()
    assert one.ended()["state"] == "ready"


def test_a_cancel_of_the_file_itself_is_one_of_the_import_that_it_is_part_of(two: Two) -> None:
    gate = Gate(two)
    one = two.set_up("p")
    assert gate.begun.wait(60)
    (download,) = two.host.operations("download")
    two.host.integrator.cancel(download.operation_id)
    gate.open.set()
    assert isinstance(one.ended(), ProjectIncompleteError)
    assert one.record.state is RecoveryState.CANCELLED


def test_what_one_cannot_have_the_other_may(two: Two) -> None:
    """At the same place, from another address."""
    gate = Gate(two)

    def fail(given: dict[str, Any]) -> None:
        gate.hold(given)
        raise PermissionError(13, "not allowed")

    two.doing["a.pt"] = fail
    one = two.set_up("p")
    assert gate.begun.wait(60)
    other = two.set_up("q", {"url": "http://127.0.0.1:1/b.pt", "path": "a.pt"})
    wait_for(other.waits)
    gate.open.set()
    assert isinstance(one.ended(), ProjectIncompleteError)
    assert other.ended()["state"] == "ready"
    assert two.calls == ["a.pt", "b.pt"]


def test_each_has_what_it_asked_for(two: Two) -> None:
    """Two files of one name: what was waited for was the other one's."""
    gate = Gate(two)
    one = two.set_up("p")
    assert gate.begun.wait(60)
    other = two.set_up("q", {"url": "http://127.0.0.1:1/b.pt", "path": "a.pt"})
    wait_for(other.waits)
    gate.open.set()
    assert one.ended()["state"] == other.ended()["state"] == "ready"
    assert two.calls == ["a.pt", "b.pt"]
