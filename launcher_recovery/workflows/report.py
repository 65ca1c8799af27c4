"""The outcome of a check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher_recovery.workflows.matching import Model
from launcher_recovery.workflows.missing import MissingNode
from launcher_recovery.workflows.problems import Problem, Severity


@dataclass(frozen=True)
class Report:
    """What was found in a workflow.

    Args:
        format: "ui" (what the page saves) or "api" (what runs); None: it could not be read.
        problems: everything that is wrong, in the order of the checks.
        models: every model that it names.
        missing_nodes: node types that are not installed.
        node_types: all that ComfyUI or a package has to provide, sorted.
        workflow: the document, as it was read; None: it could not be.
        text: where it was read from; None when it was given as objects.
    """

    format: str | None = None
    problems: tuple[Problem, ...] = ()
    models: tuple[Model, ...] = ()
    missing_nodes: tuple[MissingNode, ...] = ()
    node_types: tuple[str, ...] = ()
    workflow: Any = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)

    @property
    def is_valid(self) -> bool:
        """Whether it can run as it is, as far as can be known."""
        return not self.errors

    @property
    def errors(self) -> list[Problem]:
        """The problems with which it cannot run."""
        return [problem for problem in self.problems if problem.severity is Severity.ERROR]

    @property
    def fixable(self) -> list[Problem]:
        """The problems that `apply_fixes` mends without being asked."""
        return [problem for problem in self.problems if problem.fix is not None and problem.fix.safe]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the workflow."""
        return {
            "valid": self.is_valid,
            "format": self.format,
            "fixable": len(self.fixable),
            "problems": [problem.to_dict() for problem in self.problems],
            "models": [model.to_dict() for model in self.models],
            "missing_nodes": [missing.to_dict() for missing in self.missing_nodes],
            "node_types": list(self.node_types),
        }
