"""How long each strategy waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from launcher_recovery import (
    CustomStrategy,
    ExponentialBackoffStrategy,
    FixedDelayStrategy,
    LinearBackoffStrategy,
    RecoveryConfigError,
    Strategy,
)
from launcher_recovery.policy import Policy
from launcher_recovery.strategies import strategy_of


def delays(strategy: Strategy, count: int = 5) -> list[float]:
    return [strategy.calculate_delay(attempt) for attempt in range(1, count + 1)]


def test_exponential() -> None:
    """Attempts count from 1: the delays are those of the definition, up to the maximum."""
    assert delays(ExponentialBackoffStrategy()) == [1, 2, 4, 8, 16]
    assert delays(ExponentialBackoffStrategy(0.5, 3, 10)) == [0.5, 1.5, 4.5, 10, 10]
    assert ExponentialBackoffStrategy(initial_delay=2, backoff_factor=3).calculate_delay(attempt=2) == 6
    assert delays(ExponentialBackoffStrategy(max_delay=60), 8)[-2:] == [60, 60]


def test_exponential_of_many_attempts_is_the_maximum() -> None:
    """A power too large for a float is the maximum, not an error."""
    assert ExponentialBackoffStrategy(max_delay=60).calculate_delay(100_000) == 60


def test_zero_is_a_value() -> None:
    """Zero is taken as it is, never replaced by a default."""
    assert delays(ExponentialBackoffStrategy(0)) == [0] * 5
    assert delays(ExponentialBackoffStrategy(max_delay=0)) == [0] * 5
    assert delays(ExponentialBackoffStrategy(backoff_factor=0)) == [1, 0, 0, 0, 0]
    assert delays(LinearBackoffStrategy(0, 0, 0)) == [0] * 5
    assert delays(FixedDelayStrategy(0)) == [0] * 5


def test_full_jitter() -> None:
    """With jitter the wait is drawn evenly from 0 to the exponential one; the source of randomness is passed in."""
    strategy = ExponentialBackoffStrategy(8, jitter=True, random=random.Random(7))
    drawn = [strategy.calculate_delay(2) for _ in range(2000)]
    assert 0 <= min(drawn) < 0.2
    assert 15.8 < max(drawn) <= 16
    assert 7.5 < sum(drawn) / len(drawn) < 8.5
    again = ExponentialBackoffStrategy(8, jitter=True, random=random.Random(7))
    assert [again.calculate_delay(2) for _ in range(2000)] == drawn


def test_linear_and_fixed() -> None:
    """Linear grows by its increment up to its maximum; fixed does not grow."""
    assert delays(LinearBackoffStrategy()) == [1, 2, 3, 4, 5]
    assert delays(LinearBackoffStrategy(2, 5, 15)) == [2, 7, 12, 15, 15]
    assert delays(FixedDelayStrategy(2.5)) == [2.5] * 5


def test_custom() -> None:
    """A function of the attempt number is used as it is; below zero means at once."""
    strategy = CustomStrategy(lambda attempt: attempt * 10 - 20, name="mine")
    assert delays(strategy, 4) == [0, 0, 10, 20]
    assert strategy.name == "mine"
    assert CustomStrategy(lambda attempt: 1).name == "custom"


@pytest.mark.parametrize("value", [-1, -0.1, float("nan"), "1", None, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: ExponentialBackoffStrategy(initial_delay=value), "initial_delay"),
        (lambda value: ExponentialBackoffStrategy(backoff_factor=value), "backoff_factor"),
        (lambda value: ExponentialBackoffStrategy(max_delay=value), "max_delay"),
        (lambda value: LinearBackoffStrategy(initial_delay=value), "initial_delay"),
        (lambda value: LinearBackoffStrategy(increment=value), "increment"),
        (lambda value: LinearBackoffStrategy(max_delay=value), "max_delay"),
        (lambda value: FixedDelayStrategy(value), "delay"),
    ],
)
def test_bad_values_are_refused(make: Callable[[object], Strategy], name: str, value: object) -> None:
    """A bad value is refused when the strategy is made; the message names it, its value and what was expected."""
    with pytest.raises(RecoveryConfigError) as caught:
        make(value)
    assert str(caught.value) == f"{name}={value!r} is not usable: it must be a number of at least 0"


def test_base_class() -> None:
    """The base class has no delays of its own, and goes on as long as attempts are left."""
    strategy = Strategy()
    with pytest.raises(NotImplementedError):
        strategy.calculate_delay(1)
    assert [strategy.should_retry(ValueError(), attempt, 3) for attempt in (1, 2, 3)] == [True, True, False]


def test_who_decides() -> None:
    """A strategy decides alone exactly if it overrides `should_retry`."""

    class Mine(FixedDelayStrategy):
        def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
            return False

    assert Mine().decides
    assert not any(item.decides for item in (FixedDelayStrategy(), ExponentialBackoffStrategy(), Strategy()))


def test_function_is_a_strategy() -> None:
    """A function from the attempt number to seconds is a strategy, named after it; so is anything callable like it."""

    def fibonacci(attempt: int) -> float:
        return [1, 1, 2, 3, 5][attempt - 1]

    strategy = strategy_of(fibonacci)
    assert isinstance(strategy, CustomStrategy)
    assert (delays(strategy), strategy.name) == ([1, 1, 2, 3, 5], "fibonacci")
    assert delays(strategy_of([0, 7, 8, 9].__getitem__), 3) == [7, 8, 9]
    fixed = FixedDelayStrategy(2)
    assert strategy_of(fixed) is fixed


class Opaque:
    """Nobody knows what it takes."""

    __signature__ = "none"

    def __call__(self, attempt: int) -> float:
        return attempt / 2


def test_function_of_which_nothing_is_known() -> None:
    """A function whose parameters cannot be looked up is taken at its word."""
    assert delays(strategy_of(Opaque()), 2) == [0.5, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "strategy=5 is not usable: it must be a Strategy, such as .*, or a function that takes the number"),
        (None, "strategy=None is not usable"),
        (int, "strategy=int is not usable"),
        (lambda attempt, error: 1.0, "it does not take one argument"),
        (FixedDelayStrategy, r"strategy=FixedDelayStrategy is not usable: it must be an object of that class, such as"),
    ],
)
def test_what_is_no_strategy(given: Any, message: str) -> None:
    """What is no strategy, such as the class of one, is refused with what was expected."""
    with pytest.raises(RecoveryConfigError, match=message):
        strategy_of(given)
    with pytest.raises(RecoveryConfigError, match="strategy="):
        Policy(strategy=given)


def test_custom_needs_a_function_of_the_attempt() -> None:
    """A custom strategy is refused a function that cannot be called with the attempt number alone."""
    with pytest.raises(RecoveryConfigError, match=r"delay_func=5 is not usable: it must be a function"):
        CustomStrategy(5)  # type: ignore[arg-type]
    with pytest.raises(RecoveryConfigError, match=r"delay_func=.* it does not take one argument"):
        CustomStrategy(lambda: 1.0)  # type: ignore[arg-type,misc]
