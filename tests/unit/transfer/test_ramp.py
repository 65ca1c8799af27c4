"""One connection more as long as each makes the whole faster by a fifth: the decisions, on a clock of the test."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from launcher_recovery.transfer.connections.ramp import GROWTH, Ramp

MIB = 1 << 20


class Line:
    """A line on which bytes come as a test says, looked at now and then, as the supervisor does it."""

    def __init__(self, most: int = 4) -> None:
        self.ramp = Ramp(most)
        self.now = 1000.0
        self.received = 0

    def look(self, working: int | None = None, worth: bool = True) -> int:
        working = self.ramp.wanted if working is None else working
        return self.ramp.observe(self.now, self.received, working, worth)

    def after(self, seconds: float, count: float = 0, **about: bool) -> int:
        self.now += seconds
        self.received += int(count)
        return self.look(**about)

    def measure(self, *rates: float, worth: bool = True) -> list[int]:
        """A measurement with each of these MiB a second; how many connections there are to be after each."""
        wanted = []
        for rate in rates:
            self.look(worth=worth)
            wanted.append(self.after(1.0, rate * MIB, worth=worth))
        return wanted


def test_it_begins_with_one_which_gets_as_fast_as_it_is_by_itself() -> None:
    line = Line()
    assert line.look() == 1
    assert line.measure(1, 2, 4, 4.7) == [1, 1, 1, 2]


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (0, 1), (-3, 1), (2, 2)])
def test_there_is_always_one_and_never_more_than_there_may_be(most: int, expected: int) -> None:
    line = Line(most)
    assert line.measure(1, 1, 5, 25, 125)[-1] == line.ramp.most == expected


def test_as_long_as_each_makes_it_faster_there_is_another_one() -> None:
    line = Line()
    assert line.measure(5, 5, 6, 7.3, 8.8) == [1, 2, 3, 4, 4]
    assert line.measure(5, 1, 0) == [4, 4, 4], "all there may be: nothing is measured any more"


@pytest.mark.parametrize(("growth", "wanted"), [(GROWTH, 3), (1.25, 3), (1.19, 1), (1.0, 1), (0.5, 1), (0.0, 1)])
def test_one_that_does_not_help_is_taken_back(growth: float, wanted: int) -> None:
    assert Line().measure(5, 5, 5 * growth) == [1, 2, wanted]


def test_the_last_one_that_helped_stays_when_the_next_does_not() -> None:
    line = Line()
    assert line.measure(2, 2, 4, 4) == [1, 2, 3, 2]
    assert line.measure(4, 4, 4, worth=True) == [2, 2, 2]


def test_half_a_minute_later_it_is_tried_again() -> None:
    line = Line()
    assert line.measure(5, 5, 5) == [1, 2, 1]
    assert line.after(29.9, 100 * MIB) == 1
    assert line.after(0.2, 100 * MIB) == 1, "what came meanwhile is no measurement"
    assert line.measure(5, 6) == [2, 3]


def test_what_one_does_by_itself_is_not_thought_to_be_the_second_ones_also_later() -> None:
    line = Line()
    assert line.measure(4, 4, 4) == [1, 2, 1]
    line.after(31)
    assert line.measure(6, 6, 6) == [1, 2, 1]


def test_a_measurement_takes_a_second_on_a_slow_line() -> None:
    line = Line()
    line.measure(1)
    line.look()
    assert line.after(0.99, MIB) == 1
    assert line.after(0.02) == 2


def test_a_measurement_takes_a_tenth_of_a_second_on_a_fast_line() -> None:
    line = Line()
    line.measure(5000)
    line.look()
    assert line.after(0.09, 100 * MIB) == 1
    assert line.after(0.02) == 2


def test_eight_mib_are_enough() -> None:
    line = Line()
    line.measure(100)
    line.look()
    assert line.after(0.5, 8 * MIB - 1) == 1
    assert line.after(0, 1) == 2


def test_nothing_is_measured_before_all_that_are_wanted_work() -> None:
    """The connection that was asked for has not had its first byte yet."""
    line = Line()
    assert line.measure(5, 5) == [1, 2]
    for _ in range(10):
        line.now, line.received = line.now + 1, line.received + 100 * MIB
        assert line.look(working=1) == 2
    assert line.measure(5) == [1], "what came before it worked does not count"


def test_a_measurement_is_given_up_when_one_of_them_ends() -> None:
    line = Line()
    assert line.measure(5, 5) == [1, 2]
    line.look()
    line.now, line.received = line.now + 0.5, line.received + 5 * MIB
    assert line.look(working=1) == 2
    assert line.after(0.6, 5 * MIB) == 2
    assert line.after(0.6) == 2
    assert line.after(0.5, 7 * MIB) == 3


def test_without_enough_left_there_is_no_other_one() -> None:
    line = Line()
    assert line.measure(5, 5, 5, worth=False) == [1, 1, 1]
    assert line.measure(5) == [2]


def test_one_that_helped_stays_also_when_no_other_is_worth_it() -> None:
    line = Line()
    assert line.measure(5, 5) == [1, 2]
    assert line.measure(6, 1, 1, worth=False) == [2, 2, 2]


def test_a_silent_line_gets_no_other_connection() -> None:
    """Nothing comes: that says nothing of how fast it is, and one more would not help."""
    line = Line()
    assert line.measure(0, 0, 0) == [1, 1, 1]
    assert line.measure(5, 0, 0, 0) == [1, 1, 1, 1]
    assert line.measure(5, 0) == [2, 1]


@pytest.mark.parametrize(("working", "wanted"), [(0, 1), (1, 1), (3, 3)])
def test_one_that_could_not_be_had_is_not_asked_for_again_for_a_while(working: int, wanted: int) -> None:
    line = Line()
    assert line.measure(2, 2, 4, 8) == [1, 2, 3, 4]
    line.ramp.fall_back(working, line.now)
    assert line.ramp.wanted == wanted
    assert line.after(29.9, 300 * MIB) == wanted
    line.after(0.2)
    assert line.measure(1) == [wanted + 1]


class Machine(RuleBasedStateMachine):
    """Whatever is observed, in whatever order."""

    @initialize(most=st.integers(-1, 6))
    def begin(self, most: int) -> None:
        self.ramp = Ramp(most)
        self.now, self.received = 0.0, 0
        self.rests_until = 0.0

    @rule(seconds=st.floats(0, 3), count=st.integers(0, 50 * MIB), idle=st.integers(0, 2), worth=st.booleans())
    def observe(self, seconds: float, count: int, idle: int, worth: bool) -> None:
        self.now, self.received = self.now + seconds, self.received + count
        before = self.ramp.wanted
        after = self.ramp.observe(self.now, self.received, max(0, before - idle), worth)
        assert after == self.ramp.wanted
        assert abs(after - before) <= 1
        if after != before:
            assert idle == 0, "nothing is decided before all of them work"
            assert self.now >= self.rests_until
        if after > before:
            assert worth
        if after < before:
            self.rests_until = self.now + 30

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(less=st.integers(0, 3))
    def fall_back(self, less: int) -> None:
        working = max(0, self.ramp.wanted - less)
        self.ramp.fall_back(working, self.now)
        assert self.ramp.wanted == max(1, working)
        self.rests_until = self.now + 30

    @invariant()
    def there_is_one_and_there_are_not_too_many(self) -> None:
        if hasattr(self, "ramp"):
            assert 1 <= self.ramp.wanted <= self.ramp.most


def test_whatever_is_observed_there_is_one_and_there_are_not_too_many() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(derandomize=True, deadline=None, database=None, max_examples=60)
    )
