"""Checks links: that both ends are there, that their types fit, and that no nodes depend on themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from launcher_recovery.workflows.circles import circles
from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import INPUT_NODE, OUTPUT_NODE, Graph, Link, Node, Workflow
from launcher_recovery.workflows.problems import Change, Fix, Severity, short
from launcher_recovery.workflows.signatures import Signatures
from launcher_recovery.workflows.slot_types import INPUTS, OUTPUTS, fits, shown

Slots = Sequence[Mapping[str, Any]]


def check_links(workflow: Workflow, findings: Findings, signatures: Signatures) -> None:
    """Check the links of all graphs.

    Args:
        signatures: what nodes give and take, for the format that does not say so.
    """
    for graph in workflow.graphs:
        check = _UiLinks(graph, findings) if workflow.format == "ui" else _ApiLinks(graph, findings, signatures)
        for link in graph.links:
            check.check(link)
        if isinstance(check, _UiLinks):
            check.check_slots()
        for circle in circles(graph):
            names = ", ".join(short(node.key, 30) for node in circle[:10])
            findings.add("cycle", node=circle[0], nodes=names + ("…" if len(circle) > 10 else ""))


class _UiLinks:
    """Links of one graph of the page's format, where both ends say what they are linked to."""

    def __init__(self, graph: Graph, findings: Findings) -> None:
        self._graph = graph
        self._findings = findings
        self._nodes = graph.by_key
        self._by_id: dict[str, Link] = {}
        for link in graph.links:
            if str(link.id) in self._by_id:
                findings.add_in(graph, "duplicate_link_id", link.pointer, link=short(str(link.id)))
            self._by_id.setdefault(str(link.id), link)
        self._named: dict[str, dict[str, int]] = {}
        self._mentioned: dict[str, list[Change]] | None = None
        self._given = self._ends("inputNode", INPUT_NODE, "inputs")
        self._taken = self._ends("outputNode", OUTPUT_NODE, "outputs")

    def _ends(self, name: str, usual: str, side: str) -> tuple[str, Slots]:
        """The number of the node that stands for a side of the subgraph, and its slots."""
        raw = self._graph.raw.get(name)
        key = str(raw["id"]) if isinstance(raw, dict) and "id" in raw else usual
        slots = self._graph.raw.get(side)
        listed = [slot if isinstance(slot, dict) else {} for slot in slots] if isinstance(slots, list) else []
        return (key if self._graph.id is not None else "", listed)

    def _outputs(self, key: str) -> Slots | None:
        if key == self._given[0]:
            return self._given[1]
        return self._nodes[key].slots("outputs") if key in self._nodes else None

    def _inputs(self, key: str) -> Slots | None:
        if key == self._taken[0]:
            return self._taken[1]
        return self._nodes[key].slots("inputs") if key in self._nodes else None

    def check(self, link: Link) -> None:
        """Check one link from both ends."""
        outputs, inputs = self._outputs(link.origin), self._inputs(link.target)
        if inputs is None:
            changes = (Change(link.pointer, _at(self._graph, link), removes=True), *self._mentions(link))
            fix = Fix("fix_workflow", changes=changes, safe=True)
            self._findings.add_in(
                self._graph, "link_to_missing_node", link.pointer, target=short(link.target, 30), fix=fix
            )
            return
        slot = self._moved(link, inputs)
        if slot is None:
            return
        name = self._name(link, inputs, slot)
        target = self._nodes.get(link.target)
        where: dict[str, Any] = {"node": target} if target is not None else {"path": self._graph.path}
        if outputs is None:
            self._findings.add("link_from_missing_node", **where, input_name=name, origin=short(link.origin, 30))
            return
        if not 0 <= link.origin_slot < len(outputs):
            self._bad_slot(link, "output", link.origin_slot, link.origin, len(outputs))
            return
        given = outputs[link.origin_slot].get("type", link.type)
        wanted = inputs[slot].get("type", link.type)
        if not fits(given, wanted):
            if not self._is_sure(link):
                where["severity"] = Severity.WARNING
            self._findings.add("link_type_mismatch", **where, input_name=name, wanted=shown(wanted), given=shown(given))

    def _moved(self, link: Link, inputs: Slots) -> int | None:
        """The input that a link really leads to; None: to none, which was told."""
        if 0 <= link.target_slot < len(inputs) and inputs[link.target_slot].get("link", link.id) in (link.id, None):
            return link.target_slot
        number = self._number_of(link, inputs)
        if number is not None:
            raw = _at(self._graph, link)
            pointer = (*link.pointer, 4 if isinstance(raw, list) else "target_slot")
            fix = Fix("fix_workflow", changes=(Change(pointer, link.target_slot, number),), safe=True)
            self._findings.add_in(
                self._graph, "link_slot_moved", link.pointer, fix=fix, link=short(str(link.id), 30),
                slot=link.target_slot, input_name=self._name(link, inputs, number),
            )  # fmt: skip
            return number
        if 0 <= link.target_slot < len(inputs):
            return None  # the input is linked to something else, and that counts
        self._bad_slot(link, "input", link.target_slot, link.target, len(inputs))
        return None

    def _number_of(self, link: Link, inputs: Slots) -> int | None:
        """The input that names a link."""
        if link.target not in self._named:
            numbers = {str(slot["link"]): number for number, slot in enumerate(inputs) if slot.get("link") is not None}
            self._named[link.target] = numbers
        return self._named[link.target].get(str(link.id))

    def _bad_slot(self, link: Link, side: str, slot: int, key: str, count: int) -> None:
        node = self._nodes.get(key)
        where: dict[str, Any] = {"node": node} if node is not None else {"path": self._graph.path}
        name = node.name if node is not None else f"the subgraph {self._graph.name}"
        self._findings.add(
            "link_slot", **where, link=short(str(link.id), 30), side=side, slot=slot, node_name=name, count=count
        )

    def _name(self, link: Link, inputs: Slots, slot: int) -> str:
        target = self._nodes.get(link.target)
        of = target.name if target is not None else f"the subgraph {self._graph.name}"
        return f"{short(str(inputs[slot].get('name', slot)), 40)} of {of}"

    def _is_sure(self, link: Link) -> bool:
        """Whether both ends are nodes of ComfyUI itself; others may take more than they say."""
        ends = (self._nodes.get(link.origin), self._nodes.get(link.target))
        return all(node is not None and node.type in known for node, known in zip(ends, (OUTPUTS, INPUTS), strict=True))

    def _mentions(self, link: Link) -> list[Change]:
        """What is to be taken away where a link begins."""
        if self._mentioned is None:
            self._mentioned = defaultdict(list)
            for node in self._graph.nodes:
                for number, slot in enumerate(node.slots("outputs")):
                    links = slot.get("links")
                    for place, other in enumerate(links) if isinstance(links, list) else ():
                        pointer = (*node.pointer, "outputs", number, "links", place)
                        self._mentioned[str(other)].append(Change(pointer, other, removes=True))
        return self._mentioned.get(str(link.id), [])

    def check_slots(self) -> None:
        """Look for slots that name a link which does not exist."""
        for node in self._graph.nodes:
            for number, slot in enumerate(node.slots("inputs")):
                if slot.get("link") is not None and str(slot["link"]) not in self._by_id:
                    self._dangling(node, "inputs", number, slot, slot["link"], ("link",), removes=False)
            for number, slot in enumerate(node.slots("outputs")):
                links = slot.get("links")
                for place, identity in enumerate(links) if isinstance(links, list) else ():
                    if identity is not None and str(identity) not in self._by_id:
                        self._dangling(node, "outputs", number, slot, identity, ("links", place), removes=True)

    def _dangling(
        self, node: Node, side: str, number: int, slot: Mapping[str, Any], link: Any, rest: tuple[str | int, ...],
        *, removes: bool,
    ) -> None:  # fmt: skip
        if self._graph.id is not None and self._graph.id.startswith("workflow>"):
            return  # group nodes keep their links in a form of their own
        pointer = (*node.pointer, side, number, *rest)
        fix = Fix("fix_workflow", changes=(Change(pointer, link, removes=removes),), safe=True)
        name = f"{short(str(slot.get('name', number)), 40)} of {node.name}"
        # What runs asks inputs where they get it from; what an output mentions besides is of no account.
        more: dict[str, Any] = {"severity": Severity.NOTICE} if side == "outputs" else {}
        self._findings.add(
            "dangling_link", node=node, pointer=pointer, fix=fix, slot_name=name, link=short(str(link), 30), **more
        )


class _ApiLinks:
    """Links of the format that runs, where types are known from the source of nodes only."""

    def __init__(self, graph: Graph, findings: Findings, signatures: Signatures) -> None:
        self._signatures = signatures
        self._nodes = graph.by_key
        self._findings = findings

    def check(self, link: Link) -> None:
        """Check one link."""
        target, origin = self._nodes[link.target], self._nodes.get(link.origin)
        name = f"{short(str(link.type), 40)} of {target.name}"
        if origin is None:
            self._findings.add(
                "link_from_missing_node", node=target, pointer=link.pointer, input_name=name,
                origin=short(link.origin, 30),
            )  # fmt: skip
            return
        signature = self._signatures.of(origin.type)
        outputs = signature.outputs
        if outputs is None:
            return
        if not 0 <= link.origin_slot < len(outputs):
            code = "link_slot_installed" if signature.is_installed else "link_slot"
            self._findings.add(
                code, node=target, pointer=link.pointer, link=link.id, side="output", slot=link.origin_slot,
                node_name=origin.name, count=len(outputs),
            )  # fmt: skip
            return
        wanted, given = self._signatures.of(target.type).inputs.get(str(link.type)), outputs[link.origin_slot]
        if wanted is not None and not fits(given, wanted):
            self._findings.add(
                "link_type_mismatch", node=target, pointer=link.pointer, input_name=name, wanted=shown(wanted),
                given=shown(given),
            )  # fmt: skip


def _at(graph: Graph, link: Link) -> Any:
    """The link as the document has it."""
    number = link.pointer[-1]
    assert isinstance(number, int)
    return graph.raw["links"][number]
