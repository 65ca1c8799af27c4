"""Whether and when the next attempt of a call may begin: its wait, its budget, its breaker, its deadline."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, TypeVar

from launcher_recovery.classification import Verdict
from launcher_recovery.clock import Clock
from launcher_recovery.effects import Call, Effect
from launcher_recovery.endings import moment
from launcher_recovery.errors import RecoveryStateError, RecoveryTimeoutError, StoreError, text_of
from launcher_recovery.handles import Shortage
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Limit, Operation, made_current
from launcher_recovery.policy import (
    Decision,
    GiveUp,
    Policy,
    RetryAt,
    RetryWhen,
    Rules,
    counts_for_breaker,
    decide,
    reader,
)
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor

T = TypeVar("T")

# How often it is looked whether what an operation waits for is there, such as room on the disk.
LOOK_S = 5.0
# A wait that ends with a deadline lasts so long at least, whatever the clock rounds off.
_MOMENT_S = 0.001

logger = logging.getLogger("launcher_recovery")


class Admission:
    """What one call goes by; its policy is read anew for every decision.

    Args:
        lifecycle: where the operation changes.
        clock: source of time.
        live: the call.
        rules: its policy.
    """

    def __init__(self, lifecycle: Lifecycle, clock: Clock, live: Operation, rules: Rules) -> None:
        self._lifecycle = lifecycle
        self._clock = clock
        self._live = live
        self._read = reader(rules)
        self._deadline_of_wait = self.policy.deadline
        self._in_vain = 0
        self.last_error: Exception | None = None
        """What the last attempt of this call failed with, until the next one begins."""

    @property
    def policy(self) -> Policy:
        """As it is now."""
        return self._read()

    # -- before an attempt --------------------------------------------------------------------------

    def seconds_to_wait(self, data: RecoveryData) -> Generator[Effect, Any, float]:
        """Seconds until the next attempt is due, or until it is to be looked whether it is."""
        if data.next_attempt_at is None:
            return (yield from self._seconds_of_shortage(data))
        self._lifecycle.end_shortage(data.operation_id)  # a person has ended that wait
        breaker = self.policy.breaker
        if data.waiting_for is WaitingFor.BREAKER and breaker is not None:
            yield from self._ask(breaker.refresh)
            if not breaker.is_open():
                return 0.0  # the probe of another operation got through, perhaps of another process
        return data.next_attempt_at.timestamp() - self._clock.time()

    def _seconds_of_shortage(self, data: RecoveryData) -> Generator[Effect, Any, float]:
        """Seconds until it is to be looked again whether what is missing is there; 0 when nothing is missing."""
        shortage = self._lifecycle.shortage_of(data)
        if shortage is None or data.state is not RecoveryState.RECOVERING:
            return 0.0
        deadline, now = self.policy.deadline, self._clock.monotonic()
        left = LOOK_S if deadline is None else deadline - self._age(data)
        if left > 0 and now >= shortage.look_at:
            missing = yield Call(functools.partial(_look, shortage.until, data.title))
            if missing is None:
                self._lifecycle.end_shortage(data.operation_id)
                return 0.0
            shortage.look_at = now + LOOK_S
            yield from self._explain(data.operation_id, shortage, missing)
        return max(_MOMENT_S, min(shortage.look_at - now, left))

    def _explain(self, operation_id: str, shortage: Shortage, missing: str) -> Generator[Effect, Any, None]:
        if missing == shortage.told:
            return
        shortage.told = missing
        try:
            yield Call(lambda: self._lifecycle.explain(operation_id, missing))
        except (RecoveryStateError, StoreError):
            return  # it changed meanwhile, and the loop looks again; or what was told before has to do

    def ends_too_late(self, data: RecoveryData, seconds: float) -> bool:
        """Whether a wait that has `seconds` to go ends past a deadline that was set since it began."""
        if data.state is RecoveryState.RECOVERING and data.next_attempt_at is None:
            # Nobody knows when it ends, so that it was begun whatever the deadline is.
            return self.policy.deadline is not None and self._age(data) >= self.policy.deadline
        if data.state is not RecoveryState.RECOVERING or self.policy.deadline == self._deadline_of_wait:
            return False
        return self._is_too_late(data, seconds)

    def ask(self, data: RecoveryData) -> Generator[Effect, Any, tuple[Exception | None, bool]]:
        """Ask the budget and the breaker: the error with which the attempt is refused, and whether to look again."""
        live, policy = self._live, self.policy
        if live.unpaid is not None and policy.budget is not None:
            wait = yield from self._ask(policy.budget.admit)
            if wait > 0:
                if self._is_too_late(data, wait):
                    return live.unpaid, False
                text = "Too much has failed lately, so that retries are spread out."
                yield from self.hold(wait, WaitingFor.SLOT, text)
                return None, True
            live.unpaid = None
        breaker = policy.breaker
        if breaker is None:
            return None, False
        refused_s = yield from self._ask(functools.partial(breaker.acquire, live))
        if refused_s <= 0:
            return None, False
        if policy.wait_for_breaker and not self._is_too_late(data, refused_s):
            text = f"{breaker.scope or 'The other side'} has failed repeatedly and is left alone for a while."
            breaker.tell(live.wake)
            yield from self.hold(refused_s, WaitingFor.BREAKER, text)
            return None, True
        return breaker.refusal(live.data.title, refused_s), False

    def hold(self, seconds: float | None, waiting_for: WaitingFor, explanation: str) -> Generator[Effect, Any, None]:
        """Put off the next attempt; see `Lifecycle.hold`."""
        self._deadline_of_wait = self.policy.deadline
        operation_id = self._live.operation_id
        try:
            yield Call(lambda: self._lifecycle.hold(operation_id, seconds, waiting_for, explanation))
        except RecoveryStateError:
            return  # it changed meanwhile; the loop looks again

    def let_go(self) -> None:
        """Free the place of the probe, if this call is it."""
        if self.policy.breaker is not None:
            self.policy.breaker.release(self._live)

    # -- the attempt --------------------------------------------------------------------------------

    def begin(self, *, is_new: bool = False) -> None:
        """Note that an attempt begins now; `live.data` is its record. `is_new`: its operation began just now."""
        live, policy = self._live, self.policy
        self.last_error = None
        live.moved = False
        live.began = moment()
        # `wake` is left as it is: whoever paused or cancelled right after the claim is to be heard.
        seconds, live.limit = self._time_limit(live, policy, is_new)
        live.attempt_ends_at = None if seconds is None else self._clock.monotonic() + seconds
        breaker = policy.breaker
        # The far end works as soon as something moves: those that wait for this probe need not see it end.
        live.on_moved = None if breaker is None else functools.partial(breaker.success, live)

    def worked(self) -> Generator[Effect, Any, None]:
        """The attempt ended well: tell the breaker and the budget."""
        policy, live = self.policy, self._live
        if policy.breaker is not None:
            yield from self._ask(functools.partial(policy.breaker.success, live))
        if policy.budget is not None:
            yield from self._ask(functools.partial(policy.budget.succeeded, live.paid))

    def failed(self, verdict: Verdict) -> Generator[Effect, Any, None]:
        """The attempt failed: tell the breaker."""
        policy, live = self.policy, self._live
        breaker = policy.breaker
        if breaker is None:
            return
        if live.moved:  # the far end works, however badly
            tell = breaker.success
        elif counts_for_breaker(policy, verdict):
            tell = breaker.failure
        else:
            tell = breaker.release
        yield from self._ask(functools.partial(tell, live))

    # -- after a failure ----------------------------------------------------------------------------

    def decide(self, error: Exception, verdict: Verdict, fruitless: int) -> Generator[Effect, Any, Decision]:
        """What follows a failed attempt, paid for if it is another one."""
        live, policy = self._live, self.policy
        in_vain = 1 if live.moved else self._in_vain + 1

        def ask_strategy() -> Decision:
            age, previous = self._age(live.data), live.waited_last
            with made_current(live):
                return decide(policy, error, verdict, fruitless=fruitless, age=age, previous=previous, in_vain=in_vain)

        live.as_failed = functools.partial(self._lifecycle.as_failed, error=error, category=verdict.category.value)
        try:
            # A strategy may look at the history, which is in the store.
            decision: Decision = yield Call(ask_strategy)
        finally:
            live.as_failed = None  # it holds the error
        self._in_vain = in_vain if isinstance(decision, RetryWhen) else 0
        if isinstance(decision, RetryAt) and policy.budget is not None:
            decision = yield from self._ask(functools.partial(self._pay, decision, error))
        return decision

    def missing(self, decision: Decision) -> Generator[Effect, Any, str | None]:
        """What is missing here, as a sentence, when that is to be waited for."""
        if not isinstance(decision, RetryWhen):
            return None
        found: str | None = yield Call(functools.partial(_look, decision.until, self._live.data.title))
        return found

    def waits(self, retry: RetryAt | RetryWhen, error: Exception, missing: str | None) -> None:
        """A wait begins that was decided upon; people were told what is missing, if something is."""
        policy, live = self.policy, self._live
        self.last_error = error
        self._deadline_of_wait = policy.deadline
        live.waited_last = retry.delay
        if isinstance(retry, RetryWhen):
            live.paid = 0.0  # it cost the other side nothing
            delay = retry.delay if missing is None else max(retry.delay, LOOK_S)
            self._lifecycle.keep_shortage(live, Shortage(retry.until, self._clock.monotonic() + delay, missing))
            return
        if retry.waiting_for is WaitingFor.BREAKER and policy.breaker is not None:
            policy.breaker.tell(live.wake)

    def _pay(self, retry: RetryAt, error: Exception) -> RetryAt | GiveUp:
        """Take the price of a retry from the budget; without one, give up, or wait longer."""
        live, policy = self._live, self.policy
        budget = policy.budget
        assert budget is not None
        paid = budget.take(timed_out=isinstance(error, TimeoutError))
        if paid is not None:
            live.paid = paid
            return retry
        live.paid = 0.0
        if not policy.wait_for_breaker:
            return GiveUp(RecoveryState.EXHAUSTED)
        live.unpaid = error
        delay = max(retry.delay, budget.probe_interval)
        if self._is_too_late(live.data, delay):
            return GiveUp(RecoveryState.EXHAUSTED)
        return replace(retry, delay=delay, waiting_for=WaitingFor.SLOT)

    def _ask(self, function: Callable[[], T]) -> Generator[Effect, Any, T]:
        """Call what asks or tells the breaker or the budget; one that is shared through a store may block."""
        if self.policy.is_shared:
            result: T = yield Call(function)
            return result
        return function()

    # -- time ---------------------------------------------------------------------------------------

    def _time_limit(self, live: Operation, policy: Policy, is_new: bool) -> tuple[float | None, Limit | None]:
        """Seconds that an attempt may take that begins now, and what sets them."""
        seconds = policy.timeout
        limit = None if policy.timeout is None else Limit(policy.timeout)
        if policy.deadline is not None:
            left = policy.deadline - self._age(live.data)
            # One that begins after the deadline was held up, by a pause or a restart; but 0 is no time for anything.
            is_due = left > 0 or is_new or policy.deadline == 0
            if is_due and (seconds is None or left < seconds):
                return max(0.0, left), Limit(policy.deadline, is_deadline=True)
        return seconds, limit

    def too_late(self) -> RecoveryTimeoutError:
        """The error of an operation whose deadline is over before an attempt could begin."""
        self._live.limit = Limit(self.policy.deadline or 0.0, is_deadline=True)
        return self._live.too_late()

    def _age(self, data: RecoveryData) -> float:
        """Seconds for which the operation has been under way, since a person began it last."""
        return self._clock.time() - (data.begun_at or data.created_at).timestamp()

    def _is_too_late(self, data: RecoveryData, seconds: float) -> bool:
        """Whether the operation would be past its deadline after a wait of `seconds`."""
        deadline = self.policy.deadline
        return deadline is not None and self._age(data) + seconds > deadline


def _look(until: Callable[[], str | None], title: str) -> str | None:
    """What is missing; nothing, when that cannot be found out: an attempt does."""
    try:
        return until()
    except Exception as problem:
        kind = type(problem).__name__
        logger.warning("what %s waits for cannot be looked for, it is tried: %s: %s", title, kind, text_of(problem))
        return None
