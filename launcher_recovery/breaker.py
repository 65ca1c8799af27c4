"""A circuit breaker: after repeated failures of one scope, nothing is sent there until a probe succeeds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from launcher_recovery.clock import Clock


class CircuitState(str, Enum):
    """CLOSED: calls pass and failures are counted. OPEN: calls are held back. HALF_OPEN: one probe is out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Opens after `threshold` failures in a row, lets one probe through after `timeout` seconds.

    Args:
        threshold: consecutive failures that open it.
        timeout: seconds until a probe may go.
        scope: what it guards, such as a host name.
        operation_type: the kind of operation, for display.
        clock: source of time.
        on_change: called with the breaker after each change of state.
    """

    def __init__(
        self,
        threshold: int = 5,
        timeout: float = 300.0,
        *,
        scope: str = "",
        operation_type: str = "",
        clock: Clock | None = None,
        on_change: Callable[[CircuitBreaker], None] | None = None,
    ) -> None:
        self.threshold = threshold
        self.timeout = timeout
        self.scope = scope
        self.operation_type = operation_type
        self.failure_count = 0
        self.last_failure_time: float | None = None
        self.state = CircuitState.CLOSED
        self._opened_at = 0.0
        self._clock = clock or Clock()
        self._on_change = on_change
        self._lock = threading.Lock()

    def acquire(self) -> float:
        """Ask to make a call: 0 when it may go (half-open: this call is the probe), else seconds to wait."""
        with self._lock:
            if self.state is CircuitState.CLOSED:
                return 0.0
            remaining = self._remaining()
            if remaining > 0:
                return remaining
            # Open and due, or half-open with a probe that never reported for a whole timeout: a new probe.
            self._opened_at = self._clock.monotonic()
            changed = self.state is not CircuitState.HALF_OPEN
            self.state = CircuitState.HALF_OPEN
        if changed:
            self._changed()
        return 0.0

    def success(self) -> None:
        """A call worked, or moved on before it failed."""
        with self._lock:
            changed = self.state is not CircuitState.CLOSED
            self.state = CircuitState.CLOSED
            self.failure_count = 0
        if changed:
            self._changed()

    def failure(self) -> None:
        """A call failed in a way that speaks about the far end."""
        with self._lock:
            self.failure_count += 1
            self.last_failure_time = self._clock.time()
            opens = self.state is CircuitState.HALF_OPEN or self.failure_count >= self.threshold
            changed = opens and self.state is not CircuitState.OPEN
            if opens:
                self.state = CircuitState.OPEN
                self._opened_at = self._clock.monotonic()
        if changed:
            self._changed()

    def release(self) -> None:
        """A call ended without saying anything about the far end; a probe may be tried by somebody else."""
        with self._lock:
            if self.state is not CircuitState.HALF_OPEN:
                return
            self.state = CircuitState.OPEN
            self._opened_at = self._clock.monotonic() - self.timeout
        self._changed()

    @property
    def is_open(self) -> bool:
        """Whether a call would be held back now."""
        with self._lock:
            return self.state is not CircuitState.CLOSED and self._remaining() > 0

    @property
    def timeout_remaining(self) -> float:
        """Seconds until the next probe; 0 when closed."""
        with self._lock:
            return 0.0 if self.state is CircuitState.CLOSED else max(0.0, self._remaining())

    def _remaining(self) -> float:
        return self._opened_at + self.timeout - self._clock.monotonic()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)
