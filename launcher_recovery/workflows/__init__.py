"""Checks of ComfyUI workflows: what they need, what is wrong with them, and what can be mended.

from launcher_recovery.workflows import apply_fixes, check_workflow

report = check_workflow(Path("workflow.json"), models="models", nodes="custom_nodes")
for problem in report.problems:
    print(problem.severity.value, problem.message)
mended = apply_fixes(report).workflow
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher_recovery.lazily import front

if TYPE_CHECKING:
    from launcher_recovery.workflows.checking import check_workflow
    from launcher_recovery.workflows.errors import WorkflowError
    from launcher_recovery.workflows.fixing import Fixed, apply_fixes
    from launcher_recovery.workflows.limits import Limits
    from launcher_recovery.workflows.matching import Model
    from launcher_recovery.workflows.missing import MissingNode
    from launcher_recovery.workflows.problems import Change, Fix, Problem, Severity
    from launcher_recovery.workflows.reading import read_workflow
    from launcher_recovery.workflows.report import Report
    from launcher_recovery.workflows.sources import LoaderInput, Lookups, ModelSource, NodeSource
    from launcher_recovery.workflows.tables import Tables

# Loaded when they are used: extensions need only the last of these modules, and most processes none.
_HOMES = {
    "checking": ("check_workflow",),
    "errors": ("WorkflowError",),
    "fixing": ("Fixed", "apply_fixes"),
    "limits": ("Limits",),
    "matching": ("Model",),
    "missing": ("MissingNode",),
    "problems": ("Change", "Fix", "Problem", "Severity"),
    "reading": ("read_workflow",),
    "report": ("Report",),
    "sources": ("LoaderInput", "Lookups", "ModelSource", "NodeSource"),
    "tables": ("Tables",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Change",
    "Fix",
    "Fixed",
    "Limits",
    "LoaderInput",
    "Lookups",
    "MissingNode",
    "Model",
    "ModelSource",
    "NodeSource",
    "Problem",
    "Report",
    "Severity",
    "Tables",
    "WorkflowError",
    "apply_fixes",
    "check_workflow",
    "read_workflow",
]

__getattr__, __dir__ = front(__name__, _HOME_OF)
