"""Fixtures that tests of every kind share."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from launcher_recovery import known_secrets, stores
from launcher_recovery.persistence import outbox
from sample_launcher.hub import Hub
from tests import postgres
from tests.sampling import mark_rows
from tests.support import watched_operations

# Threads that were told to end may take so long to do it; one that only looks for work ends by itself.
_ENDS_WITHIN_S = 5.0
_LOOKS_FOR_WORK = "recovery-watch"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before what is slow is left out."""
    mark_rows(items)


@pytest.fixture(scope="session", autouse=True)
def _integrators_stop_soon() -> Iterator[None]:
    """Their thread that waits for events looks at times whether it is to end; a second for each test adds up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_WAIT_S", 0.1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays_on_the_server() -> Iterator[None]:
    yield
    postgres.drop_schemas()


@pytest.fixture(scope="module", autouse=True)
def _what_a_module_leaves_open_is_found_in_it() -> Iterator[None]:
    """Warnings of what was not closed come when it is collected, which else is in the middle of tests to come."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _a_test_ends_what_it_began() -> Iterator[None]:
    """No thread of ours goes on after its test: it would meet what the next ones replace, and they would be blamed."""
    threads, watched = set(threading.enumerate()), watched_operations()
    yield
    stores.stop()  # a thread of the whole process
    until = time.monotonic() + _ENDS_WITHIN_S
    begun = [thread for thread in threading.enumerate() if thread not in threads]
    ours = [thread for thread in begun if thread.name.startswith("recovery-") and thread.name != _LOOKS_FOR_WORK]
    for thread in ours:
        thread.join(max(0.0, until - time.monotonic()))
    left = sorted(thread.name for thread in ours if thread.is_alive())
    assert not left, f"{', '.join(left)} still run: stop what was started, or `tests.support.let_go` of the store"
    names = sorted(live.data.title for live in watched_operations() - watched)
    assert not names, f"{', '.join(names)} still run: end them, detach them, or `tests.support.let_go` of the store"


@pytest.fixture(autouse=True)
def _no_secret_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has given away is not looked for in the texts of others."""
    monkeypatch.setattr(known_secrets, "_known", set())


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A faulty model hub in this process, on a free port, with nothing on offer yet."""
    with Hub() as running:
        yield running
