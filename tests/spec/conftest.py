"""Fixtures of the samples: no waiting, and the default database in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence, integration, owners
from launcher_recovery.testing import recovery_test_mode


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The samples open stores and never close them; that is done for them here."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    opened: list[SQLitePersistence] = []
    original = SQLitePersistence.__init__

    def remembered(store: SQLitePersistence, *args: object, **options: object) -> None:
        original(store, *args, **options)
        opened.append(store)

    monkeypatch.setattr(SQLitePersistence, "__init__", remembered)
    with recovery_test_mode(attempts=None):
        yield
    integration.set_recovery_integrator(None)
    for store in list(owners._beating):
        owners.let_go(store)
    for opened_store in opened:
        opened_store.close()
