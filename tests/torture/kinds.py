"""The stores that are tortured, each as two processes have it open, and who uses them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from launcher_recovery import PostgresPersistence
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import MemoryPersistence, ResilientPersistence, SQLitePersistence
from launcher_recovery.persistence.base import Store
from tests import postgres
from tests.torture.files import database


def run_examples(machine: type[RuleBasedStateMachine], examples: int, steps: int, *phases: Phase) -> None:
    """Random sequences of a machine's calls, the same in every run."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


class InOneThread(Lifecycle):
    """No thread looks for what others do: each example is the same in every run."""

    @property
    def sees_others(self) -> bool:
        return False


def _on_server(_: Path) -> tuple[Store, Store]:
    """In a schema that others use when both are closed."""
    schema = postgres.empty_store()
    url = schema.__enter__()
    stores = PostgresPersistence(url), PostgresPersistence(url)
    opened = set(stores)

    def close(store: PostgresPersistence) -> None:
        PostgresPersistence.close(store)
        opened.discard(store)
        if not opened:
            schema.__exit__(None, None, None)

    for each in stores:
        each.close = functools.partial(close, each)  # type: ignore[method-assign]
    return stores


# What opens the stores of two processes that share one place, which is in the folder or on the server.
KINDS: dict[str, Callable[[Path], tuple[Store, Store]]] = {
    "memory": lambda folder: (shared := MemoryPersistence(), shared),
    "sqlite": lambda folder: (
        SQLitePersistence(database(folder / "r.db")),
        SQLitePersistence(database(folder / "r.db")),
    ),
    "resilient": lambda folder: (
        ResilientPersistence(SQLitePersistence(database(folder / "r.db"))),
        ResilientPersistence(SQLitePersistence(database(folder / "r.db"))),
    ),
    "postgres": _on_server,
}

# As parameters of tests; where there is no server, what needs one is left out before anything is made for it.
EACH_KIND = [pytest.param(kind, marks=postgres.needs_server if kind == "postgres" else ()) for kind in KINDS]
