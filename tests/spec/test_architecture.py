"""The technical architecture's samples: the parts of the package, and how they go together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    DEFAULT_CONFIG,
    CircuitBreaker,
    CircuitState,
    MemoryPersistence,
    RecoveryConfig,
    RecoveryData,
    RecoveryIntegrator,
    RecoveryMetrics,
    RecoveryState,
    SQLitePersistence,
    get_recovery_integrator,
    health_check,
    load_config,
    recoverable,
)
from launcher_recovery.classification import ErrorCategory, ErrorClassifier
from launcher_recovery.metrics import Counter
from launcher_recovery.strategies import (
    CustomStrategy,
    ExponentialBackoffStrategy,
    FixedDelayStrategy,
    LinearBackoffStrategy,
)
from tests.spec.standins import Flaky, Socket, fibonacci


async def test_every_option_of_the_decorator() -> None:
    """All options together make a function that recovers, with its arguments and result as they were."""
    work = Flaky(2, lambda *args: args)

    @recoverable(
        max_retries=3,
        initial_delay=1.0,
        backoff_factor=2.0,
        max_delay=60.0,
        persistence=SQLitePersistence(),
        strategy=ExponentialBackoffStrategy(),
        circuit_breaker_threshold=5,
        circuit_breaker_timeout=300.0,
    )
    async def critical_operation(*args: Any, **kwargs: Any) -> Any:
        return await work(args, kwargs)

    assert await critical_operation(1, two=2) == ((1,), {"two": 2})
    assert work.calls == 3


class ValidationError(ValueError):
    """The name is left undefined by the sample."""


@pytest.mark.parametrize(
    ("error", "category", "retried"),
    [
        (ConnectionError("gone"), ErrorCategory.NETWORK, True),
        (TimeoutError("late"), ErrorCategory.TIMEOUT, True),
        (ValidationError("bad"), ErrorCategory.VALIDATION, False),
        (PermissionError("no"), ErrorCategory.PERMISSION, False),
        (MemoryError("full"), ErrorCategory.RESOURCE, False),
        (RuntimeError("what"), ErrorCategory.UNKNOWN, True),
    ],
)
def test_classifier(error: Exception, category: ErrorCategory, retried: bool) -> None:
    """The six categories, and whether a retry makes sense."""
    classifier = ErrorClassifier()
    assert classifier.classify_error(error) is category
    assert classifier.should_retry(error) is retried


def test_strategies() -> None:
    """Each is made as in the sample and gives its delays."""
    jittered = ExponentialBackoffStrategy(initial_delay=1.0, backoff_factor=2.0, max_delay=60.0, jitter=True)
    assert all(0 <= jittered.calculate_delay(number) <= min(60, 2 ** (number - 1)) for number in range(1, 10))
    linear = LinearBackoffStrategy(initial_delay=1.0, increment=5.0, max_delay=60.0)
    assert [linear.calculate_delay(number) for number in (1, 2, 99)] == [1, 6, 60]
    assert FixedDelayStrategy(delay=5.0).calculate_delay(7) == 5.0
    custom = CustomStrategy(delay_func=lambda attempt: fibonacci(attempt), name="Fibonacci")
    assert custom.name == "Fibonacci"
    assert [custom.calculate_delay(number) for number in range(1, 7)] == [1, 1, 2, 3, 5, 8]


async def test_retry_strategy() -> None:
    """The second delay is the first one times the factor."""
    strategy = ExponentialBackoffStrategy()
    delay = strategy.calculate_delay(attempt=2)
    assert delay == 2.0


def test_the_table(tmp_path: Path) -> None:
    """A database at a path has the table of the schema, with its columns and its key."""
    path = tmp_path / "recovery.db"
    persistence = SQLitePersistence(str(path))
    persistence.insert(RecoveryData("id", "f"))
    connection = sqlite3.connect(path)
    columns = {row[1]: row[5] for row in connection.execute("PRAGMA table_info(recovery_data)")}
    connection.close()
    expected = "operation_id function_name state attempt args kwargs error metadata created_at updated_at"
    assert set(expected.split()) <= set(columns)
    assert columns["operation_id"] == 1


@pytest.mark.parametrize("make", [MemoryPersistence, SQLitePersistence])
async def test_persistence(make: Any) -> None:
    """The five methods keep, find and forget a record."""
    persistence = make()
    now = datetime.now(timezone.utc)
    recovery_data = RecoveryData(
        operation_id="id",
        function_name="f",
        args=(1, "two"),
        kwargs={"three": 3},
        state=RecoveryState.FAILED,
        attempt=2,
        error=ConnectionError("gone"),
        metadata={"a": [1]},
        created_at=now,
        updated_at=now,
    )
    await persistence.save(recovery_data)
    loaded = await persistence.load("id")
    assert (loaded.args, loaded.kwargs, loaded.metadata, loaded.attempt) == ((1, "two"), {"three": 3}, {"a": [1]}, 2)
    assert isinstance(loaded.error, Exception)
    assert "gone" in str(loaded.error)
    assert [data.operation_id for data in await persistence.list_by_state(RecoveryState.FAILED)] == ["id"]
    assert await persistence.cleanup_old(days=7) == 0
    await persistence.delete("id")
    assert await persistence.load("id") is None
    await persistence.delete("id")


def test_states() -> None:
    """The six states of the sample have its values."""
    names = ["PENDING", "IN_PROGRESS", "RECOVERING", "SUCCESS", "FAILED", "EXHAUSTED"]
    assert [RecoveryState[name].value for name in names] == [name.lower() for name in names]


def test_circuit_breaker() -> None:
    """Its fields begin as in the sample, and it goes through its three states."""
    breaker = CircuitBreaker()
    assert (breaker.threshold, breaker.timeout) == (5, 300.0)
    breaker = CircuitBreaker(threshold=1, timeout=0.0)
    assert (breaker.failure_count, breaker.last_failure_time, breaker.state) == (0, None, CircuitState.CLOSED)
    breaker.failure()
    assert (breaker.failure_count, breaker.state) == (1, CircuitState.OPEN)
    assert breaker.last_failure_time is not None
    breaker.acquire()
    assert breaker.state is CircuitState.HALF_OPEN
    breaker.success()
    assert breaker.state is CircuitState.CLOSED


async def test_decorated_functions() -> None:
    """A plain function with retries, a coroutine function with a store."""
    left = [ConnectionError("gone")]

    @recoverable(max_retries=3)
    def download_file(url: str, destination: str) -> str:
        if left:
            raise left.pop()
        return destination

    @recoverable(persistence=SQLitePersistence())
    async def install_project(project_id: str) -> str:
        return project_id

    assert download_file("u", "d") == "d"
    assert await install_project("p") == "p"


def test_an_integrator_of_ones_own() -> None:
    """The parts of the package can be put together by hand, and the package's own integrator has the same names."""

    class OwnIntegrator:
        def __init__(self, config: RecoveryConfig) -> None:
            self.config = config
            self.persistence = SQLitePersistence()
            self.strategy = ExponentialBackoffStrategy()
            self.classifier = ErrorClassifier()

        def apply_to_operation(self, operation_func: Any) -> Any:
            return recoverable(
                max_retries=self.config.max_retries,
                persistence=self.persistence,
                strategy=self.strategy,
                classifier=self.classifier,
            )(operation_func)

    left: list[ConnectionError] = []

    def operation_func(name: str) -> str:
        if left:
            raise left.pop()
        return name

    config = RecoveryConfig(max_retries=2)
    for number, integrator in enumerate((OwnIntegrator(config), RecoveryIntegrator(config)), start=1):
        left += [ConnectionError("gone")] * 2
        assert integrator.apply_to_operation(operation_func)("n") == "n"
        assert isinstance(integrator.strategy, ExponentialBackoffStrategy)
        assert isinstance(integrator.classifier, ErrorClassifier)
        assert [data.attempt for data in integrator.persistence.find()] == [3] * number  # both use the same file


async def test_socket_updates() -> None:
    """A state goes over a socket by its value."""
    socket = Socket()

    async def emit_recovery_update(operation_id: str, state: RecoveryState) -> None:
        await socket.emit(
            "recovery_update",
            {"operation_id": operation_id, "state": state.value, "timestamp": datetime.now().isoformat()},
        )

    await emit_recovery_update("id", RecoveryState.RECOVERING)
    ((name, payload),) = socket.sent
    assert (name, payload["operation_id"], payload["state"]) == ("recovery_update", "id", "recovering")


def test_default_configuration() -> None:
    """The defaults are those of the sample."""
    assert (
        RecoveryConfig(
            max_retries=3,
            initial_delay=1.0,
            backoff_factor=2.0,
            max_delay=60.0,
            circuit_breaker_threshold=5,
            circuit_breaker_timeout=300.0,
            persistence_enabled=True,
        )
        == DEFAULT_CONFIG
    )


def test_environment_variables() -> None:
    """Each variable of the sample is a setting."""
    config = load_config(
        environ={
            "RECOVERY_MAX_RETRIES": "5",
            "RECOVERY_INITIAL_DELAY": "2.0",
            "RECOVERY_BACKOFF_FACTOR": "2.5",
            "RECOVERY_CIRCUIT_BREAKER_THRESHOLD": "10",
            "RECOVERY_PERSISTENCE_PATH": "/var/lib/comfyui/recovery.db",
        }
    )
    assert (config.max_retries, config.initial_delay, config.backoff_factor) == (5, 2.0, 2.5)
    assert (config.circuit_breaker_threshold, config.persistence_path) == (10, "/var/lib/comfyui/recovery.db")


def test_runtime_configuration() -> None:
    """A whole configuration replaces the one in force."""
    integrator = get_recovery_integrator()
    integrator.update_config(RecoveryConfig(max_retries=5, initial_delay=2.0))
    assert get_recovery_integrator().config == RecoveryConfig(max_retries=5, initial_delay=2.0)


def test_metrics() -> None:
    """The five counters are there and begin at 0, also those of the integrator."""
    names = ["total_operations", "recovered_operations", "failed_operations", "retry_attempts", "circuit_breaker_trips"]
    for metrics in (RecoveryMetrics(), get_recovery_integrator().metrics):
        for name in names:
            counter = getattr(metrics, name)
            assert isinstance(counter, Counter)
            assert int(counter) == 0


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    """A record of an operation has the extra fields of the sample."""
    caplog.set_level(logging.INFO, "launcher_recovery")
    get_recovery_integrator().apply_to_operation(lambda: 1)()
    record = vars(caplog.records[0])
    assert isinstance(record["operation_id"], str)
    assert record["function_name"].endswith("<lambda>")
    assert (record["attempt"], record["max_attempts"]) == (1, 4)


async def test_health() -> None:
    """The health check has the keys of the sample."""
    health = await health_check()
    assert health["persistence_healthy"] is True
    assert health["circuit_breakers"] == []
    assert health["active_operations"] == 0
    assert health["system_healthy"] is True


async def test_full_recovery_cycle() -> None:
    """An operation that fails first is found to have succeeded."""
    integrator = get_recovery_integrator()
    work = Flaky(1, lambda: "done")
    recovered = integrator.apply_to_operation(_as_function(work))
    tasks: list[asyncio.Task[Any]] = []

    async def start_operation_with_failure() -> str:
        tasks.append(asyncio.create_task(recovered()))
        while not (found := integrator.persistence.find()):
            await asyncio.sleep(0)
        return found[0].operation_id

    async def wait_for_recovery() -> None:
        await asyncio.gather(*tasks)

    async def operation_succeeded(operation_id: str) -> bool:
        found = integrator.persistence.get(operation_id)
        return found is not None and found.state is RecoveryState.SUCCESS and found.attempt == 2

    operation_id = await start_operation_with_failure()
    await wait_for_recovery()
    assert await operation_succeeded(operation_id)


def _as_function(work: Flaky) -> Any:
    async def operation() -> Any:
        return await work()

    return operation
