"""Applies fixes to a copy of a workflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from launcher_recovery.workflows.problems import Change, Pointer, Problem
from launcher_recovery.workflows.report import Report


@dataclass(frozen=True)
class Fixed:
    """A workflow after fixes.

    Args:
        workflow: the copy; what no fix is about is as it was, in the same order.
        applied: the problems that are gone.
        skipped: those whose place looks otherwise by now, so that nothing was done about them.
    """

    workflow: Any
    applied: tuple[Problem, ...] = ()
    skipped: tuple[Problem, ...] = ()


def is_safe(problem: Problem) -> bool:
    """Whether the fix of a problem cannot make anything worse."""
    return problem.fix is not None and problem.fix.safe


def apply_fixes(report: Report, choose: Callable[[Problem], bool] = is_safe, *, workflow: Any = None) -> Fixed:
    """Apply the fixes of a report to a copy of its workflow, which itself is never changed.

    Args:
        report: of `check_workflow`.
        choose: which problems to mend, of those whose fix is a change of the workflow; default: those with a safe one.
        workflow: another copy of the document that was checked; default: the document itself.

    Raises:
        ValueError: the report is about something that could not be read.
    """
    source = report.workflow if workflow is None else workflow
    if source is None:
        raise ValueError("there is no workflow to mend: what was checked could not be read")
    content = _copy(source)
    applied: list[Problem] = []
    skipped: list[Problem] = []
    removals: dict[Pointer, None] = {}
    for problem in report.problems:
        if problem.fix is None or not problem.fix.changes or not choose(problem):
            continue
        changes = problem.fix.changes
        if not all(_is_as_before(content, change) for change in changes):
            skipped.append(problem)
            continue
        for change in changes:
            if change.removes:
                removals[change.pointer] = None
            else:
                _put(content, change.pointer, change.after)
        applied.append(problem)
    # From the back, so that what comes later in a list is taken out before what it is counted from.
    for pointer in sorted(removals, key=_order, reverse=True):
        del _holder(content, pointer)[pointer[-1]]
    return Fixed(content, tuple(applied), tuple(skipped))


def _is_as_before(content: Any, change: Change) -> bool:
    try:
        found = _holder(content, change.pointer)[change.pointer[-1]]
    except (LookupError, TypeError):
        return False
    both = (found, change.before)
    return found == change.before or all(isinstance(value, float) and value != value for value in both)


def _put(content: Any, pointer: Pointer, value: Any) -> None:
    _holder(content, pointer)[pointer[-1]] = value


def _holder(content: Any, pointer: Pointer) -> Any:
    """What holds the place of a pointer."""
    for part in pointer[:-1]:
        content = content[part]
    return content


def _order(pointer: Pointer) -> tuple[tuple[bool, int, str], ...]:
    return tuple(
        (isinstance(part, str), part if isinstance(part, int) else 0, part if isinstance(part, str) else "")
        for part in pointer
    )


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    return value
