"""A host with recovery for the tests of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site import Site
from tests.support import let_go


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(persistence_path=str(tmp_path / "data" / "recovery.db"), allowed_roots=(str(tmp_path),))
    made.integrator.load()
    yield made
    made.integrator.stop()
    let_go(made.store)
