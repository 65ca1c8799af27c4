"""The error of a workflow that cannot be read at all."""

from __future__ import annotations

from typing import Any

from launcher_recovery.errors import RecoveryError
from launcher_recovery.workflows.problems import Problem, problem


class WorkflowError(RecoveryError, ValueError):
    """It is no workflow, or more of one than is looked at; `problem` says why."""

    def __init__(self, found: Problem) -> None:
        super().__init__(found.message)
        self.problem = found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem,)


def refusal(code: str, **details: Any) -> WorkflowError:
    """The error with the problem of that code."""
    return WorkflowError(problem(code, **details))
