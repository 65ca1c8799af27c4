"""Fixtures of the unit tests of the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.logs import disable_logging
from launcher_recovery.persistence import MemoryPersistence, PostgresPersistence, SQLitePersistence
from launcher_recovery.persistence.base import Store
from launcher_recovery.signals import circuit_breaker_updated, recovery_completed, recovery_updated
from tests import postgres
from tests.support import forget_threads, let_go
from tests.torture.files import database
from tests.unit.kit import Kit


@pytest.fixture(autouse=True)
def _nobody_listens_any_more() -> Iterator[None]:
    """Receivers and threads that a test leaves (an integrator switches logging on) are not those of the next one."""
    forget_threads()
    yield
    disable_logging()
    for signal in (recovery_updated, recovery_completed, circuit_breaker_updated):
        for receiver in list(signal.receivers_for(None)):
            signal.disconnect(receiver)


@pytest.fixture
def kit() -> Kit:
    return Kit(MemoryPersistence())


@pytest.fixture
def disk(path: Path) -> Iterator[SQLitePersistence]:
    """A store in the file at `path`, a fixture of the module that asks for this one."""
    made = SQLitePersistence(database(path))
    yield made
    made.close()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty schema on the PostgreSQL server of the tests."""
    with postgres.new_schema() as url:
        yield url


@pytest.fixture
def postgres_store_url() -> Iterator[str]:
    """The URL of an empty store on the PostgreSQL server of the tests."""
    with postgres.empty_store() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=postgres.needs_server)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store in turn."""
    made: Store
    if request.param == "memory":
        made = MemoryPersistence()
    elif request.param == "sqlite":
        made = SQLitePersistence(database(tmp_path / "recovery.db"))
    else:
        made = PostgresPersistence(request.getfixturevalue("postgres_store_url"))
    yield made
    let_go(made)
    made.close()


@pytest.fixture
def each(store: Store) -> Kit:
    """A kit on each kind of store in turn."""
    return Kit(store)
