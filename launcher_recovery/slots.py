"""How many operations of the launcher run at a time: of a kind, and of a kind at one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from launcher_recovery.bulkhead import Bulkhead
from launcher_recovery.config_values import Limits

# By kind: one of them, several, and where.
_WORDS = {
    "download": ("download", "downloads", " from {place}"),
    "install_node": ("node install", "node installs", " into the same Python environment"),
    "create_project": ("project import", "project imports", ""),
    "validate_workflow": ("workflow check", "workflow checks", ""),
}
# They run pip in the same environments.
_AS = {"install_comfyui": "install_node", "install_requirements": "install_node"}


class Slots:
    """The bulkheads of a launcher's operations in this process.

    Args:
        limits: gives the limits by kind, as they are now.
    """

    def __init__(self, limits: Callable[[], Mapping[str, Limits]]) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        # They live as long as somebody is in them or before them.
        self._bulkheads: WeakValueDictionary[tuple[str, str | None], Bulkhead] = WeakValueDictionary()

    def of(self, kind: str, place: str | None) -> tuple[Bulkhead, ...]:
        """What an operation has to get into before it runs: the one of its place first.

        Args:
            kind: of the operation.
            place: what those of its kind crowd, such as a host or a Python environment; None: nothing of its own.
        """
        kind = _AS.get(kind, kind)
        limits = self._limits().get(kind)
        if limits is None:
            return ()
        wanted = ((place, None if place is None else limits.each), (None, limits.total))
        return tuple(self._one(kind, where, limit) for where, limit in wanted if limit is not None)

    def _one(self, kind: str, place: str | None, limit: int) -> Bulkhead:
        with self._lock:
            found = self._bulkheads.get((kind, place))
            if found is None:
                found = self._bulkheads[kind, place] = Bulkhead(limit, place or kind)
            found.limit, found.reason = limit, _reason(kind, place, limit)
        return found


def _reason(kind: str, place: str | None, limit: int) -> str:
    one, several, where = _WORDS[kind]
    at = "" if place is None else where.format(place=place)
    if limit == 1:
        return f"Another {one}{at} is under way. This one begins by itself as soon as that is done."
    return f"{limit} other {several}{at} are under way. This one begins by itself as soon as one of them is done."
