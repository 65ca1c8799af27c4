"""Puts the Python environment of a project back as it was before a node, or an import: an operation of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.nodes.environment import Change
from launcher_recovery.nodes.installing import INSTALLS, installing_into
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.recording import TOUCHED
from launcher_recovery.nodes.requirements import CHANGES, MOST_CHANGES, Speaker
from launcher_recovery.nodes.restoring import Restored, plan, put_back
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

_IMPORT = "create_project"


def restore(integrator: RecoveryIntegrator, operation_id: str, *, dry_run: bool) -> Restored:
    """See `RecoveryIntegrator.restore_environment`."""
    data = integrator.persistence.get(operation_id)
    if data is None or data.kind not in (*INSTALLS, _IMPORT):
        raise RecoveryStateError(f"there is no node install and no project import {operation_id}")
    installs, python, before, added = _recorded(integrator, data)
    if dry_run:
        return plan(Interpreter(None, python, lambda message: None, data), before, added)
    _refuse_if_used(integrator, python)
    result = _run(integrator, data, python, before, added)
    for install in installs:  # a retry of one that failed has pip bring again what was taken out
        integrator.lifecycle.amend(install, {TOUCHED: False})
    return Restored(python, *(_changes(result[name]) for name in ("reinstalled", "removed", "left")))


def _recorded(
    integrator: RecoveryIntegrator, data: RecoveryData
) -> tuple[list[str], str, list[str], frozenset[str] | None]:
    """The ids of the installs, the interpreter of the environment, what it had before, and what came with it; see
    `_added`."""
    store = integrator.persistence
    installs = [data]
    if data.kind == _IMPORT:
        parts = store.find(parent_id=data.operation_id, limit=-1)
        installs = sorted((part for part in parts if part.kind in INSTALLS), key=lambda part: part.created_at)
    steps = [(install, store.load_step(install.operation_id, "environment")) for install in installs]
    recorded = [(install, step.result) for install, step in steps if step is not None]
    if not recorded:
        raise RecoveryStateError(
            f"nothing was recorded of the Python environment before {data.title}: it needed nothing there",
            state=data.state.value,
        )
    # Those inside an import are installed one after the other, into one environment.
    first = recorded[0][1]
    added = [_added(install) for install, _ in recorded]
    known = [names for names in added if names is not None]
    ids = [install.operation_id for install, _ in recorded]
    return ids, first["python"], first["packages"], frozenset().union(*known) if len(known) == len(added) else None


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
        bulkheads=integrator.slots.of(INSTALLS[0], python),
    )

    def attempt() -> dict[str, Any]:
        operation = current_operation()
        assert isinstance(operation, Operation)

        def say(message: str) -> None:
            operation.progress(0, None, "steps", message)

        say("looking at the Python environment")
        return put_back(Interpreter(operation, python, say, data), before, added, Speaker(say)).as_json()

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
    other = installing_into(integrator.persistence, python)
    if other is not None:
        raise RecoveryStateError(
            f"{other.title} is being installed into this Python environment; wait for that, or cancel it",
            state=other.state.value,
        )


def _changes(told: list[dict[str, Any]]) -> tuple[Change, ...]:
    return tuple(Change(one["name"], one["before"], one["after"]) for one in told)
