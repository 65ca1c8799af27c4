"""`recoverable` on functions, coroutines and methods."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreakerOpenError,
    ErrorCategory,
    ErrorClassifier,
    FixedDelayStrategy,
    OperationCancelled,
    RecoveryConfigError,
    RecoveryExhaustedError,
    RecoveryTimeoutError,
    current_operation,
    recoverable,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.owners import OWNER, let_go
from launcher_recovery.persistence import MemoryPersistence, Store
from launcher_recovery.records import RecoveryState
from launcher_recovery.testing import VirtualClock


class Failing:
    """Fails the given number of times, then returns its argument; counts its calls."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left, self.calls, self.error = times, 0, error or ConnectionError("gone")

    def __call__(self, value: Any = "done") -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return value


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def test_bare_and_with_arguments(clock: VirtualClock) -> None:
    """It is used bare or with arguments, and leaves name, docstring and signature as they were."""

    @recoverable
    def bare(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    @recoverable(clock=clock)
    def given(a: int) -> int:
        return a

    assert (bare(1), bare(1, b=5), given(7)) == (3, 6, 7)
    assert (bare.__name__, bare.__doc__) == ("bare", "Adds.")
    assert list(inspect.signature(bare).parameters) == ["a", "b"]


def test_defaults(clock: VirtualClock) -> None:
    """By default it tries four times, with waits of 1, 2 and 4 seconds, and then raises the original error."""
    work = Failing(3)
    assert recoverable(clock=clock)(lambda: work())() == "done"
    assert (work.calls, clock.slept) == (4, 7)
    work = Failing(4)
    with pytest.raises(ConnectionError) as caught:
        recoverable(clock=clock)(lambda: work())()
    assert caught.value is work.error


def test_zero_retries_and_zero_delay(clock: VirtualClock) -> None:
    """Zero is a value: no retry at all, no wait at all."""
    work = Failing(1)
    with pytest.raises(ConnectionError):
        recoverable(max_retries=0, clock=clock)(lambda: work())()
    assert work.calls == 1
    assert recoverable(initial_delay=0, clock=clock)(lambda: Failing(0)())() == "done"
    work = Failing(3)
    recoverable(initial_delay=0, clock=clock)(lambda: work())()
    assert clock.slept == 0


async def test_coroutine(clock: VirtualClock) -> None:
    """An `async def` stays one, and is retried without blocking."""
    work = Failing(2)

    @recoverable(clock=clock, initial_delay=3)
    async def fetch(value: str) -> str:
        result: str = work(value)
        return result

    assert inspect.iscoroutinefunction(fetch)
    assert await fetch("x") == "x"
    assert (work.calls, clock.slept) == (3, 9)


async def test_methods(clock: VirtualClock, store: Store) -> None:
    """Methods work like functions; as `self` cannot be kept, the operation is not resumable and says so."""

    class Loader:
        def __init__(self) -> None:
            self.work = Failing(1)

        @recoverable(clock=clock, persistence=store)
        def load(self, value: str) -> Any:
            return self.work(value)

        @recoverable(clock=clock, persistence=store)
        async def load_async(self, value: str) -> Any:
            return self.work(value)

    assert Loader().load("a") == "a"
    assert await Loader().load_async("b") == "b"
    records = store.find()
    assert [data.resumable for data in records] == [False, False]
    assert {data.title for data in records} == {"load", "load_async"}
    assert records[0].function_name.startswith("tests.unit.test_decorator.test_methods")


def test_persistence(clock: VirtualClock, store: Store) -> None:
    """With a store the operation is kept: arguments, attempts, result; this process is entered as its owner."""
    work = Failing(1)

    @recoverable(clock=clock, persistence=store)
    def fetch(url: str, size: int) -> Any:
        return work({"url": url, "size": size})

    fetch("https://host/a", size=3)
    [data] = store.find()
    assert (data.args, data.kwargs, data.state) == (("https://host/a",), {"size": 3}, RecoveryState.SUCCESS)
    assert (data.attempt, data.max_attempts) == (2, 4)
    assert data.result == {"url": "https://host/a", "size": 3}
    assert [row.owner for row in store.owners()] == [OWNER]


def test_strategy_and_classifier(clock: VirtualClock) -> None:
    """A strategy gives the waits; a classifier that overrides only `classify_error` is obeyed."""

    class Mine(ErrorClassifier):
        def classify_error(self, error: Exception) -> ErrorCategory:
            return ErrorCategory.NETWORK if "try again" in str(error) else super().classify_error(error)

    options: dict[str, Any] = {"classifier": Mine(), "strategy": FixedDelayStrategy(5), "clock": clock}
    work = Failing(2, ValueError("try again"))
    assert recoverable(**options)(lambda: work())() == "done"
    assert clock.slept == 10
    with pytest.raises(ValueError, match="bad"):
        recoverable(**options)(Failing(1, ValueError("bad")).__call__)()


def test_timeout_and_deadline(clock: VirtualClock) -> None:
    """`timeout` is for one attempt, `deadline` for all together."""

    @recoverable(timeout=5, max_retries=1, clock=clock)
    def slow() -> None:
        clock.advance(6)
        operation = current_operation()
        assert operation is not None
        operation.check()

    with pytest.raises(RecoveryTimeoutError, match="attempt 2 of slow"):
        slow()
    work = Failing(99)
    with pytest.raises(ConnectionError):
        recoverable(deadline=10, max_retries=98, clock=clock, strategy=FixedDelayStrategy(4))(lambda: work())()
    assert work.calls == 3


def test_exhausted_error_on_request(clock: VirtualClock) -> None:
    """`raise_original=False` raises our own error."""
    with pytest.raises(RecoveryExhaustedError, match="failed after 4 attempts: gone"):
        recoverable(raise_original=False, clock=clock)(Failing(9).__call__)()
    with pytest.raises(RecoveryExhaustedError, match="failed after 1 attempt: gone"):
        recoverable(raise_original=False, clock=clock, max_retries=0)(Failing(9).__call__)()


@pytest.mark.parametrize("scope", ["", "the host"])
def test_breaker(clock: VirtualClock, scope: str) -> None:
    """A breaker belongs to one decorated function, opens within a call, refuses at entry, and lets a probe through."""
    work = Failing(3)

    def fetch() -> Any:
        return work()

    options: dict[str, Any] = {"circuit_breaker_threshold": 2, "circuit_breaker_timeout": 30, "clock": clock}
    guarded = recoverable(**options, circuit_breaker_scope=scope)(fetch)
    with pytest.raises(ConnectionError):
        guarded()
    assert work.calls == 2
    with pytest.raises(CircuitBreakerOpenError, match=f"{scope or 'fetch'} has failed 2 times in a row") as caught:
        guarded()
    assert (work.calls, caught.value.timeout_remaining) == (2, 30)
    assert recoverable(**options)(lambda: "other")() == "other"
    clock.advance(30)
    with pytest.raises(ConnectionError):  # the probe fails
        guarded()
    clock.advance(30)
    assert (guarded(), guarded(), work.calls) == ("done", "done", 5)


def test_key_joins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call in another thread whose key is that of a running one gets its result, though it runs nothing."""
    begun, joined, go = threading.Event(), threading.Event(), threading.Event()
    calls: list[str] = []

    @recoverable(persistence=store, key=lambda name, who: f"fetch:{name}")
    def fetch(name: str, who: str) -> str:
        calls.append(who)
        begun.set()
        assert go.wait(20)
        return f"{name} for {who}"

    results: list[str] = []
    first = threading.Thread(target=lambda: results.append(fetch("a", "first")))
    first.start()
    assert begun.wait(20)
    [data] = store.find()
    second = threading.Thread(target=lambda: results.append(fetch("a", "second")))
    attach = Lifecycle.attach

    def attach_and_tell(lifecycle: Lifecycle, live: Operation) -> None:
        attach(lifecycle, live)
        if live.operation_id == data.operation_id:
            joined.set()

    monkeypatch.setattr(Lifecycle, "attach", attach_and_tell)
    second.start()
    assert joined.wait(20)
    assert data.key == f"{data.function_name}:fetch:a"
    go.set()
    first.join(20)
    second.join(20)
    assert calls == ["first"]
    assert results == ["a for first"] * 2


def test_cancel_from_outside_reaches_the_function(store: Store) -> None:
    """What is cancelled through another lifecycle of the same store, as the API does it, ends at the next check."""
    outside = Lifecycle(store, owner_id="api")

    @recoverable(persistence=store)
    def work() -> None:
        operation = current_operation()
        assert operation is not None
        outside.cancel(operation.operation_id)
        operation.check()
        pytest.fail("it went on")

    with pytest.raises(OperationCancelled):
        work()


def test_nested_calls_know_their_parent(clock: VirtualClock) -> None:
    """An operation begun inside another is part of it, and what it gave up on is not tried again by the outer."""
    store = MemoryPersistence()
    work = Failing(99)
    inner = recoverable(clock=clock, persistence=store)(lambda: work())
    outer = recoverable(clock=clock, persistence=store)(lambda: inner())
    with pytest.raises(ConnectionError):
        outer()
    by_parent = {data.parent_id: data for data in store.find()}
    assert set(by_parent) == {None, by_parent[None].operation_id}
    assert work.calls == 4
    let_go(store)


@pytest.mark.parametrize(
    ("option", "value", "minimum"),
    [
        ("max_retries", -1, 0),
        ("initial_delay", -1, 0),
        ("backoff_factor", "2", 0),
        ("max_delay", None, 0),
        ("circuit_breaker_threshold", 0, 1),
    ],
)
def test_bad_arguments(option: str, value: Any, minimum: int) -> None:
    """A bad argument is refused when the function is decorated; the message says which."""
    with pytest.raises(RecoveryConfigError, match=f"{option}={value!r} is not usable: .* at least {minimum}"):
        recoverable(**{option: value})
    with pytest.raises(RecoveryConfigError, match="circuit_breaker_timeout"):
        recoverable(circuit_breaker_threshold=1, circuit_breaker_timeout=-1)


async def test_function_as_strategy(clock: VirtualClock) -> None:
    """A function as strategy gives the waits, by the number of the attempt that failed; also of a coroutine."""
    numbers: list[int] = []

    def waits(attempt: int) -> float:
        numbers.append(attempt)
        return 10 * attempt

    work = Failing(3)
    started = clock.monotonic()
    assert recoverable(clock=clock, strategy=waits)(lambda: work())() == "done"
    assert (numbers, clock.monotonic() - started) == ([1, 2, 3], 60)

    again = Failing(1)

    @recoverable(clock=clock, strategy=waits)
    async def work_async() -> Any:
        return again()

    assert await work_async() == "done"
    assert clock.monotonic() - started == 70


def test_class_of_a_strategy_is_refused() -> None:
    """A strategy's class in place of an object of it is refused at decoration."""
    with pytest.raises(
        RecoveryConfigError, match=r"strategy=FixedDelayStrategy is not usable: .*FixedDelayStrategy\(\)"
    ):
        recoverable(strategy=FixedDelayStrategy)  # type: ignore[arg-type]


NAN = float("nan")


class Unreadable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_retries": 2.5}, "max_retries=2.5 is not usable: it must be a whole number of at least 0"),
        ({"max_retries": True}, "max_retries=True is not usable: it must be a whole number of at least 0"),
        ({"max_retries": Unreadable()}, "max_retries=<Unreadable instance .*> is not usable"),
        ({"initial_delay": NAN}, "initial_delay=nan is not usable: it must be a number of at least 0"),
        ({"initial_delay": float("inf")}, "initial_delay=inf is not usable: it must be a number .* and finite"),
        ({"initial_delay": -1, "strategy": FixedDelayStrategy(1)}, "initial_delay=-1 is not usable"),
        ({"timeout": -1}, "timeout=-1 is not usable: it must be None or a finite number of seconds of at least 0"),
        ({"timeout": NAN}, "timeout=nan is not usable: it must be None or a finite number"),
        ({"timeout": "5"}, "timeout='5' is not usable: it must be None or a finite number"),
        ({"timeout": True}, "timeout=True is not usable"),
        ({"deadline": -3}, "deadline=-3 is not usable: it must be None or a finite number"),
        ({"deadline": float("inf")}, "deadline=inf is not usable"),
        ({"persistence": "a.db"}, r"persistence='a.db' is not usable: .* such as SQLitePersistence\('a.db'\)"),
        ({"persistence": Path("a.db")}, r"persistence=.*'a.db'.* such as SQLitePersistence\('a.db'\)"),
        ({"persistence": MemoryPersistence}, r"persistence=MemoryPersistence .* such as SQLitePersistence\("),
        ({"persistence": 5}, r"persistence=5 is not usable: .* such as SQLitePersistence\(\"recovery.db\"\)"),
        ({"strategy": 0}, "strategy=0 is not usable: it must be a Strategy"),
        (
            {"classifier": ErrorClassifier},
            "classifier=ErrorClassifier is not usable: it must be an object of the class",
        ),
        (
            {"classifier": lambda error: error},
            "classifier=<lambda> is not usable: it must be an object of the class ErrorClassifier",
        ),
        ({"circuit_breaker_threshold": 2.5}, "circuit_breaker_threshold=2.5 is not usable: it must be a whole number"),
        ({"circuit_breaker_threshold": "5"}, "circuit_breaker_threshold='5' is not usable"),
        ({"circuit_breaker_timeout": -1}, "circuit_breaker_timeout=-1 is not usable: it must be a number"),
        ({"circuit_breaker_scope": None}, "circuit_breaker_scope=None is not usable: it must be a text"),
        ({"circuit_breaker": 5}, "circuit_breaker=5 is not usable: it must be an object of the class CircuitBreaker"),
        ({"key": "name"}, "key='name' is not usable: it must be a function of the call's arguments"),
        ({"reuse_result": 1}, "reuse_result=1 is not usable: it must be True or False"),
        ({"fallback": 5}, "fallback=5 is not usable: it must be a function that is called with the error"),
        ({"state_serializer": 3}, "state_serializer=3 is not usable: it must be a function from the state"),
        ({"state_deserializer": 3}, "state_deserializer=3 is not usable: it must be a function from JSON values"),
        ({"resume_from": 3}, "resume_from=3 is not usable: it must be a text"),
        ({"isolate": None}, "isolate=None is not usable: it must be True or False"),
        ({"budget": 5}, "budget=5 is not usable: it must be an object of the class RetryBudget"),
        ({"bulkhead": 0}, "bulkhead=0 is not usable: it must be a whole number of at least 1"),
        ({"bulkhead": True}, "bulkhead=True is not usable: it must be a whole number of at least 1"),
        ({"bulkhead": "x"}, "bulkhead='x' is not usable: it must be a whole number of at least 1"),
        ({"policies": 5}, "policies=5 is not usable: it must be a mapping from ErrorCategory"),
        ({"policies": []}, r"policies=\[\] is not usable: it must be a mapping from ErrorCategory"),
        ({"policies": {"ratelimit": None}}, "policies=.* by category, and 'ratelimit' is none of network, timeout"),
        ({"policies": {ErrorCategory.NETWORK: 5}}, "policies=.* must be a Policy, or None .* at network"),
        ({"raise_original": 0}, "raise_original=0 is not usable: it must be True or False"),
        ({"clock": time}, "clock=.* is not usable: it must be an object of the class Clock"),
    ],
)
def test_every_argument_is_checked(given: dict[str, Any], message: str) -> None:
    """What no call could use is refused at decoration, with name, value and what was expected."""
    with pytest.raises(RecoveryConfigError, match=message):
        recoverable(**given)(lambda: None)


@pytest.mark.parametrize("given", [3, "fetch", property(lambda self: 1), staticmethod(5)])  # type: ignore[arg-type]
def test_what_is_no_function_is_not_decorated(given: Any) -> None:
    """A number given by position, for example, is no function; the message says how it is meant to be used."""
    with pytest.raises(RecoveryConfigError, match=r"is not a function: what decorates one is @recoverable, or"):
        recoverable(given)


def test_every_retry_and_no_delay_at_all(clock: VirtualClock) -> None:
    """Zero is a value of every number: no retry, no wait, no time for the breaker to be open."""
    work = Failing(1)
    with pytest.raises(ConnectionError):
        recoverable(clock=clock, max_retries=0)(lambda: work())()
    recoverable(clock=clock, initial_delay=0, backoff_factor=0, max_delay=0, circuit_breaker_timeout=0)(
        lambda: work()
    )()
    assert work.calls == 2


@pytest.mark.parametrize("category", [ErrorCategory.NETWORK, "network"])
def test_policy_of_a_category(clock: VirtualClock, category: Any) -> None:
    """A category is named by itself or by its text."""
    work = Failing(9)
    with pytest.raises(ConnectionError):
        recoverable(clock=clock, policies={category: None})(lambda: work())()
    assert work.calls == 1


def test_retry_after_date_by_the_given_clock(clock: VirtualClock) -> None:
    """A date in Retry-After is so many seconds ahead by the clock of the function, whatever time it is elsewhere."""

    class Busy(Exception):
        status_code = 429
        headers: Mapping[str, str] = {}

    work = Failing(1, Busy())
    Busy.headers = {"Retry-After": formatdate(clock.time() + 90, usegmt=True)}
    assert recoverable(clock=clock)(lambda: work())() == "done"
    assert clock.slept == 90
