"""A retry budget: retries of one scope are paid from a bucket that only successes fill again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from launcher_recovery import checks
from launcher_recovery.clock import Clock
from launcher_recovery.rows import KeptRow, Row


@dataclass(frozen=True)
class Level:
    """What is in the bucket, and when the next probe may go, in seconds since the epoch; None: it was not empty yet."""

    tokens: float
    next_probe_at: float | None = None


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
        row: where its level is kept; default: in this object. See `sharing.shared_budget`.

    Raises:
        RecoveryConfigError: a number is negative, or an argument of another kind.
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
        row: KeptRow | None = None,
    ) -> None:
        given = {
            "capacity": capacity,
            "retry_cost": retry_cost,
            "timeout_cost": timeout_cost,
            "gain": gain,
            "probe_interval": probe_interval,
        }
        for name, value in given.items():
            checks.number(name, value)
        checks.text("scope", scope)
        checks.instance("clock", clock, Clock)
        self.capacity = float(capacity)
        self.retry_cost = float(retry_cost)
        self.timeout_cost = float(timeout_cost)
        self.gain = float(gain)
        self.probe_interval = float(probe_interval)
        self.scope = scope
        self._clock = clock or Clock()
        self._row = row or KeptRow()
        self.is_shared = self._row.is_shared
        """Whether other processes have a part in it; then what asks or pays may block for a moment."""
        self._level = Level(self.capacity)

    @property
    def tokens(self) -> float:
        """What is left, as this object knew last."""
        return self._level.tokens

    def take(self, *, timed_out: bool = False) -> float | None:
        """Pay for a retry: what it cost, or None when there is not enough left."""
        cost = self.timeout_cost if timed_out else self.retry_cost
        now = self._clock.time()

        def pay(level: Level) -> Level:
            if level.tokens >= cost:
                return replace(level, tokens=level.tokens - cost)
            if level.next_probe_at is None:
                return replace(level, next_probe_at=now + self.probe_interval)
            return level

        before = self._change(pay)
        return cost if before.tokens >= cost else None

    def admit(self) -> float:
        """Ask again after the bucket was empty: 0 when the retry may go now, else seconds to wait."""
        now = self._clock.time()

        def go(level: Level) -> Level:
            if level.tokens >= self.retry_cost:
                return replace(level, tokens=level.tokens - self.retry_cost)
            return level if self._wait(level, now) > 0 else replace(level, next_probe_at=now + self.probe_interval)

        before = self._change(go)
        return 0.0 if before.tokens >= self.retry_cost else self._wait(before, now)

    def _wait(self, level: Level, now: float) -> float:
        """Seconds until the next probe."""
        wait = 0.0 if level.next_probe_at is None else level.next_probe_at - now
        # One that is further ahead than it can be is from before the clock was set back.
        return wait if 0 < wait <= self.probe_interval else 0.0

    def succeeded(self, paid: float) -> None:
        """A call worked; `paid` is what its last retry had cost, 0 when there was none."""
        # Read without the lock: a full bucket, the usual case, stays as it is.
        if self._level.tokens >= self.capacity and not self.is_shared:
            return
        self._change(lambda level: replace(level, tokens=min(self.capacity, level.tokens + (paid or self.gain))))

    def _change(self, transition: Callable[[Level], Level]) -> Level:
        """Make a transition; what was before."""
        before = self._level
        now = self._clock.time()

        def change(row: Row | None) -> Row | None:
            nonlocal before
            before = self._level_of(row)  # the last time that it is called is the one that counts
            after = transition(before)
            return None if after == before else {**vars(after), "updated_at": now}

        with self._row.turn:
            self._level = self._level_of(self._row.change(change))
        return before

    def _level_of(self, row: Row | None) -> Level:
        return Level(self.capacity) if row is None else Level(min(self.capacity, row["tokens"]), row["next_probe_at"])
