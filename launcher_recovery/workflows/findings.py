"""Gathers problems, up to a limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from launcher_recovery.workflows.graph import Graph, Node
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.problems import Pointer, Problem, Severity, problem


class Findings:
    """What was found so far."""

    def __init__(self, limits: Limits, first: Iterable[Problem] = ()) -> None:
        self.problems: list[Problem] = list(first)
        self._limit = limits.problems
        self._has_more = False

    def add(self, code: str, *, node: Node | None = None, **more: Any) -> None:
        """Add the problem of that code; of a node that is switched off it is a notice at most."""
        if node is not None:
            more = {
                "node_id": node.id,
                "node_type": node.type,
                "path": node.graph.path,
                "pointer": node.pointer,
                **more,
            }
            if not node.is_active:
                more["severity"] = Severity.NOTICE
        self.append(problem(code, **more))

    def add_in(self, graph: Graph, code: str, pointer: Pointer, **more: Any) -> None:
        """Add a problem that is about no node of a graph."""
        if not graph.is_active:
            more["severity"] = Severity.NOTICE
        self.append(problem(code, path=graph.path, pointer=pointer, **more))

    def append(self, found: Problem) -> None:
        """Add a problem that is made already."""
        if len(self.problems) < self._limit:
            self.problems.append(found)
        elif not self._has_more:
            self._has_more = True
            self.problems.append(problem("more_problems", limit=self._limit))
