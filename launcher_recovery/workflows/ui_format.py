"""Reads the format that the page of ComfyUI saves: versions 0.4 (links are lists) and 1 (links are objects).

Its schema is published at docs.comfy.org/specs/workflow_json; subgraphs are in `definitions`, and the older group
nodes in `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import Graph, Link, Node, Workflow, group_name
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.nesting import settle
from launcher_recovery.workflows.problems import Pointer, short
from launcher_recovery.workflows.reading import place

_LINK_NAMES = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class UiReader:
    """Reads one document.

    Args:
        content: the document.
        start: where in it the workflow is.
        raw: the workflow.
    """

    def __init__(
        self, content: Any, start: Pointer, raw: Mapping[str, Any], findings: Findings, limits: Limits
    ) -> None:
        self._findings = findings
        self._limits = limits
        self._nodes = self._links = 0
        self._workflow = Workflow("ui", [Graph((), start, raw)], content)

    def read(self) -> Workflow:
        """Read it all.

        Raises:
            WorkflowError: there is more than the limits allow.
        """
        workflow = self._workflow
        root = workflow.graphs[0]
        self._read_definitions(root)
        self._read_groups(root)
        for graph in workflow.graphs:
            if graph.id is None or graph.id in workflow.subgraphs:
                self._read_graph(graph)
        settle(workflow, self._findings)
        self._check_uses()
        return workflow

    # -- graphs -------------------------------------------------------------------------------------

    def _read_definitions(self, outer: Graph) -> None:
        definitions = outer.raw.get("definitions")
        parts = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        if not isinstance(parts, list):
            return
        for number, raw in enumerate(parts):
            pointer = (*outer.pointer, "definitions", "subgraphs", number)
            if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
                self._findings.add("malformed_subgraph", pointer=pointer, where=place(pointer), reason="it has no id")
                continue
            name = short(raw["name"] if isinstance(raw.get("name"), str) else raw["id"])
            graph = Graph((name,), pointer, raw, name, raw["id"], is_active=False)
            if raw["id"] in self._workflow.subgraphs:
                self._findings.add("duplicate_subgraph", pointer=pointer, subgraph=raw["id"])
                continue
            self._workflow.subgraphs[raw["id"]] = graph
            self._workflow.graphs.append(graph)
            self._read_definitions(graph)  # no deeper than the document is

    def _read_groups(self, root: Graph) -> None:
        extra = root.raw.get("extra")
        groups = extra.get("groupNodes") if isinstance(extra, dict) else None
        for name, raw in groups.items() if isinstance(groups, dict) else ():
            pointer = (*root.pointer, "extra", "groupNodes", name)
            if not isinstance(raw, dict) or not isinstance(raw.get("nodes"), list):
                self._findings.add(
                    "malformed_subgraph", pointer=pointer, where=place(pointer), reason="it has no nodes"
                )
                continue
            graph = Graph((short(name),), pointer, raw, short(name), f"workflow>{name}", is_active=False)
            self._workflow.groups[name] = graph
            self._workflow.graphs.append(graph)
            self._read_nodes(graph, numbered=True)

    def _read_graph(self, graph: Graph) -> None:
        self._read_nodes(graph)
        links = graph.raw.get("links")
        for number, raw in enumerate(links) if isinstance(links, list) else ():
            if raw is not None:  # which stands for a link that was taken away
                self._read_link(graph, (*graph.pointer, "links", number), raw)

    def _read_nodes(self, graph: Graph, *, numbered: bool = False) -> None:
        nodes = graph.raw.get("nodes")
        if not isinstance(nodes, list):
            pointer = (*graph.pointer, "nodes")
            self._findings.add(
                "malformed_subgraph", pointer=pointer, where=place(graph.pointer), reason="it has no nodes"
            )
            return
        seen: set[str] = set()
        for number, raw in enumerate(nodes):
            self._nodes += 1
            if self._nodes > self._limits.nodes:
                raise refusal("too_large", limit=self._limits.nodes, what="nodes")
            pointer = (*graph.pointer, "nodes", number)
            # Nodes of a group are counted; of others the page gives a number to those that have none.
            given = raw.get("id") if isinstance(raw, dict) and not numbered else number
            node = self._node(graph, pointer, raw, f"#{number}" if given is None else given)
            if node is None:
                continue
            if node.key in seen:
                self._findings.add("duplicate_node_id", node=node, number=node.key)
            seen.add(node.key)
            graph.nodes.append(node)

    def _node(self, graph: Graph, pointer: Pointer, raw: object, identity: object) -> Node | None:
        reason = None
        if not isinstance(raw, dict):
            reason = f"it is a {type(raw).__name__}, not an object"
        elif not isinstance(raw.get("type"), str):
            reason = "it has no type"
        elif not _is_id(identity):
            reason = "its id is neither a number nor text"
        if reason is not None or not isinstance(raw, dict) or not isinstance(identity, (int, str)):
            self._findings.add_in(graph, "malformed_node", pointer, where=place(pointer), reason=reason)
            return None
        mode = raw.get("mode")
        return Node(identity, raw["type"], graph, pointer, raw, mode if isinstance(mode, int) else 0)

    # -- links --------------------------------------------------------------------------------------

    def _read_link(self, graph: Graph, pointer: Pointer, raw: object) -> None:
        self._links += 1
        if self._links > self._limits.links:
            raise refusal("too_large", limit=self._limits.links, what="links")
        values: list[Any] = []
        if isinstance(raw, list) and len(raw) >= 5:
            values = [*raw[:6], None][:6]
        elif isinstance(raw, dict):
            values = [raw.get(name) for name in _LINK_NAMES]
        slots = [_slot(values[place]) for place in (2, 4)] if values else []
        if not values or not all(_is_id(values[place]) for place in (0, 1, 3)) or None in slots:
            reason = "it must name two nodes and their slots"
            self._findings.add_in(graph, "malformed_link", pointer, where=place(pointer), reason=reason)
            return
        origin, target = slots
        assert origin is not None
        assert target is not None
        graph.links.append(Link(values[0], str(values[1]), origin, str(values[3]), target, values[5], pointer))

    # -- uses ---------------------------------------------------------------------------------------

    def _check_uses(self) -> None:
        """Look for nodes that stand for a subgraph or a group that is not there."""
        if not self._workflow.graphs[0].nodes:
            self._findings.add("no_nodes")
        for node in self._workflow.nodes:
            if self._workflow.graph_of(node) is not None:
                continue
            group = group_name(node.type)
            if group is not None:
                self._findings.add("missing_group_node", node=node, group=group)
            elif _UUID.fullmatch(node.type):
                self._findings.add("missing_subgraph", node=node, node_name=node.name)


def is_own(workflow: Workflow, node: Node) -> bool:
    """Whether the type of a node is a matter of the workflow itself, and of no package."""
    return (
        workflow.graph_of(node) is not None
        or group_name(node.type) is not None
        or _UUID.fullmatch(node.type) is not None
    )


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _slot(value: object) -> int | None:
    """The number of a slot; some programs write it as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
