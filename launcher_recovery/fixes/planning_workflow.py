"""Plans about the workflow of an operation: it is changed where it is kept, never in a file of somebody else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import effects
from launcher_recovery.fixes.action import Action
from launcher_recovery.fixes.actions import Rewrite
from launcher_recovery.fixes.file_actions import Link
from launcher_recovery.fixes.fix import Case, FixRefusedError, Plan, Say
from launcher_recovery.fixes.places import is_ours
from launcher_recovery.fixes.trees import print_of
from launcher_recovery.records import RecoveryData

_WORKFLOW = "workflow"
_ELSEWHERE = "model_elsewhere"
_FOUND = frozenset({"model_path_style", "model_moved", "model_renamed", _ELSEWHERE})
_MOST_TOLD = 20


def fixed_workflow(data: RecoveryData, workflow: Any = None) -> Any:
    """The workflow of an operation as fixes have changed it.

    Args:
        workflow: the one that was checked, where it could not be kept; default: as it is kept.

    Raises:
        RecoveryStateError: the operation has none, or it could not be kept whole.
    """
    if _WORKFLOW not in data.kwargs:
        raise RecoveryStateError(f"{data.title} has no workflow", state=data.state.value)
    if workflow is None:
        workflow = data.kwargs[_WORKFLOW]
        if not data.resumable:
            raise RecoveryStateError(
                f"the workflow of {data.title} could not be kept whole, because it holds what looks like a secret: "
                "give the one that was checked",
                state=data.state.value,
            )
    return effects.amended(data, {_WORKFLOW: workflow})[_WORKFLOW]


def can_mend(data: RecoveryData) -> bool:
    """Whether there is something in the workflow that can be changed without harm, and is not yet."""
    return bool(_new(data, (problem for problem in _problems(data) if problem.get("fixable") is True)))


def mend(case: Case) -> Plan:
    """What cannot make anything worse is changed in the workflow."""
    safe = [problem for problem in _problems(case.data) if problem.get("fixable") is True]
    if not safe:
        raise FixRefusedError(Say("wrong.nothing_to_mend"))
    actions = _rewriting(case.data, safe)
    if not actions:
        raise FixRefusedError(Say("wrong.already"))
    return Plan(tuple(actions), _told(safe))


def has_found_models(case: Case) -> bool:
    """Whether models were found otherwise than the workflow names them."""
    return bool(found_models(case))


def found_models(case: Case) -> list[str]:
    """The names of those models."""
    return list(dict.fromkeys(_model(problem) for problem in _found(case.data)))


def use_found_model(case: Case) -> Plan:
    """The workflow names the file that was found; where no name leads there, the file is linked to where it belongs."""
    chosen = [problem for problem in _found(case.data) if case.given.get("model") in (None, _model(problem))]
    if not chosen:
        raise FixRefusedError(Say("wrong.nothing_to_mend"))
    actions: list[Action] = []
    for problem in chosen:
        if problem["code"] == _ELSEWHERE:
            link = _link(case, problem["parameters"])
            if link not in actions:
                actions += [] if link is None else [link]
    actions += _rewriting(case.data, chosen)
    if not actions:
        raise FixRefusedError(Say("wrong.already"))
    return Plan(tuple(actions), (*_told(chosen), Say("then.check_again")))


def _link(case: Case, parameters: Mapping[str, Any]) -> Link | None:
    """The link to a file; None: it is there already.

    Raises:
        FixRefusedError: it cannot be made.
    """
    root, place = case.path("models_folder"), parameters.get("destination")
    source = Path(str(parameters.get("path")))
    if root is None or not isinstance(place, str):
        raise FixRefusedError(Say("wrong.no_place", {"path": str(source)}))
    target = root / place
    if "\0" in place or ".." in target.parts or not is_ours(target, case):
        raise FixRefusedError(Say("wrong.not_ours", {"path": str(target)}))
    if not source.is_file():
        raise FixRefusedError(Say("wrong.not_there", {"path": str(source)}))
    if os.path.lexists(target):
        if target.exists() and os.path.samefile(source, target):
            return None
        raise FixRefusedError(Say("wrong.taken", {"path": str(target)}))
    made = [str(folder) for folder in reversed(target.parents) if not folder.exists()]
    real = Path(os.path.realpath(source))
    return Link(str(real), str(target), print_of(real), made)


# -- what the check found -----------------------------------------------------------------------------


def _problems(data: RecoveryData) -> Iterator[Mapping[str, Any]]:
    """What the last check of an operation found, as it is kept."""
    result = data.result if isinstance(data.result, Mapping) else {}
    for member in ("problems", "notices"):
        listed = result.get(member)
        for problem in listed if isinstance(listed, (list, tuple)) else ():
            if isinstance(problem, Mapping) and _is_whole(problem):
                yield problem


def _is_whole(problem: Mapping[str, Any]) -> bool:
    """Whether a problem is as our check tells it; others may be those of the launcher's own check."""
    changes = problem.get("changes")
    return (
        isinstance(problem.get("parameters"), Mapping)
        and isinstance(changes, (list, tuple))
        and all(isinstance(change, Mapping) and {"pointer", "before"} <= change.keys() for change in changes)
    )


def _found(data: RecoveryData) -> list[Mapping[str, Any]]:
    return [problem for problem in _problems(data) if problem.get("code") in _FOUND]


def _model(problem: Mapping[str, Any]) -> str:
    return str(problem["parameters"].get("model"))


def _settings(data: RecoveryData) -> Mapping[str, Any]:
    return effects.settings_of(data).get(effects.ARGUMENTS) or {}


def _new(data: RecoveryData, problems: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> list[Any]:
    """The changes that problems ask for, a group for each, without those that are set already."""
    known = _settings(data).get(_WORKFLOW, {}).get("changes", ())
    groups = [[dict(change) for change in problem["changes"]] for problem in problems if problem["changes"]]
    return [group for group in groups if group not in known]


def _rewriting(data: RecoveryData, problems: Sequence[Mapping[str, Any]]) -> list[Rewrite]:
    new = _new(data, problems)
    if not new:
        return []
    before = effects.settings_of(data).get(effects.ARGUMENTS)
    known = _settings(data).get(_WORKFLOW, {}).get("changes", ())
    value = {**_settings(data), _WORKFLOW: {"changes": [*known, *new]}}
    return [Rewrite(effects.ARGUMENTS, value, before, places=sum(map(len, new)))]


def _told(problems: Sequence[Mapping[str, Any]]) -> tuple[Say, ...]:
    """Which models are named otherwise."""
    pairs = {
        _model(problem): str(problem["parameters"]["found"])
        for problem in problems
        if problem.get("code") in _FOUND and problem["changes"]
    }
    return tuple(
        Say("flow.renamed", {"model": model, "found": found}) for model, found in list(pairs.items())[:_MOST_TOLD]
    )
