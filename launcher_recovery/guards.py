"""The circuit breakers and retry budgets of one host, by what they are about."""

from __future__ import annotations

import threading
from collections.abc import Callable

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.budget import RetryBudget
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.persistence.base import Store
from launcher_recovery.sharing import known_breakers, shared_breaker, shared_budget
from launcher_recovery.signals import CircuitBreakerUpdate, Event


class Guards:
    """Makes each breaker and budget once in this process; they are shared with others through the store.

    Args:
        store: through which they are shared.
        settings: gives the settings as they are now.
        clock: source of time.
    """

    def __init__(self, store: Store, settings: Callable[[], RecoveryConfig], clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._budgets: dict[str, RetryBudget] = {}
        self._breakers: dict[tuple[str, str], CircuitBreaker] = {}

    def budget(self, scope: str) -> RetryBudget:
        """What retries of a scope are paid from."""
        with self._lock:
            found = self._budgets.get(scope)
            if found is None:
                found = self._budgets[scope] = shared_budget(self._store, scope, clock=self._clock)
        return found

    def breaker(self, scope: str, kind: str) -> CircuitBreaker:
        """The circuit breaker of a scope and kind of operation."""
        with self._lock:
            found = self._breakers.get((scope, kind))
            if found is None:
                settings = self._settings()
                found = self._breakers[scope, kind] = shared_breaker(
                    self._store,
                    scope,
                    settings.circuit_breaker_threshold,
                    settings.circuit_breaker_timeout,
                    operation_type=kind,
                    clock=self._clock,
                )
        return found

    def breakers(self) -> list[CircuitBreakerUpdate]:
        """Every circuit breaker of this process, and of others with the same store, as it is now."""
        for scope, kind in known_breakers(self._store):
            self.breaker(scope, kind)
        with self._lock:
            known = list(self._breakers.values())
        for breaker in known:
            breaker.refresh()
        return [CircuitBreakerUpdate.of(breaker, to_datetime(self._clock.time())) for breaker in known]

    def follow_settings(self) -> None:
        """Have the breakers that there are go by the settings as they are now."""
        settings = self._settings()
        with self._lock:
            for breaker in self._breakers.values():
                breaker.threshold = settings.circuit_breaker_threshold
                breaker.timeout = settings.circuit_breaker_timeout

    def on_event(self, event: Event) -> None:
        """Subscriber of the outbox: who waits here for a breaker that another process has closed goes on."""
        if event.name != "circuit_breaker_update":
            return
        with self._lock:
            found = self._breakers.get((event.payload["scope"], event.payload["operation_type"]))
        if found is not None:
            found.refresh()
