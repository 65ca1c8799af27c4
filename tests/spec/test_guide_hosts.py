"""The integration guide's samples with other systems: sockets, databases, settings, tests."""

from __future__ import annotations

import os
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence, recoverable
from launcher_recovery.integration import get_recovery_integrator
from tests.spec.standins import Flaky, Session, Socket, generate_operation_id


async def test_websocket() -> None:
    """Each attempt tells the socket; the last event is the success."""
    process_data = Flaky(1, lambda data: data["n"] + 1)

    @recoverable(max_retries=3)
    async def operation_with_websocket_updates(data: dict[str, Any], socket: Socket) -> Any:
        operation_id = generate_operation_id()
        try:
            await socket.emit("operation_started", {"operation_id": operation_id, "data": data})
            result = await process_data(data)
            await socket.emit("operation_completed", {"operation_id": operation_id, "result": result, "success": True})
            return result
        except Exception as e:
            await socket.emit("operation_error", {"operation_id": operation_id, "error": str(e), "retrying": True})
            raise

    socket = Socket()
    assert await operation_with_websocket_updates({"n": 1}, socket) == 2
    assert [name for name, _ in socket.sent] == [
        "operation_started", "operation_error", "operation_started", "operation_completed",
    ]  # fmt: skip


async def test_database_transaction() -> None:
    """A transaction that failed is rolled back before the next attempt."""
    update_related_records = Flaky(1, lambda session, number: None)

    async def create_record(session: Session, data: dict[str, Any]) -> Any:
        record = type("Record", (), {"id": 1, **data})()
        session.add(record)
        return record

    @recoverable(max_retries=3)
    async def database_operation_with_recovery(session: Session, data: dict[str, Any]) -> Any:
        async with session.begin():
            record = await create_record(session, data)
            await update_related_records(session, record.id)
            return record

    session = Session()
    record = await database_operation_with_recovery(session, {"name": "n"})
    assert session.kept == [record]


@pytest.mark.parametrize("persistence", ["true", "false"])
async def test_environment_configuration(monkeypatch: pytest.MonkeyPatch, persistence: str) -> None:
    """Options made of environment variables, persistence among them, are taken as they are."""
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "1")
    monkeypatch.setenv("RECOVERY_PERSISTENCE_ENABLED", persistence)

    def get_recovery_config() -> dict[str, Any]:
        return {
            "max_retries": int(os.getenv("RECOVERY_MAX_RETRIES", "3")),
            "initial_delay": float(os.getenv("RECOVERY_INITIAL_DELAY", "1.0")),
            "backoff_factor": float(os.getenv("RECOVERY_BACKOFF_FACTOR", "2.0")),
            "max_delay": float(os.getenv("RECOVERY_MAX_DELAY", "60.0")),
            "persistence": SQLitePersistence()
            if os.getenv("RECOVERY_PERSISTENCE_ENABLED", "true").lower() == "true"
            else None,
            "circuit_breaker_threshold": int(os.getenv("RECOVERY_CIRCUIT_BREAKER_THRESHOLD", "5")),
        }

    work = Flaky(9, str)

    @recoverable(**get_recovery_config())
    async def configured_operation(data: dict[str, Any]) -> Any:
        return await work(data)

    with pytest.raises(ConnectionError):
        await configured_operation({})
    assert work.calls == 2


def test_dynamic_configuration() -> None:
    """A mapping is merged into the settings of this process."""

    def update_recovery_config(new_config: dict[str, Any]) -> None:
        integrator = get_recovery_integrator()
        integrator.update_config(new_config)

    update_recovery_config({"max_retries": 5, "initial_delay": 2.0, "circuit_breaker_threshold": 10})
    config = get_recovery_integrator().config
    assert (config.max_retries, config.initial_delay, config.circuit_breaker_threshold) == (5, 2.0, 10)
    assert config.backoff_factor == 2.0


@pytest.mark.asyncio
async def test_recoverable_operation_success() -> None:
    """What does not fail is called once."""

    @recoverable(max_retries=3)
    async def test_operation() -> str:
        return "success"

    result = await test_operation()
    assert result == "success"


@pytest.mark.asyncio
async def test_recoverable_operation_with_retry() -> None:
    """What fails twice is called three times."""
    call_count = 0

    @recoverable(max_retries=3)
    async def failing_operation() -> str:
        nonlocal call_count
        call_count += 1
        if call_count < 3:
            raise ConnectionError("Network error")
        return "success_after_retry"

    result = await failing_operation()
    assert result == "success_after_retry"
    assert call_count == 3


@pytest.mark.asyncio
async def test_full_recovery_cycle() -> None:
    """A database in memory serves a call that fails for good and one that succeeds."""
    operation_id = "test_operation_123"

    @recoverable(max_retries=3, persistence=SQLitePersistence(":memory:"))
    async def persistent_operation(data: dict[str, Any]) -> dict[str, Any]:
        if data.get("simulate_failure"):
            raise ConnectionError("Simulated failure")
        return {"processed": True, "data": data}

    with pytest.raises(ConnectionError):
        await persistent_operation({"simulate_failure": True, "id": operation_id})
    result = await persistent_operation({"id": operation_id})
    assert result["processed"] is True
