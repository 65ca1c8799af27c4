"""Reads the format that ComfyUI runs ("Export (API)"): an object from numbers of nodes to their type and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import Graph, Link, Node, Workflow
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.problems import Pointer
from launcher_recovery.workflows.reading import place


def read_api(content: Any, start: Pointer, raw: Mapping[str, Any], findings: Findings, limits: Limits) -> Workflow:
    """Read one document.

    Args:
        content: the document.
        start: where in it the workflow is.
        raw: the workflow.

    Raises:
        WorkflowError: there is more than the limits allow.
    """
    if len(raw) > limits.nodes:
        raise refusal("too_large", limit=limits.nodes, what="nodes")
    graph = Graph((), start, raw)
    count = 0
    for key, entry in raw.items():
        pointer = (*start, key)
        reason = None
        if not isinstance(entry, dict):
            reason = f"it is a {type(entry).__name__}, not an object"
        elif not isinstance(entry.get("class_type"), str):
            reason = "it has no class_type"
        elif not isinstance(entry.get("inputs", {}), dict):
            reason = "its inputs are no object"
        if reason is not None:
            findings.add("malformed_node", pointer=pointer, where=place(pointer), reason=reason)
            continue
        node = Node(key, entry["class_type"], graph, pointer, entry)
        graph.nodes.append(node)
        for name, value in inputs_of(node).items():
            if is_link(value):
                count += 1
                if count > limits.links:
                    raise refusal("too_large", limit=limits.links, what="links")
                at = (*pointer, "inputs", name)
                graph.links.append(Link(f"{key}.{name}", value[0], int(value[1]), key, 0, name, at))
    if not graph.nodes and not findings.problems:
        findings.add("no_nodes")
    return Workflow("api", [graph], content)


def inputs_of(node: Node) -> Mapping[str, Any]:
    """The inputs of a node by name."""
    found = node.raw.get("inputs")
    return found if isinstance(found, dict) else {}


def is_link(value: object) -> bool:
    """Whether an input is a link: the number of a node as text, and that of its output (`is_link` of graph_utils)."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
        and not isinstance(value[1], bool)
        and value[1] == value[1]
        and abs(value[1]) < 1e6
    )
