"""Finds the node types that are not installed, and where they can be had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import Node, Workflow
from launcher_recovery.workflows.installed import Installed
from launcher_recovery.workflows.problems import Fix, Severity, short
from launcher_recovery.workflows.sources import Lookups, NodeSource
from launcher_recovery.workflows.ui_format import is_own

_CORE = "comfy-core"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class MissingNode:
    """A node type that is not installed.

    Args:
        node_type: the type.
        nodes: ids of the nodes that have it.
        sources: repositories that provide it, best first; without an `url` only its id in the registry is known.
    """

    node_type: str
    nodes: tuple[str | int, ...] = ()
    sources: tuple[NodeSource, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        sources = [{name: value for name, value in vars(source).items() if value} for source in self.sources]
        return {"node_type": self.node_type, "nodes": list(self.nodes), "sources": sources}


def node_types(workflow: Workflow) -> dict[str, list[Node]]:
    """The nodes of every type that ComfyUI or a package has to provide."""
    found: dict[str, list[Node]] = {}
    for node in workflow.nodes:
        if not is_own(workflow, node):
            found.setdefault(node.type, []).append(node)
    return found


def missing_nodes(
    types: Mapping[str, Sequence[Node]], installed: Installed, lookups: Lookups, findings: Findings
) -> list[MissingNode]:
    """Say which types are missing."""
    missing = []
    for node_type, nodes in types.items():
        if installed.has(node_type):
            continue
        node = next((node for node in nodes if node.is_active), nodes[0])
        if any(other.properties.get("cnr_id") == _CORE for other in nodes):
            if installed.core:
                findings.add("outdated_comfyui", node=node)
                missing.append(MissingNode(node_type, _ids(nodes)))
            continue
        sources = _sources(nodes, lookups.node_sources(node_type))
        if any(installed.has_package(source) for source in sources):
            continue  # it declares its nodes in a way that only running it would tell
        missing.append(MissingNode(node_type, _ids(nodes), tuple(sources)))
        _report(node, sources, installed.opaque, findings)
    return missing


def _report(node: Node, sources: Sequence[NodeSource], opaque: Sequence[str], findings: Findings) -> None:
    best = sources[0] if sources else None
    parameters: dict[str, Any] = {"node_type": node.type}
    details: dict[str, Any] = {"hint": ""}
    if best is not None:
        parameters.update({name: value for name, value in vars(best).items() if value})
        parameters["other_urls"] = [source.url for source in sources[1:] if source.url]
        details["hint"] = f"; {best.title or best.url or best.id} provides it"
    elif opaque:
        names = ", ".join(short(name, 40) for name in opaque[:3])
        details["hint"] = f", unless {names} provides it, which cannot be seen without running it"
        details["severity"] = Severity.WARNING
    fix = Fix("install_missing_nodes", {name: value for name, value in parameters.items() if value})
    findings.add("missing_node", node=node, fix=fix, **details)


def _sources(nodes: Sequence[Node], answers: Sequence[NodeSource]) -> list[NodeSource]:
    """What the workflow says of its nodes, then what tables and extensions say."""
    found: list[NodeSource] = []
    stated: set[str] = set()
    for node in nodes[:20]:
        repository, identity = node.properties.get("aux_id"), node.properties.get("cnr_id")
        version = node.properties.get("ver")
        ref = version if isinstance(version, str) and _COMMIT.fullmatch(version) else None
        if isinstance(repository, str) and _REPOSITORY.fullmatch(repository):
            found.append(NodeSource(f"https://github.com/{repository}", repository, ref=ref))
        if isinstance(identity, str) and identity:
            stated.add(identity)
    found += [source for source in answers if source.id in stated]
    for identity in sorted(stated - {source.id for source in answers}):
        if not found:
            found.append(NodeSource("", "", identity[:100]))
    by_url = {source.url.rstrip("/").removesuffix(".git").lower(): source for source in reversed([*found, *answers])}
    ordered = dict.fromkeys(
        by_url[source.url.rstrip("/").removesuffix(".git").lower()] for source in [*found, *answers]
    )
    return list(ordered)


def _ids(nodes: Sequence[Node]) -> tuple[str | int, ...]:
    return tuple(node.id for node in nodes)
