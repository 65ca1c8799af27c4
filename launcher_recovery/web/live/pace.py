"""How often the progress of one operation is told: a few times a second, the latest always, all else at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from launcher_recovery.signals import Event

INTERVAL_S = 0.2
"""Seconds at least between two times that the progress of an operation is told."""

_UPDATE = "recovery_update"
_RUNNING = "in_progress"
_REMEMBERED = 10_000
# What differs between two events of which the later one tells of nothing but progress.
_MOVING = frozenset({"progress", "updated_at", "timestamp"})


class _Told:
    """What was told of one operation: how it was apart from its progress, and when."""

    def __init__(self) -> None:
        self.standing: dict[str, Any] = {}
        self.at = float("-inf")


class Pace:
    """Holds progress back that comes too often; used by one thread at a time.

    Args:
        monotonic: source of time, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._of: OrderedDict[str, _Told] = OrderedDict()
        self._held: dict[str, Event] = {}

    def admit(self, event: Event) -> bool:
        """Whether an event is told now; one that is not is told by `due`, unless a later one takes its place."""
        operation_id = event.payload.get("operation_id")
        if event.name != _UPDATE or not isinstance(operation_id, str):
            return True
        told = self._of.pop(operation_id, None) or _Told()
        self._of[operation_id] = told
        while len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)
        standing = {name: value for name, value in event.payload.items() if name not in _MOVING}
        is_progress = standing == told.standing and event.payload.get("state") == _RUNNING
        told.standing = standing
        self._held.pop(operation_id, None)
        now = self._monotonic()
        if is_progress and now < told.at + INTERVAL_S:
            self._held[operation_id] = event
            return False
        told.at = now
        return True

    def due(self) -> list[Event]:
        """What was held back and may be told now, in its order."""
        now = self._monotonic()
        found = {name: event for name, event in self._held.items() if now >= self._due(name)}
        for name in found:
            del self._held[name]
            if name in self._of:
                self._of[name].at = now
        return sorted(found.values(), key=lambda event: event.seq)

    def wait_s(self) -> float | None:
        """Seconds until something that was held back may be told; None: nothing is."""
        if not self._held:
            return None
        return max(0.0, min(map(self._due, self._held)) - self._monotonic())

    def _due(self, operation_id: str) -> float:
        told = self._of.get(operation_id)
        return float("-inf") if told is None else told.at + INTERVAL_S
