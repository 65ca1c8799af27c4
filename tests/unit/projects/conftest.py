"""Fixtures of the tests of project creation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import Creator


@pytest.fixture
def creator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Creator]:
    """A launcher that is told how projects are, and handlers whose answers tests set."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "data" / "recovery.db"))
    made = Creator(tmp_path)
    yield made
    made.close()
