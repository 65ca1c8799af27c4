"""Whether the parts of recovery do here what they are there for: each is really used, in a folder of its own."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from launcher_recovery.classification import ErrorCategory, ErrorClassifier
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryState
from launcher_recovery.selftest.results import Check, require
from launcher_recovery.selftest.scenarios import leaves_alone
from launcher_recovery.signals import Event
from launcher_recovery.strategies import ExponentialBackoffStrategy, FixedDelayStrategy, LinearBackoffStrategy
from launcher_recovery.testing.clock import VirtualClock

if TYPE_CHECKING:
    import requests

    from launcher_recovery.integration import RecoveryIntegrator

_PATIENCE_S = 5.0


def checks_of(integrator: RecoveryIntegrator) -> tuple[Check, ...]:
    """The checks of one installation: of its store, its strategy, its rules and its breakers."""
    return (
        Check(
            "persistence",
            "The state is kept",
            "The store in use can be read and written, and what a store keeps is there after it was opened anew.",
            lambda folder: _persistence(integrator, folder),
        ),
        Check(
            "strategies",
            "Waits are as they are set",
            "Every strategy gives the waits that its settings say, and none longer than the longest.",
            lambda folder: _strategies(integrator),
        ),
        Check(
            "classification",
            "Errors are told apart",
            "What passes by itself is tried again, what does not is not.",
            lambda folder: _classification(integrator),
        ),
        Check(
            "circuit_breaker",
            "A dead host is left alone",
            "After as many failures as are set no call goes out, then one probe does.",
            lambda folder: _breaker(integrator),
        ),
        Check(
            "retry",
            "What fails is tried again",
            "An operation that fails twice ends well at its third attempt, with a record of each.",
            _retry,
        ),
        Check(
            "events",
            "Changes are told",
            "What changes reaches whoever listens, in order, with growing numbers.",
            _events,
        ),
    )


def _persistence(integrator: RecoveryIntegrator, folder: Path) -> str:
    integrator.persistence.check()
    config = integrator.config
    require(integrator.is_durable or not config.persistence_enabled, "State is kept in memory alone; see the problems.")
    at = to_datetime(Clock().time())
    store = SQLitePersistence(folder / "state.db")
    try:
        lifecycle = Lifecycle(store)
        data = lifecycle.open("self_test", ("one", 2), {"three": [3.5, None]}, key="k", title="a test")
        store.append_event("self_test", {"text": "kept"})
    finally:
        store.close()
    store = SQLitePersistence(folder / "state.db")
    try:
        kept = store.get(data.operation_id)
        require(kept is not None, "An operation was gone after the database had been opened anew.")
        assert kept is not None
        same = (kept.args, kept.kwargs, kept.key) == (("one", 2), {"three": [3.5, None]}, "k")
        require(same, "An operation was not as it had been kept.")
        require(store.events_since(0)[-1].payload == {"text": "kept"}, "An event was not as it had been kept.")
        Lifecycle(store).cancel(data.operation_id)
        require(store.cleanup(at + timedelta(days=1)) == 1, "A finished operation could not be forgotten.")
        require(store.get(data.operation_id) is None, "A forgotten operation was still there.")
    finally:
        store.close()
    where = "on the disk" if integrator.is_durable else "in memory, as it is set"
    return f"The store in use answers, and state is kept {where}."


def _strategies(integrator: RecoveryIntegrator) -> str:
    config = integrator.config
    first, most = min(config.initial_delay, config.max_delay), config.max_delay
    for attempt in range(1, 60):
        delay = integrator.strategy.calculate_delay(attempt)
        require(0 <= delay <= most, f"The wait after attempt {attempt} is {delay} s, but the longest is {most} s.")
    plain = ExponentialBackoffStrategy(config.initial_delay, config.backoff_factor, config.max_delay)
    require(plain.calculate_delay(1) == first, f"The first wait is not {first} s.")
    second = min(config.initial_delay * config.backoff_factor, most)
    require(plain.calculate_delay(2) == second, f"The second wait is not {second} s.")
    require(FixedDelayStrategy(2).calculate_delay(9) == 2, "A fixed wait is not fixed.")
    linear = LinearBackoffStrategy(1, 2)
    require(linear.calculate_delay(3) - linear.calculate_delay(2) == 2, "A linear wait does not grow evenly.")
    return f"The first wait is {first:g} s, the longest {most:g} s; those of launchers are spread at random below that."


def _errors() -> list[tuple[Exception, ErrorCategory, bool]]:
    """Errors with their broad category, and whether they are tried again."""
    import requests

    gone = requests.HTTPError(response=_answer(404))
    busy = requests.HTTPError(response=_answer(503))
    return [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), ErrorCategory.NETWORK, True),
        (TimeoutError("timed out"), ErrorCategory.TIMEOUT, True),
        (PermissionError(errno.EACCES, "Permission denied", "/models"), ErrorCategory.PERMISSION, False),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorCategory.RESOURCE, False),
        (ValueError("not a workflow"), ErrorCategory.VALIDATION, False),
        (busy, ErrorCategory.NETWORK, True),
        (gone, ErrorCategory.VALIDATION, False),
    ]


def _answer(status: int) -> requests.Response:
    import requests

    response = requests.Response()
    response.status_code = status
    response.url = "https://example.org/model.safetensors"
    return response


def _classification(integrator: RecoveryIntegrator) -> str:
    classifier = ErrorClassifier()
    errors = _errors()
    for error, category, again in errors:
        name = f"{type(error).__name__}: {error}".rstrip(": ")
        verdict = classifier.classify(error)
        require(verdict.category.broad is category, f"{name} was taken for {verdict.category.value}.")
        require(classifier.should_retry(error) is again, f"{name} would {'not ' * again}be tried again.")
        require(bool(integrator.classify(error).explanation), f"{name} is not explained to people.")
    return f"All of {len(errors)} errors are told apart and explained."


def _breaker(integrator: RecoveryIntegrator) -> str:
    threshold = integrator.config.circuit_breaker_threshold
    seconds = integrator.config.circuit_breaker_timeout
    leaves_alone(threshold, seconds)
    return f"It opens after {threshold} failures, for {seconds:g} s."


def _retry(folder: Path) -> str:
    clock = VirtualClock()
    store = SQLitePersistence(folder / "state.db")
    try:
        lifecycle = Lifecycle(store, clock=clock)
        data = lifecycle.open("self_test", (), {}, title="fails twice")
        policy = Policy(max_attempts=3, strategy=ExponentialBackoffStrategy(1, 2, 60))
        Engine(lifecycle, clock).run(data, policy, _failing(2))
        ended = lifecycle.current(data.operation_id)
        outcomes = [attempt.outcome for attempt in store.attempts(data.operation_id)]
    finally:
        store.close()
    require(ended is not None and ended.state is RecoveryState.SUCCESS, "The operation did not end well.")
    require(outcomes == ["failed", "failed", "success"], f"The attempts ended {outcomes}.")
    require(clock.slept >= 3, f"{clock.slept:g} s were waited in place of 1 and 2.")
    return "It ended well at its third attempt, after waits of 1 and 2 seconds."


def _failing(times: int) -> Callable[[], str]:
    def run() -> str:
        operation = current_operation()
        assert operation is not None
        if operation.attempt <= times:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return "done"

    return run


def _events(folder: Path) -> str:
    store = SQLitePersistence(folder / "state.db")
    heard: list[Event] = []
    is_over = threading.Event()

    def hear(event: Event) -> None:
        heard.append(event)
        if event.name == "recovery_completed":
            is_over.set()

    tail = OutboxTail(store)
    tail.subscribe(hear)
    tail.start()
    try:
        lifecycle = Lifecycle(store)
        data = lifecycle.open("self_test", (), {}, title="told of")
        lifecycle.cancel(data.operation_id)
        require(is_over.wait(_PATIENCE_S), f"Not everything was told within {_PATIENCE_S:g} s.")
    finally:
        tail.stop()
        store.close()
    names = [event.payload.get("state", event.name) for event in heard]
    require(names == ["pending", "cancelled", "recovery_completed"], f"What was told: {', '.join(names)}.")
    numbers = [event.seq for event in heard]
    require(numbers == sorted(set(numbers)), f"The numbers of events do not grow: {numbers}.")
    return f"All {len(heard)} changes were told, in order."
