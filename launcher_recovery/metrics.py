"""Counters of what recovery did in this process, fed from the signals."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from launcher_recovery import signals
from launcher_recovery.happenings import Follower, Happening
from launcher_recovery.signals import Event


class Counter:
    """A number that only grows, from any thread; `int(counter)` is its value."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def inc(self, amount: int = 1) -> None:
        """Add `amount`, 0 or more.

        Raises:
            ValueError: it is negative.
        """
        if amount < 0:
            raise ValueError(f"a counter only grows: it cannot be increased by {amount}")
        with self._lock:
            self._value += amount

    @property
    def value(self) -> int:
        return self._value

    def __int__(self) -> int:
        return self._value

    def __repr__(self) -> str:
        return f"Counter({self._value})"


class RecoveryMetrics:
    """What happened in this process since `attach`, of every operation in every store.

    Attributes:
        total_operations: operations that began.
        recovered_operations: those that ended well after more than one attempt.
        failed_operations: those given up, because a retry would not help or all attempts were used up.
        retry_attempts: attempts after an operation's first.
        circuit_breaker_trips: how often a closed circuit breaker opened; a probe that fails is no new trip.

    The figures of a store, over restarts and processes, are those of `RecoveryIntegrator.status`.
    """

    def __init__(self) -> None:
        self.total_operations = Counter()
        self.recovered_operations = Counter()
        self.failed_operations = Counter()
        self.retry_attempts = Counter()
        self.circuit_breaker_trips = Counter()
        self._follower = Follower(self._on_happening)
        self._open: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Count from now on; does nothing when it does already."""
        self._follower.attach()
        signals.circuit_breaker_updated.connect(self._on_breaker)

    def detach(self) -> None:
        """Stop counting; the figures stay."""
        self._follower.detach()
        signals.circuit_breaker_updated.disconnect(self._on_breaker)

    def as_dict(self) -> dict[str, int]:
        """The five figures by name."""
        return {name: int(value) for name, value in vars(self).items() if isinstance(value, Counter)}

    def _on_happening(self, happening: Happening, payload: Mapping[str, Any]) -> None:
        if happening is Happening.OPENED:
            self.total_operations.inc()
        elif happening is Happening.ATTEMPT_STARTED and payload["attempt"] > 1:
            self.retry_attempts.inc()
        elif happening is Happening.SUCCEEDED and payload["attempt"] > 1:
            self.recovered_operations.inc()
        elif happening is Happening.GAVE_UP:
            self.failed_operations.inc()

    def _on_breaker(self, sender: object, event: Event) -> None:
        breaker = (event.payload["scope"], event.payload["operation_type"])
        state = event.payload["state"]
        with self._lock:
            if state == "open" and breaker not in self._open:
                self._open.add(breaker)
                self.circuit_breaker_trips.inc()
            elif state == "closed":
                self._open.discard(breaker)
