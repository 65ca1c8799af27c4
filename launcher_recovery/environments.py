"""Puts the Python environment of a project back as it was before a node was installed: an operation of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.nodes.environment import Change
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.requirements import CHANGES, MOST_CHANGES, Speaker
from launcher_recovery.nodes.restoring import Restored, plan, put_back
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData, RecoveryState

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

_KIND = "install_node"


def restore(integrator: RecoveryIntegrator, operation_id: str, *, dry_run: bool) -> Restored:
    """See `RecoveryIntegrator.restore_environment`."""
    data = integrator.persistence.get(operation_id)
    if data is None or data.kind != _KIND:
        raise RecoveryStateError(f"there is no node install {operation_id}")
    step = integrator.persistence.load_step(operation_id, "environment")
    if step is None:
        raise RecoveryStateError(
            f"nothing was recorded of the Python environment before {data.title}: it needed nothing there",
            state=data.state.value,
        )
    python, before, added = step.result["python"], step.result["packages"], _added(data)
    if dry_run:
        return plan(Interpreter(None, python, lambda message: None), before, added)
    _refuse_if_used(integrator, python)
    result = _run(integrator, data, python, before, added)
    return Restored(python, *(_changes(result[name]) for name in ("reinstalled", "removed", "left")))


def _run(
    integrator: RecoveryIntegrator, data: RecoveryData, python: str, before: list[str], added: frozenset[str] | None
) -> dict[str, Any]:
    draft = integrator.lifecycle.draft(
        "restore_environment",
        (),
        {"operation_id": data.operation_id},
        key=f"restore_environment:{python}",
        project=data.project,
        title=f"Python environment before {data.title}",
        limit=integrator.max_attempts,
    )
    policy = Policy(
        max_attempts=integrator.max_attempts,
        strategy=integrator.strategy,
        classify=integrator.classifier.classify,
        timeout=integrator.config.timeout,
        deadline=integrator.config.deadline,
        unknown_attempts=2,
        wait_for_resources=True,
        bulkheads=integrator.slots.of(_KIND, python),
    )

    def attempt() -> dict[str, Any]:
        operation = current_operation()
        assert isinstance(operation, Operation)

        def say(message: str) -> None:
            operation.progress(0, None, "steps", message)

        say("looking at the Python environment")
        return put_back(Interpreter(operation, python, say), before, added, Speaker(say)).as_json()

    entered, live = integrator.engine.enter(draft, policy, revive=True)
    result: dict[str, Any] = integrator.engine.run(entered, policy, attempt, live)
    return result


def _added(data: RecoveryData) -> frozenset[str] | None:
    """What came with the install, and nothing that others have added since; None: it is not known, all that is new."""
    changes = data.metadata.get(CHANGES)
    if not isinstance(changes, list) or len(changes) >= MOST_CHANGES:
        return None
    return frozenset(change["name"] for change in changes if change["before"] is None)


def _refuse_if_used(integrator: RecoveryIntegrator, python: str) -> None:
    """Two that change one environment at a time would each undo a part of what the other does."""
    for other in integrator.persistence.find(kind=_KIND, states={RecoveryState.IN_PROGRESS}, limit=-1):
        if os.path.abspath(other.kwargs.get("python") or sys.executable) == python:
            raise RecoveryStateError(
                f"{other.title} is being installed into this Python environment; wait for that, or cancel it",
                state=other.state.value,
            )


def _changes(told: list[dict[str, Any]]) -> tuple[Change, ...]:
    return tuple(Change(one["name"], one["before"], one["after"]) for one in told)
