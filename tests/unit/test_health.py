"""The health check says whether recovery works, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, StoreError, health_check, integration
from launcher_recovery.persistence import MemoryPersistence

KEYS = {
    "persistence_healthy", "circuit_breakers", "active_operations", "system_healthy", "problems", "workers", "disk",
    "extensions",
}  # fmt: skip


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    yield
    integration.set_recovery_integrator(None)


async def test_an_idle_process_is_healthy() -> None:
    """Without being given one, it looks at this process's integrator."""
    health = await health_check()
    integration.get_recovery_integrator().stop()
    assert set(health) == KEYS
    assert health["persistence_healthy"] is health["system_healthy"] is True
    assert health["active_operations"] == 0
    assert health["circuit_breakers"] == health["problems"] == []


async def test_breakers_and_operations_are_told() -> None:
    """An open breaker is shown, and does not make recovery ill."""
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False, circuit_breaker_threshold=1))
    integrator.lifecycle.open("f", (), {})
    integrator.guards.breaker("host", "download").failure()
    health = await health_check(integrator)
    (breaker,) = health["circuit_breakers"]
    assert (breaker["scope"], breaker["operation_type"], breaker["state"]) == ("host", "download", "open")
    assert health["active_operations"] == 1
    assert health["system_healthy"] is True


class Broken(MemoryPersistence):
    def check(self) -> None:
        raise StoreError("the disk is full")


async def test_a_store_that_fails_is_named() -> None:
    """It does not raise: the answer says what is wrong, beside problems that were known before."""
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False), persistence=Broken())
    integrator.report_problem("clock", "The clock is wrong.")
    health = await health_check(integrator)
    assert health["persistence_healthy"] is health["system_healthy"] is False
    assert health["active_operations"] is None
    assert health["problems"] == [
        {"code": "clock", "message": "The clock is wrong."},
        {"code": "store", "message": "the disk is full"},
    ]


async def test_a_problem_is_told_once() -> None:
    """What the integrator says of its store already is not told again by the look at it."""
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False), persistence=Broken())
    integrator.report_problem("store", "the disk is full. Until then nothing is kept.")
    health = await health_check(integrator)
    assert health["problems"] == [{"code": "store", "message": "the disk is full. Until then nothing is kept."}]


async def test_memory_instead_of_the_disk_is_not_healthy(tmp_path: Path) -> None:
    """When the database could not be opened, operations go on, but nothing would survive a restart."""
    (tmp_path / "recovery.db").mkdir()
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_path=str(tmp_path / "recovery.db")))
    health = await health_check(integrator)
    assert health["persistence_healthy"] is False
    assert [problem["code"] for problem in health["problems"]] == ["store"]


async def test_settings_that_cannot_be_used_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The health of a process whose environment is wrong is that sentence."""
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "many")
    health = await health_check()
    assert set(health) == KEYS
    assert health["system_healthy"] is False
    assert "RECOVERY_MAX_RETRIES='many'" in health["problems"][0]["message"]
