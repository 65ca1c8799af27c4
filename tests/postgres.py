"""Tests that need a PostgreSQL server, and what they do with it."""

from __future__ import annotations

import pytest

from tests.server import URL, new_schema, rows

__all__ = ["URL", "needs_server", "new_schema", "rows"]

needs_server = pytest.mark.skipif(
    not URL, reason="no PostgreSQL server is named by RECOVERY_TEST_POSTGRES_URL (postgresql://user@host:5432/database)"
)
