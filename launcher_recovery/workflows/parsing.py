"""Finds out which format a document has, and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher_recovery.workflows.api_format import read_api
from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import Workflow
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.problems import Pointer, short
from launcher_recovery.workflows.ui_format import UiReader

# Under which name programs that keep more than the workflow have it; `prompt` is what the page sends to be run.
_WRAPPERS = ("workflow", "workflow_json", "prompt")


def parse_workflow(content: Any, findings: Findings, limits: Limits) -> Workflow:
    """The workflow in a document.

    Raises:
        WorkflowError: there is none, or more of one than the limits allow.
    """
    if not isinstance(content, dict):
        raise refusal("not_a_workflow", reason=f"it must be an object, not {_kind(content)}")
    start, raw = _unwrapped(content)
    if "nodes" in raw:
        if not isinstance(raw["nodes"], list):
            raise refusal("not_a_workflow", reason=f"its nodes must be a list, not {_kind(raw['nodes'])}")
        return UiReader(content, start, raw, findings, limits).read()
    if raw and not any(isinstance(entry, dict) and "class_type" in entry for entry in raw.values()):
        names = ", ".join(short(name, 30) for name in list(raw)[:5])
        raise refusal("not_a_workflow", reason=f"it has neither nodes nor entries with a class_type, but {names}")
    return read_api(content, start, raw, findings, limits)


def _unwrapped(content: Mapping[str, Any]) -> tuple[Pointer, Mapping[str, Any]]:
    if "nodes" in content:
        return (), content
    for name in _WRAPPERS:
        inner = content.get(name)
        if isinstance(inner, dict) and "class_type" not in inner:
            return (name,), inner
    return (), content


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", dict: "an object", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
