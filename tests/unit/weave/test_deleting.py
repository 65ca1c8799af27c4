"""A project of ComfyUI Launcher is deleted while it is set up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import OperationCancelled, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.operation import current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.weave.advice import deleting

POINT = JoinPoint("server", "delete_project", "create_project", tolerant=True)


class Site:
    """An import that runs in a thread, with a part, until it is cancelled; and the view that deletes projects."""

    def __init__(self, folder: Path) -> None:
        self.integrator = RecoveryIntegrator(RecoveryConfig(enabled=True, persistence_path=str(folder / "recovery.db")))
        self.integrator.load()
        self.lifecycle = self.integrator.lifecycle
        self.ended: list[str] = []
        self.states: list[tuple[str, RecoveryState, str | None]] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def draft(self, kind: str, project_id: str) -> RecoveryData:
        arguments = {
            "project_id": project_id, "name": project_id, "folder": f"/{project_id}", "import_json": None,
            "project_folder": f"/{project_id}", "models_folder": "/models",
        }  # fmt: skip
        return self.integrator.draft(self.integrator.kinds[kind], arguments)

    def begin(self, project_id: str) -> None:
        def part() -> None:
            self.has_begun.set()
            operation = current_operation()
            assert operation is not None
            try:
                while True:
                    operation.check()
                    operation.wake.wait(0.01)
            finally:
                assert self.may_end.wait(60)
                self.ended.append("part")

        def whole() -> None:
            data, live = self.integrator.engine.enter(self.draft("make_environment", project_id), Policy())
            try:
                self.integrator.engine.run(data, Policy(), part, live)
            finally:
                self.ended.append("whole")

        def run() -> None:
            data, live = self.integrator.engine.enter(self.draft("create_project", project_id), Policy())
            with pytest.raises(OperationCancelled):
                self.integrator.engine.run(data, Policy(), whole, live)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert self.has_begun.wait(60)

    def delete(self, project_id: str) -> str:
        def delete_project(id: str) -> str:
            self.ended.append(f"deleted {id}")
            return "done"

        return str(deleting.delete_project(Call(POINT, delete_project, (), {"id": project_id}, self.integrator)))

    @property
    def found(self) -> list[tuple[str, RecoveryState, str | None]]:
        return [(data.kind, data.state, data.owner) for data in self.integrator.persistence.find(limit=-1)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.may_end.set()
    if made.thread is not None:
        made.thread.join(60)
    made.integrator.stop()


def test_what_sets_it_up_has_let_go_before_it_is_deleted(site: Site) -> None:
    site.begin("mine")
    threading.Timer(0.2, site.may_end.set).start()
    assert site.delete("mine") == "done"
    assert site.ended == ["part", "whole", "deleted mine"]
    cancelled = RecoveryState.CANCELLED
    assert sorted(site.found) == [("create_project", cancelled, None), ("make_environment", cancelled, None)]


def test_what_does_not_let_go_is_not_waited_for_for_ever(site: Site) -> None:
    site.begin("mine")
    assert not deleting.end_import(site.integrator, "mine", patience_s=0.1)
    site.may_end.set()
    assert deleting.end_import(site.integrator, "mine", patience_s=60)


def test_other_projects_go_on(site: Site) -> None:
    site.begin("mine")
    assert site.delete("another") == "done"
    assert ("create_project", RecoveryState.IN_PROGRESS) in [(kind, state) for kind, state, _ in site.found]
    site.may_end.set()
    site.delete("mine")


def test_what_a_process_that_died_had_begun_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = site.draft("create_project", "mine")
    draft.owner = None
    data = site.lifecycle.enter(draft)
    with monkeypatch.context() as patch:
        patch.setattr(site.lifecycle, "_owner_id", "a process that died")
        site.lifecycle.begin_attempt(data.operation_id, 8)
    assert deleting.end_import(site.integrator, "mine", patience_s=0)
    [(_, state, _)] = site.found
    assert state is RecoveryState.CANCELLED


def test_what_is_begun_at_that_very_moment_is_cancelled_as_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker had looked whether it is due before it was cancelled."""
    draft = site.draft("create_project", "mine")
    draft.owner = None
    data = site.lifecycle.enter(draft)
    cancel = site.lifecycle.cancel
    cancelled: list[str] = []

    def begun_again(operation_id: str) -> RecoveryData:
        found = cancel(operation_id)
        if not cancelled:
            site.lifecycle.retry(operation_id)
            found = site.lifecycle.begin_attempt(operation_id, 8)
        else:
            found = cancel(operation_id)
        cancelled.append(operation_id)
        return found

    monkeypatch.setattr(site.lifecycle, "cancel", begun_again)
    assert deleting.end_import(site.integrator, "mine", patience_s=60)
    assert cancelled == [data.operation_id] * 2
    assert site.found == [("create_project", RecoveryState.CANCELLED, None)]


def test_what_waits_in_the_queue_is_not_begun(site: Site) -> None:
    draft = site.draft("create_project", "mine")
    draft.owner = None
    site.lifecycle.enter(draft)
    assert site.delete("mine") == "done"
    assert site.found == [("create_project", RecoveryState.CANCELLED, None)]
    assert site.delete("mine") == "done"  # nothing is left to be ended


def test_a_store_that_fails_does_not_keep_the_project(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(key: str) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(site.integrator.persistence, "latest_with_key", fail)
    assert site.delete("mine") == "done"
    assert site.ended == ["deleted mine"]
