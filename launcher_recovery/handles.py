"""The calls of this process that run or wait for operations, so that a change wakes them, wherever it was made."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from launcher_recovery.errors import StoreError
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import forks
from launcher_recovery.persistence.base import Store, beneath
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import RecoveryData
from launcher_recovery.signals import Event

logger = logging.getLogger("launcher_recovery")

# A control made in another process is noticed within 50 ms.
_LOOK_S = 0.03
# How long the thread that looks stays when there is nothing to look for; starting one costs more than many looks.
_LINGER_S = 0.5
# A process that died is noticed within this by those who wait for what it ran.
_DEAD_S = 1.0
# After a store failed.
_PATIENCE_S = 1.0
# More events than this since the last look are not read one by one.
_MANY = 2000
_UNKNOWN = -1


@dataclass
class Shortage:
    """What an operation waits for.

    Args:
        until: gives None once it is there, else what to tell people; see `Verdict.until`.
        look_at: when to ask for it next, by the clock's monotonic time.
        told: what people were told last.
    """

    until: Callable[[], str | None]
    look_at: float
    told: str | None = None


class Handles:
    """The handles that are about operations of one store, by operation.

    While any of them is watched, a daemon thread looks for events that other processes stored.
    """

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)
        self.sees_others = not isinstance(store, MemoryPersistence)
        """Whether other processes can change operations of the store."""
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: what the parent runs is not run here."""
        self._lock = threading.Lock()
        self._there_is_work = threading.Condition(self._lock)
        self._by_operation: dict[str, list[Operation]] = {}
        self._watched: set[Operation] = set()
        self._looks = False
        self._seen = _UNKNOWN
        self._own: set[int] = set()
        self._turns: dict[str, Operation] = {}
        self._errors: dict[str, tuple[int, Exception]] = {}
        self._shortages: dict[str, tuple[int, Shortage]] = {}
        self._looked_at: float | None = None
        self._later: list[Callable[[], object]] = []

    def attach(self, live: Operation) -> None:
        """From now on `notify` wakes `live`."""
        with self._lock:
            self._by_operation.setdefault(live.operation_id, []).append(live)

    def detach(self, live: Operation) -> bool:
        """Undo `attach`; returns whether nobody is left for the operation."""
        self.end_turn(live)
        with self._lock:
            self._watched.discard(live)
            handles = self._by_operation.get(live.operation_id, [])
            if live in handles:
                handles.remove(live)
            if not handles:
                self._by_operation.pop(live.operation_id, None)
                self._errors.pop(live.operation_id, None)
                self._shortages.pop(live.operation_id, None)
            return not handles

    def keep_error(self, live: Operation, error: Exception) -> None:
        """Keep what the attempt of `live` failed with for all calls that are about the operation."""
        with self._lock:
            self._errors[live.operation_id] = (live.data.fence, error)

    def error_of(self, data: RecoveryData) -> Exception | None:
        """What the latest attempt failed with, if that was made in this process; for calls that are attached."""
        fence, error = self._errors.get(data.operation_id, (None, None))
        return error if fence == data.fence else None

    def keep_shortage(self, live: Operation, shortage: Shortage) -> None:
        """Keep what all calls that are about the operation wait for since the attempt of `live`."""
        with self._lock:
            self._shortages[live.operation_id] = (live.data.fence, shortage)

    def shortage_of(self, data: RecoveryData) -> Shortage | None:
        """What has been missing since the latest attempt, if that was made in this process."""
        fence, shortage = self._shortages.get(data.operation_id, (None, None))
        return shortage if fence == data.fence else None

    def end_shortage(self, operation_id: str) -> None:
        """Nothing is missing any more, or a person does not want to wait for it."""
        with self._lock:
            self._shortages.pop(operation_id, None)

    def take_turn(self, live: Operation) -> bool:
        """From now on no other handle of the operation gets the turn; False when one has it."""
        with self._lock:
            return self._turns.setdefault(live.operation_id, live) is live

    def has_turn(self, live: Operation) -> bool:
        """Whether `live` has the turn."""
        return self._turns.get(live.operation_id) is live

    def has_to_wait(self, live: Operation) -> bool:
        """Whether another handle of the operation has the turn; when it ends, `live` is woken."""
        return self._turns.get(live.operation_id, live) is not live

    def end_turn(self, live: Operation) -> None:
        """Undo `take_turn`; does nothing for a handle that has not the turn."""
        if not self.has_turn(live):
            return
        with self._lock:
            self._turns.pop(live.operation_id, None)
            others = [one for one in self._by_operation.get(live.operation_id, ()) if one is not live]
        for other in others:
            other.wake.set()

    def do_later(self, work: Callable[[], object]) -> None:
        """Have `work` done by `do_what_is_left`, because the store fails at the moment."""
        with self._lock:
            self._later.append(work)

    def do_what_is_left(self) -> None:
        """Do what was put off; what still fails stays."""
        with self._lock:
            works, self._later = self._later, []
        for work in works:
            try:
                work()
            except StoreError:
                self.do_later(work)

    def is_time_to_look(self, now: float) -> bool:
        """Whether dead processes have not been looked for in the last second; then they are now."""
        with self._lock:
            if self._looked_at is not None and 0 <= now - self._looked_at < _DEAD_S:
                return False
            self._looked_at = now
            return True

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

    # -- what other processes change ----------------------------------------------------------------

    def watch(self, live: Operation) -> None:
        """From now on, until it is detached, changes made by other processes wake `live` as well; so does this call."""
        if not self.sees_others:
            return
        with self._lock:
            if not self._watched:
                self._seen = self._newest()
                self._own.clear()
            self._watched.add(live)
            handles = self._by_operation.setdefault(live.operation_id, [])
            if live not in handles:  # of a process that was forked inside of the operation
                handles.append(live)
            if self._looks:
                self._there_is_work.notify()
            else:
                threading.Thread(target=self._look, name="recovery-watch", daemon=True).start()
                self._looks = True
        live.wake.set()  # for what came before

    def made_here(self, events: Collection[Event]) -> None:
        """Nobody need be woken by these once more."""
        if self._watched:
            with self._lock:
                self._own.update(event.seq for event in events)

    def _look(self) -> None:
        is_told = False
        while True:
            with self._lock:
                if not self._watched and not self._there_is_work.wait_for(lambda: self._watched, _LINGER_S):
                    self._looks = False
                    return
            time.sleep(_LOOK_S)
            try:
                self._look_once()
                is_told = False
                continue
            except StoreError as error:
                logger.debug("changes of other processes cannot be looked for at the moment: %s", error)
            except Exception:  # a store of one's own may raise anything, and nobody else looks
                if not is_told:
                    logger.exception("changes of other processes cannot be looked for at the moment")
                is_told = True
            time.sleep(_PATIENCE_S)

    def _look_once(self) -> None:
        store, seen = self._store(), self._seen
        if store is None or not self._watched or (seen != _UNKNOWN and not store.wait_for_events(seen, 0.0)):
            return
        newest = store.event_range()[1]
        if seen == _UNKNOWN or newest - seen > _MANY:
            changed, is_known = set[str](), False
        else:
            events = store.events_since(seen, _MANY)
            newest = max([newest, *(event.seq for event in events)])
            with self._lock:
                changed = {event.payload.get("operation_id", "") for event in events if event.seq not in self._own}
            is_known = True
        with self._lock:
            self._seen = newest
            self._own = {seq for seq in self._own if seq > newest}
        if not is_known:
            self.notify_all()
        for operation_id in changed:
            self.notify(operation_id)

    def _newest(self) -> int:
        store = self._store()
        try:
            return _UNKNOWN if store is None else store.event_range()[1]
        except StoreError:
            return _UNKNOWN


_of_store: WeakKeyDictionary[Store, Handles] = WeakKeyDictionary()
_of_store_lock = threading.Lock()


def handles_of(store: Store) -> Handles:
    """The handles of a store.

    Shared by everything that changes its operations: each decorated call has a `Lifecycle` of its own, and what is
    paused through another one is to be noticed all the same.
    """
    with _of_store_lock:
        found = _of_store.get(beneath(store))
        if found is None:
            found = _of_store[beneath(store)] = Handles(beneath(store))
        return found


def _begin_anew() -> None:
    global _of_store_lock
    _of_store_lock = threading.Lock()
    for handles in list(_of_store.values()):
        handles.forget()


forks.in_child(_begin_anew)
