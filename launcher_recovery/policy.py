"""The pure decision: given a failed attempt, is there another one, when, and what is being waited for."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from launcher_recovery import checks
from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.budget import RetryBudget
from launcher_recovery.bulkhead import Bulkhead
from launcher_recovery.classification import UNKNOWN_RULE, ErrorCategory, ErrorClassifier, Retry, Verdict
from launcher_recovery.errors import text_of
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.strategies import ExponentialBackoffStrategy, Strategy, strategy_of

# No date has room for more; a strategy without a limit of its own gets there.
_LONGEST_WAIT_S = 10 * 366 * 86400.0

# What is waited when a strategy cannot say.
_PLAIN = ExponentialBackoffStrategy()

logger = logging.getLogger("launcher_recovery")

Classify = Callable[[BaseException], Verdict]


@dataclass(frozen=True)
class Policy:
    """How an operation is retried.

    Args:
        max_attempts: attempts that may fail; which of them count, says `progress_renews`.
        strategy: gives the waits: a `Strategy`, or a function from the number of the attempt to seconds.
        classify: from an error to a verdict.
        timeout: seconds that one attempt may take; None: no limit.
        deadline: seconds from the creation of the operation after which no attempt begins; None: no limit.
        unknown_attempts: like `max_attempts`, for errors that no rule knows.
        wait_for_breaker: an open breaker means waiting (True) or giving up (False).
        wait_for_resources: when a verdict says what is missing here, such as room on the disk, wait until that is
            there, however long it takes (True), or do as the verdict's `retry` says (False).
        raise_original: give up with the original error (True) or with `RecoveryExhaustedError`.
        breaker: the circuit breaker of this operation, if any.
        every_failure_counts: for the breaker, every failed attempt counts except those that say that the call
            itself was wrong (True), or only those that speak about the far end (False).
        progress_renews: an attempt that reported progress, or finished a step, begins the count of failed attempts
            anew (True), or is one of them (False).
        budget: what retries are paid from, if anything; when it is empty, the operation waits or gives up as
            `wait_for_breaker` says.
        bulkheads: limits on how many run at a time; entered in this order, so the narrowest goes first.
        policies: by category (or its text), a policy in whose terms errors of that category are decided instead (its
            `max_attempts`, `strategy`, `deadline`, `unknown_attempts`); None as value: never retried.

    Raises:
        RecoveryConfigError: a field is of another kind or out of its range.
    """

    max_attempts: int = 4
    strategy: Strategy = field(default_factory=ExponentialBackoffStrategy)
    classify: Classify = field(default_factory=lambda: ErrorClassifier().classify)
    timeout: float | None = None
    deadline: float | None = None
    unknown_attempts: int | None = None
    wait_for_breaker: bool = False
    wait_for_resources: bool = False
    raise_original: bool = True
    breaker: CircuitBreaker | None = None
    every_failure_counts: bool = False
    progress_renews: bool = True
    budget: RetryBudget | None = None
    bulkheads: Sequence[Bulkhead] = ()
    policies: Mapping[ErrorCategory, Policy | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategy", strategy_of(self.strategy))
        object.__setattr__(self, "policies", by_category(self.policies))
        checks.whole("max_attempts", self.max_attempts, 1)
        if self.unknown_attempts is not None:
            checks.whole("unknown_attempts", self.unknown_attempts, 1)
        checks.limit("timeout", self.timeout)
        checks.limit("deadline", self.deadline)
        checks.function("classify", self.classify, "a function from an error to a verdict")
        checks.instance("breaker", self.breaker, CircuitBreaker)
        checks.instance("budget", self.budget, RetryBudget)
        for bulkhead in self.bulkheads:
            checks.instance("bulkheads", bulkhead, Bulkhead)

    @property
    def is_shared(self) -> bool:
        """Whether the breaker or the budget is shared through a store, so that it may block."""
        return any(limit is not None and limit.is_shared for limit in (self.breaker, self.budget))

    @property
    def holds_back(self) -> bool:
        """Whether a first attempt may have to wait."""
        breaker = self.breaker
        return bool(self.bulkheads) or (breaker is not None and (breaker.is_shared or not breaker.is_closed))


def by_category(given: Any) -> dict[ErrorCategory, Policy | None]:
    """`policies` as it was given, where a category may also be named by its text."""
    if not isinstance(given, Mapping):
        raise checks.refused("policies", given, "a mapping from ErrorCategory to a Policy, or to None")
    found: dict[ErrorCategory, Policy | None] = {}
    for key, policy in given.items():
        try:
            category = ErrorCategory(key)
        except ValueError:
            names = ", ".join(category.value for category in ErrorCategory)
            raise checks.refused(
                "policies", given, f"by category, and {checks.shown(key)} is none of {names}"
            ) from None
        if policy is not None and not isinstance(policy, Policy):
            expected = f"a Policy, or None for errors that are never retried, at {category.value}"
            raise checks.refused("policies", given, expected)
        found[category] = policy
    return found


Rules = Union[Policy, Callable[[], Policy]]
"""A policy, or what gives it as it is now."""


def reader(rules: Rules) -> Callable[[], Policy]:
    """What gives the policy as it is now."""
    return (lambda: rules) if isinstance(rules, Policy) else rules


@dataclass(frozen=True)
class RetryAt:
    """Try again `delay` seconds from now."""

    delay: float
    waiting_for: WaitingFor


@dataclass(frozen=True)
class RetryWhen:
    """Try again as soon as `until` gives None, which is asked for the first time `delay` seconds from now."""

    until: Callable[[], str | None]
    waiting_for: WaitingFor
    delay: float = 0.0


@dataclass(frozen=True)
class GiveUp:
    """No further attempt; `state` is FAILED (a retry would not help) or EXHAUSTED."""

    state: RecoveryState


Decision = Union[RetryAt, RetryWhen, GiveUp]


def counts_for_breaker(policy: Policy, verdict: Verdict) -> bool:
    """Whether the failure counts for the circuit breaker."""
    if verdict.about_far_end:
        return True
    return policy.every_failure_counts and not (
        verdict.category.broad is ErrorCategory.VALIDATION or verdict.category is ErrorCategory.CANCELLED
    )


def _for_category(policy: Policy, category: ErrorCategory) -> Policy | None:
    """The policy in whose terms an error of this category is decided; None: it is not retried."""
    for key in (category, category.broad):
        if key in policy.policies:
            return policy.policies[key]
    return policy


def limit_for(policy: Policy, verdict: Verdict) -> int:
    """Attempts in a row without progress that this verdict allows."""
    policy = _for_category(policy, verdict.category) or policy
    limit = policy.max_attempts
    if verdict.category is ErrorCategory.UNKNOWN and policy.unknown_attempts is not None:
        limit = min(limit, policy.unknown_attempts)
    # That no rule knows an error is no reason against more attempts for a caller who asks for them.
    if verdict.retry is Retry.ONCE and verdict.rule != UNKNOWN_RULE:
        limit = min(limit, 2)
    return limit


def _opinion(policy: Policy, error: Exception, number: int) -> bool | None:
    """What a strategy says that decides alone (when it cannot, no); None when it leaves it to the verdict."""
    if not policy.strategy.decides:
        return None
    try:
        return bool(policy.strategy.should_retry(error, number, policy.max_attempts))
    except Exception as problem:
        logger.warning("%s raised %s: there is no retry", _method(policy.strategy, "should_retry"), _words(problem))
        return False


def _delay(strategy: Strategy, number: int, previous: float) -> float:
    """The strategy's wait in seconds, or that of the default backoff when it gives none."""
    try:
        delay = strategy.next_delay(number, previous)
        # Compared before it is converted: an int may be larger than any float.
        if isinstance(delay, (int, float)) and 0 <= delay < math.inf:
            return float(min(delay, _LONGEST_WAIT_S))
        found = f"gave {delay!r}, which is no finite number of at least 0"
    except Exception as problem:
        found = f"raised {_words(problem)}"
    instead = _PLAIN.calculate_delay(number)
    logger.warning("%s %s: the default wait of %g s is taken", _method(strategy, "calculate_delay"), found, instead)
    return instead


def _method(strategy: Strategy, method: str) -> str:
    """What is at fault, with the name that the strategy was given, if any."""
    name = getattr(strategy, "name", None)
    return f"{method} of the strategy {type(strategy).__qualname__}" + (f" {name!r}" if isinstance(name, str) else "")


def _words(problem: Exception) -> str:
    return f"{type(problem).__name__}: {text_of(problem)}"


def decide(
    policy: Policy,
    error: Exception,
    verdict: Verdict,
    *,
    fruitless: int,
    age: float,
    previous: float = 0.0,
    in_vain: int = 1,
) -> Decision:
    """What follows an attempt that failed.

    Args:
        error, verdict: what happened, and what classification says of it.
        fruitless: how many attempts in a row, this one included, failed without progress; 0 when this one
            moved something.
        age: seconds since the operation was created.
        previous: the wait before this attempt in seconds, for strategies whose waits build on each other.
        in_vain: how many attempts in a row, this one included, failed without progress because something was missing
            here. Such attempts are as many as it takes, but the more there are, the later the next one is: what is
            missing may not be what is looked at.

    A strategy that overrides `should_retry` decides alone; otherwise the verdict decides and the strategy gives
    the delay. `Retry-After` is a lower bound of any delay. A strategy that raises, or gives no usable number, is
    named in a warning: then there is no retry, or the delay is that of the default backoff.
    """
    breaker = policy.breaker
    wait_for_breaker, whole = policy.wait_for_breaker, policy.deadline
    until = verdict.until if policy.wait_for_resources else None
    chosen = _for_category(policy, verdict.category)
    if chosen is None:
        return GiveUp(RecoveryState.FAILED)
    policy, is_special = chosen, chosen is not policy
    # `fruitless` stands in for the attempt number, so that progress resets the count for it as well.
    number = max(1, fruitless)
    says = _opinion(policy, error, number)
    if says is False:
        return GiveUp(RecoveryState.EXHAUSTED if fruitless >= policy.max_attempts else RecoveryState.FAILED)
    limits = [limit for limit in (whole, policy.deadline) if limit is not None]
    if until is not None:
        if any(age >= limit for limit in limits):
            return GiveUp(RecoveryState.EXHAUSTED)
        delay = 0.0 if in_vain <= 1 else _delay(policy.strategy, in_vain - 1, previous)
        return RetryWhen(until, verdict.waiting_for or WaitingFor.BACKOFF, delay)
    if says is None:
        if verdict.retry in (Retry.NO, Retry.AFTER_FIX) and not is_special:
            return GiveUp(RecoveryState.FAILED)
        if fruitless >= limit_for(policy, verdict):
            return GiveUp(RecoveryState.EXHAUSTED)
    delay = _delay(policy.strategy, number, previous)
    waiting_for = WaitingFor.BACKOFF
    if verdict.wait_s is not None and verdict.wait_s >= delay:
        delay, waiting_for = verdict.wait_s, WaitingFor.RETRY_AFTER
    if breaker is not None and breaker.is_open():
        if not wait_for_breaker:
            return GiveUp(RecoveryState.EXHAUSTED)
        if breaker.timeout_remaining > delay:
            delay, waiting_for = breaker.timeout_remaining, WaitingFor.BREAKER
    if any(age + delay > limit for limit in limits):
        return GiveUp(RecoveryState.EXHAUSTED)
    return RetryAt(delay, waiting_for)
