"""What a workflow consists of, in whichever format it was written: graphs of nodes and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from launcher_recovery.workflows.problems import Pointer, short

MUTED, BYPASSED = 2, 4
"""Modes of nodes that do not run (LGraphEventMode of the page): the second lets pass what it gets."""

INPUT_NODE, OUTPUT_NODE = "-10", "-20"
"""Where the inputs and outputs of a subgraph are, for the links inside it."""

PAGE_ONLY = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode"})
"""Node types that only the page of ComfyUI knows; what runs does not contain them."""

NOTES = frozenset({"Note", "MarkdownNote"})


@dataclass(eq=False)
class Graph:
    """The workflow itself, a subgraph, or a group node.

    Args:
        path: names of the subgraphs around its nodes, its own included, from the outside in.
        pointer: where in the document.
        raw: as the document has it.
        name: of a subgraph or a group node, for people.
        id: of a subgraph or a group node: the type of the nodes that use it.
        is_active: whether any of it runs.
    """

    path: tuple[str, ...]
    pointer: Pointer
    raw: Mapping[str, Any]
    name: str = ""
    id: str | None = None
    is_active: bool = True
    nodes: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    @cached_property
    def by_key(self) -> dict[str, Node]:
        """Nodes by their `key`; of two with the same the first."""
        found: dict[str, Node] = {}
        for node in self.nodes:
            found.setdefault(node.key, node)
        return found


@dataclass(eq=False)
class Node:
    """One node.

    Args:
        id: as the document has it; `key` is the same as text, since 5 and "5" are one node.
        mode: when it runs, see `MUTED`.
    """

    id: str | int
    type: str
    graph: Graph
    pointer: Pointer
    raw: Mapping[str, Any]
    mode: int = 0
    _slots: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict, repr=False)

    @property
    def key(self) -> str:
        """The id as text."""
        return str(self.id)

    @property
    def is_active(self) -> bool:
        """Whether it runs."""
        return self.graph.is_active and self.mode not in (MUTED, BYPASSED)

    @property
    def name(self) -> str:
        """The node in a few words: its type and number."""
        return f"{short(self.type, 60)} (node {short(self.key, 30)})"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the page keeps with it."""
        found = self.raw.get("properties")
        return found if isinstance(found, dict) else {}

    def slots(self, side: str) -> list[Mapping[str, Any]]:
        """Its "inputs" or "outputs" as the page has them; what is no slot is an empty one."""
        if side not in self._slots:
            found = self.raw.get(side)
            listed = found if isinstance(found, list) else []
            self._slots[side] = [slot if isinstance(slot, dict) else {} for slot in listed]
        return self._slots[side]


@dataclass(frozen=True)
class Link:
    """One link; nodes are given by their `key`, slots count from 0."""

    id: str | int
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: Any
    pointer: Pointer


@dataclass
class Workflow:
    """Everything that was found in a document.

    Args:
        format: "ui" or "api".
        graphs: the workflow itself first, then subgraphs and group nodes.
        subgraphs: by their id.
        groups: group nodes, by their name.
        content: the whole document.
    """

    format: str
    graphs: list[Graph]
    content: Any
    subgraphs: dict[str, Graph] = field(default_factory=dict)
    groups: dict[str, Graph] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        """Of all graphs."""
        return [node for graph in self.graphs for node in graph.nodes]

    def graph_of(self, node: Node) -> Graph | None:
        """The subgraph or group node that a node stands for; None: it is a node of its own."""
        return self.subgraphs.get(node.type) or self.groups.get(group_name(node.type) or "")


def group_name(node_type: str) -> str | None:
    """The name of a group node by its type: `workflow>name`, before 2024-09 `workflow/name`; None: it is none."""
    for prefix in ("workflow>", "workflow/"):
        if node_type.startswith(prefix):
            return node_type[len(prefix) :]
    return None
