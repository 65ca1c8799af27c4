"""Which rows of long tables run always: a sample that is the same in every run; the others run with -m slow."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import pytest

_FEWEST = 4


def mark_rows(items: Iterable[pytest.Item]) -> None:
    """Mark as slow what is not in the sample.

    Tests with `@pytest.mark.sampled(rows)` keep so many; of the torture's tables a third is kept, four rows at least.
    """
    tables: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec"):
            tables[item.nodeid.partition("[")[0]].append(item)
    for name, rows in tables.items():
        most = _rows_of(rows[0], len(rows))
        if most is None or most >= len(rows):
            continue
        kept = set(random.Random(name).sample(range(len(rows)), most))
        for number, item in enumerate(rows):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


def _rows_of(item: pytest.Item, rows: int) -> int | None:
    """How many rows of a table are kept; None: all."""
    marker = item.get_closest_marker("sampled")
    if marker is not None:
        return int(marker.args[0])
    return max(_FEWEST, rows // 3) if "tests/torture/" in item.nodeid else None
