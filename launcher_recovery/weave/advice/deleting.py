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
from launcher_recovery.owners import OWNER, living_owners
from launcher_recovery.records import UNFINISHED, RecoveryData
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
    until = time.monotonic() + patience_s
    while _is_held(integrator, _cancelled(integrator, found), _living(integrator)):
        if time.monotonic() > until:
            logger.warning("%s is deleted while something still works on it", found.title)
            return False
        time.sleep(_LOOK_S)
    return True


def _cancelled(integrator: RecoveryIntegrator, data: RecoveryData) -> RecoveryData:
    """The record, of what is cancelled; a worker may have taken it from the queue at that very moment."""
    now = integrator.persistence.get(data.operation_id) or data
    if now.state not in UNFINISHED:
        return now
    try:
        return integrator.lifecycle.cancel(data.operation_id)
    except RecoveryStateError:
        return now  # it has ended by itself


def _is_held(integrator: RecoveryIntegrator, data: RecoveryData, living: set[str]) -> bool:
    """Whether a process has the operation, or one inside it."""
    if data.owner in living:
        return True
    parts = integrator.persistence.find(parent_id=data.operation_id, limit=-1)
    return any(_is_held(integrator, part, living) for part in parts)


def _living(integrator: RecoveryIntegrator) -> set[str]:
    return {OWNER.owner_id, *living_owners(integrator.persistence.owners(), integrator.clock.time())}
