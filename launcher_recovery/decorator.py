"""`recoverable`: the decorator that makes a function a recovered operation."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from launcher_recovery import checks, light
from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.budget import RetryBudget
from launcher_recovery.bulkhead import Bulkhead
from launcher_recovery.classification import ErrorCategory, ErrorClassifier
from launcher_recovery.clock import Clock
from launcher_recovery.declaration import Declaration, names_of
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.persistence.base import StatePersistence, Store
from launcher_recovery.policy import Policy, by_category
from launcher_recovery.sharing import announce, shared_breaker
from launcher_recovery.stores import store_for
from launcher_recovery.strategies import ExponentialBackoffStrategy, Strategy, strategy_of

logger = logging.getLogger("launcher_recovery")

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
    persistence: Store | StatePersistence | None = None,
    strategy: Strategy | Callable[[int], float] | None = None,
    classifier: ErrorClassifier | None = None,
    circuit_breaker_threshold: int | None = None,
    circuit_breaker_timeout: float = 300.0,
    circuit_breaker_scope: str = "",
    circuit_breaker: CircuitBreaker | None = None,
    key: Callable[..., str] | None = None,
    reuse_result: bool = False,
    fallback: Callable[..., Any] | None = None,
    state_serializer: Callable[[Any], Any] | None = None,
    state_deserializer: Callable[[Any], Any] | None = None,
    resume_from: str | None = None,
    isolate: bool = False,
    budget: RetryBudget | None = None,
    bulkhead: Bulkhead | int | None = None,
    policies: Mapping[ErrorCategory, Policy | None] | Mapping[str, Policy | None] | None = None,
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
    persistence: Store | StatePersistence | None = None,
    strategy: Strategy | Callable[[int], float] | None = None,
    classifier: ErrorClassifier | None = None,
    circuit_breaker_threshold: int | None = None,
    circuit_breaker_timeout: float = 300.0,
    circuit_breaker_scope: str = "",
    circuit_breaker: CircuitBreaker | None = None,
    key: Callable[..., str] | None = None,
    reuse_result: bool = False,
    fallback: Callable[..., Any] | None = None,
    state_serializer: Callable[[Any], Any] | None = None,
    state_deserializer: Callable[[Any], Any] | None = None,
    resume_from: str | None = None,
    isolate: bool = False,
    budget: RetryBudget | None = None,
    bulkhead: Bulkhead | int | None = None,
    policies: Mapping[ErrorCategory, Policy | None] | Mapping[str, Policy | None] | None = None,
    raise_original: bool = True,
    clock: Clock | None = None,
) -> Any:
    """Retry a function, coroutine function, method or generator; usable bare (`@recoverable`) or with arguments.

    Args:
        max_retries: attempts after the first, whether or not it reports progress.
        initial_delay, backoff_factor, max_delay: seconds, factor, seconds of the exponential backoff that is
            used unless `strategy` is given.
        timeout: seconds for one attempt. A coroutine is cancelled; plain code ends at its next
            `current_operation().check()`.
        deadline: seconds for all attempts together; none begins after it.
        strategy: gives the waits: a `Strategy`, or a function from the number of the attempt that failed (the first
            is 1) to seconds.
        persistence: where the operation is kept; default: in memory, forgotten when it is over. A store that has
            the five methods of `StatePersistence` only is enough. One that fails fails no call: it goes on in memory.
        classifier: decides which errors are worth a retry.
        circuit_breaker_threshold: failures in a row after which calls are refused for
            `circuit_breaker_timeout` seconds; None: no breaker. Its changes are told by the signal
            `circuit_breaker_update`.
        circuit_breaker_scope: name of what the breaker guards, such as a host. With `persistence`, all functions and
            processes that give the same name and store share one breaker, over restarts as well.
        circuit_breaker: a breaker made elsewhere, to share it or for its further settings.
        key: function of the call's arguments giving a name (text); a call whose name is that of an unfinished
            operation of this function joins it.
        reuse_result: a call whose name is that of an operation of this function that ended well gets its result.
        fallback: called as `fallback(error, *args, **kwargs)` when it gives up or is refused; its result is the
            result of the call. Not called for what a person cancelled or paused.
        state_serializer, state_deserializer: the first positional argument (after `self` or `cls`) is a state that
            the function changes as it goes on: all attempts in one process get the same object, and after every
            failed attempt and with its progress it is kept, as the first function gives it (JSON values). A new
            process that calls with the same `key`, or `function.resume(operation_id)`, gets it as the second gives
            it back.
        resume_from: for generators, which need it: the parameter that gets the item yielded last, in the attempts
            that follow one that yielded something.
        isolate: each attempt runs in a process of its own, which a timeout, a pause or a cancellation ends at once,
            with all that it started. For plain functions of an importable module; arguments and result have to be
            of the types that can be stored.
        budget: what retries are paid from; when it is empty, the last error is raised. `shared_budget` makes one
            that all processes share.
        bulkhead: how many calls run at a time, or a shared `Bulkhead`; others wait, first come, first served.
        policies: by category of error (or its text, such as "rate_limit"), a `Policy` by which it is decided
            instead; None: not retried.
        raise_original: False raises `RecoveryExhaustedError` instead of the last error.

    Raises:
        RecoveryConfigError: an argument is out of its range or of another kind, or the function is none.
        CircuitBreakerOpenError: from the call, while the breaker is open.
        Exception: from the call, the last error of the function when no retry helped.
    """
    max_attempts = checks.whole("max_retries", max_retries, 0) + 1
    backoff = ExponentialBackoffStrategy(initial_delay, backoff_factor, max_delay)
    if circuit_breaker_threshold is not None:
        checks.whole("circuit_breaker_threshold", circuit_breaker_threshold, 1)
    checks.number("circuit_breaker_timeout", circuit_breaker_timeout)
    checks.text("circuit_breaker_scope", circuit_breaker_scope)
    checks.instance("circuit_breaker", circuit_breaker, CircuitBreaker)
    checks.instance("classifier", classifier, ErrorClassifier)
    checks.instance("clock", clock, Clock)
    checks.flag("raise_original", raise_original)
    clock = clock or Clock()
    store = None if persistence is None else store_for(persistence)
    if bulkhead is not None and not isinstance(bulkhead, Bulkhead):
        bulkhead = Bulkhead(checks.whole("bulkhead", bulkhead, 1))
    breaker = circuit_breaker
    if circuit_breaker is None and circuit_breaker_threshold is not None:
        limits = (circuit_breaker_threshold, circuit_breaker_timeout)
        if store is not None and circuit_breaker_scope:
            breaker = shared_breaker(store, circuit_breaker_scope, *limits, clock=clock)
        else:
            breaker = CircuitBreaker(
                *limits,
                scope=circuit_breaker_scope,
                clock=clock,
                on_change=lambda changed: announce(store, changed, clock),
            )
    policy = Policy(
        max_attempts=max_attempts,
        strategy=backoff if strategy is None else strategy_of(strategy),
        classify=(ErrorClassifier(now=clock.time) if classifier is None else classifier).classify,
        timeout=timeout,
        deadline=deadline,
        raise_original=raise_original,
        breaker=breaker,
        every_failure_counts=True,
        progress_renews=False,
        budget=budget,
        bulkheads=() if bulkhead is None else (bulkhead,),
        policies={} if policies is None else by_category(policies),
    )

    def decorate(target: Any) -> Any:
        if breaker is not None and breaker is not circuit_breaker and not breaker.operation_type:
            breaker.operation_type = names_of(getattr(target, "__func__", target))[0]
        return declared(
            target,
            lambda function: Declaration(
                function,
                policy,
                clock,
                store,
                key,
                reuse_result,
                fallback,
                state_serializer,
                state_deserializer,
                resume_from,
                isolate,
            ),
        )

    return decorate if function is None else decorate(function)


def declared(target: Any, declare: Callable[[Any], Declaration]) -> Any:
    """What stands for `target`, of which `declare` makes the declaration."""
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(declared(target.__func__, declare))
    if not callable(target):
        raise RecoveryConfigError(
            f"{checks.shown(target)} is not a function: what decorates one is @recoverable, or "
            "@recoverable(max_retries=3) with every argument by its name"
        )
    declaration = declare(target)
    wrapper: Any = functools.wraps(target)(_wrapper(declaration))
    wrapper.resume = declaration.resume
    return wrapper


def _wrapper(declaration: Declaration) -> Any:
    """The function of the kind of the declared one that stands for it."""
    if declaration.is_coroutine:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            if declaration.goes_light():
                return await light.call_async(declaration, args, kwargs)
            return await declaration.call_async(args, kwargs)

        return call_async
    if declaration.is_generator:

        def iterate(*args: Any, **kwargs: Any) -> Any:
            return (yield from declaration.iterate(args, kwargs))

        return iterate
    if declaration.is_async_generator:

        async def iterate_async(*args: Any, **kwargs: Any) -> Any:
            items = declaration.iterate_async(args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        return iterate_async

    def call(*args: Any, **kwargs: Any) -> Any:
        if declaration.goes_light():
            return light.call(declaration, args, kwargs)
        return declaration.call(args, kwargs)

    return call
