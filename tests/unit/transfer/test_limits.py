"""What downloads share: so many connections to a host and in all, so many bytes a second, and who comes first."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher_recovery.transfer.connections.limits import Bandwidth, Connections

SLICE_S = 0.05
same_each_time = settings(derandomize=True, deadline=None, database=None)


# -- connections ----------------------------------------------------------------------------------------------


def test_so_many_connections_to_a_host_and_so_many_in_all() -> None:
    connections = Connections(per_host=2, in_all=3)
    assert [connections.enter("a", is_first=False) for _ in range(3)] == [True, True, False]
    assert [connections.enter("b", is_first=False) for _ in range(2)] == [True, False]
    assert (connections.count("a"), connections.count("b"), connections.count("c"), connections.count()) == (2, 1, 0, 3)
    connections.leave("a")
    assert (connections.count("a"), connections.count()) == (1, 2)
    assert connections.enter("c", is_first=False)
    assert not connections.enter("a", is_first=False)


def test_the_first_connection_of_a_download_is_let_through_and_counted() -> None:
    connections = Connections(per_host=1, in_all=1)
    assert connections.enter("a", is_first=True)
    assert connections.enter("a", is_first=True)
    assert connections.enter("b", is_first=True)
    assert (connections.count("a"), connections.count()) == (2, 3)
    for host in ("a", "a"):
        connections.leave(host)
        assert not connections.enter("c", is_first=False)
    connections.leave("b")
    assert connections.enter("c", is_first=False)


def test_whoever_leaves_twice_makes_no_room_that_is_not_there() -> None:
    connections = Connections(per_host=1, in_all=1)
    connections.leave("a")
    connections.leave("a")
    assert (connections.count("a"), connections.count()) == (0, 0)
    assert connections.enter("a", is_first=False)
    assert not connections.enter("a", is_first=False)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40))
@same_each_time
def test_only_first_ones_go_beyond_the_limits(moves: list[tuple[str, bool, bool]]) -> None:
    connections = Connections(per_host=2, in_all=3)
    there: list[str] = []
    for host, is_first, leaves in moves:
        if leaves and host in there:
            connections.leave(host)
            there.remove(host)
            continue
        has_room = there.count(host) < 2 and len(there) < 3
        assert connections.enter(host, is_first=is_first) is (has_room or is_first)
        there += [host] if has_room or is_first else []
        assert (connections.count(host), connections.count()) == (there.count(host), len(there))


# -- bandwidth ------------------------------------------------------------------------------------------------


class Time:
    """A clock that goes on by waiting only, or when a test says so."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []
        self.happens: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.happens()


@pytest.fixture
def time() -> Time:
    return Time()


def limited(rate: float | None, time: Time) -> Bandwidth:
    return Bandwidth(rate, monotonic=time.monotonic, wait=time.wait)


def test_without_a_limit_nobody_waits(time: Time) -> None:
    bandwidth = limited(None, time)
    bandwidth.take(1 << 40, 0, lambda: False)
    assert (bandwidth.rate, time.waits) == (None, [])


def test_a_wait_is_as_long_as_what_came_before_takes_in_slices(time: Time) -> None:
    bandwidth = limited(1000, time)
    bandwidth.take(200, 0, lambda: False)
    assert time.waits == [], "nothing came before"
    bandwidth.take(100, 0, lambda: False)
    assert sum(time.waits) == pytest.approx(0.15), "of 0.2 s a slice was not used before"
    bandwidth.take(1, 0, lambda: False)
    assert sum(time.waits) == pytest.approx(0.25)
    assert max(time.waits) == SLICE_S


@given(
    st.floats(100, 1e9),
    st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.4)), min_size=1, max_size=20),
)
@same_each_time
def test_never_is_more_let_through_than_the_rate_allows_and_a_slice(
    rate: float, moves: list[tuple[float, float]]
) -> None:
    """Up to the bytes that were let through last; and nobody waits longer than for that."""
    time = Time()
    bandwidth = limited(rate, time)
    began, before = time.now, 0
    for idle, seconds in moves:
        count = 1 + int(rate * seconds)
        time.now += idle
        asked = time.now
        bandwidth.take(count, 0, lambda: False)
        elapsed = time.now - began
        assert before <= rate * (elapsed + SLICE_S) * (1 + 1e-9) + 1e-3
        if time.now > asked:
            assert time.now - asked <= before / rate * (1 + 1e-9) + 1e-6
        before += count


def test_what_was_not_used_is_lost(time: Time) -> None:
    """After an hour of silence there is no hour's worth of bytes at once."""
    bandwidth = limited(1000, time)
    bandwidth.take(10, 0, lambda: False)
    time.now += 3600
    bandwidth.take(1000, 0, lambda: False)
    bandwidth.take(1, 0, lambda: False)
    assert sum(time.waits) == pytest.approx(0.95)


def test_whoever_is_stopped_returns_and_has_taken_nothing(time: Time) -> None:
    bandwidth = limited(1000, time)
    bandwidth.take(1000, 0, lambda: False)
    bandwidth.take(10**9, 0, lambda: len(time.waits) >= 2)
    assert len(time.waits) == 2
    bandwidth.take(1, 0, lambda: False)
    assert sum(time.waits) == pytest.approx(0.95)


def test_a_limit_that_goes_while_somebody_waits_lets_him_through(time: Time) -> None:
    bandwidth = limited(1, time)
    bandwidth.take(1000, 0, lambda: False)

    def change() -> None:
        bandwidth.rate = None

    time.happens = change
    bandwidth.take(1000, 0, lambda: False)
    assert len(time.waits) == 1


@pytest.mark.parametrize(("priority", "order"), [(0, ["high", "other"]), (9, ["other", "high"])])
def test_those_with_a_higher_priority_are_served_first(time: Time, priority: int, order: list[str]) -> None:
    """Another one waits as long as they do, although there would be room."""
    waiting, go_on = threading.Event(), threading.Event()
    served: list[str] = []

    def wait(seconds: float) -> None:
        if threading.current_thread() is high:
            waiting.set()
            assert go_on.wait(10)
            return
        time.wait(seconds)
        if len(time.waits) == 3:
            go_on.set()
            high.join(10)

    bandwidth = Bandwidth(1000, monotonic=time.monotonic, wait=wait)

    def take(name: str, at: int) -> None:
        bandwidth.take(1, at, lambda: False)
        served.append(name)

    high = threading.Thread(target=take, args=("high", 5))
    bandwidth.take(1000, 0, lambda: False)
    high.start()
    assert waiting.wait(10)
    time.now += 60
    take("other", priority)
    go_on.set()
    high.join(10)
    assert served == order
    assert time.waits == ([] if priority == 9 else [SLICE_S] * 3)


def test_those_with_the_same_priority_share_it(time: Time) -> None:
    bandwidth = limited(1000, time)
    bandwidth._waiting[5] += 1
    bandwidth.take(10, 5, lambda: False)
    assert time.waits == []


# -- forks ----------------------------------------------------------------------------------------------------


FORKS = """
import os
from launcher_recovery.transfer.connections.limits import BANDWIDTH, CONNECTIONS

CONNECTIONS.per_host = 1
assert CONNECTIONS.enter("host", is_first=True)
BANDWIDTH.rate = 1.0
BANDWIDTH.take(1000, 0, lambda: False)
BANDWIDTH._waiting[9] += 1  # somebody else, who is not there in the child
with CONNECTIONS._lock, BANDWIDTH._lock:
    child = os.fork()
if child == 0:
    assert CONNECTIONS.count() == 0
    assert CONNECTIONS.enter("host", is_first=False)
    assert not CONNECTIONS.enter("host", is_first=False)
    BANDWIDTH.take(1, 0, lambda: False)
    assert BANDWIDTH.rate == 1.0
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert CONNECTIONS.count("host") == 1
"""


def test_a_forked_child_begins_anew() -> None:
    """The connections of the parent are not its own; and whoever had a lock is not there to let go of it."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=30)
