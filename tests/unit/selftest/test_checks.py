"""The self-test finds what is wrong with each part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryState
from launcher_recovery.selftest.checks import checks_of
from launcher_recovery.selftest.results import results_of
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.transitions import Transitions


@pytest.fixture
def integrator() -> Iterator[RecoveryIntegrator]:
    made = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False), persistence=MemoryPersistence())
    yield made
    made.stop()


def failing(integrator: RecoveryIntegrator) -> dict[str, str]:
    return {one.id: one.detail for one in results_of(checks_of(integrator), 60) if one.passed is not True}


def test_all_is_well(integrator: RecoveryIntegrator) -> None:
    assert failing(integrator) == {}


def test_settings_of_any_kind_pass() -> None:
    for given in (
        {"initial_delay": 0, "max_delay": 0},
        {"initial_delay": 90, "max_delay": 60, "backoff_factor": 1},
        {"circuit_breaker_threshold": 1, "circuit_breaker_timeout": 0},
    ):
        config = RecoveryConfig(persistence_enabled=False, **given)
        made = RecoveryIntegrator(config, persistence=MemoryPersistence())
        assert failing(made) == {}
        made.stop()


def test_state_that_is_kept_in_memory_against_the_settings(integrator: RecoveryIntegrator) -> None:
    integrator.config = replace(integrator.config, persistence_enabled=True)
    assert failing(integrator) == {"persistence": "State is kept in memory alone; see the problems."}


def test_a_store_that_loses_what_it_keeps(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    get = SQLitePersistence.get

    def lossy(store: SQLitePersistence, operation_id: str) -> Any:
        found = get(store, operation_id)
        return None if found is None else replace(found, kwargs={})

    monkeypatch.setattr(SQLitePersistence, "get", lossy)
    assert failing(integrator)["persistence"] == "An operation was not as it had been kept."


def test_waits_that_are_not_as_they_are_set(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedDelayStrategy, "calculate_delay", lambda strategy, attempt: float(attempt))
    assert failing(integrator) == {"strategies": "A fixed wait is not fixed."}


def test_errors_that_are_not_told_apart(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ErrorClassifier, "should_retry", lambda classifier, error: True)
    found = failing(integrator)["classification"]
    assert found.startswith("PermissionError: [Errno 13] Permission denied: '/models' would be tried again")


def test_changes_that_are_not_told(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher_recovery.selftest.checks._PATIENCE_S", 0.01)
    monkeypatch.setattr(OutboxTail, "_deliver", lambda tail: None)
    assert failing(integrator) == {"events": "Not everything was told within 0.01 s."}


def test_operations_that_are_not_tried_again(integrator: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Transitions._change

    def stubborn(transitions: Transitions, operation_id: str, expected: Any, fields: Any, **given: Any) -> Any:
        if fields.get("state") is RecoveryState.RECOVERING:
            fields = {**fields, "state": RecoveryState.FAILED, "next_attempt_at": None, "waiting_for": None}
        return change(transitions, operation_id, expected, fields, **given)

    monkeypatch.setattr(Transitions, "_change", stubborn)
    assert "retry" in failing(integrator)


def test_the_store_in_use_is_really_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = RecoveryIntegrator(RecoveryConfig(persistence_path=str(tmp_path / "recovery.db")))
    try:
        monkeypatch.setattr(type(made.persistence), "check", lambda store: (_ for _ in ()).throw(OSError("gone")))
        assert failing(made) == {"persistence": "OSError: gone"}
    finally:
        made.stop()
