"""Built-in extension: workflow checks and project creation, which run the launcher's own handlers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, OperationKind


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kinds "validate_workflow" and "create_project"."""
    return [
        OperationKind(
            name="validate_workflow",
            hook="launcher_validate_workflow",
            key=_workflow_key,
            title=lambda arguments: f"workflow of {arguments.get('project_id') or 'no project'}",
        ),
        OperationKind(
            name="create_project",
            hook="launcher_create_project",
            key=lambda arguments: f"create_project:{arguments['project_id']}",
            title=lambda arguments: str(arguments.get("name") or arguments["project_id"]),
        ),
    ]


def _workflow_key(arguments: Arguments) -> str:
    workflow = arguments.get("workflow")
    try:
        text = json.dumps(workflow, sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = f"{id(workflow)}"  # nothing that another call could be the same as
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"validate_workflow:{arguments.get('project_id')}:{digest}"
