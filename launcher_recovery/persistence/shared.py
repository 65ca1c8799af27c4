"""The rows that processes share, in a database: read, changed and kept in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import peewee

from launcher_recovery.persistence.base import FORGOTTEN, KEYS, LINGERING_S
from launcher_recovery.persistence.models import BreakerRow, BudgetRow, SettingsRow
from launcher_recovery.rows import Row, Transition

T = TypeVar("T")

_JSON = frozenset({"recent", "kept"})


class Execute(Protocol):
    """Runs a statement on the connection that writes; gives its cursor."""

    def __call__(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any: ...


class Write(Protocol):
    """Runs work in a transaction, and again if that was undone."""

    def __call__(self, work: Callable[[], T], durable: bool = True) -> T: ...


Fetch = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a query on the connection that reads."""


@dataclass(frozen=True)
class _Table:
    model: type[peewee.Model]
    key: tuple[str, ...]
    name: str = field(init=False)
    columns: tuple[str, ...] = field(init=False)
    select: str = field(init=False)
    where: str = field(init=False)
    upsert: str = field(init=False)

    def __post_init__(self) -> None:
        made: dict[str, Any] = {
            "name": self.model._meta.table_name,
            "columns": tuple(self.model._meta.sorted_field_names),
        }
        made["select"] = f"SELECT {', '.join(made['columns'])} FROM {made['name']}"
        made["where"] = " AND ".join(f"{column} = ?" for column in self.key)
        values = ", ".join("?" * len(made["columns"]))
        others = ", ".join(f"{column} = excluded.{column}" for column in made["columns"] if column not in self.key)
        made["upsert"] = (
            f"INSERT INTO {made['name']} ({', '.join(made['columns'])}) VALUES ({values})"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {others}"
        )
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def row(self, values: tuple[Any, ...]) -> Row:
        found = dict(zip(self.columns, values, strict=True))
        return {name: json.loads(value) if name in _JSON else value for name, value in found.items()}

    def rows(self, found: list[tuple[Any, ...]]) -> list[Row]:
        return [self.row(values) for values in found]


_MODELS: Mapping[str, type[peewee.Model]] = {"breakers": BreakerRow, "budgets": BudgetRow, "settings": SettingsRow}
_TABLES = {name: _Table(model, KEYS[name]) for name, model in _MODELS.items()}


def shared(fetch: Fetch, table: str, key: tuple[str, ...] | None) -> list[Row]:
    """The row of that key, or (None) all."""
    wanted = _TABLES[table]
    if key is None:
        return wanted.rows(fetch(f"{wanted.select} ORDER BY {', '.join(wanted.key)}", ()))
    return wanted.rows(fetch(f"{wanted.select} WHERE {wanted.where}", key))


def share(
    write: Write,
    fetch: Fetch,
    execute: Execute,
    table: str,
    key: tuple[str, ...],
    change: Transition,
) -> Row | None:
    """Read, change and keep a row, in one transaction; none is begun when nothing is to be changed."""
    found = shared(fetch, table, key)
    row = found[0] if found else None
    if change(row) is None:
        return row
    return write(lambda: _share(execute, _TABLES[table], key, change), durable=table not in FORGOTTEN)


def _share(execute: Execute, table: _Table, key: tuple[str, ...], change: Transition) -> Row | None:
    found = execute(f"{table.select} WHERE {table.where}", key).fetchone()
    row = None if found is None else table.row(found)
    changed = change(row)
    if changed is None:
        return row
    kept = {**changed, **dict(zip(table.key, key, strict=True))}
    execute(table.upsert, tuple(json.dumps(kept[name]) if name in _JSON else kept[name] for name in table.columns))
    return kept


def forget(execute: Execute, before: float) -> None:
    """Forget the rows that were not touched since `before`, in seconds since the epoch."""
    execute("DELETE FROM recovery_budgets WHERE updated_at < ?", (before,))
    execute(
        "DELETE FROM recovery_breakers WHERE updated_at < ? AND (state = 'closed' OR updated_at < ?)",
        (before, before - LINGERING_S),
    )
