"""Fixtures of the unit tests of the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import owners
from launcher_recovery.persistence import MemoryPersistence, SQLitePersistence
from launcher_recovery.persistence.base import Store
from tests.unit.kit import Kit


@pytest.fixture
def kit() -> Kit:
    return Kit(MemoryPersistence())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store in turn."""
    made: Store = MemoryPersistence() if request.param == "memory" else SQLitePersistence(tmp_path / "recovery.db")
    yield made
    owners.let_go(made)
    made.close()


@pytest.fixture
def each(store: Store) -> Kit:
    """A kit on each kind of store in turn."""
    return Kit(store)
