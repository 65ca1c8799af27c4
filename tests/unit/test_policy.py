"""The decision after a failed attempt: another one or not, when, and what is waited for."""

from __future__ import annotations

import random
from typing import Any

import pytest

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.classification import ErrorCategory, ErrorClassifier, Retry, Verdict
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.policy import Decision, GiveUp, Policy, RetryAt, RetryWhen, decide, limit_for
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.strategies import CustomStrategy, ExponentialBackoffStrategy, FixedDelayStrategy, Strategy
from launcher_recovery.testing import VirtualClock

ERROR = ConnectionError("gone")
FAILED, EXHAUSTED = GiveUp(RecoveryState.FAILED), GiveUp(RecoveryState.EXHAUSTED)


def verdict(
    retry: Retry = Retry.YES, wait_s: float | None = None, category: ErrorCategory = ErrorCategory.NETWORK
) -> Verdict:
    return Verdict(category, retry, "test", "It broke.", wait_s)


def decision(
    said: Verdict | None = None,
    *,
    fruitless: int = 1,
    age: float = 0,
    breaker: CircuitBreaker | None = None,
    **given: Any,
) -> Decision:
    policy = Policy(**{"strategy": FixedDelayStrategy(10), "breaker": breaker, **given})
    return decide(policy, ERROR, said or verdict(), fruitless=fruitless, age=age)


def missing(retry: Retry = Retry.AFTER_FIX) -> Verdict:
    """The verdict on what failed because something is missing here."""
    return Verdict(
        ErrorCategory.RESOURCE, retry, "test", "Full.", waiting_for=WaitingFor.DISK_SPACE, until=lambda: "Full."
    )


@pytest.mark.parametrize("retry", list(Retry))
@pytest.mark.parametrize("fruitless", [0, 1, 100])
def test_what_is_missing_is_waited_for(retry: Retry, fruitless: int) -> None:
    """The launcher's policy waits for it, however often that was so before and whatever would be done else."""
    said = missing(retry)
    assert said.until is not None
    expected = RetryWhen(said.until, WaitingFor.DISK_SPACE, 0.0)
    assert decision(said, fruitless=fruitless, max_attempts=4, wait_for_resources=True) == expected


def test_what_is_missing_is_not_waited_for_unless_asked() -> None:
    """A bare policy does what the verdict says without it."""
    assert decision(missing()) == FAILED
    assert decision(missing(Retry.YES)) == RetryAt(10, WaitingFor.BACKOFF)
    assert decision(missing(Retry.YES), fruitless=4, max_attempts=4) == EXHAUSTED


@pytest.mark.parametrize(("in_vain", "delay"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (20, 60)])
def test_the_more_in_vain_the_later_it_looks(in_vain: int, delay: float) -> None:
    """When attempts fail again at once although all seems to be there, they become as rare as other retries."""
    policy = Policy(wait_for_resources=True)
    found = decide(policy, ERROR, missing(), fruitless=1, age=0, in_vain=in_vain)
    assert isinstance(found, RetryWhen)
    assert found.delay == delay


@pytest.mark.parametrize(("age", "goes_on"), [(0, True), (99.9, True), (100, False), (101, False)])
def test_what_is_missing_is_waited_for_until_the_deadline(age: float, goes_on: bool) -> None:
    """A wait begins as long as there is time left, since nobody knows how long it takes."""
    found = decision(missing(), age=age, deadline=100, wait_for_resources=True)
    assert isinstance(found, RetryWhen) if goes_on else found == EXHAUSTED


def test_who_else_decides_about_what_is_missing() -> None:
    """A strategy that decides alone, and a category that is never retried, go before."""
    given: dict[str, Any] = {"wait_for_resources": True}
    assert decision(missing(), strategy=Broken(False, 1), **given) == FAILED
    assert isinstance(decision(missing(), strategy=Broken(True, 1), **given), RetryWhen)
    assert decision(missing(), policies={ErrorCategory.RESOURCE: None}, **given) == FAILED
    patient = {ErrorCategory.RESOURCE: Policy(deadline=5)}
    assert decision(missing(), age=6, policies=patient, **given) == EXHAUSTED
    assert isinstance(decision(missing(), age=4, policies=patient, **given), RetryWhen)


def test_a_verdict_that_does_not_say_what_is_missing() -> None:
    """One with `until` alone waits as well."""
    said = Verdict(ErrorCategory.RESOURCE, Retry.NO, "test", "No.", until=lambda: "No.")
    found = decision(said, wait_for_resources=True)
    assert isinstance(found, RetryWhen)
    assert found.waiting_for is WaitingFor.BACKOFF


def test_defaults() -> None:
    """A policy by default is that of a bare `recoverable`: four attempts, 1, 2, 4 seconds, no limits."""
    policy = Policy()
    delays = [decide(policy, ERROR, policy.classify(ERROR), fruitless=n, age=0) for n in (1, 2, 3, 4)]
    assert delays == [
        RetryAt(1, WaitingFor.BACKOFF),
        RetryAt(2, WaitingFor.BACKOFF),
        RetryAt(4, WaitingFor.BACKOFF),
        EXHAUSTED,
    ]
    assert (policy.timeout, policy.deadline, policy.breaker, policy.raise_original) == (None, None, None, True)


@pytest.mark.parametrize("retry", [Retry.NO, Retry.AFTER_FIX])
def test_no_retry_when_it_would_not_help(retry: Retry) -> None:
    """A verdict of never, or only after a fix, fails at once, however many attempts are left."""
    assert decision(verdict(retry), max_attempts=100) == FAILED


@pytest.mark.parametrize(("fruitless", "expected"), [(0, True), (1, True), (3, True), (4, False), (5, False)])
def test_attempts_are_used_up(fruitless: int, expected: bool) -> None:
    """With at most four attempts the fourth fruitless one is the last; one that moved is always followed by another."""
    found = decision(fruitless=fruitless, max_attempts=4)
    assert found == (RetryAt(10, WaitingFor.BACKOFF) if expected else EXHAUSTED)


@pytest.mark.parametrize(
    ("retry", "category", "max_attempts", "unknown", "limit"),
    [
        (Retry.YES, ErrorCategory.NETWORK, 8, 2, 8),
        (Retry.ONCE, ErrorCategory.INTEGRITY, 8, None, 2),
        (Retry.ONCE, ErrorCategory.INTEGRITY, 1, None, 1),
        (Retry.YES, ErrorCategory.UNKNOWN, 8, None, 8),
        (Retry.YES, ErrorCategory.UNKNOWN, 8, 2, 2),
        (Retry.YES, ErrorCategory.UNKNOWN, 1, 2, 1),
    ],
)
def test_limit_of_a_verdict(
    retry: Retry, category: ErrorCategory, max_attempts: int, unknown: int | None, limit: int
) -> None:
    """Damage is tried once more, unknown errors as often as the policy says, and nothing more than its maximum."""
    said = verdict(retry, category=category)
    given = {"max_attempts": max_attempts, "unknown_attempts": unknown}
    assert limit_for(Policy(**given), said) == limit
    assert decision(said, fruitless=limit, **given) == EXHAUSTED
    if limit > 1:
        assert isinstance(decision(said, fruitless=limit - 1, **given), RetryAt)


def test_what_no_rule_knows_is_tried_as_often_as_asked_for() -> None:
    """The verdict says once, which is for callers that say so; a rule of one's own that says once is obeyed."""
    unknown = ErrorClassifier().classify(RuntimeError("odd"))
    assert (unknown.category, unknown.retry) == (ErrorCategory.UNKNOWN, Retry.ONCE)
    assert limit_for(Policy(max_attempts=8), unknown) == 8
    assert limit_for(Policy(max_attempts=8, unknown_attempts=2), unknown) == 2
    assert limit_for(Policy(max_attempts=8), verdict(Retry.ONCE, category=ErrorCategory.UNKNOWN)) == 2


def test_delay_counts_fruitless_attempts() -> None:
    """The wait grows with the attempts in a row without progress, and is that of the first after progress."""
    seen = []
    strategy = CustomStrategy(lambda attempt: seen.append(attempt) or 1.0)
    for fruitless in (0, 1, 2, 3):
        decision(fruitless=fruitless, strategy=strategy)
    assert seen == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("wait_s", "expected"),
    [
        (None, RetryAt(10, WaitingFor.BACKOFF)),
        (0, RetryAt(10, WaitingFor.BACKOFF)),
        (9.9, RetryAt(10, WaitingFor.BACKOFF)),
        (10, RetryAt(10, WaitingFor.RETRY_AFTER)),
        (500, RetryAt(500, WaitingFor.RETRY_AFTER)),
    ],
)
def test_retry_after_is_a_lower_bound(wait_s: float | None, expected: RetryAt) -> None:
    """What the server asked for is waited at least, beyond the strategy's maximum too; it never shortens a wait."""
    assert decision(verdict(wait_s=wait_s)) == expected
    jitter = ExponentialBackoffStrategy(20, max_delay=20, jitter=True, random=random.Random(1))
    for _ in range(20):
        found = decision(verdict(wait_s=wait_s), strategy=jitter)
        assert isinstance(found, RetryAt)
        assert found.delay >= (wait_s or 0)


@pytest.mark.parametrize(("age", "goes_on"), [(0, True), (90, True), (90.5, False), (200, False)])
def test_nothing_begins_after_the_deadline(age: float, goes_on: bool) -> None:
    """An attempt that would begin after the deadline is not waited for; one exactly at it is."""
    found = decision(age=age, deadline=100)
    assert found == (RetryAt(10, WaitingFor.BACKOFF) if goes_on else EXHAUSTED)


def test_retry_after_beyond_the_deadline_gives_up() -> None:
    """A server that wants more patience than there is ends the operation now, not after the wait."""
    assert decision(verdict(wait_s=101), deadline=100) == EXHAUSTED


def opened(clock: VirtualClock, timeout: float) -> CircuitBreaker:
    breaker = CircuitBreaker(1, timeout, clock=clock)
    breaker.failure()
    return breaker


def test_open_breaker_ends_retrying() -> None:
    """When the breaker has opened, retrying stops, unless the policy waits for it."""
    clock = VirtualClock()
    assert decision(breaker=opened(clock, 60)) == EXHAUSTED
    assert decision(breaker=CircuitBreaker(1, 60, clock=clock)) == RetryAt(10, WaitingFor.BACKOFF)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (60, RetryAt(60, WaitingFor.BREAKER)),
        (10, RetryAt(10, WaitingFor.BACKOFF)),
        (5, RetryAt(10, WaitingFor.BACKOFF)),
    ],
)
def test_open_breaker_is_waited_for(timeout: float, expected: RetryAt) -> None:
    """A policy that waits for the breaker waits until its next probe, if that is later than the backoff."""
    assert decision(breaker=opened(VirtualClock(), timeout), wait_for_breaker=True) == expected


def test_breaker_is_waited_for_within_the_deadline() -> None:
    """A probe that is due after the deadline is not waited for."""
    assert decision(breaker=opened(VirtualClock(), 60), wait_for_breaker=True, deadline=59) == EXHAUSTED


def test_open_breaker_that_is_due_does_not_hold_up() -> None:
    """A breaker whose next probe is due counts as passable."""
    clock = VirtualClock()
    breaker = opened(clock, 60)
    clock.advance(60)
    assert decision(breaker=breaker) == RetryAt(10, WaitingFor.BACKOFF)


class Deciding(Strategy):
    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def calculate_delay(self, attempt: int) -> float:
        return 3.0

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        self.asked.append((error, attempt, max_attempts))
        return self.answer


@pytest.mark.parametrize("retry", Retry)
def test_strategy_that_overrides_should_retry_decides_alone(retry: Retry) -> None:
    """Such a strategy is obeyed whatever the verdict and the number of attempts say, and knows both."""
    strategy = Deciding(True)
    assert decision(verdict(retry), fruitless=9, strategy=strategy) == RetryAt(3, WaitingFor.BACKOFF)
    assert strategy.asked == [(ERROR, 9, 4)]
    assert decision(verdict(retry), fruitless=0, strategy=strategy) == RetryAt(3, WaitingFor.BACKOFF)
    assert strategy.asked[1] == (ERROR, 1, 4)


@pytest.mark.parametrize(("fruitless", "expected"), [(1, FAILED), (3, FAILED), (4, EXHAUSTED)])
def test_strategy_that_says_no(fruitless: int, expected: GiveUp) -> None:
    """Its no is a failure while attempts are left, and exhaustion when they are used up."""
    assert decision(fruitless=fruitless, strategy=Deciding(False), max_attempts=4) == expected


@pytest.mark.parametrize("delay", [1e12, 1e300])
def test_endless_delay_is_still_a_date(delay: float) -> None:
    """A strategy without bounds gives a wait of years, which can be kept as a date."""
    found = decision(strategy=CustomStrategy(lambda attempt: delay))
    assert isinstance(found, RetryAt)
    assert found.delay == 10 * 366 * 86400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("unknown_attempts", 0),
        ("timeout", -1),
        ("deadline", float("nan")),
        ("classify", 5),
        ("breaker", CircuitBreaker),
        ("budget", 100),
        ("bulkheads", [3]),
        ("policies", {"soon": None}),
    ],
)
def test_every_field_is_checked(field: str, value: Any) -> None:
    """A policy that no operation could go by is refused when it is made, naming the field."""
    with pytest.raises(RecoveryConfigError, match=f"{field}=.* is not usable: it must be "):
        Policy(**{field: value})


class Broken(Strategy):
    """Raises what it is given, or gives it as its answer."""

    def __init__(self, says: Any, waits: Any) -> None:
        self._says, self._waits = says, waits

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        return bool(self._given(self._says))

    def calculate_delay(self, attempt: int) -> float:
        delay: float = self._given(self._waits)
        return delay

    def _given(self, what: Any) -> Any:
        if isinstance(what, Exception):
            raise what
        return what


@pytest.mark.parametrize(
    "waits", [ZeroDivisionError("no"), None, "soon", float("nan"), float("inf"), -5, -float("inf")]
)
def test_strategy_that_gives_no_delay(waits: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A strategy that raises, or gives no finite number of at least 0, is named, and the default backoff taken."""
    assert decision(fruitless=3, strategy=Broken(True, waits)) == RetryAt(4, WaitingFor.BACKOFF)
    what = "raised ZeroDivisionError: no:" if isinstance(waits, Exception) else f"gave {waits!r}, which is no finite"
    assert f"calculate_delay of the strategy Broken {what}" in caplog.text
    assert "the default wait of 4 s is taken" in caplog.text


def test_delay_may_be_an_int_of_any_size() -> None:
    """A whole number is a delay, also one that no float can hold."""
    assert decision(strategy=Broken(True, 7)) == RetryAt(7.0, WaitingFor.BACKOFF)
    assert decision(strategy=Broken(True, 10**400)) == RetryAt(10 * 366 * 86400.0, WaitingFor.BACKOFF)


@pytest.mark.parametrize("gives", [ZeroDivisionError("no"), None, float("nan")])
def test_custom_function_that_gives_no_delay(gives: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The warning has the name of a custom strategy."""
    strategy = CustomStrategy(Broken(True, gives).calculate_delay, name="mine")
    assert decision(fruitless=2, strategy=strategy) == RetryAt(2, WaitingFor.BACKOFF)
    assert "calculate_delay of the strategy CustomStrategy 'mine' " in caplog.text


@pytest.mark.parametrize(("fruitless", "expected"), [(1, FAILED), (4, EXHAUSTED)])
def test_strategy_that_cannot_decide(fruitless: int, expected: GiveUp, caplog: pytest.LogCaptureFixture) -> None:
    """When its `should_retry` raises, there is no retry, and the strategy is named."""
    broken = Broken(LookupError("no history"), 2)
    assert decision(fruitless=fruitless, strategy=broken, max_attempts=4) == expected
    assert "should_retry of the strategy Broken raised LookupError: no history: there is no retry" in caplog.text
