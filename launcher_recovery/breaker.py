"""A circuit breaker: after repeated failures of one scope, nothing is sent there until a probe succeeds."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakSet

from launcher_recovery import checks
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.condition import SLICES, UNTRIED, CircuitState, Condition
from launcher_recovery.errors import CircuitBreakerOpenError
from launcher_recovery.rows import KeptRow, Row

__all__ = ["CircuitBreaker", "CircuitState"]

# A time of opening that is so many seconds ahead is one from before the clock was set back.
_SKEW_S = 1.0


class CircuitBreaker:
    """Opens after repeated failures, lets one probe through after `timeout` seconds.

    It opens after `threshold` failures in a row; with `failure_rate` also when, of at least `minimum_calls` calls
    in the last `window_s` seconds, that share or more has failed.

    Args:
        threshold: consecutive failures that open it.
        timeout: seconds until a probe may go.
        scope: what it guards, such as a host name.
        operation_type: the kind of operation.
        failure_rate: share of failures, above 0 and at most 1; None: only failures in a row count.
        window_s: seconds over which the share is taken.
        minimum_calls: calls below which the share says nothing.
        clock: source of time.
        on_change: called with the breaker after each change of state that was made through it.
        row: where its condition is kept; default: in this object. See `sharing.shared_breaker`.

    The argument `call` of its methods says who asks, so that only the probe can free the probe's place; None
    stands for whoever the probe of this object is. What asks nobody (`is_closed`, `is_open`, `timeout_remaining`) is
    as this object knew last; `refresh` looks at what others have done.

    Raises:
        RecoveryConfigError: an argument is of another kind or out of its range.
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
        row: KeptRow | None = None,
    ) -> None:
        checks.whole("threshold", threshold, 1)
        checks.number("timeout", timeout)
        checks.text("scope", scope)
        checks.text("operation_type", operation_type)
        if failure_rate is not None and not 0 < checks.number("failure_rate", failure_rate) <= 1:
            raise checks.refused("failure_rate", failure_rate, "above 0 and at most 1")
        if checks.number("window_s", window_s) == 0:
            raise checks.refused("window_s", window_s, "above 0")
        checks.whole("minimum_calls", minimum_calls, 1)
        checks.instance("clock", clock, Clock)
        self.threshold = threshold
        self.timeout = timeout
        self.scope = scope
        self.operation_type = operation_type
        self.failure_rate = failure_rate
        self.window_s = window_s
        self.minimum_calls = minimum_calls
        self.state = CircuitState.CLOSED
        self.failure_count = 0
        self._clock = clock or Clock()
        self._on_change = on_change
        self._row = row or KeptRow()
        self.is_shared = self._row.is_shared
        """Whether other processes have a part in it; then what asks or reports may block for a moment."""
        self._condition = UNTRIED
        # When it opened, by the clock that nobody sets.
        self._opened = 0.0
        self._claimed: int | None = None
        self._probe: object | None = None
        self._waiting: WeakSet[Wake] = WeakSet()
        self._waiting_lock = threading.Lock()

    # -- asking and reporting -------------------------------------------------------------------------

    def acquire(self, call: object | None = None) -> float:
        """Ask to make a call: 0 when it may go (half-open: this call is the probe), else seconds to wait."""
        if self.is_closed and not self.is_shared:  # without the lock: who comes in this very moment may still go
            return 0.0
        with self._row.turn:
            self.refresh()
            while not self.is_closed:
                if (remaining := self.timeout_remaining) > 0:
                    return remaining
                # Open and due, or half-open with a probe that will not report any more: a new probe.
                before = self._claim(self._condition.generation)
                if before is not None:
                    self._claimed, self._probe = self._condition.generation, call
                    break
            else:
                return 0.0
        if before.state is not CircuitState.HALF_OPEN:
            self._changed()
        return 0.0

    def _claim(self, generation: int) -> Condition | None:
        """Take the probe's place: what was before, None if somebody else was faster."""
        now, owner_id = self._clock.time(), self._row.enter()

        def claimed(condition: Condition) -> Condition:
            if condition.generation != generation:
                return condition
            return condition.becoming(CircuitState.HALF_OPEN, now, owner_id)

        return self._change(claimed)

    def success(self, call: object | None = None) -> None:
        """A call worked, or moved on before it failed; those that wait are woken when this closes the breaker."""
        if self.failure_rate is None and self.failure_count == 0 and self.is_closed and not self.is_shared:
            return
        now = self._clock.time()

        def worked(condition: Condition) -> Condition:
            if condition.state is not CircuitState.CLOSED:
                return replace(condition.becoming(CircuitState.CLOSED, None), failure_count=0, recent=())
            if self.failure_rate is not None:
                condition = condition.counting(now, self.window_s / SLICES, failed=False)
            return condition if condition.failure_count == 0 else replace(condition, failure_count=0)

        self._report(worked)

    def failure(self, call: object | None = None) -> None:
        """A call failed in a way that speaks about the far end."""
        now = self._clock.time()

        def failed(condition: Condition) -> Condition:
            is_probe = self._is_probe(condition, call)
            condition = replace(condition, failure_count=condition.failure_count + 1, last_failure_time=now)
            if self.failure_rate is not None:
                condition = condition.counting(now, self.window_s / SLICES, failed=True)
            # A call from before it opened, which fails later, is no answer to the probe and no new opening.
            if is_probe or (condition.state is CircuitState.CLOSED and self._is_too_much(condition)):
                return condition.becoming(CircuitState.OPEN, now)
            return condition

        self._report(failed)

    def release(self, call: object | None = None) -> None:
        """A call ended without saying anything about the far end; a probe may be tried by somebody else."""
        if self._claimed is None and not self.is_shared:
            return
        now = self._clock.time()

        def released(condition: Condition) -> Condition:
            if not self._is_probe(condition, call):
                return condition
            return condition.becoming(CircuitState.OPEN, now - self.timeout)

        with self._row.turn:  # in which a task may be that was cancelled while a thread asks for it
            has_claimed = self._claimed is not None
        if has_claimed:
            self._report(released)

    def probe_now(self) -> None:
        """Have the next call be the probe, if it is open: a person does not want to wait for that any longer."""
        now = self._clock.time()

        def due(condition: Condition) -> Condition:
            if condition.state is not CircuitState.OPEN:
                return condition
            return condition.becoming(CircuitState.OPEN, now - self.timeout)

        with self._row.turn:
            self._change(due)

    def tell(self, wake: Wake) -> None:
        """Set `wake` once, when a call may go sooner than was said."""
        with self._waiting_lock:
            self._waiting.add(wake)

    # -- how it is ------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether every call may go; failures are counted."""
        return self.state is CircuitState.CLOSED

    def is_open(self) -> bool:
        """Whether a call would be held back now."""
        return self.timeout_remaining > 0

    @property
    def timeout_remaining(self) -> float:
        """Seconds until the next probe; 0 when closed."""
        if self.is_closed:
            return 0.0
        return max(0.0, self._opened + self.timeout - self._clock.monotonic())

    @property
    def last_failure_time(self) -> float | None:
        """When a call failed last, in seconds since the epoch."""
        return self._condition.last_failure_time

    def refresh(self) -> None:
        """Look at what other processes have done; those that wait here are woken when they may go sooner."""
        if not self.is_shared:
            return
        with self._row.turn:
            self._adopt(Condition.of(self._row.look()))
            condition = self._condition
            if self._has_lost_probe(condition):
                self._opened = self._clock.monotonic() - self.timeout
                self._wake_all()
            self._mend(condition)

    def _has_lost_probe(self, condition: Condition) -> bool:
        """Whether the others wait for a probe of a process that is no more."""
        if condition.state is not CircuitState.HALF_OPEN or condition.probe_owner is None or not self.is_open():
            return False
        return condition.generation != self._claimed and self._row.is_gone(condition.probe_owner)

    def _mend(self, ahead: Condition) -> None:
        """Count from now if the clock was set back behind the opening: who comes later must not begin anew again."""
        now = self._clock.time()
        if ahead.opened_at is not None and ahead.opened_at > now + _SKEW_S:
            self._change(lambda found: replace(found, opened_at=now) if found == ahead else found)

    def refusal(self, title: str, seconds: float) -> CircuitBreakerOpenError:
        """What a caller gets that may not go for so many seconds; `title` is what is guarded if it has no scope."""
        name, left = self.scope or title, f"for another {max(1, math.ceil(seconds))} s"
        if self.state is CircuitState.HALF_OPEN:
            text = f"{name} has failed before and is being tried by one call at the moment; the others are left out"
            return CircuitBreakerOpenError(f"{text} until that has ended, or {left}", seconds)
        times = "once" if self.failure_count == 1 else f"{self.failure_count} times in a row"
        if self.failure_count < self.threshold:  # opened by the rate
            calls, failures = self._condition.counted
            times = f"in {failures} of its last {calls} calls"
        return CircuitBreakerOpenError(f"{name} has failed {times} and is left alone {left}", seconds)

    # -- inside ---------------------------------------------------------------------------------------

    def _report(self, transition: Callable[[Condition], Condition]) -> None:
        with self._row.turn:
            before = self._change(transition)
            changed = before is not None and before.state is not self._condition.state
        if changed:
            self._changed()

    def _change(self, transition: Callable[[Condition], Condition]) -> Condition | None:
        """Make a transition; what was before, None if nothing changed."""
        made: Condition | None = None
        now = self._clock.time()

        def change(row: Row | None) -> Row | None:
            nonlocal made
            before = Condition.of(row)
            after = transition(before)
            made = None if after == before else before  # the last time that it is called is the one that counts
            return None if after == before else after.row(now)

        self._adopt(Condition.of(self._row.change(change)))
        return made

    def _adopt(self, condition: Condition) -> None:
        """Note how it is now, which this or another process brought about."""
        before, self._condition = self._condition, condition
        if condition.generation != self._claimed:
            self._claimed = self._probe = None
        if condition.opened_at is not None:
            # By the wall clock where it speaks for less: one that was set back must not keep it open for longer.
            opened = self._clock.monotonic() - max(0.0, self._clock.time() - condition.opened_at)
            is_known = condition.generation == before.generation and before.opened_at is not None
            self._opened = min(self._opened, opened) if is_known else opened
        self.failure_count = condition.failure_count
        self.state = condition.state
        if condition.generation != before.generation and not self.is_open():
            self._wake_all()

    def _is_probe(self, condition: Condition, call: object | None) -> bool:
        if condition.state is not CircuitState.HALF_OPEN or condition.generation != self._claimed:
            return False
        return call is None or self._probe is None or self._probe is call

    def _is_too_much(self, condition: Condition) -> bool:
        if condition.failure_count >= self.threshold:
            return True
        calls, failures = condition.counted
        if self.failure_rate is None or calls < self.minimum_calls:
            return False
        return failures >= self.failure_rate * calls

    def _wake_all(self) -> None:
        with self._waiting_lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for wake in waiting:
            wake.set()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)
