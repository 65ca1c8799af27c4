"""The PostgreSQL server of tests and benchmarks: each has a schema of its own in the database that it is given."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

URL = os.environ.get("RECOVERY_TEST_POSTGRES_URL", "")


def rows(url: str, sql: str, *parameters: Any) -> list[Any]:
    """What a statement gives, without the package's own code."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def new_schema() -> Iterator[str]:
    """The URL of an empty schema, which is dropped in the end."""
    name = f"test_{uuid.uuid4().hex}"
    rows(URL, f"CREATE SCHEMA {name}")
    try:
        yield f"{URL}{'&' if '?' in URL else '?'}options=-csearch_path%3D{name}"
    finally:
        rows(URL, f"SET client_min_messages = warning; DROP SCHEMA {name} CASCADE")
