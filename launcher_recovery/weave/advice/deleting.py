"""A project of ComfyUI Launcher is deleted: what sets it up is ended first, and lets go of it before the folder goes.

So nothing of it is left running that would write into, or delete, a new project of that name.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.weave.advice import queueing

logger = logging.getLogger("launcher_recovery")

# A person waits for the answer; what takes longer to stop is the launcher's own to end.
_PATIENCE_S = 20.0
_LOOK_S = 0.05


def delete_project(call: Call) -> Any:
    """Advice around the view that deletes a project."""
    integrator = call.integrator
    try:
        end_import(integrator, call.arguments["id"])
    except StoreError as error:
        logger.warning("a project is deleted without ending what sets it up: %s", error)
    return call.proceed()


def end_import(integrator: RecoveryIntegrator, project_id: str, patience_s: float = _PATIENCE_S) -> bool:
    """Cancel the import of a project, if there is one, and wait until all of it has let go; whether it has."""
    found = queueing.unfinished(integrator, project_id)
    if found is None:
        return True
    try:
        integrator.lifecycle.cancel(found.operation_id)
    except RecoveryStateError:
        pass  # it has ended by itself
    until = time.monotonic() + patience_s
    while _is_held(integrator, found.operation_id):
        if time.monotonic() > until:
            logger.warning("%s is deleted while something still works on it", found.title)
            return False
        integrator.lifecycle.look_for_the_dead()
        time.sleep(_LOOK_S)
    return True


def _is_held(integrator: RecoveryIntegrator, operation_id: str) -> bool:
    """Whether a process has the operation, or one inside it."""
    data = integrator.persistence.get(operation_id)
    if data is not None and _has_owner(data):
        return True
    parts = integrator.persistence.find(parent_id=operation_id, limit=-1)
    return any(_has_owner(part) or _is_held(integrator, part.operation_id) for part in parts)


def _has_owner(data: RecoveryData) -> bool:
    return data.owner is not None or data.state is RecoveryState.IN_PROGRESS
