"""How many requests a peer may make, on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from launcher_recovery.web.security import rates
from launcher_recovery.web.security.rates import RateLimit


class Bucket(RateLimit):
    """A limit whose time is `now`."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        super().__init__(lambda: self.now, **limits)  # type: ignore[arg-type]

    def passed(self, peer: str = "a") -> int:
        """How many requests pass at this moment."""
        count = 0
        while self.take(peer) == 0:
            count += 1
        return count


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    limit = Bucket()
    assert limit.passed() == 100
    limit.now += 0.5
    assert limit.passed() == 10
    limit.now += 1
    assert limit.passed() == 20
    limit.now += 3600
    assert limit.passed() == 100


def test_every_peer_has_a_bucket_of_its_own() -> None:
    limit = Bucket(burst=3)
    assert limit.passed("a") == 3
    assert limit.passed("b") == 3


def test_the_seconds_that_are_told_are_enough_and_a_refused_request_costs_nothing() -> None:
    limit = Bucket(burst=10, per_second=2)
    assert limit.passed() == 10
    assert [limit.take("a"), limit.take("a"), limit.take("a", 10)] == [1, 1, 5]
    limit.now += 5
    assert limit.take("a", 10) == 0
    assert limit.take("a") == 1


def test_what_is_given_back_is_there_again_but_never_more_than_a_burst() -> None:
    limit = Bucket(burst=10)
    assert limit.take("a", 10) == 0
    limit.give_back("a", 9)
    assert limit.passed() == 9
    limit.give_back("a", 1000)
    assert limit.passed() == 10


def test_a_clock_that_runs_backwards_takes_nothing() -> None:
    limit = Bucket(burst=5)
    assert limit.take("a") == 0
    limit.now -= 100
    assert limit.passed() == 4


def test_the_number_of_peers_is_bounded_and_the_one_that_was_quiet_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "REMEMBERED", 3)
    limit = Bucket(burst=2)
    for peer in ("a", "b", "c"):
        assert limit.passed(peer) == 2
    assert limit.take("a") == 1  # asks again, and so is remembered longer than b
    assert limit.passed("d") == 2
    assert limit.passed("a") == 0
    assert limit.passed("b") == 2
