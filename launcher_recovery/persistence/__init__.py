"""Stores of recovery state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher_recovery.persistence.base import StatePersistence, Store
from launcher_recovery.persistence.memory import MemoryPersistence

if TYPE_CHECKING:
    from launcher_recovery.persistence.postgres import PostgresPersistence
    from launcher_recovery.persistence.resilient import ResilientPersistence
    from launcher_recovery.persistence.sqlite import SQLitePersistence

__all__ = [
    "MemoryPersistence",
    "PostgresPersistence",
    "ResilientPersistence",
    "SQLitePersistence",
    "StatePersistence",
    "Store",
]


def __getattr__(name: str) -> Any:
    if name == "SQLitePersistence":  # Peewee is loaded only by those who use it
        from launcher_recovery.persistence.sqlite import SQLitePersistence

        return SQLitePersistence
    if name == "PostgresPersistence":
        from launcher_recovery.persistence.postgres import PostgresPersistence

        return PostgresPersistence
    if name == "ResilientPersistence":
        from launcher_recovery.persistence.resilient import ResilientPersistence

        return ResilientPersistence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
