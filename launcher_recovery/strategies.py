"""Retry strategies: how long to wait before the next attempt, and optionally whether there is one."""

from __future__ import annotations

import inspect
import random as _random
from collections.abc import Callable
from typing import Any

from launcher_recovery import checks


class Strategy:
    """Base class. Override `calculate_delay`; override `should_retry` only to decide alone on a retry.

    A strategy that leaves `should_retry` alone lets the error's verdict decide (see `launcher_recovery.engine`).
    In both methods `current_operation().history` has the attempts so far, the failed one last. When they raise, or
    the delay is no finite number of at least 0, a warning is logged; there is no retry then, or the default backoff.
    """

    def calculate_delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (the first is 1) failed."""
        raise NotImplementedError

    def next_delay(self, attempt: int, previous: float) -> float:
        """Like `calculate_delay`, for strategies whose waits build on each other: `previous` is the last one in
        seconds, 0 when there was none."""
        return self.calculate_delay(attempt)

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        """Whether attempt number `attempt` of at most `max_attempts` is followed by another."""
        return attempt < max_attempts

    @property
    def decides(self) -> bool:
        """Whether this strategy overrides `should_retry`."""
        return type(self).should_retry is not Strategy.should_retry


class ExponentialBackoffStrategy(Strategy):
    """`initial_delay * backoff_factor ** (attempt - 1)` seconds, at most `max_delay`.

    With `jitter` the wait is drawn evenly between 0 and that ("full jitter": M. Brooker, "Exponential Backoff
    and Jitter", AWS Architecture Blog, 2015). With `jitter="decorrelated"` (same source) it is drawn between
    `initial_delay` and three times the wait before, at most `max_delay`. `random` is the source of randomness,
    for tests.

    Raises:
        RecoveryConfigError: a number is negative, or `jitter` is none of False, True, "full" and "decorrelated".
    """

    def __init__(
        self,
        initial_delay: float = 1.0,
        backoff_factor: float = 2.0,
        max_delay: float = 60.0,
        jitter: bool | str = False,
        *,
        random: _random.Random | None = None,
    ) -> None:
        self.initial_delay = checks.number("initial_delay", initial_delay)
        self.backoff_factor = checks.number("backoff_factor", backoff_factor)
        self.max_delay = checks.number("max_delay", max_delay, may_be_endless=True)
        if jitter not in (False, True, "full", "decorrelated"):
            raise checks.refused("jitter", jitter, 'False, True, "full" or "decorrelated"')
        self.jitter = jitter
        self._random = random or _random.Random()

    def calculate_delay(self, attempt: int) -> float:
        if self.jitter == "decorrelated":
            delay = 0.0
            # Further than this it has long been between the first wait and the longest.
            for _ in range(min(attempt, 64)):
                delay = self.next_delay(attempt, delay)
            return delay
        try:
            delay = self.initial_delay * self.backoff_factor ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        delay = min(delay, self.max_delay)
        return self._random.uniform(0, delay) if self.jitter else delay

    def next_delay(self, attempt: int, previous: float) -> float:
        if self.jitter != "decorrelated":
            return self.calculate_delay(attempt)
        highest = max(self.initial_delay, 3 * (previous or self.initial_delay / 3))
        return min(self.max_delay, self._random.uniform(self.initial_delay, highest))


class LinearBackoffStrategy(Strategy):
    """`initial_delay + increment * (attempt - 1)` seconds, at most `max_delay`."""

    def __init__(self, initial_delay: float = 1.0, increment: float = 1.0, max_delay: float = 60.0) -> None:
        self.initial_delay = checks.number("initial_delay", initial_delay)
        self.increment = checks.number("increment", increment)
        self.max_delay = checks.number("max_delay", max_delay, may_be_endless=True)

    def calculate_delay(self, attempt: int) -> float:
        return min(self.initial_delay + self.increment * (attempt - 1), self.max_delay)


class FixedDelayStrategy(Strategy):
    """Always `delay` seconds."""

    def __init__(self, delay: float = 1.0) -> None:
        self.delay = checks.number("delay", delay)

    def calculate_delay(self, attempt: int) -> float:
        return self.delay


class CustomStrategy(Strategy):
    """Seconds from a function of the attempt number; `name` is shown in logs and pages.

    Raises:
        RecoveryConfigError: `delay_func` cannot be called with one number.
    """

    def __init__(self, delay_func: Callable[[int], float], name: str = "custom") -> None:
        _check_function("delay_func", delay_func)
        self.delay_func = delay_func
        self.name = name

    def calculate_delay(self, attempt: int) -> float:
        # In this order nan stays what it is, and is told of.
        return max(float(self.delay_func(attempt)), 0.0)


def strategy_of(given: Any) -> Strategy:
    """The strategy that was given, as such or as a function from the attempt number to seconds.

    Raises:
        RecoveryConfigError: it is neither.
    """
    if isinstance(given, Strategy):
        return given
    if isinstance(given, type) and issubclass(given, Strategy):
        expected = f"an object of that class, such as {given.__name__}(), not the class itself"
        raise checks.refused("strategy", given, expected)
    _check_function("strategy", given)
    return CustomStrategy(given, name=getattr(given, "__name__", "custom"))


def _check_function(name: str, given: Any) -> None:
    what = "a function that takes the number of the attempt and gives seconds"
    if name == "strategy":
        what = f"a Strategy, such as FixedDelayStrategy(5), or {what}"
    if not callable(given) or isinstance(given, type):
        raise checks.refused(name, given, what)
    try:
        parameters = inspect.signature(given)
    except (TypeError, ValueError):  # of some built-in functions nobody knows
        return
    try:
        parameters.bind(1)
    except TypeError:
        raise checks.refused(name, given, f"{what}: it does not take one argument") from None
