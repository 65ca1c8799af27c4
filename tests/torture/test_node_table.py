"""Each row of the table of node installs under faults: what the person sees, and what is there in the end.

`python -m tests.node_table` prints it. Rows that take long are run with the slow tests, but for two that are drawn.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.node_process import HOLDS
from tests.node_table import ROWS, as_markdown, observe

_LONG = [name for name, row in ROWS.items() if row.is_long]
# The same two in every run. Of kills one that is not among those of test_node_kill.py.
_DRAWN = random.Random(5)
_ALWAYS = {
    _DRAWN.choice([name for name in _LONG if name.startswith("cancelled")]),
    f"kill -9 in {_DRAWN.choice(sorted(HOLDS))}",
}


def rows() -> list[Any]:
    slow = {name: (pytest.mark.slow,) for name in _LONG if name not in _ALWAYS}
    return [pytest.param(name, marks=slow.get(name, ())) for name in ROWS]


@pytest.mark.parametrize("name", rows())
def test_what_is_seen_and_what_is_there_in_the_end(name: str) -> None:
    seen, offered = observe(ROWS[name])
    assert seen == ROWS[name].expected
    # Whatever failed says what can be done about it.
    assert seen.fix is None or (offered is not None and all(offered))
    assert as_markdown(name, seen, offered).count("|") == 4
