"""Limits that are changed while downloads go by them: the rate, what is owed at the old one, and who comes first."""

from __future__ import annotations

import pytest

from launcher_recovery.config import DEFAULT_CONFIG, RecoveryConfig
from launcher_recovery.transfer.connections import limits
from launcher_recovery.transfer.connections.limits import Bandwidth, Connections

RATE = 1000.0


class Time:
    """A clock that goes on by waiting only; something may happen at each wait."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []
        self.happens: dict[int, object] = {}

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        happens = self.happens.get(len(self.waits))
        if callable(happens):
            happens()

    @property
    def waited(self) -> float:
        return sum(self.waits)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def bandwidth(time: Time) -> Bandwidth:
    return Bandwidth(RATE, monotonic=time.monotonic, wait=time.wait)


def take(bandwidth: Bandwidth, count: int) -> None:
    bandwidth.take(count, 0, lambda: False)


@pytest.mark.parametrize(("rate", "seconds"), [(RATE, 10.0), (10 * RATE, 1.0), (RATE / 2, 20.0)])
def test_what_was_let_through_is_paid_for_at_the_new_rate(
    bandwidth: Bandwidth, time: Time, rate: float, seconds: float
) -> None:
    """Neither does a higher one wait for what the lower one would have taken, nor does a lower one forget it."""
    take(bandwidth, 10_000)
    assert time.waited == 0
    bandwidth.rate = rate
    take(bandwidth, 1)
    # A twentieth of a second was not used before.
    assert time.waited == pytest.approx(seconds, abs=0.06 * RATE / min(rate, RATE))


def test_a_rate_that_changes_in_the_middle_of_a_wait_counts_at_once(bandwidth: Bandwidth, time: Time) -> None:
    """Half of ten seconds at the old one, the other half ten times as fast."""
    take(bandwidth, 10_000)
    time.happens[100] = lambda: setattr(bandwidth, "rate", 10 * RATE)  # after 100 times 0.05 s
    take(bandwidth, 1)
    assert time.waited == pytest.approx(5.0 + 0.5, abs=0.06)


@pytest.mark.parametrize("is_waiting", [False, True])
def test_without_a_limit_nothing_is_owed(bandwidth: Bandwidth, time: Time, is_waiting: bool) -> None:
    """Nor is it when there is one again."""
    take(bandwidth, 10_000)
    if is_waiting:
        time.happens[2] = lambda: setattr(bandwidth, "rate", None)
        take(bandwidth, 10_000)
        assert len(time.waits) == 2
    else:
        bandwidth.rate = None
        take(bandwidth, 10_000)
        assert time.waits == []
    before = time.waited
    bandwidth.rate = RATE
    take(bandwidth, 10_000)
    assert time.waited == before


def test_a_priority_that_is_a_function_is_asked_again_while_it_waits(bandwidth: Bandwidth, time: Time) -> None:
    """One that waits with a higher one holds it up until its own is higher; nobody is left waiting in the end."""
    own = [0]
    bandwidth._waiting[5] = 1
    time.happens[3] = lambda: own.__setitem__(0, 6)
    bandwidth.take(10, lambda: own[0], lambda: False)
    assert len(time.waits) == 3
    del bandwidth._waiting[5]
    assert bandwidth._waiting.total() == 0


def test_one_that_is_stopped_is_not_counted_with_its_last_priority(bandwidth: Bandwidth, time: Time) -> None:
    """It was another one when it began to wait."""
    take(bandwidth, 10_000)
    own = [0]
    time.happens[2] = lambda: own.__setitem__(0, 6)
    bandwidth.take(10, lambda: own[0], lambda: len(time.waits) >= 4)
    assert bandwidth._waiting.total() == 0


def test_only_what_differs_is_put_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call has set stays as long as the setting does not change."""
    bandwidth, connections = Bandwidth(5.0), Connections(6, 7)
    monkeypatch.setattr(limits, "BANDWIDTH", bandwidth)
    monkeypatch.setattr(limits, "CONNECTIONS", connections)
    limits.put_in_force(DEFAULT_CONFIG)
    assert (bandwidth.rate, connections.per_host, connections.in_all) == (5.0, 6, 7)
    first = RecoveryConfig(bandwidth_limit="2K", connections_per_host=1)
    limits.put_in_force(first)
    assert (bandwidth.rate, connections.per_host, connections.in_all) == (2048, 1, 7)
    bandwidth.rate = 9.0
    second = first.merged({"connections_in_all": 2, "max_retries": 9})
    limits.put_in_force(second, first)
    assert (bandwidth.rate, connections.per_host, connections.in_all) == (9.0, 1, 2)
    limits.put_in_force(DEFAULT_CONFIG, second)
    assert (bandwidth.rate, connections.per_host, connections.in_all) == (None, 4, 16)
