"""The last lines that were logged, for support files."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from launcher_recovery.recent import KEPT, RecentLines

logger = logging.getLogger("launcher_recovery")


@pytest.fixture
def recent() -> Iterator[RecentLines]:
    made = RecentLines()
    made.attach()
    yield made
    made.detach()


def test_lines_have_their_time_and_level_and_are_one_line_each(recent: RecentLines) -> None:
    logger.warning("broken:\n%s\x1b[31m", "two\nlines")
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("it failed")
    first, second = recent.lines
    assert first.endswith(" WARNING broken: two lines [31m")
    assert first[10] == "T"
    assert second.endswith(" ERROR it failed (ValueError)")


def test_only_the_latest_are_kept_and_long_ones_in_part(recent: RecentLines) -> None:
    for number in range(KEPT + 5):
        logger.warning("line %d %s", number, "x" * 2000)
    assert len(recent.lines) == KEPT
    assert " line 5 " in recent.lines[0]
    assert len(recent.lines[0]) < 1100


def test_a_record_that_cannot_be_put_together_harms_nobody(
    recent: RecentLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent.emit(logging.LogRecord("launcher_recovery", logging.INFO, __file__, 1, "%d", ("x",), None))
    assert recent.lines[0].endswith(" INFO ?")


def test_detached_it_keeps_nothing_more(recent: RecentLines) -> None:
    recent.detach()
    logger.warning("nobody hears")
    assert recent.lines == []
