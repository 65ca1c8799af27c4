"""Finds nodes that depend on themselves: Tarjan, "Depth-First Search and Linear Graph Algorithms"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from launcher_recovery.workflows.graph import Graph, Node


def circles(graph: Graph) -> Iterator[list[Node]]:
    """The nodes of each circle of links in a graph."""
    following: dict[str, set[str]] = defaultdict(set)
    for link in graph.links:
        following[link.origin].add(link.target)
    nodes = graph.by_key
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    held: dict[str, None] = {}
    for start in nodes:
        stack = [(start, iter(following[start]))] if start not in number else []
        for key, _ in stack:
            number[key] = lowest[key] = len(number)
            held[key] = None
        while stack:
            key, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                stack.pop()
                if stack:
                    lowest[stack[-1][0]] = min(lowest[stack[-1][0]], lowest[key])
                if lowest[key] == number[key]:
                    members = _taken(held, key)
                    if len(members) > 1 or key in following[key]:
                        yield [nodes[member] for member in members if member in nodes]
            elif other not in number:
                number[other] = lowest[other] = len(number)
                held[other] = None
                stack.append((other, iter(following[other])))
            elif other in held:
                lowest[key] = min(lowest[key], number[other])


def _taken(held: dict[str, None], last: str) -> list[str]:
    """What was put into `held` from `last` on."""
    members: list[str] = []
    while not members or members[-1] != last:
        members.append(held.popitem()[0])
    return members[::-1]
