"""What the widgets of a subgraph's node are inside the subgraph, which is where a loader reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from launcher_recovery.workflows.graph import INPUT_NODE, Graph, Link, Node, Workflow

_DEEPEST = 8


class Promoted(NamedTuple):
    """A widget that the node of a subgraph shows: its name there, and the type and input of the node inside."""

    name: str
    node_type: str
    input: str


class Promotions:
    """The widgets of all subgraphs of a workflow, looked at once."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._known: dict[Graph, list[Promoted]] = {}
        uses = ((workflow.graph_of(node), node) for node in workflow.nodes)
        self._with_values = {graph for graph, node in uses if graph is not None and node.raw.get("widgets_values")}

    def widget(self, node: Node, inner: Graph, number: int) -> Promoted | None:
        """The widget that a value of a node stands for; None: not known.

        Of two forms the older one lists pairs of an inner node and its widget (`proxyWidgets`); in the newer one the
        values are those of the subgraph's inputs that are widgets, in their order.
        """
        listed = node.properties.get("proxyWidgets")
        values = node.raw.get("widgets_values")
        if isinstance(listed, list) and isinstance(values, list) and len(listed) == len(values):
            pair = listed[number]
            if isinstance(pair, list) and len(pair) >= 2 and isinstance(pair[1], str):
                inside = inner.by_key.get(str(pair[0]))
                if inside is not None:
                    return Promoted(pair[1], inside.type, pair[1])
                return next((known for known in self.of(inner) if known.name == pair[1]), None)
        known = self.of(inner)
        return known[number] if number < len(known) else None

    def has_values(self, graph: Graph) -> bool:
        """Whether any node that stands for a subgraph or group brings values of its own."""
        return graph in self._with_values

    def is_whole(self, node: Node, inner: Graph) -> bool:
        """Whether a node has a value for each widget that is shown; if not, which is which is a guess."""
        values, listed = node.raw.get("widgets_values"), node.properties.get("proxyWidgets")
        count = len(values) if isinstance(values, list) else -1
        return count == len(self.of(inner)) or (isinstance(listed, list) and count == len(listed))

    def is_replaced(self, graph: Graph, link: Link) -> bool:
        """Whether a link brings the value of a widget from outside, so that the one inside does not count."""
        return link.origin != _input_key(graph) or graph in self._with_values

    def of(self, graph: Graph, depth: int = 0) -> list[Promoted]:
        """The inputs of a subgraph that are widgets."""
        if graph not in self._known:
            self._known[graph] = []  # should it contain itself
            inputs = graph.raw.get("inputs")
            first: dict[int, Link] = {}
            for link in graph.links:
                if link.origin == _input_key(graph):
                    first.setdefault(link.origin_slot, link)
            for number, raw in enumerate(inputs if isinstance(inputs, list) else ()):
                found = self._inside(graph, first.get(number), depth)
                if found is not None and isinstance(raw, dict):
                    self._known[graph].append(found._replace(name=str(raw.get("name"))))
        return self._known[graph]

    def _inside(self, graph: Graph, link: Link | None, depth: int) -> Promoted | None:
        """What an input leads to, if it is a widget."""
        target = graph.by_key.get(link.target) if link is not None else None
        slots = target.slots("inputs") if target is not None else []
        if link is None or target is None or not 0 <= link.target_slot < len(slots):
            return None
        widget = slots[link.target_slot].get("widget")
        name = widget.get("name") if isinstance(widget, Mapping) else None
        if not isinstance(name, str):
            return None
        nested = self._workflow.graph_of(target)
        if nested is not None and depth < _DEEPEST:
            deeper = next((known for known in self.of(nested, depth + 1) if known.name == name), None)
            return deeper or Promoted(name, target.type, name)
        return Promoted(name, target.type, name)


def _input_key(graph: Graph) -> str:
    raw = graph.raw.get("inputNode")
    return str(raw["id"]) if isinstance(raw, dict) and "id" in raw else INPUT_NODE
