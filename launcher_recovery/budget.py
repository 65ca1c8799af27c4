"""A retry budget: retries of one scope are paid from a bucket that only successes fill again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from launcher_recovery.clock import Clock
from launcher_recovery.errors import RecoveryConfigError


class RetryBudget:
    """A token bucket as the AWS SDKs have it (SDK reference guide, "Retry behavior", standard mode).

    Args:
        capacity: tokens at the beginning and at most; 500.
        retry_cost: tokens that a retry takes; 5.
        timeout_cost: tokens that a retry after a timeout takes; 10.
        gain: tokens that a success without a retry gives; 1. A success after one gives back what it had cost.
        probe_interval: seconds after which an operation that waits for an empty bucket may go all the same, one
            for each such time, so that somebody finds out when the far end is back.
        scope: what it is about, such as a host.
        clock: source of time.

    Raises:
        RecoveryConfigError: a number is negative.
    """

    def __init__(
        self,
        capacity: float = 500,
        *,
        retry_cost: float = 5,
        timeout_cost: float = 10,
        gain: float = 1,
        probe_interval: float = 30.0,
        scope: str = "",
        clock: Clock | None = None,
    ) -> None:
        given = {
            "capacity": capacity,
            "retry_cost": retry_cost,
            "timeout_cost": timeout_cost,
            "gain": gain,
            "probe_interval": probe_interval,
        }
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise RecoveryConfigError(f"{name}={value!r} is not usable: it must be a number of at least 0")
        self.capacity = float(capacity)
        self.retry_cost = float(retry_cost)
        self.timeout_cost = float(timeout_cost)
        self.gain = float(gain)
        self.probe_interval = float(probe_interval)
        self.scope = scope
        self.tokens = self.capacity
        self._clock = clock or Clock()
        self._next_probe = float("-inf")
        self._lock = threading.Lock()

    def take(self, *, timed_out: bool = False) -> float | None:
        """Pay for a retry: what it cost, or None when there is not enough left."""
        cost = self.timeout_cost if timed_out else self.retry_cost
        with self._lock:
            if self.tokens < cost:
                if self._next_probe == float("-inf"):
                    self._next_probe = self._clock.monotonic() + self.probe_interval
                return None
            self.tokens -= cost
            return cost

    def admit(self) -> float:
        """Ask again after the bucket was empty: 0 when the retry may go now, else seconds to wait."""
        with self._lock:
            if self.tokens >= self.retry_cost:
                self.tokens -= self.retry_cost
                return 0.0
            now = self._clock.monotonic()
            if now < self._next_probe:
                return self._next_probe - now
            self._next_probe = now + self.probe_interval
            return 0.0

    def succeeded(self, paid: float) -> None:
        """A call worked; `paid` is what its last retry had cost, 0 when there was none."""
        # Read without the lock: a full bucket, the usual case, stays as it is.
        if self.tokens >= self.capacity:
            return
        with self._lock:
            self.tokens = min(self.capacity, self.tokens + (paid or self.gain))

    def export_state(self) -> Mapping[str, Any]:
        """What a store keeps so that processes can share it."""
        with self._lock:
            return {"tokens": self.tokens}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `export_state`."""
        with self._lock:
            self.tokens = min(self.capacity, max(0.0, float(state["tokens"])))
