"""Applies fixes to a copy of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from launcher_recovery.workflows.problems import Change, Pointer, Problem, name_of_number
from launcher_recovery.workflows.reading import dump, read_workflow
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
    chosen = [problem for problem in report.problems if problem.fix and problem.fix.changes and choose(problem)]
    content, done = _applied(source, [problem.fix.changes for problem in chosen if problem.fix])
    applied = tuple(problem for problem, is_done in zip(chosen, done, strict=True) if is_done)
    skipped = tuple(problem for problem, is_done in zip(chosen, done, strict=True) if not is_done)
    return Fixed(content, applied, skipped)


def amended_workflow(workflow: Any, groups: Sequence[Sequence[Change]]) -> Any:
    """A copy of a workflow, with each group of changes done whose places look as they did.

    Args:
        workflow: as a launcher has it: what JSON is read as, its text, or bytes; the copy is of the same form, but for
            an image, of which it is the text.

    Raises:
        WorkflowError: it is text that cannot be read.
    """
    if isinstance(workflow, (str, bytes)):
        document = read_workflow(workflow)
        text = dump(_applied(document.content, groups)[0], document.text)
        return text if isinstance(workflow, str) else text.encode()
    return _applied(workflow, groups)[0]


def _applied(source: Any, groups: Sequence[Sequence[Change]]) -> tuple[Any, list[bool]]:
    """The copy, and for each group whether it was done."""
    content = _copy(source)
    done: list[bool] = []
    removals: dict[Pointer, None] = {}
    for changes in groups:
        done.append(all(_is_as_before(content, change) for change in changes))
        for change in changes if done[-1] else ():
            if change.removes:
                removals[change.pointer] = None
            else:
                _put(content, change.pointer, change.after)
    # From the back, so that what comes later in a list is taken out before what it is counted from.
    for pointer in sorted(removals, key=_order, reverse=True):
        del _holder(content, pointer)[pointer[-1]]
    return content, done


def _is_as_before(content: Any, change: Change) -> bool:
    try:
        found = _holder(content, change.pointer)[change.pointer[-1]]
    except (LookupError, TypeError):
        return False
    name = name_of_number(found)
    return found == change.before or (name is not None and name in (change.before, name_of_number(change.before)))


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
