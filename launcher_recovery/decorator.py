"""`recoverable`: the decorator that makes a function a recovered operation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.clock import Clock
from launcher_recovery.engine import Engine
from launcher_recovery.errors import CircuitBreakerOpenError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import RecoveryData, current_operation
from launcher_recovery.owners import OWNER, keep_alive
from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.strategies import ExponentialBackoffStrategy, Strategy, _require

F = TypeVar("F", bound=Callable[..., Any])


@overload
def recoverable(function: F, /) -> F: ...


@overload
def recoverable(
    *,
    max_retries: int = 3,
    initial_delay: float = 1.0,
    backoff_factor: float = 2.0,
    max_delay: float = 60.0,
    timeout: float | None = None,
    deadline: float | None = None,
    persistence: Store | None = None,
    strategy: Strategy | None = None,
    classifier: ErrorClassifier | None = None,
    circuit_breaker_threshold: int | None = None,
    circuit_breaker_timeout: float = 300.0,
    circuit_breaker_scope: str = "",
    key: Callable[..., str] | None = None,
    raise_original: bool = True,
    clock: Clock | None = None,
) -> Callable[[F], F]: ...


def recoverable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    max_retries: int = 3,
    initial_delay: float = 1.0,
    backoff_factor: float = 2.0,
    max_delay: float = 60.0,
    timeout: float | None = None,
    deadline: float | None = None,
    persistence: Store | None = None,
    strategy: Strategy | None = None,
    classifier: ErrorClassifier | None = None,
    circuit_breaker_threshold: int | None = None,
    circuit_breaker_timeout: float = 300.0,
    circuit_breaker_scope: str = "",
    key: Callable[..., str] | None = None,
    raise_original: bool = True,
    clock: Clock | None = None,
) -> Any:
    """Retry a `def` or `async def` function; usable bare (`@recoverable`) or with arguments.

    Args:
        max_retries: attempts after the first.
        initial_delay, backoff_factor, max_delay: seconds, factor, seconds of the exponential backoff that is
            used unless `strategy` is given.
        timeout: seconds for one attempt. A coroutine is cancelled; plain code ends at its next
            `current_operation().check()`.
        deadline: seconds for all attempts together; none begins after it.
        persistence: where the operation is kept; default: in memory, forgotten when it is over.
        classifier: decides which errors are worth a retry.
        circuit_breaker_threshold: failures in a row after which calls are refused for
            `circuit_breaker_timeout` seconds; None: no breaker.
        circuit_breaker_scope: name of what the breaker guards, for messages.
        key: function of the call's arguments giving a name; a call whose name is that of an unfinished operation
            joins it.
        raise_original: False raises `RecoveryExhaustedError` instead of the last error.

    Raises:
        RecoveryConfigError: an argument is out of its range.
        CircuitBreakerOpenError: from the call, while the breaker is open.
        Exception: from the call, the last error of the function when no retry helped.
    """
    max_attempts = int(_require("max_retries", max_retries, 0)) + 1
    clock = clock or Clock()
    breaker = None
    if circuit_breaker_threshold is not None:
        _require("circuit_breaker_threshold", circuit_breaker_threshold, 1)
        _require("circuit_breaker_timeout", circuit_breaker_timeout, 0)
        breaker = CircuitBreaker(
            circuit_breaker_threshold, circuit_breaker_timeout, scope=circuit_breaker_scope, clock=clock
        )
    policy = Policy(
        max_attempts=max_attempts,
        strategy=strategy or ExponentialBackoffStrategy(initial_delay, backoff_factor, max_delay),
        classify=(classifier or ErrorClassifier()).classify,
        timeout=timeout,
        deadline=deadline,
        raise_original=raise_original,
        breaker=breaker,
    )

    def decorate(target: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{target.__module__}.{target.__qualname__}"

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Engine, RecoveryData]:
            if breaker is not None and breaker.is_open:
                raise CircuitBreakerOpenError(
                    f"{circuit_breaker_scope or name} has failed {breaker.failure_count} times in a row and is "
                    f"left alone for another {breaker.timeout_remaining:.0f} s",
                    breaker.timeout_remaining,
                )
            if persistence is not None:
                keep_alive(persistence)
            lifecycle = Lifecycle(persistence or MemoryPersistence(), owner_id=OWNER.owner_id, clock=clock)
            parent = current_operation()
            data = lifecycle.open(
                name,
                args,
                kwargs,
                key=None if key is None else key(*args, **kwargs),
                parent_id=None if parent is None else parent.operation_id,
                title=target.__name__,
                limit=max_attempts,
            )
            return Engine(lifecycle, clock), data

        if inspect.iscoroutinefunction(target):

            @functools.wraps(target)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                engine, data = begin(args, kwargs)
                return await engine.run_async(data, policy, lambda: target(*args, **kwargs))

            return call_async

        @functools.wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            engine, data = begin(args, kwargs)
            return engine.run(data, policy, lambda: target(*args, **kwargs))

        return call

    return decorate if function is None else decorate(function)
