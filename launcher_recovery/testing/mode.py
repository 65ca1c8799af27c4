"""The mode in which no recoverable call waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from launcher_recovery.classification import Verdict
from launcher_recovery.engine import Engine
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.policy import Classify, Policy, Rules, reader
from launcher_recovery.strategies import Strategy


class _AtOnce(Strategy):
    """Decides as another strategy does, and waits for nothing."""

    def __init__(self, decider: Strategy, attempts: int | None) -> None:
        self._decider = decider
        self._attempts = attempts

    def calculate_delay(self, attempt: int) -> float:
        return 0.0

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        if self._attempts is not None and attempt >= self._attempts:
            return False
        return self._decider.should_retry(error, attempt, max_attempts)

    @property
    def decides(self) -> bool:
        return self._decider.decides


def _without_wait(classify: Classify) -> Classify:
    def at_once(error: BaseException) -> Verdict:
        return replace(classify(error), wait_s=None)

    return at_once


def _hurried(policy: Policy, attempts: int | None) -> Policy:
    return replace(
        policy,
        max_attempts=policy.max_attempts if attempts is None else min(policy.max_attempts, attempts),
        strategy=_AtOnce(policy.strategy, attempts),
        classify=_without_wait(policy.classify),
        wait_for_breaker=False,
    )


@dataclass(frozen=True, eq=False)
class _Mode:
    attempts: int | None


# The test modes that are on, the innermost last; for all threads, because the code under test may start some.
_modes: list[_Mode] = []
_modes_lock = threading.Lock()


@contextmanager
def recovery_test_mode(attempts: int | None = 3) -> Iterator[None]:
    """Within it no recoverable call of this process waits between attempts, nor makes more than `attempts`.

    Which errors are retried, timeouts and deadlines, the store, the circuit breaker and the events are as ever.
    Neither a strategy's delay nor a Retry-After is waited for; an open circuit breaker ends an operation of the
    launcher instead of holding it back. It holds for operations that begin within it, in all threads; of nested ones
    the innermost counts. Not for production, where the waits are what protects the other side.

    Args:
        attempts: failed attempts after which a call gives up, if it does not sooner; None: as many as it makes
            otherwise; 1: none is repeated.

    Raises:
        RecoveryConfigError: `attempts` is less than 1.
    """
    if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1):
        raise RecoveryConfigError(f"attempts={attempts!r} is not usable: it must be a whole number of at least 1")
    mode = _Mode(attempts)
    with _modes_lock:
        if not _modes:
            _original.append(Engine._loop)
            setattr(Engine, "_loop", _loop_in_test_mode)
        _modes.append(mode)
    try:
        yield
    finally:
        with _modes_lock:
            _modes.remove(mode)
            if not _modes:
                setattr(Engine, "_loop", _original.pop())


# What drives every operation, kept while it is replaced.
_original: list[Callable[..., Any]] = []


def _loop_in_test_mode(engine: Engine, live: Any, rules: Rules, *rest: Any, **more: Any) -> Any:
    with _modes_lock:
        loop = _original[-1]
        attempts = _modes[-1].attempts
    read = reader(rules)
    return loop(engine, live, lambda: _hurried(read(), attempts), *rest, **more)
