"""The queue of ComfyUI Launcher: an import is kept before it is queued, queued again once when its worker has died, and
done once, however often it is delivered.

The record of the import carries the id of its task. What is delivered for a task that another one has replaced, or when
the import is not waiting any more, was delivered too late or twice. Only a worker's main process queues again, since a
queue is of no use before there is one; it does so for what was interrupted, for what a person retries, and for what may
have been lost: it was queued before this worker came, or by a process that has ended, or its process died with it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from launcher_recovery.classification.verdict import ErrorCategory
from launcher_recovery.errors import RecoveryError, RecoveryStateError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call
from launcher_recovery.owners import OWNER, living_owners
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.weave.advice import status
from launcher_recovery.weave.advice.asked import Asked
from launcher_recovery.weave.presence import role_of
from launcher_recovery.weave.workers import QUEUED

logger = logging.getLogger("launcher_recovery")

KIND = "create_project"
_MOST_DEATHS = 3

_TASK_ID_AT = 2
"""Where `apply_async` has the id among its arguments."""

_READY_WITHIN_S = 30.0
_TASK = ("tasks", "create_comfyui_project")


def queue_import(call: Call) -> Any:
    """Advice around `apply_async` of the task: keep what is asked for, then queue it."""
    integrator = call.integrator
    task = getattr(call.original, "__self__")  # noqa: B009
    asked = Asked.of_task(_task_arguments(task, call))
    kind = integrator.kinds[KIND]
    arguments = asked.hook_arguments
    if not integrator.is_durable:
        return call.proceed()  # the worker is another process, and would not know of it
    if integrator.config.mode_for(kind.name, kind.key(arguments)) != "recover":
        return call.proceed()
    given = call.arguments
    task_id = given.get("task_id") or uuid.uuid4().hex
    draft = integrator.draft(kind, arguments)
    draft.owner = None  # whoever gets it from the queue
    draft.metadata[QUEUED] = _queued(task_id, 0)
    try:
        last = _latest(integrator, asked)
        if last is not None and last.state in UNFINISHED and _task_id_of(last) == task_id:
            return call.proceed()  # it is queued again
        while last is None or last.operation_id != draft.operation_id:
            if last is not None and last.state in UNFINISHED:
                # The project that it is for was deleted by hand, or the launcher would not take another of its name.
                _ignoring_races(functools.partial(integrator.lifecycle.cancel, last.operation_id))
            last = integrator.lifecycle.enter(draft)
    except StoreError as error:
        logger.warning("%s is queued without recovery: %s", draft.title, error)
        return call.proceed()
    try:
        return _publish(call, task_id)
    except BaseException:
        _forget(integrator, draft.operation_id)  # whoever asked is told that it is not queued
        raise


def _publish(call: Call, task_id: str) -> Any:
    args = list(call.args)
    if len(args) > _TASK_ID_AT:
        args[_TASK_ID_AT] = task_id
        return call.original(*args, **call.kwargs)
    return call.original(*args, **{**call.kwargs, "task_id": task_id})


def _forget(integrator: RecoveryIntegrator, operation_id: str) -> None:
    """Cancel what nobody has begun. A task that is run where it is asked for may have ended by then."""
    try:
        data = integrator.persistence.get(operation_id)
        if data is not None and data.state is RecoveryState.PENDING:
            integrator.lifecycle.cancel(operation_id)
    except RecoveryError as error:
        logger.debug("an import that could not be queued is kept: %s", error)


def is_due(integrator: RecoveryIntegrator, asked: Asked, task_id: str | None) -> bool:
    """Whether what a task was delivered for is still to be done, as far as is known."""
    if task_id is None:
        return True
    try:
        kept = _latest(integrator, asked)
        if kept is not None and _task_id_of(kept) == task_id:
            return kept.state in (RecoveryState.PENDING, RecoveryState.PAUSED)
        # One that was queued while nothing could be kept is as good as any.
        earlier = integrator.persistence.find(kind=KIND, project=integrator.redactor.text(asked.project_id), limit=-1)
        return all(_task_id_of(data) != task_id for data in earlier)
    except StoreError as error:
        logger.warning("it is not known whether the project %s is set up already: %s", asked.project_id, error)
        return True


def give_up(integrator: RecoveryIntegrator, asked: Asked) -> None:
    """Nobody wants this import any more."""
    try:
        kept = _latest(integrator, asked)
        if kept is not None and kept.state in UNFINISHED:
            integrator.lifecycle.cancel(kept.operation_id)
    except RecoveryError as error:
        logger.debug("the import of a project that was deleted is kept: %s", error)


def unfinished(integrator: RecoveryIntegrator, project_id: str) -> RecoveryData | None:
    """The import of a project that is not over; None: there is none."""
    key = integrator.lifecycle.kept_key(integrator.kinds[KIND].key({"project_id": project_id}))
    found = integrator.persistence.latest_with_key(key)
    return found if found is not None and found.state in UNFINISHED else None


def run_again(integrator: RecoveryIntegrator, data: RecoveryData) -> bool:
    """Queue an import that nobody runs, if it is time for that and this process is to do it.

    Returns:
        False: it cannot be queued again, since what was asked for was not kept.
    """
    if not _worker.is_ready:
        return True
    queued: Mapping[str, Any] = data.metadata.get(QUEUED) or {}
    at = queued.get("at", 0.0)
    has_run = data.attempt > queued.get("attempt", -1)
    # Delivered, and its process has died since: before it had begun, or when it was paused.
    is_gone = _worker.lost.get(queued.get("task_id"), 0.0) > at
    # Cancelled, perhaps delivered then, and retried since.
    is_begun_again = data.begun_at is not None and data.begun_at.timestamp() >= at
    if not (has_run or is_gone or is_begun_again or _may_be_lost(integrator, queued)):
        return True
    if not data.resumable:
        return not (has_run or is_gone)  # else it may still be in the queue
    asked = Asked.of_hook(data.kwargs)
    lifecycle = integrator.lifecycle
    reason = _why_not(integrator, data, asked, has_run)
    if reason:
        logger.info("%s %s, and is not set up any more", data.title, reason)
        _ignoring_races(lambda: lifecycle.cancel(data.operation_id))
        return True
    deaths = _deaths(data, queued) if has_run and not is_begun_again else 0
    if deaths > _MOST_DEATHS:
        _ignoring_races(lambda: _end(integrator, data, deaths))
        return True
    task_id = queued.get("task_id") or uuid.uuid4().hex
    again = {**_queued(task_id, data.attempt), "deaths": deaths, "done": _done(data)}
    try:
        lifecycle.amend(data.operation_id, {QUEUED: again})
    except RecoveryStateError:
        return True  # somebody has begun or ended it
    logger.info("%s is queued again", data.title)
    try:
        task = getattr(sys.modules[_TASK[0]], _TASK[1])
        task.apply_async(kwargs=asked.task_arguments, task_id=task_id)
    except BaseException:
        # So that it is tried again the next time.
        _ignoring_races(lambda: lifecycle.amend(data.operation_id, {QUEUED: dict(queued)}))
        raise
    return True


def _deaths(data: RecoveryData, queued: Mapping[str, Any]) -> int:
    """How often in a row a process has died of it, or with it, without getting any further."""
    return int(queued.get("deaths", 0)) + 1 if _done(data) == queued.get("done") else 1


def _done(data: RecoveryData) -> float:
    return 0.0 if data.progress is None else data.progress.done


def _end(integrator: RecoveryIntegrator, data: RecoveryData, deaths: int) -> None:
    """Give up an import whose process dies again and again, such as for want of memory."""
    integrator.lifecycle.fail(
        data.operation_id,
        RecoveryStateError(f"its process died {deaths} times in a row"),
        category=ErrorCategory.RESOURCE.value,
        explanation=f"The process that sets it up was ended {deaths} times in a row without getting any further, as a "
        "system does that is out of memory. What is there is kept, and a retry goes on with what is missing.",
        fix="free_memory",
    )


def _may_be_lost(integrator: RecoveryIntegrator, queued: Mapping[str, Any]) -> bool:
    """Whether what was queued may be in no queue any more. If it is in one it is delivered twice, which is no harm."""
    by = queued.get("by")
    if by == OWNER.owner_id:
        return False
    if queued.get("at", 0.0) < _worker.since:
        return True
    # It has died, perhaps in between.
    return by not in living_owners(integrator.persistence.owners(), integrator.clock.time())


def _why_not(integrator: RecoveryIntegrator, data: RecoveryData, asked: Asked, has_run: bool) -> str:
    """Why an import is not to be queued again, as words; empty: it is."""
    [newest] = integrator.persistence.find(kind=KIND, project=integrator.redactor.text(asked.project_id), limit=1)
    if newest.operation_id != data.operation_id:
        return "was imported anew"
    if not asked.folder.is_dir():
        return "was deleted"
    if not has_run and status.is_ready(asked.folder):
        return "was set up by a worker that knows nothing of recovery"
    return ""


def _queued(task_id: str, attempt: int) -> dict[str, Any]:
    return {"task_id": task_id, "at": time.time(), "attempt": attempt, "by": OWNER.owner_id}


def _latest(integrator: RecoveryIntegrator, asked: Asked) -> RecoveryData | None:
    key = integrator.lifecycle.kept_key(integrator.kinds[KIND].key(asked.hook_arguments))
    return integrator.persistence.latest_with_key(key)


def _task_arguments(task: Any, call: Call) -> dict[str, Any]:
    given = call.arguments
    bound = inspect.signature(task.run).bind(*(given.get("args") or ()), **(given.get("kwargs") or {}))
    bound.apply_defaults()
    return dict(bound.arguments)


def _task_id_of(data: RecoveryData) -> str | None:
    queued = data.metadata.get(QUEUED)
    return None if queued is None else queued["task_id"]


def _ignoring_races(act: Callable[[], object]) -> None:
    try:
        act()
    except RecoveryStateError:
        pass


class _Worker:
    """Whether this process is the main one of a worker that listens, and since when."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._integrator: RecoveryIntegrator | None = None
        self.since = 0.0
        self.lost: dict[str | None, float] = {}
        """By the id of a task, when the process died that had taken it from the queue."""

    @property
    def is_ready(self) -> bool:
        return self._pid == os.getpid()

    def watch(self, integrator: RecoveryIntegrator) -> None:
        """Have what is to be queued again queued when this worker listens, and when it loses a process."""
        self._integrator = integrator
        if role_of(sys.argv) != "worker":
            return
        from celery import signals

        signals.worker_ready.connect(self._on_ready, weak=False, dispatch_uid="launcher-recovery")
        signals.task_failure.connect(self._on_failure, weak=False, dispatch_uid="launcher-recovery")
        # One without processes of its own does not wait for us, and may have been ready before.
        late = threading.Timer(_READY_WITHIN_S, self._on_ready)
        late.daemon = True
        late.start()

    def _on_ready(self, **_: Any) -> None:
        if not self.is_ready:
            self._pid, self.since = os.getpid(), time.time()
            self._look()

    def _on_failure(self, task_id: str | None = None, **_: Any) -> None:
        if self.is_ready:
            self.lost[task_id] = time.time()
            self._look()

    def _look(self) -> None:
        threading.Thread(target=self._resume, name="recovery-queue", daemon=True).start()

    def _resume(self) -> None:
        assert self._integrator is not None
        try:
            self._integrator.resume_now()
        except RecoveryError as error:
            logger.warning("what was interrupted cannot be looked for at the moment: %s", error)


_worker = _Worker()
watch_worker = _worker.watch
