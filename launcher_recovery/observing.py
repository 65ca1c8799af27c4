"""The mode `observe`: handlers and functions run as they are, and what recovery would have done is recorded."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from launcher_recovery.errors import RecoveryError, StoreError
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, running
from launcher_recovery.policy import Classify
from launcher_recovery.records import OBSERVED, RecoveryData, RecoveryState

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

logger = logging.getLogger("launcher_recovery")

NAMESPACE = "comfyui_launcher"
hookimpl = pluggy.HookimplMarker(NAMESPACE)

Around = Generator[None, Any, Any]


def begin(lifecycle: Lifecycle, data: RecoveryData) -> Operation | None:
    """Enter the draft of a call that is only observed; its handle, or None when nothing can be recorded."""
    data.key = None  # it joins nothing, and nothing joins it
    data.max_attempts = 1
    data.metadata[OBSERVED] = True
    try:
        return lifecycle.start(data)[1]
    except StoreError as error:
        logger.warning("%s is not observed: %s", data.title, error)
        return None


def keep(
    lifecycle: Lifecycle, live: Operation, classify: Classify, *, result: Any = None, error: Exception | None = None
) -> None:
    """Record how an observed call ended; what goes wrong here is no business of its caller, the code has run."""
    try:
        if error is None:
            lifecycle.succeed(live, result)
            return
        verdict = classify(error)
        live.metadata["would"] = f"{verdict.retry.value}: {verdict.explanation}"
        try:
            live.save_metadata()
        except TypeError as problem:  # the code put something there that cannot be kept
            logger.warning("what would have been done about %s is not kept: %s", live.data.title, problem)
        lifecycle.end_attempt(
            live,
            RecoveryState.FAILED,
            error,
            category=verdict.category.value,
            explanation=verdict.explanation,
            fix=verdict.offered_fix,
            fruitless=1,
            limit=1,
        )
    except RecoveryError as problem:
        logger.warning("what was observed of %s is not kept: %s", live.data.title, problem)


def abandon(lifecycle: Lifecycle, live: Operation) -> None:
    """Record that an observed call was ended from outside: it is not to be run again."""
    try:
        lifecycle.cancel(live.operation_id)
    except RecoveryError as problem:
        logger.warning("what was observed of %s is not kept: %s", live.data.title, problem)


class Observer:
    """Wrappers of the launcher's hooks, which change nothing.

    Args:
        integrator: where it is recorded.
        kinds: of operations, by hook.
    """

    def __init__(self, integrator: RecoveryIntegrator, kinds: Mapping[str, OperationKind]) -> None:
        self._integrator = integrator
        self._kinds = kinds

    @hookimpl(wrapper=True)
    def launcher_download(
        self, url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
    ) -> Around:
        arguments = {
            "url": url, "destination": destination, "sha256": sha256, "size": size, "project_id": project_id,
        }  # fmt: skip
        return (yield from self._around("launcher_download", arguments))

    @hookimpl(wrapper=True)
    def launcher_install_node(
        self, url: str, destination: str, ref: str | None, python: str | None, project_id: str | None
    ) -> Around:
        arguments = {
            "url": url, "destination": destination, "ref": ref, "python": python, "project_id": project_id,
        }  # fmt: skip
        return (yield from self._around("launcher_install_node", arguments))

    @hookimpl(wrapper=True)
    def launcher_validate_workflow(
        self, workflow: Any, models_folder: str, nodes_folder: str, project_id: str | None
    ) -> Around:
        arguments = {
            "workflow": workflow, "models_folder": models_folder, "nodes_folder": nodes_folder,
            "project_id": project_id,
        }  # fmt: skip
        return (yield from self._around("launcher_validate_workflow", arguments))

    @hookimpl(wrapper=True)
    def launcher_create_project(
        self, project_id: str, name: str, import_json: Any, project_folder: str, models_folder: str
    ) -> Around:
        arguments = {
            "project_id": project_id, "name": name, "import_json": import_json, "project_folder": project_folder,
            "models_folder": models_folder,
        }  # fmt: skip
        return (yield from self._around("launcher_create_project", arguments))

    def _around(self, hook: str, arguments: dict[str, Any]) -> Around:
        live = self._begin(hook, arguments)
        if live is None:
            return (yield)
        try:
            with running(live):
                result = yield
        except Exception as error:
            self._keep(live, error=error)
            raise
        else:
            self._keep(live, result=result)
            return result
        finally:
            self._integrator.lifecycle.detach(live)

    def _begin(self, hook: str, arguments: dict[str, Any]) -> Operation | None:
        kind = self._kinds.get(hook)
        if kind is None or self._integrator.config.mode_for(kind.name, kind.key(arguments)) != "observe":
            return None
        return begin(self._integrator.lifecycle, self._integrator.draft(kind, arguments))

    def _keep(self, live: Operation, *, result: Any = None, error: Exception | None = None) -> None:
        integrator = self._integrator
        keep(
            integrator.lifecycle,
            live,
            lambda error: integrator.classify(error, live.data),
            result=result,
            error=error,
        )
