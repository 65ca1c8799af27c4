"""The queue of ComfyUI Launcher: kept before it is queued, done once, and queued again once when its worker died."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import integration
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.operation import Operation
from launcher_recovery.owners import OWNER, start_time
from launcher_recovery.persistence.base import Owner
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.weave.advice import queueing
from launcher_recovery.weave.advice.asked import Asked

POINT = JoinPoint("tasks", "create_comfyui_project", "create_project", tolerant=True, task=True)
LAUNCHER_JSON = {"files": [], "snapshot_json": {"comfyui": "", "git_custom_nodes": {}}, "workflow_json": {}}


class Task:
    """Stands for the launcher's task: what is queued is kept in a list."""

    def __init__(self) -> None:
        self.queued: list[tuple[str | None, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    @staticmethod
    def run(
        project_folder_path: str,
        models_folder_path: str,
        id: str,
        name: str,
        launcher_json: Any = None,
        port: int | None = None,
        create_project_folder: bool = True,
    ) -> None:
        raise NotImplementedError

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **more: Any
    ) -> str:
        self.before()
        if self.error is not None:
            raise self.error
        given = dict(kwargs or {})
        if args:
            given.update(zip(("project_folder_path", "models_folder_path"), args, strict=False))
        self.queued.append((task_id, given))
        return "result"


class Queue:
    """An integrator, the task, and a folder of projects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(enabled=True, allow_private_addresses=True, persistence_path=str(folder / "recovery.db"))
        )
        self.integrator.load()
        self.task = Task()

    @property
    def asked(self) -> Asked:
        return Asked("mine", "Mine", self.folder / "mine", self.folder / "models", LAUNCHER_JSON, 4001)

    def ask(self, launcher_json: Any = LAUNCHER_JSON, task_id: str | None = None) -> Any:
        """As the launcher asks for a project."""
        self.asked.folder.mkdir(exist_ok=True)
        arguments = {"id": "mine", "name": "Mine", "launcher_json": launcher_json, "port": 4001}
        places = (str(self.asked.folder), str(self.asked.models))
        more = {} if task_id is None else {"task_id": task_id}
        return self.call((places, {**arguments, "create_project_folder": False}), more)

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return queueing.queue_import(Call(POINT, self.task.apply_async, args, kwargs, self.integrator))

    @property
    def kept(self) -> RecoveryData:
        [found, *_] = self.integrator.persistence.find(limit=-1)
        return found

    def run_again(self) -> bool:
        return queueing.run_again(self.integrator, self.kept)

    def is_due(self, task_id: str | None) -> bool:
        return queueing.is_due(self.integrator, self.asked, task_id)

    def interrupt(self) -> None:
        """As when the process dies that has begun it."""
        lifecycle = self.integrator.lifecycle
        lifecycle.begin_attempt(self.kept.operation_id, 8)
        lifecycle.release_orphans({OWNER.owner_id})
        assert (self.kept.state, self.kept.attempt) == (RecoveryState.PENDING, 1)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(tmp_path)
    integration.set_recovery_integrator(made.integrator)
    return made


@pytest.fixture
def worker(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> queueing._Worker:
    """This process is the main one of a worker that has listened for a second."""
    module = types.ModuleType("tasks")
    setattr(module, "create_comfyui_project", queue.task)
    monkeypatch.setitem(sys.modules, "tasks", module)
    monkeypatch.setattr(sys, "argv", ["/bin/celery", "-A", "server.celery_app", "worker"])
    made = queueing._Worker()
    monkeypatch.setattr(queueing, "_worker", made)
    monkeypatch.setattr(made, "_look", lambda: None)
    made.watch(queue.integrator)
    made._on_ready()
    made.since = time.time() - 1
    return made


def test_what_is_asked_for_is_kept_before_it_is_queued(queue: Queue) -> None:
    kept: list[RecoveryData] = []
    original = queue.task.apply_async

    @functools.wraps(original)
    def apply_async(*args: Any, **kwargs: Any) -> Any:
        kept.append(queue.kept)
        return original(*args, **kwargs)

    queue.task.apply_async = apply_async  # type: ignore[method-assign]
    setattr(apply_async, "__self__", queue.task)
    assert queue.ask(task_id="given") == "result"
    [data] = kept
    assert (data.state, data.owner, data.kind, data.project) == (RecoveryState.PENDING, None, "create_project", "mine")
    assert data.metadata["queued"]["task_id"] == "given"
    assert Asked.of_hook(data.kwargs) == queue.asked
    [(task_id, arguments)] = queue.task.queued
    assert task_id == "given"
    assert arguments["launcher_json"] == LAUNCHER_JSON


def test_a_task_without_an_id_gets_the_one_that_is_kept(queue: Queue) -> None:
    queue.ask()
    [(task_id, _)] = queue.task.queued
    assert task_id == queue.kept.metadata["queued"]["task_id"]


def test_what_could_not_be_queued_is_not_waited_for(queue: Queue) -> None:
    queue.task.error = ConnectionError("no broker")
    with pytest.raises(ConnectionError, match="no broker"):
        queue.ask()
    assert queue.kept.state is RecoveryState.CANCELLED


def test_the_error_of_a_task_that_is_run_at_once_is_its_own(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Celery's `task_always_eager`: it has ended by the time that it is queued."""

    def run_at_once() -> None:
        lifecycle, data = queue.integrator.lifecycle, queue.kept
        live = Operation(lifecycle.begin_attempt(data.operation_id, 1), lifecycle, queue.integrator.clock)
        fields = {"category": "unknown", "explanation": "", "fix": None, "fruitless": 1, "limit": 1}
        lifecycle.end_attempt(live, RecoveryState.FAILED, ValueError("its own"), **fields)

    queue.task.before = run_at_once
    queue.task.error = ValueError("its own")
    with pytest.raises(ValueError, match="its own"):
        queue.ask()
    assert queue.kept.state is RecoveryState.FAILED


def test_why_it_was_not_queued_is_told_also_while_the_store_fails(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("the disk is full")

    queue.task.before = lambda: monkeypatch.setattr(queue.integrator.persistence, "get", fail)
    queue.task.error = ConnectionError("no broker")
    with pytest.raises(ConnectionError, match="no broker"):
        queue.ask()


def test_the_id_of_a_task_may_be_given_by_its_place(queue: Queue) -> None:
    queue.asked.folder.mkdir()
    queue.call(((str(queue.asked.folder), str(queue.asked.models)), {"id": "mine", "name": "Mine"}, "given"), {})
    assert [task_id for task_id, _ in queue.task.queued] == ["given"]
    assert queue.kept.metadata["queued"]["task_id"] == "given"
    queue.call(((str(queue.asked.folder), str(queue.asked.models)), {"id": "mine", "name": "Mine"}, None), {})
    assert queue.task.queued[-1][0] == queue.kept.metadata["queued"]["task_id"]


def test_of_two_that_are_asked_for_at_once_the_later_one_is_done(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    look = queueing._latest
    answers = [None]

    def nobody_yet(*args: Any) -> Any:
        return answers.pop() if answers else look(*args)

    queue.ask(task_id="first")
    monkeypatch.setattr(queueing, "_latest", nobody_yet)
    queue.ask(task_id="second")
    assert queue.is_due("second")
    assert not queue.is_due("first")


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_where_it_is_not_recovered_it_is_queued_as_it_is(queue: Queue, mode: str) -> None:
    queue.integrator.update_config({"mode": mode})
    queue.ask()
    assert queue.integrator.persistence.find(limit=-1) == []
    assert [task_id for task_id, _ in queue.task.queued] == [None]


def test_where_nothing_is_kept_nobody_waits_for_the_worker(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecoveryIntegrator, "is_durable", False)
    assert queue.ask() == "result"
    assert queue.integrator.persistence.find(limit=-1) == []


def test_a_store_that_fails_holds_nothing_up(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(queue.integrator.lifecycle, "enter", fail)
    assert queue.ask() == "result"
    assert len(queue.task.queued) == 1


def test_a_project_of_the_name_that_was_deleted_by_hand_is_not_set_up_any_more(queue: Queue) -> None:
    queue.ask(task_id="first")
    first = queue.kept
    queue.ask(task_id="second")
    before = queue.integrator.persistence.get(first.operation_id)
    assert before is not None
    assert before.state is RecoveryState.CANCELLED
    assert (queue.kept.state, queue.kept.metadata["queued"]["task_id"]) == (RecoveryState.PENDING, "second")


def test_what_is_queued_again_is_not_asked_for_anew(queue: Queue) -> None:
    """The task that queues it again is woven as well."""
    queue.ask(task_id="one")
    queue.ask(task_id="one")
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]
    [kept] = queue.integrator.persistence.find(limit=-1)
    assert kept.state is RecoveryState.PENDING


# -- what is delivered --------------------------------------------------------------------------------


def test_what_is_delivered_is_due_once(queue: Queue) -> None:
    assert queue.is_due("unknown")  # it was queued before recovery was on
    queue.ask(task_id="one")
    assert queue.is_due("one")
    assert queue.is_due(None)
    lifecycle = queue.integrator.lifecycle
    lifecycle.pause(queue.kept.operation_id)
    assert queue.is_due("one")
    lifecycle.resume(queue.kept.operation_id)
    lifecycle.begin_attempt(queue.kept.operation_id, 8)
    assert not queue.is_due("one")
    lifecycle.cancel(queue.kept.operation_id)
    assert not queue.is_due("one")


def test_what_was_queued_while_nothing_could_be_kept_is_done(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when an earlier import of that name was never ended."""
    queue.ask(task_id="one")
    assert queue.is_due("two")
    queue.ask(task_id="three")
    assert not queue.is_due("one")

    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(queue.integrator.persistence, "latest_with_key", fail)
    assert queue.is_due("three")


# -- again --------------------------------------------------------------------------------------------


def test_only_a_worker_that_listens_queues_again(queue: Queue) -> None:
    queue.ask(task_id="one")
    queue.interrupt()
    assert queue.run_again()
    assert len(queue.task.queued) == 1


def test_what_was_interrupted_is_queued_again_once(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    assert queue.run_again()
    assert len(queue.task.queued) == 1  # it waits in the queue
    queue.interrupt()
    assert queue.run_again()
    assert queue.run_again()
    [_, (task_id, arguments)] = queue.task.queued
    assert task_id == "one"
    assert arguments == queue.asked.task_arguments
    assert queue.is_due("one")


def test_what_its_process_always_dies_of_is_given_up_until_a_person_retries(
    queue: Queue, worker: queueing._Worker
) -> None:
    """As for want of memory; each time that it gets further counts anew."""
    queue.ask(task_id="one")

    def die(done: int) -> None:
        lifecycle = queue.integrator.lifecycle
        data = lifecycle.begin_attempt(queue.kept.operation_id, 8)
        live = Operation(data, lifecycle, queue.integrator.clock)
        lifecycle.report_progress(live, done, 100, "percent", None)
        lifecycle.release_orphans({OWNER.owner_id})
        assert queue.run_again()

    for done in (5, 5, 5, 10, 10, 10):
        die(done)
        assert queue.kept.state is RecoveryState.PENDING
    assert len(queue.task.queued) == 7
    die(10)
    kept = queue.kept
    assert (kept.state, kept.category, kept.fix) == (RecoveryState.FAILED, "resource", "free_memory")
    assert kept.explanation is not None
    assert "was ended 4 times in a row without getting any further" in kept.explanation
    assert len(queue.task.queued) == 7
    queue.integrator.lifecycle.retry(kept.operation_id)
    assert queue.run_again()
    assert len(queue.task.queued) == 8


def test_what_a_person_retries_is_queued_again(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    lifecycle = queue.integrator.lifecycle
    lifecycle.begin_attempt(queue.kept.operation_id, 8)
    lifecycle.cancel(queue.kept.operation_id)
    lifecycle.retry(queue.kept.operation_id)
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


def test_what_was_delivered_while_it_was_cancelled_is_queued_again_by_a_retry(
    queue: Queue, worker: queueing._Worker
) -> None:
    """It was dropped then, and has never run."""
    queue.ask(task_id="one")
    lifecycle = queue.integrator.lifecycle
    lifecycle.cancel(queue.kept.operation_id)
    assert not queue.is_due("one")
    lifecycle.retry(queue.kept.operation_id)
    assert queue.run_again()
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


def test_what_the_process_had_taken_that_died_before_it_began_is_queued_again(
    queue: Queue, worker: queueing._Worker
) -> None:
    queue.ask(task_id="one")
    worker._on_failure(task_id="another")
    assert queue.run_again()
    assert len(queue.task.queued) == 1
    worker._on_failure(task_id="one")
    assert queue.run_again()
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


def test_what_was_never_queued_because_its_process_died_is_queued(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    queued = {**queue.kept.metadata["queued"], "by": "a process that died"}
    queue.integrator.lifecycle.amend(queue.kept.operation_id, {"queued": queued})
    assert queue.run_again()
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


def test_what_a_living_process_has_queued_is_waited_for(queue: Queue, worker: queueing._Worker) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        living = Owner("another", OWNER.host, process.pid, start_time(process.pid) or "")
        queue.integrator.persistence.heartbeat(living, time.time())
        queue.ask(task_id="one")
        queued = {**queue.kept.metadata["queued"], "by": living.owner_id}
        queue.integrator.lifecycle.amend(queue.kept.operation_id, {"queued": queued})
        assert queue.run_again()
        assert len(queue.task.queued) == 1
        process.communicate()
    assert queue.run_again()
    assert len(queue.task.queued) == 2


def test_what_could_not_be_queued_again_is_tried_again(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    queue.interrupt()
    queue.task.error = ConnectionError("no broker")
    with pytest.raises(ConnectionError):
        queue.run_again()
    queue.task.error = None
    assert queue.run_again()
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


@pytest.mark.parametrize("state", ["ready", "running"])
def test_what_a_worker_without_recovery_has_set_up_is_not_set_up_again(
    queue: Queue, worker: queueing._Worker, state: str
) -> None:
    queue.ask(task_id="one")
    worker.since = time.time() + 1
    file = queue.asked.folder / ".launcher" / "state.json"
    file.parent.mkdir()
    queued = {**queue.kept.metadata["queued"], "by": "another process"}
    queue.integrator.lifecycle.amend(queue.kept.operation_id, {"queued": queued})
    file.write_text(json.dumps({"state": state, "status_message": "as it is"}))
    assert queue.run_again()
    assert queue.kept.state is RecoveryState.CANCELLED
    assert len(queue.task.queued) == 1


def test_what_another_worker_may_have_lost_is_queued_again(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    queued = {**queue.kept.metadata["queued"], "by": "another process", "at": worker.since - 5}
    queue.integrator.lifecycle.amend(queue.kept.operation_id, {"queued": queued})
    assert queue.run_again()
    assert queue.run_again()
    assert [task_id for task_id, _ in queue.task.queued] == ["one", "one"]


def test_a_project_that_was_deleted_is_not_queued_again(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    queue.interrupt()
    queue.asked.folder.rmdir()
    assert queue.run_again()
    assert queue.kept.state is RecoveryState.CANCELLED
    assert len(queue.task.queued) == 1


def test_what_was_imported_anew_is_not_queued_again(queue: Queue, worker: queueing._Worker) -> None:
    """Its project was deleted, and the folder is that of another one of its name now."""
    queue.ask(task_id="one")
    first = queue.kept
    lifecycle = queue.integrator.lifecycle
    lifecycle.begin_attempt(first.operation_id, 8)
    lifecycle.cancel(first.operation_id)
    queue.ask(task_id="two")
    lifecycle.begin_attempt(queue.kept.operation_id, 8)
    lifecycle.cancel(queue.kept.operation_id)
    retried = lifecycle.retry(first.operation_id)
    assert queueing.run_again(queue.integrator, retried)
    after = queue.integrator.persistence.get(first.operation_id)
    assert after is not None
    assert after.state is RecoveryState.CANCELLED
    assert len(queue.task.queued) == 2


def test_what_was_not_kept_cannot_be_queued_again(queue: Queue, worker: queueing._Worker) -> None:
    secret = {**LAUNCHER_JSON, "files": [[{"download_url": "https://example.com/a?token=abcdef0123456789abcdef"}]]}
    queue.ask(secret, task_id="one")
    assert not queue.kept.resumable
    assert "abcdef0123456789" not in str(queue.kept)
    assert queue.run_again()  # it waits in the queue, where all of it is
    worker._on_failure(task_id="one")
    assert not queue.run_again()
    queue.interrupt()
    assert not queue.run_again()
    assert len(queue.task.queued) == 1


def test_somebody_else_was_faster(queue: Queue, worker: queueing._Worker) -> None:
    queue.ask(task_id="one")
    queue.interrupt()
    seen = queue.kept
    queue.integrator.lifecycle.begin_attempt(seen.operation_id, 8)
    assert queueing.run_again(queue.integrator, seen)
    assert len(queue.task.queued) == 1


def test_the_worker_is_looked_after_when_it_listens_and_when_it_loses_a_process(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []
    made = queueing._Worker()
    monkeypatch.setattr(queue.integrator, "resume_now", lambda: looked.append(made.is_ready))
    made.watch(queue.integrator)
    monkeypatch.setattr(made, "_look", made._resume)
    made._on_failure()
    assert looked == []  # such as in a process of the pool
    made._on_ready()
    made._on_failure()
    assert looked == [True, True]
    monkeypatch.setattr(queue.integrator, "resume_now", _failing)
    made._on_failure()  # it is logged


def test_a_worker_that_was_ready_before_it_could_be_told_is_ready_in_the_end(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without processes of its own waits for nobody."""
    monkeypatch.setattr(sys, "argv", ["/bin/celery", "-A", "server.celery_app", "worker"])
    monkeypatch.setattr(queueing, "_READY_WITHIN_S", 0.01)
    looked = threading.Event()
    monkeypatch.setattr(queue.integrator, "resume_now", looked.set)
    made = queueing._Worker()
    made.watch(queue.integrator)
    assert looked.wait(60)
    assert made.is_ready
    since = made.since
    made._on_ready()
    assert made.since == since


def _failing() -> None:
    raise StoreError("the disk is full")


def test_an_import_is_its_task_and_its_hook(tmp_path: Path) -> None:
    asked = Asked("a", "A", tmp_path / "a", tmp_path / "models", None, None)
    assert Asked.of_hook(asked.hook_arguments) == asked
    assert Asked.of_task(asked.task_arguments) == asked
    relative = {**asked.task_arguments, "models_folder_path": "models"}
    assert Asked.of_task(relative) == replace(asked, models=Path.cwd() / "models")
