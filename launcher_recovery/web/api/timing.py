"""What answers of the API take in this process, by route."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from flask import Response, g, request

_KEPT = 1000
_STARTED = "launcher_recovery_started"


class Timing:
    """The latest durations of each route.

    Args:
        prefix: of the endpoints, taken off their names.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._latest: dict[str, deque[float]] = {}

    def start(self) -> None:
        """Before a request."""
        setattr(g, _STARTED, time.perf_counter())

    def stop(self, response: Response) -> Response:
        """After it."""
        began = g.get(_STARTED)
        if began is not None and request.endpoint is not None:
            taken, name = time.perf_counter() - began, request.endpoint.removeprefix(self._prefix)
            with self._lock:
                self._counts[name] = self._counts.get(name, 0) + 1
                self._latest.setdefault(name, deque(maxlen=_KEPT)).append(taken)
        return response

    def to_json(self) -> dict[str, dict[str, Any]]:
        """How many requests there were, and what the latest thousand took, by route."""
        with self._lock:
            found = {name: (self._counts[name], sorted(latest)) for name, latest in self._latest.items()}
        return {
            name: {"requests": count, "p50_ms": _share(latest, 0.5), "p99_ms": _share(latest, 0.99)}
            for name, (count, latest) in sorted(found.items())
        }


def _share(latest: list[float], share: float) -> float | None:
    return round(latest[min(len(latest) - 1, int(len(latest) * share))] * 1000, 3) if latest else None
