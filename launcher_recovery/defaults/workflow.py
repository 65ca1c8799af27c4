"""Built-in extensions: workflow checks, which run the launcher's own handler, and tables.

What the launcher finds wrong with a workflow is completed by the checks of `launcher_recovery.workflows`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError, RecoveryError
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, OperationKind
from launcher_recovery.operation import Operation
from launcher_recovery.workflows.sources import Lookups, ModelSource, Nobody, NodeSource

logger = logging.getLogger("launcher_recovery")

# Of files read to find a model that was renamed, while somebody waits for the check.
_HASH_BYTES = 1 << 30


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kind "validate_workflow"."""
    return [
        OperationKind(
            name="validate_workflow",
            hook="launcher_validate_workflow",
            key=_workflow_key,
            title=lambda arguments: f"workflow of {arguments.get('project_id') or 'no project'}",
            enrich=_with_checks,
            # What was missing may be there by now.
            still_there=lambda data: isinstance(data.result, Mapping) and data.result.get("valid") is True,
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


def _with_checks(operation: Operation, arguments: Arguments, result: Any, lookups: Lookups) -> Any:
    """The launcher's result with what our checks find: "problems" have more, and "valid" says whether there are any.

    Of missing nodes and models ours count, which know more; what else the launcher found stays. Further members:
    "notices", problems with which it runs all the same, and "report", see `Report.to_dict`, with the "operation_id" by
    which `RecoveryIntegrator.fix_workflow` gives the workflow with what is "fixable" mended.
    """
    workflow = arguments.get("workflow")
    is_usual = isinstance(result, Mapping) and isinstance(result.get("problems"), (list, tuple))
    if not is_usual or not isinstance(workflow, (Mapping, str, bytes)):
        return result
    from launcher_recovery.workflows import Limits, check_workflow  # loaded only by those who check

    try:
        report = check_workflow(
            workflow,
            models=arguments["models_folder"],
            nodes=arguments["nodes_folder"],
            lookups=lookups,
            limits=Limits(hash_bytes=_HASH_BYTES),
            check=operation.check,
        )
    except RecoveryError:  # it was paused, cancelled, or took too long
        raise
    except Exception:
        logger.exception("the workflow could not be checked further")
        return result
    told = {**report.to_dict(), "operation_id": operation.operation_id}
    found = told.pop("problems")
    if report.format is None:
        # The launcher could read it, so that it is for the launcher to say what is wrong.
        return {**result, "notices": found, "report": told}
    names = {model.name for model in report.models}
    theirs = [problem for problem in result["problems"] if not _is_ours(problem, names)]
    problems = [*theirs, *(problem for problem in found if problem["severity"] == "error")]
    notices = [problem for problem in found if problem["severity"] != "error"]
    return {**result, "valid": not problems, "problems": problems, "notices": notices, "report": told}


def _is_ours(problem: Any, models: set[str]) -> bool:
    """Whether a problem that the launcher found is one that our checks have looked at."""
    if not isinstance(problem, Mapping):
        return False
    code = problem.get("code")
    return code == "missing_node" or (code == "missing_model" and problem.get("model") in models)


class TablesOfSettings:
    """Answers from the files that the setting `workflow_tables` names.

    They are read when recovery starts, and again when the setting or one of the files has changed; where that fails,
    what was read before is used on.
    """

    def __init__(self) -> None:
        self._paths: tuple[str, ...] = ()
        self._seen: object = None
        self._tables: Lookups = Nobody()

    @hookimpl
    def recovery_startup(self, config: RecoveryConfig) -> None:
        """Read the files, if there are any."""
        self._use(config.workflow_tables)

    @hookimpl
    def recovery_settings_changed(self, config: RecoveryConfig) -> None:
        """Read them if they are others now."""
        if config.workflow_tables != self._paths:
            self._use(config.workflow_tables)

    @hookimpl
    def recovery_node_sources(self, node_type: str) -> Sequence[NodeSource]:
        """What the tables say."""
        return self._current().node_sources(node_type)

    @hookimpl
    def recovery_model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
        """What the tables say."""
        return self._current().model_sources(name, folder)

    def _use(self, paths: tuple[str, ...]) -> None:
        self._paths, self._seen = paths, _prints(paths)
        if not paths:
            self._tables = Nobody()
            return
        from launcher_recovery.workflows.tables import Tables

        self._tables = Tables(paths)

    def _current(self) -> Lookups:
        if self._paths and _prints(self._paths) != self._seen:
            try:
                self._use(self._paths)
            except RecoveryConfigError as error:
                logger.warning("what was read before is used on: %s", error)
        return self._tables


def _prints(paths: Sequence[str]) -> list[tuple[int, int, int] | None]:
    """By what it is known that files have not changed."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return found
