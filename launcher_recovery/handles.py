"""The calls of this process that run or wait for operations, so that a change wakes them."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import Store, beneath


class Handles:
    """The handles that are about operations of one store, by operation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_operation: dict[str, list[Operation]] = {}

    def attach(self, live: Operation) -> None:
        """From now on `notify` wakes `live`."""
        with self._lock:
            self._by_operation.setdefault(live.operation_id, []).append(live)

    def detach(self, live: Operation) -> bool:
        """Undo `attach`; returns whether nobody is left for the operation."""
        with self._lock:
            handles = self._by_operation.get(live.operation_id, [])
            if live in handles:
                handles.remove(live)
            if not handles:
                self._by_operation.pop(live.operation_id, None)
            return not handles

    def __contains__(self, operation_id: str) -> bool:
        with self._lock:
            return operation_id in self._by_operation

    def count(self, operation_id: str) -> int:
        """How many calls are about the operation."""
        with self._lock:
            return len(self._by_operation.get(operation_id, ()))

    def notify(self, operation_id: str) -> None:
        """Wake every call that is about the operation."""
        with self._lock:
            handles = list(self._by_operation.get(operation_id, ()))
        for live in handles:
            live.wake.set()

    def notify_all(self) -> None:
        """Wake every call."""
        with self._lock:
            handles = [live for lives in self._by_operation.values() for live in lives]
        for live in handles:
            live.wake.set()


_of_store: WeakKeyDictionary[Store, Handles] = WeakKeyDictionary()
_of_store_lock = threading.Lock()


def handles_of(store: Store) -> Handles:
    """The handles of a store.

    Shared by everything that changes its operations: each decorated call has a `Lifecycle` of its own, and what is
    paused through another one is to be noticed all the same.
    """
    with _of_store_lock:
        return _of_store.setdefault(beneath(store), Handles())
