"""A circuit breaker: after repeated failures of one scope, nothing is sent there until a probe succeeds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any
from weakref import WeakSet

from launcher_recovery.clock import Clock, Wake
from launcher_recovery.errors import RecoveryConfigError


class CircuitState(str, Enum):
    """CLOSED: calls pass and failures are counted. OPEN: calls are held back. HALF_OPEN: one probe is out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Opens after repeated failures, lets one probe through after `timeout` seconds.

    It opens after `threshold` failures in a row; with `failure_rate` also when, of at least `minimum_calls` calls
    in the last `window_s` seconds, that share or more has failed.

    Args:
        threshold: consecutive failures that open it.
        timeout: seconds until a probe may go.
        scope: what it guards, such as a host name.
        operation_type: the kind of operation, for display.
        failure_rate: share of failures, above 0 and at most 1; None: only failures in a row count.
        window_s: seconds over which the share is taken.
        minimum_calls: calls below which the share says nothing.
        clock: source of time.
        on_change: called with the breaker after each change of state.

    The argument `call` of its methods says who asks, so that only the probe can free the probe's place; None
    stands for whoever the probe is.

    Raises:
        RecoveryConfigError: `failure_rate`, `window_s` or `minimum_calls` is out of its range.
    """

    def __init__(
        self,
        threshold: int = 5,
        timeout: float = 300.0,
        *,
        scope: str = "",
        operation_type: str = "",
        failure_rate: float | None = None,
        window_s: float = 60.0,
        minimum_calls: int = 10,
        clock: Clock | None = None,
        on_change: Callable[[CircuitBreaker], None] | None = None,
    ) -> None:
        if failure_rate is not None and not 0 < failure_rate <= 1:
            raise RecoveryConfigError(f"failure_rate={failure_rate!r} is not usable: it must be above 0 and at most 1")
        if not window_s > 0 or minimum_calls < 1:
            raise RecoveryConfigError(
                f"window_s={window_s!r} and minimum_calls={minimum_calls!r} are not usable: they must be above 0"
            )
        self.threshold = threshold
        self.timeout = timeout
        self.scope = scope
        self.operation_type = operation_type
        self.failure_rate = failure_rate
        self.window_s = window_s
        self.minimum_calls = minimum_calls
        self.failure_count = 0
        self.last_failure_time: float | None = None
        self.state = CircuitState.CLOSED
        self._opened_at = 0.0
        self._probe: object | None = None
        self._window: deque[tuple[float, bool]] = deque()
        self._waiting: WeakSet[Wake] = WeakSet()
        self._clock = clock or Clock()
        self._on_change = on_change
        self._lock = threading.Lock()

    def acquire(self, call: object | None = None) -> float:
        """Ask to make a call: 0 when it may go (half-open: this call is the probe), else seconds to wait."""
        if self.is_closed:  # without the lock: whoever comes in this very moment may still go
            return 0.0
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
            self._probe = call
        if changed:
            self._changed()
        return 0.0

    def success(self, call: object | None = None) -> None:
        """A call worked, or moved on before it failed; those that wait are woken when this closes the breaker."""
        if self.failure_rate is None and self.failure_count == 0 and self.state is CircuitState.CLOSED:
            return
        with self._lock:
            changed = self.state is not CircuitState.CLOSED
            self.state = CircuitState.CLOSED
            self.failure_count = 0
            self._probe = None
            if changed:
                self._window.clear()
            elif self.failure_rate is not None:
                self._count(failed=False)
        if changed:
            self._wake_all()
            self._changed()

    def failure(self, call: object | None = None) -> None:
        """A call failed in a way that speaks about the far end."""
        with self._lock:
            self.failure_count += 1
            self.last_failure_time = self._clock.time()
            if self.failure_rate is not None:
                self._count(failed=True)
            # A call from before it opened, which fails while the probe is out, is no answer to the probe.
            is_probe = self.state is CircuitState.HALF_OPEN and self._is_probe(call)
            opens = is_probe or (self.state is not CircuitState.HALF_OPEN and self._is_too_much())
            changed = opens and self.state is not CircuitState.OPEN
            if opens:
                self.state = CircuitState.OPEN
                self._opened_at = self._clock.monotonic()
                self._probe = None
        if changed:
            self._changed()

    def release(self, call: object | None = None) -> None:
        """A call ended without saying anything about the far end; a probe may be tried by somebody else."""
        if self.is_closed:
            return
        with self._lock:
            if self.state is not CircuitState.HALF_OPEN or not self._is_probe(call):
                return
            self.state = CircuitState.OPEN
            self._opened_at = self._clock.monotonic() - self.timeout
            self._probe = None
        self._wake_all()
        self._changed()

    def tell(self, wake: Wake) -> None:
        """Set `wake` once, when a call may go sooner than was said."""
        with self._lock:
            self._waiting.add(wake)

    @property
    def is_closed(self) -> bool:
        """Whether every call may go; failures are counted."""
        return self.state is CircuitState.CLOSED

    def is_open(self) -> bool:
        """Whether a call would be held back now."""
        with self._lock:
            return self.state is not CircuitState.CLOSED and self._remaining() > 0

    @property
    def timeout_remaining(self) -> float:
        """Seconds until the next probe; 0 when closed."""
        with self._lock:
            return 0.0 if self.state is CircuitState.CLOSED else max(0.0, self._remaining())

    def export_state(self) -> Mapping[str, Any]:
        """What a store keeps so that processes can share the breaker: JSON values, times since the epoch."""
        with self._lock:
            since = self._clock.monotonic() - self._opened_at
            is_closed = self.state is CircuitState.CLOSED
            return {
                "state": self.state.value,
                "failure_count": self.failure_count,
                "last_failure_time": self.last_failure_time,
                "opened_at": None if is_closed else self._clock.time() - since,
            }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `export_state` gave, in this or another process; nobody is told through `on_change`.

        A probe that was out then counts as one of another process.

        Raises:
            ValueError: it holds an unknown state.
        """
        with self._lock:
            before = self.state
            self.state = CircuitState(state["state"])
            self.failure_count = int(state["failure_count"])
            self.last_failure_time = state["last_failure_time"]
            opened_at = state["opened_at"]
            if opened_at is not None:
                # A clock that was set back must not keep it open for longer than it says.
                since = max(0.0, self._clock.time() - opened_at)
                self._opened_at = self._clock.monotonic() - since
            if self.state is not CircuitState.HALF_OPEN:
                self._probe = None
            elif before is not CircuitState.HALF_OPEN:
                self._probe = _ELSEWHERE
            closes = self.state is CircuitState.CLOSED and before is not CircuitState.CLOSED
        if closes:
            self._wake_all()

    def _is_probe(self, call: object | None) -> bool:
        return call is None or self._probe is None or self._probe is call

    def _is_too_much(self) -> bool:
        if self.failure_count >= self.threshold:
            return True
        if self.failure_rate is None or len(self._window) < self.minimum_calls:
            return False
        return sum(failed for _, failed in self._window) >= self.failure_rate * len(self._window)

    def _count(self, *, failed: bool) -> None:
        now = self._clock.monotonic()
        self._window.append((now, failed))
        while now - self._window[0][0] > self.window_s:
            self._window.popleft()

    def _wake_all(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for wake in waiting:
            wake.set()

    def _remaining(self) -> float:
        return self._opened_at + self.timeout - self._clock.monotonic()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)


_ELSEWHERE = object()
"""Stands for the probe of another process."""
