"""While a store fails, what is live in this process goes on in memory; when it works again, it is given it all."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from launcher_recovery.clock import Clock
from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import forks
from launcher_recovery.persistence.base import KEYS, Change, Changed, Kept, RenewableStore, begins
from launcher_recovery.persistence.fallback_transfers import RememberedTransfers
from launcher_recovery.persistence.live import LiveCopy
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import FINAL, UNFINISHED, AttemptRecord, RecoveryData
from launcher_recovery.rows import Row

logger = logging.getLogger("launcher_recovery")

T = TypeVar("T")

RETRY_S = 5.0


class Fallback:
    """Two stores: the one that is used, and the memory that takes its place while it fails.

    Args:
        store: the one that is used.
        clock: source of time.
    """

    def __init__(self, store: RenewableStore, clock: Clock | None = None) -> None:
        self.store = store
        self.problem: str | None = None
        """Why nothing is written to the disk at the moment, as a sentence; None when all is well."""
        self._clock = clock or Clock()
        self._memory = MemoryPersistence()
        self._transfers = RememberedTransfers(self._memory)
        # What is live in this process, as the other store has it; in the memory while that fails.
        self._live: dict[str, LiveCopy] = {}
        self._lock = threading.RLock()
        self._retry_at = 0.0
        self._newest = 0
        # By operation, when it was updated last in the other store before that failed.
        self._stored_at: dict[str, datetime] = {}
        try:
            self._newest = store.event_range()[1]
        except StoreError as error:
            self._fails(error)
        forks.register(self)

    @property
    def is_encrypted(self) -> bool:
        return getattr(self.store, "is_encrypted", False)

    @property
    def unreadable(self) -> str | None:
        """Why something in the other store cannot be opened, as a sentence; None when nothing of that kind was met."""
        return getattr(self.store, "unreadable", None)

    def before_fork(self) -> None:
        self._lock.acquire()  # the memory sees to itself

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()

    # -- failing and coming back --------------------------------------------------------------------

    def _either(self, stored: Callable[[], T], remembered: Callable[[], T]) -> T:
        """From the other store, or from memory while that fails."""
        if self.problem is None or self._comes_back():
            try:
                return stored()
            except StoreError as error:
                self._fails(error)
        with self._lock:
            return remembered()

    def _fails(self, error: StoreError) -> None:
        with self._lock:
            self._retry_at = self._clock.monotonic() + RETRY_S
            if self.problem is None:
                logger.error("nothing is written to the disk for now, operations go on in memory: %s", error)
                self._memory.number_events_after(self._newest)
                self._stored_at = {name: copy.data.updated_at for name, copy in self._live.items()}
                for copy in self._live.values():
                    self._memory.adopt(copy.data, list(copy.attempts), copy.steps.values())
                self._live.clear()
            self.problem = str(error)

    def _comes_back(self) -> bool:
        """Whether the other store works again, and has been given all that happened; looks from time to time."""
        with self._lock:
            if self.problem is None:
                return True
            if self._clock.monotonic() < self._retry_at:
                return False
            memory = self._memory
            # What is over first: it may have had the key of one that was begun after it.
            live = sorted(memory.find(limit=-1), key=lambda data: data.state in UNFINISHED)
            kept = [
                Kept(
                    data,
                    tuple(memory.attempts(data.operation_id)),
                    tuple(memory.steps(data.operation_id)),
                    self._stored_at.get(data.operation_id),
                    self._transfers.of(data.operation_id),
                )
                for data in live
            ]
            try:
                self.store.reopen()
                for row in memory.owners():
                    self.store.heartbeat(row.owner, row.heartbeat_at)
                self.store.take_over(kept, memory.events_since(self._newest, limit=10**9), memory.event_range()[1])
                self._share_again()
                self._transfers.write_back(self.store)
                self._newest = self.store.event_range()[1]
            except StoreError as error:
                self._fails(error)
                return False
            memory.number_events_after(self._newest)
            self._transfers.written_back()
            for data in live:
                copy = self._copy(data.operation_id)
                if copy is not None and data.state in UNFINISHED:
                    self._live[data.operation_id] = copy
                else:
                    self._transfers.forget_those_of(data.operation_id)
                memory.forget(data.operation_id)
            self.problem = None
            logger.warning("the disk is written to again")
            return True

    def _remember(self, changed: Changed | None, change: Change | None = None) -> Changed | None:
        """Keep the copy up to date with what the other store has just committed; no `change`: it saved progress."""
        if changed is None:
            return None
        data = changed.data
        with self._lock:
            self._count(changed)
            if data.state in FINAL and self.problem is None:
                self._forget(data.operation_id)
            else:
                self._keep(self._known(data, change).after(data, change))
        return changed

    def _remember_new(self, changed: Changed | None) -> Changed | None:
        """Like `_remember`, for what has just been entered."""
        if changed is not None:
            data = changed.data
            with self._lock:
                self._count(changed)
                attempts = [AttemptRecord(data.attempt, data.updated_at)] if begins(data) else []
                self._keep(LiveCopy.of(data, attempts, {}))
        return changed

    def _count(self, changed: Changed) -> None:
        if changed.events:
            self._newest = max(self._newest, changed.events[-1].seq)

    def _keep(self, copy: LiveCopy) -> None:
        if self.problem is None:
            self._live[copy.data.operation_id] = copy
        else:  # the other store began to fail after it had taken this
            self._memory.adopt(copy.data, list(copy.attempts), copy.steps.values())

    def _known(self, data: RecoveryData, change: Change | None) -> LiveCopy:
        """What was known of the operation before the change after which it is `data`."""
        copy = self._live.get(data.operation_id) if self.problem is None else self._copy(data.operation_id)
        number = data.attempt - (change is not None and change.claim)
        if number > 0 and not (copy and copy.attempts):
            try:  # from an earlier process, or from before it was over
                earlier = [one for one in self.store.attempts(data.operation_id) if one.number <= number]
                return LiveCopy(data, earlier, {step.name: step for step in self.store.steps(data.operation_id)})
            except StoreError:
                pass  # it goes on with what is known
        return copy or LiveCopy(data, [], {})

    def _copy(self, operation_id: str) -> LiveCopy | None:
        """What the memory has of an operation."""
        data = self._memory.get(operation_id)
        if data is None:
            return None
        steps = {step.name: step for step in self._memory.steps(operation_id)}
        return LiveCopy(data, self._memory.attempts(operation_id), steps)

    def _forget(self, operation_id: str) -> None:
        with self._lock:
            self._live.pop(operation_id, None)
            self._memory.forget(operation_id)
            if self.problem is None:
                self._transfers.forget_those_of(operation_id)

    def _share_again(self) -> None:
        """Write what was shared while the other store failed, unless another process knows better."""
        for table, columns in KEYS.items():
            for row in self._memory.shared(table):
                key = tuple(row[column] for column in columns)
                self.store.share(table, key, functools.partial(_newer, row))

    def _try(self, stored: Callable[[], T], otherwise: T) -> T:
        """From the other store while it fails: a full disk can still be read."""
        try:
            return stored()
        except StoreError:
            return otherwise


def _newer(ours: Row, theirs: Row | None) -> Row | None:
    return ours if theirs is None or theirs["updated_at"] < ours["updated_at"] else None
