"""Connections that are far slower than usual for a while are told, and no others."""

from __future__ import annotations

import pytest

from launcher_recovery.transfer.connections.pace import CRAWL, SLOW_S, Pace

MB = 1e6


class Seconds:
    """Looks once a second, for so many seconds."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.now = 1000.0

    def pass_by(
        self, seconds: int, share: float | None = None, **rates: float | tuple[float, float] | None
    ) -> dict[str, bool]:
        """What is said in the last one."""
        found: dict[str, bool] = {}
        pairs = {name: (rate, rate) if isinstance(rate, (int, float)) else rate for name, rate in rates.items()}
        for _ in range(seconds):
            self.now += 1
            found = self.pace.slow(self.now, pairs, share)
        return found


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_one_that_is_far_behind_the_others_is_told_after_a_while(seconds: Seconds) -> None:
    seconds.pass_by(1, one=8 * MB, other=1 * MB)  # two rates are too few to tell what is usual
    assert seconds.pass_by(int(SLOW_S), one=8 * MB, other=1 * MB) == {}
    assert seconds.pass_by(1, one=8 * MB, other=1 * MB) == {"other": True}
    assert seconds.pass_by(1, one=8 * MB, other=1 * MB) == {"other": True}  # until something is done about it


def test_one_that_was_faster_itself_is_told(seconds: Seconds) -> None:
    seconds.pass_by(20, one=8 * MB)
    assert seconds.pass_by(11, one=1 * MB) == {"one": True}


def test_one_that_is_a_little_slower_is_not(seconds: Seconds) -> None:
    assert seconds.pass_by(100, one=8 * MB, other=4 * MB) == {}


def test_what_came_since_the_last_measurement_speaks_for_it(seconds: Seconds) -> None:
    assert seconds.pass_by(100, one=8 * MB, other=(1 * MB, 8 * MB)) == {}


def test_one_that_catches_up_begins_anew(seconds: Seconds) -> None:
    seconds.pass_by(9, one=8 * MB, other=1 * MB)
    seconds.pass_by(1, one=8 * MB, other=7 * MB)
    assert seconds.pass_by(10, one=8 * MB, other=1 * MB) == {}
    assert seconds.pass_by(1, one=8 * MB, other=1 * MB) == {"other": True}


def test_one_that_crawls_by_itself_is_told_as_such(seconds: Seconds) -> None:
    """Its own speed is the usual one: nothing is known of others."""
    assert seconds.pass_by(10, one=2000.0) == {}
    assert seconds.pass_by(1, one=2000.0) == {"one": False}


def test_one_that_has_brought_nothing_lately_crawls(seconds: Seconds) -> None:
    assert seconds.pass_by(11, one=0.0) == {"one": False}


def test_a_slow_line_is_no_crawl(seconds: Seconds) -> None:
    assert seconds.pass_by(100, one=float(CRAWL)) == {}


def test_waiting_for_an_answer_says_nothing_of_the_speed(seconds: Seconds) -> None:
    seconds.pass_by(6, one=8 * MB, other=1 * MB)
    assert seconds.pass_by(3, one=8 * MB, other=None) == {}
    assert seconds.pass_by(3, one=8 * MB, other=1 * MB) == {"other": True}


def test_one_that_is_gone_is_forgotten(seconds: Seconds) -> None:
    seconds.pass_by(9, one=8 * MB, other=1 * MB)
    seconds.pass_by(1, one=8 * MB)
    assert seconds.pass_by(10, one=8 * MB, other=1 * MB) == {}


def test_it_looks_once_a_second(seconds: Seconds) -> None:
    seconds.pass_by(11, one=2000.0)
    assert seconds.pace.slow(seconds.now + 0.9, {"one": (2000.0, 2000.0)}, None) == {}
    assert seconds.pace.slow(seconds.now + 1.0, {"one": (2000.0, 2000.0)}, None) == {"one": False}


def test_what_a_limit_leaves_is_not_slow(seconds: Seconds) -> None:
    """Neither below what there was before the limit, nor by itself."""
    seconds.pass_by(60, one=8 * MB)
    assert seconds.pass_by(100, share=10_000.0, one=9000.0) == {}
    assert seconds.pass_by(11, share=10_000.0, one=2000.0) == {"one": True}


def test_what_was_usual_is_forgotten_after_a_minute(seconds: Seconds) -> None:
    seconds.pass_by(60, one=8 * MB)
    assert seconds.pass_by(20, one=1 * MB) == {"one": True}
    assert seconds.pass_by(40, one=1 * MB) == {}
