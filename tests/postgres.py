"""Tests that need a PostgreSQL server, and what they do with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from launcher_recovery.persistence import PostgresPersistence
from tests.server import URL, new_schema, rows

__all__ = ["URL", "drop_schemas", "empty_store", "needs_server", "new_schema", "rows"]

needs_server = pytest.mark.skipif(
    not URL, reason="no PostgreSQL server is named by RECOVERY_TEST_POSTGRES_URL (postgresql://user@host:5432/database)"
)


class _Schema:
    """A schema with the tables of a store, which can be emptied: making one anew takes many times as long."""

    _LOOK = """
        SELECT relname, relkind::text, relnatts, relchecks FROM pg_catalog.pg_class
        WHERE relnamespace = current_schema()::regnamespace ORDER BY relname
    """

    def __init__(self, url: str) -> None:
        import psycopg

        PostgresPersistence(url).close()
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._shape = self._look()
        tables = [name for name, kind, *_ in self._shape if kind == "r"]
        # What migrations have written into them is there again afterwards.
        kept = [f"CREATE TEMPORARY TABLE first_{name} AS SELECT * FROM {name}" for name in tables]
        self._connection.execute("; ".join(["SET lock_timeout = '5s'; SET synchronous_commit = off", *kept]))
        deletes = [f"DELETE FROM {name}" for name in tables]
        inserts = [f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM first_{name}" for name in tables]
        numbers = [f"SELECT setval('{name}', 1, false)" for name, kind, *_ in self._shape if kind == "S"]
        self._empty = "; ".join([*deletes, *inserts, *numbers])

    def _look(self) -> list[Any]:
        return self._connection.execute(self._LOOK).fetchall()

    def empty(self) -> bool:
        """As it was at first; False when a test has changed its tables, or still uses them."""
        import psycopg

        try:
            self._connection.execute(self._empty)
            return self._look() == self._shape
        except psycopg.Error:
            return False

    def close(self) -> None:
        self._connection.close()


_free: list[_Schema] = []
_made = ExitStack()


@contextmanager
def empty_store() -> Iterator[str]:
    """The URL of a schema with the tables of a store and nothing in them; others may have used it before."""
    schema = None
    while schema is None and _free:
        schema = _free.pop()
        if not schema.empty():
            schema = None
    if schema is None:
        schema = _Schema(_made.enter_context(new_schema()))
        _made.callback(schema.close)
    try:
        yield schema.url
    finally:
        _free.append(schema)


def drop_schemas() -> None:
    """Drop all that `empty_store` has made."""
    _free.clear()
    _made.close()
