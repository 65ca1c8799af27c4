"""What can be wrong with a workflow, as data: codes with their sentence, verdict and fix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from launcher_recovery.classification.verdict import ErrorCategory, Retry, Verdict

Pointer = tuple["str | int", ...]
"""Where something is in the document: keys and indices from the outside in."""


class Severity(str, Enum):
    """Whether it cannot run (error), may not do what is wanted (warning), or only could be tidier (notice)."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Kind(NamedTuple):
    """What is the same of all problems of one code; `{…}` in the sentence is filled in from the details."""

    severity: Severity
    fix: str
    sentence: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

KINDS: Mapping[str, Kind] = {
    # -- the text ---------------------------------------------------------------------------------
    "unreadable": Kind(_E, "fix_workflow", "The file cannot be read: {reason}."),
    "empty": Kind(_E, "fix_workflow", "There is nothing in it."),
    "bad_encoding": Kind(
        _E, "fix_workflow", "It is not text in UTF-8: line {line}, column {column} has the byte {byte}."
    ),
    "bad_json": Kind(_E, "fix_workflow", "It is not valid JSON: line {line}, column {column}: {reason}."),
    "other_file": Kind(
        _E,
        "fix_workflow",
        "It is {what}, not a workflow: use the JSON file, or an image that ComfyUI saved (PNG, WebP).",
    ),
    "web_page": Kind(_E, "fix_workflow", "It is a web page, not a workflow: use the address of the file itself."),
    "bad_image": Kind(_E, "fix_workflow", "The image is damaged: {reason}."),
    "no_workflow_in_image": Kind(_E, "fix_workflow", "The image has no ComfyUI workflow in it."),
    "too_large": Kind(_E, "fix_workflow", "It is too large to be a workflow: it has more than {limit} {what}."),
    "too_deep": Kind(_E, "fix_workflow", "It is nested too deeply to be a workflow: more than {limit} levels."),
    "byte_order_mark": Kind(
        _N, "fix_workflow", "The file begins with a byte order mark, which not every program takes."
    ),
    "duplicate_key": Kind(_W, "fix_workflow", "The name {key} is there twice in {where}; the last one counts."),
    "not_a_number": Kind(_W, "fix_workflow", "{value} is no number in JSON: browsers refuse it at {where}."),
    # -- its form ---------------------------------------------------------------------------------
    "not_a_workflow": Kind(_E, "fix_workflow", "This is no workflow: {reason}."),
    "malformed_node": Kind(_E, "fix_workflow", "There is no node at {where}: {reason}."),
    "malformed_link": Kind(_W, "fix_workflow", "There is no link at {where}: {reason}."),
    "malformed_subgraph": Kind(_E, "fix_workflow", "There is no subgraph at {where}: {reason}."),
    "duplicate_node_id": Kind(
        _E, "fix_workflow", "Two nodes have the number {number}, so that links to it are ambiguous."
    ),
    "duplicate_link_id": Kind(_W, "fix_workflow", "Two links have the number {link}."),
    "duplicate_subgraph": Kind(_E, "fix_workflow", "Two subgraphs have the id {subgraph}."),
    "missing_subgraph": Kind(_E, "fix_workflow", "{node_name} is a subgraph that the workflow does not contain."),
    "missing_group_node": Kind(
        _E, "fix_workflow", "The group node {group} is used, but the workflow does not contain it."
    ),
    "subgraph_cycle": Kind(_E, "fix_workflow", "The subgraph {subgraph} contains itself."),
    "no_nodes": Kind(_N, "fix_workflow", "The workflow has no nodes."),
    # -- links ------------------------------------------------------------------------------------
    "link_from_missing_node": Kind(
        _E, "fix_workflow", "{input_name} is linked to the node {origin}, which does not exist."
    ),
    "link_to_missing_node": Kind(_N, "fix_workflow", "A link leads to the node {target}, which does not exist."),
    "link_slot": Kind(
        _E, "fix_workflow", "The link {link} is fastened to {side} {slot} of {node_name}, which has {count}."
    ),
    "link_slot_installed": Kind(
        _E,
        "update_comfyui",
        "The link {link} is fastened to output {slot} of {node_name}, but as it is installed that has {count}: "
        "the workflow was made with another version.",
    ),
    "link_slot_moved": Kind(
        _W, "fix_workflow", "The link {link} gives {slot} as its input, but it is at {input_name}."
    ),
    "dangling_link": Kind(_W, "fix_workflow", "{slot_name} names the link {link}, which does not exist."),
    "link_type_mismatch": Kind(
        _E, "fix_workflow", "{input_name} takes {wanted}, but what is linked to it gives {given}."
    ),
    "cycle": Kind(_E, "fix_workflow", "The nodes {nodes} depend on one another in a circle."),
    # -- what it needs ----------------------------------------------------------------------------
    "missing_node": Kind(_E, "install_missing_nodes", "The node type {node_type} is not installed{hint}."),
    "outdated_comfyui": Kind(
        _E, "update_comfyui", "The node type {node_type} belongs to ComfyUI itself, but this version does not have it."
    ),
    "missing_model": Kind(_E, "download_missing_model", "The model {model} is missing{place}."),
    "missing_embedding": Kind(
        _W, "download_missing_model", "The embedding {model} is missing; ComfyUI goes on without it."
    ),
    "model_path_style": Kind(_E, "fix_workflow", "The model is written {model}, but is found here as {found}."),
    "model_moved": Kind(_E, "fix_workflow", "The model {model} is not there, but the same file is found as {found}."),
    "model_renamed": Kind(
        _E, "fix_workflow", "The model {model} is not there, but a file with the same content is found as {found}."
    ),
    "model_elsewhere": Kind(
        _E, "use_found_model", "The model {model} is not where the node looks for it ({place}), but in {found}."
    ),
    "model_paths_unreadable": Kind(
        _W, "fix_settings", "{file} cannot be read: {reason}. Models in the folders that it names are not found."
    ),
    "search_ended": Kind(
        _N,
        "download_missing_model",
        "{count} files were not compared with the models that are missing: that would read more than {limit} bytes.",
    ),
    "more_problems": Kind(_N, "fix_workflow", "There are more problems than the {limit} that are listed."),
}
"""Everything that `check_workflow` may say."""


@dataclass(frozen=True)
class Change:
    """One change of a document: what is at `pointer` becomes `after`, or is taken out of its list (`removes`)."""

    pointer: Pointer
    before: Any
    after: Any = None
    removes: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; of numbers that JSON does not have their names."""
        rest = {"removes": True} if self.removes else {"after": self.after}
        return {"pointer": list(self.pointer), "before": name_of_number(self.before) or self.before, **rest}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Change:
        """The change that `to_dict` gave this for."""
        return cls(tuple(told["pointer"]), told["before"], told.get("after"), told.get("removes") is True)


def name_of_number(value: Any) -> str | None:
    """The name of a number that JSON does not have; None: it has that."""
    if not isinstance(value, float) or math.isfinite(value):
        return None
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


@dataclass(frozen=True)
class Fix:
    """What can be done about a problem.

    Args:
        id: of the guided fix, such as "download_missing_model".
        parameters: what it needs, by name: an `url`, say.
        changes: of the workflow; with any, the fix can be applied by `apply_fixes`.
        safe: whether the changes cannot make anything worse, so that nobody needs to be asked.
    """

    id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    safe: bool = False


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        code: a name from `KINDS`.
        severity: how bad it is; less for nodes that are switched off.
        message: one sentence for people.
        node_id: as the workflow has it; None when it is about no node.
        node_type: of that node.
        path: names of the subgraphs around the node, from the outside in.
        pointer: where in the document.
        fix: what can be done; None when nothing is known.
        details: what the sentence was made of, such as `model` or `line`.
    """

    code: str
    severity: Severity
    message: str
    node_id: str | int | None = None
    node_type: str | None = None
    path: tuple[str, ...] = ()
    pointer: Pointer = ()
    fix: Fix | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """What classification would say of it: trying again helps only after it was fixed."""
        fix = self.fix.id if self.fix is not None else KINDS[self.code].fix
        return Verdict(ErrorCategory.VALIDATION, Retry.AFTER_FIX, f"workflow-{self.code}", self.message, fix=fix)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        verdict = self.verdict
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "node_id": self.node_id,
            "node_type": self.node_type,
            "path": list(self.path),
            "pointer": list(self.pointer),
            "category": verdict.category.value,
            "retry": verdict.retry.value,
            "fix": verdict.fix,
            "parameters": dict(self.fix.parameters) if self.fix is not None else {},
            "fixable": self.fix is not None and self.fix.safe,
            "changes": [change.to_dict() for change in self.fix.changes] if self.fix is not None else [],
            **{name: value for name, value in self.details.items() if name in ("model", "line", "column")},
        }


def problem(
    code: str,
    *,
    severity: Severity | None = None,
    node_id: str | int | None = None,
    node_type: str | None = None,
    path: tuple[str, ...] = (),
    pointer: Pointer = (),
    fix: Fix | None = None,
    **details: Any,
) -> Problem:
    """The problem of that code; `details` fill its sentence."""
    kind = KINDS[code]
    shown = {name: short(value) if isinstance(value, str) else value for name, value in details.items()}
    message = kind.sentence.format(node_type=short(node_type or ""), **shown)
    message = message[:1].upper() + message[1:]
    return Problem(code, severity or kind.severity, message, node_id, node_type, path, pointer, fix, details)


def short(text: str, limit: int = 120) -> str:
    """The text in one line and not longer than `limit`; what is in a workflow may be anything."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
