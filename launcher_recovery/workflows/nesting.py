"""Which subgraphs are used where: their paths, whether they run, and whether one contains itself."""

from __future__ import annotations

from collections import deque

from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.graph import Graph, Workflow

_PATH = 32  # names in a path at most, so that a chain of many subgraphs does not take memory for each pair of them


def settle(workflow: Workflow, findings: Findings) -> None:
    """Give every subgraph and group node the path of its first use, and say whether any use of it runs."""
    root = workflow.graphs[0]
    paths: dict[Graph, tuple[str, ...]] = {root: ()}
    waiting = deque([root])
    while waiting:
        graph = waiting.popleft()
        for node in graph.nodes:
            used = workflow.graph_of(node)
            if used is None:
                continue
            # Twice at most: when it is seen first, and when it is seen to run.
            is_news = used not in paths or (node.is_active and not used.is_active)
            if used not in paths:
                paths[used] = (*paths[graph], used.name)[-_PATH:]
                used.path = paths[used]
            if is_news:
                used.is_active = used.is_active or node.is_active
                waiting.append(used)
    for graph in _in_circles(workflow):
        findings.add_in(graph, "subgraph_cycle", graph.pointer, subgraph=graph.name)


def _in_circles(workflow: Workflow) -> list[Graph]:
    """A graph of every circle of graphs that contain one another."""
    inner = {
        graph: list(dict.fromkeys(used for node in graph.nodes if (used := workflow.graph_of(node)) is not None))
        for graph in workflow.graphs
    }
    found: list[Graph] = []
    done: set[Graph] = set()
    for start in workflow.graphs:
        on_path: dict[Graph, None] = {}
        stack = [(start, iter(inner[start]))] if start not in done else []
        on_path.update(dict.fromkeys(graph for graph, _ in stack))
        while stack:
            graph, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                on_path.pop(graph)
                done.add(graph)
            elif following in on_path:
                if following not in found:
                    found.append(following)
            elif following not in done:
                on_path[following] = None
                stack.append((following, iter(inner[following])))
    return found
