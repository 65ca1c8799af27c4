"""Which rooms an event belongs to: those of its operation, of the operations around it, and of their projects."""

from __future__ import annotations

from collections import OrderedDict

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence.base import Store
from launcher_recovery.signals import Event

_REMEMBERED = 10_000
_DEEPEST = 32


def operation_room(operation_id: str) -> str:
    """The room of an operation and its parts."""
    return f"operation:{operation_id}"


def project_room(project: str) -> str:
    """The room of a project."""
    return f"project:{project}"


class Rooms:
    """Finds the rooms of events.

    Args:
        store: has the operations that no event told of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # By operation: the one around it, and its project; neither changes.
        self._places: OrderedDict[str, tuple[str | None, str | None]] = OrderedDict()

    def of(self, event: Event) -> frozenset[str] | None:
        """The rooms of an event; None: it is about no operation, and so is for everybody."""
        operation_id = event.payload.get("operation_id")
        if not isinstance(operation_id, str):
            return None
        if "parent_id" in event.payload:
            self._remember(operation_id, (event.payload["parent_id"], event.payload.get("project")))
        found = set()
        around: str | None = operation_id
        for _ in range(_DEEPEST):
            if around is None:
                break
            found.add(operation_room(around))
            around, project = self._place(around)
            if project is not None:
                found.add(project_room(project))
        return frozenset(found)

    def _place(self, operation_id: str) -> tuple[str | None, str | None]:
        known = self._places.get(operation_id)
        if known is not None:
            return known
        try:
            data = self._store.get(operation_id)
        except StoreError:
            return None, None  # the event is told to fewer, who look again from time to time
        place = (None, None) if data is None else (data.parent_id, data.project)
        self._remember(operation_id, place)
        return place

    def _remember(self, operation_id: str, place: tuple[str | None, str | None]) -> None:
        self._places[operation_id] = place
        self._places.move_to_end(operation_id)
        while len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
