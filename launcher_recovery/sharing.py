"""Circuit breakers and retry budgets that all processes share through a store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from launcher_recovery import signals
from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.budget import RetryBudget
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.errors import RecoveryConfigError, StoreError
from launcher_recovery.owners import OWNER, is_alive
from launcher_recovery.persistence import forks
from launcher_recovery.persistence.base import StatePersistence, Store
from launcher_recovery.rows import KeptRow, Row, Transition
from launcher_recovery.signals import CircuitBreakerUpdate, Event
from launcher_recovery.stores import store_for

logger = logging.getLogger("launcher_recovery")


def shared_breaker(
    persistence: Store | StatePersistence,
    scope: str,
    threshold: int = 5,
    timeout: float = 300.0,
    *,
    operation_type: str = "function",
    clock: Clock | None = None,
    on_change: Callable[[CircuitBreaker], None] | None = None,
    **settings: Any,
) -> CircuitBreaker:
    """A circuit breaker that all processes with the same store share, over restarts as well.

    Together they count failures, and exactly one of them sends the probe; when its process dies, another does.

    Args:
        persistence: the store; one that has only the five methods of `StatePersistence` shares within this process.
        scope, operation_type: what it guards; all who give the same have the same breaker.
        threshold, timeout, settings: see `CircuitBreaker`.
        on_change: called after each change of state made here; default: `announce`, so that the pages show it.

    Raises:
        RecoveryConfigError: the scope is empty, or a setting is out of its range.
    """
    store, clock = store_for(persistence), clock or Clock()
    return CircuitBreaker(
        threshold,
        timeout,
        scope=scope,
        operation_type=operation_type,
        clock=clock,
        on_change=on_change or (lambda breaker: announce(store, breaker, clock)),
        row=_row(store, "breakers", (scope, operation_type), clock),
        **settings,
    )


def shared_budget(
    persistence: Store | StatePersistence,
    scope: str,
    capacity: float = 500,
    *,
    clock: Clock | None = None,
    **settings: Any,
) -> RetryBudget:
    """A retry budget that all processes with the same store share, over restarts as well.

    Args:
        persistence: the store; one that has only the five methods of `StatePersistence` shares within this process.
        scope: what it is about; all who give the same pay from the same bucket.
        capacity, settings: see `RetryBudget`.

    Raises:
        RecoveryConfigError: the scope is empty, or a number is negative.
    """
    clock = clock or Clock()
    row = _row(store_for(persistence), "budgets", (scope,), clock)
    return RetryBudget(capacity, scope=scope, clock=clock, row=row, **settings)


def announce(store: Store | None, breaker: CircuitBreaker, clock: Clock) -> None:
    """Send the event that tells of a breaker's change of state; with a store, to other processes as well."""
    name, payload = "circuit_breaker_update", dict(vars(CircuitBreakerUpdate.of(breaker, to_datetime(clock.time()))))
    event = Event(0, name, payload)
    try:
        if store is not None:
            event = store.append_event(name, payload)
    except StoreError as error:
        logger.warning("a circuit breaker's change could not be kept: %s", error)
    signals.send(event, breaker)


def known_breakers(store: Store) -> list[tuple[str, str]]:
    """Scope and operation type of every breaker in the store."""
    if not _can_share(store):
        return []
    try:
        return [(row["scope"], row["operation_type"]) for row in store.shared("breakers")]
    except StoreError as error:
        logger.warning("the circuit breakers of other processes cannot be looked at: %s", error)
        return []


def _can_share(store: Store) -> bool:
    # One of somebody's own that does all the rest need not be able to.
    return hasattr(store, "share") and hasattr(store, "shared")


def _row(store: Store, table: str, key: tuple[str, ...], clock: Clock) -> KeptRow:
    if not key[0]:
        raise RecoveryConfigError("scope='' is not usable: it must be the name under which all processes share it")
    return SharedRow(store, table, key, clock) if _can_share(store) else KeptRow()


class SharedRow(KeptRow):
    """A row of a store. While that fails, this process goes on with what it knew last.

    Args:
        store: the store.
        table, key: where it is there; see `Store.share`.
        clock: source of time.
    """

    is_shared = True

    def __init__(self, store: Store, table: str, key: tuple[str, ...], clock: Clock) -> None:
        super().__init__()
        self._store = store
        self._table = table
        self._key = key
        self._clock = clock
        self._fails = False
        forks.register(self)

    def look(self) -> Row | None:
        with self.turn:
            try:
                rows = self._store.shared(self._table, self._key)
            except StoreError as error:
                return self._failed(error)
            return self._got(rows[0] if rows else None)

    def change(self, transition: Transition) -> Row | None:
        with self.turn:
            try:
                return self._got(self._store.share(self._table, self._key, transition))
            except StoreError as error:
                self._failed(error)
                return super().change(transition)

    def enter(self) -> str | None:
        try:
            self._store.heartbeat(OWNER, self._clock.time())
        except StoreError as error:
            self._failed(error)
        return OWNER.owner_id

    def is_gone(self, process: str) -> bool:
        if process == OWNER.owner_id:
            return False
        try:
            known = [row for row in self._store.owners() if row.owner.owner_id == process]
        except StoreError:
            return False
        return not any(is_alive(row, self._clock.time()) for row in known)

    def _got(self, row: Row | None) -> Row | None:
        self._fails = False
        self._known = row
        return row

    def _failed(self, error: StoreError) -> Row | None:
        if not self._fails:
            logger.warning("what is known of %s is not shared with other processes for now: %s", self._key[0], error)
        self._fails = True
        return self._known

    def before_fork(self) -> None:
        self.turn.acquire()

    def after_fork(self, in_child: bool) -> None:
        if in_child:
            self.turn = threading.RLock()
        else:
            self.turn.release()
