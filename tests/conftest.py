"""Fixtures that tests of every kind share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sample_launcher.hub import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A faulty model hub in this process, on a free port, with nothing on offer yet."""
    with Hub() as running:
        yield running
