"""Which source is asked next, and what is said when none is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from launcher_recovery.errors import AddressExpiredError, IntegrityError
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.sources.choice import Choice
from launcher_recovery.transfer.sources.source import Source
from launcher_recovery.transfer.sources.waits import Waits
from tests.unit.transfer.test_waits import refusal

MB = 1e6


class Three:
    """The given source, and two mirrors."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.waits = Waits(self.clock.monotonic, self.clock.time)
        self.given = Source("https://hub.example/m")
        self.one = Source("https://one.example/m", is_given=False)
        self.two = Source("https://two.example/m", is_given=False)
        self.is_provable = True
        self.choice = self.of_attempt("op")

    def of_attempt(self, operation_id: str) -> Choice:
        return Choice([self.given, self.one, self.two], operation_id, self.waits, lambda: self.is_provable)

    def best(self, *in_use: Source, but: Source | None = None) -> Source | None:
        return self.choice.best(in_use, but)

    def fails(self, source: Source, error: Exception, received: int = 0, *, is_resumable: bool = True) -> None:
        self.choice.failed(source, error, received, is_resumable)

    def waits_for(self, source: Source, seconds: int) -> requests.HTTPError:
        error = refusal(url=source.url, Retry_After=str(seconds))
        self.fails(source, error)
        return error


@pytest.fixture
def three() -> Three:
    return Three()


# -- the best one -------------------------------------------------------------------------------------


def test_the_given_one_is_asked_first(three: Three) -> None:
    assert three.best() is three.given
    assert three.best(but=three.given) is three.one


def test_the_fastest_one_that_has_proved_itself_is_asked(three: Three) -> None:
    three.one.rate = 9 * MB
    assert three.best() is three.given  # the other one has proved nothing yet
    three.one.is_proven = True
    assert three.best() is three.one
    three.given.rate = 9 * MB
    assert three.best() is three.given


def test_one_that_has_nothing_to_offer_is_not_asked(three: Three) -> None:
    assert three.choice.best((), None, lambda source: source is three.two) is three.two


def test_one_that_failed_is_not_asked_again_unless_it_works_beside_that(three: Three) -> None:
    three.fails(three.given, requests.ConnectionError("broke"))
    assert three.best() is three.one
    assert three.best(three.given) is three.given


def test_one_that_fell_silent_is_asked_again_only_if_there_is_no_other(three: Three) -> None:
    three.fails(three.given, requests.ReadTimeout("silent"), 1000)
    assert three.best() is three.one
    three.fails(three.one, requests.ConnectionError("refused"))
    assert three.best() is three.two
    three.fails(three.two, IntegrityError("another file"))
    assert three.best() is three.given


def test_one_that_fell_silent_is_asked_again_at_once_if_nothing_proves_the_others(three: Three) -> None:
    three.is_provable = False
    three.fails(three.given, requests.ReadTimeout("silent"), 1000)
    assert three.best() is three.given


@pytest.mark.parametrize(
    ("error", "received", "is_resumable"),
    [
        (requests.ReadTimeout("no answer"), 0, True),
        (requests.ReadTimeout("silent"), 1000, False),
        (requests.ConnectionError("broke"), 1000, True),
    ],
    ids=["no answer", "nothing tells that the rest belongs to it", "broke off"],
)
def test_other_failures_are_for_the_next_attempt(
    three: Three, error: Exception, received: int, is_resumable: bool
) -> None:
    for source in (three.one, three.two):
        source.is_out = True
    three.fails(three.given, error, received, is_resumable=is_resumable)
    assert three.best() is None


@pytest.mark.parametrize(
    ("error", "is_out"),
    [
        (IntegrityError("another file"), True),
        (AddressExpiredError("expired"), True),
        (refusal(404), True),
        (refusal(403), True),
        (refusal(500), False),
        (refusal(429), False),
        (requests.ConnectionError("broke"), False),
    ],
)
def test_some_failures_are_for_good(three: Three, error: Exception, is_out: bool) -> None:
    three.fails(three.given, error)
    assert three.given.is_out is is_out


# -- slow ones ----------------------------------------------------------------------------------------


def test_a_slow_one_is_left_for_one_that_was_not_tried_and_come_back_to(three: Three) -> None:
    assert three.choice.has_better(three.given, 2000.0, [three.given])
    three.choice.shun(three.given, 2000.0)
    assert three.best() is three.one
    three.one.is_proven = True
    three.one.rate = 900.0
    assert three.choice.has_better(three.one, 900.0, [three.one])
    three.choice.shun(three.one, 900.0)
    assert three.best() is three.two
    three.fails(three.two, requests.ConnectionError("refused"))
    assert three.best() is three.given
    assert not three.choice.has_better(three.given, 2000.0, [three.given])


def test_one_that_is_about_as_slow_is_not_better(three: Three) -> None:
    three.one.rate, three.two.is_out = 3000.0, True
    assert not three.choice.has_better(three.given, 2000.0, [])
    three.one.rate = 4001.0
    assert three.choice.has_better(three.given, 2000.0, [])


def test_one_that_is_being_tried_is_not_known_to_be_better(three: Three) -> None:
    three.two.is_out = True
    assert not three.choice.has_better(three.given, 2000.0, [three.given, three.one])


def test_one_that_nothing_can_prove_is_not_better(three: Three) -> None:
    three.is_provable = False
    assert not three.choice.has_better(three.given, 2000.0, [])
    three.one.is_proven = True
    assert three.choice.has_better(three.given, 2000.0, [])


def test_what_a_slow_one_has_counts_from_then_on(three: Three) -> None:
    three.given.rate = 9 * MB
    three.choice.shun(three.given, 1 * MB)
    assert three.given.rate == 1 * MB
    three.choice.shun(three.given)
    assert three.given.rate == 1 * MB
    three.choice.shun(three.one, 3000.0)
    assert three.one.rate == 3000.0


# -- those that are to be left alone ------------------------------------------------------------------


def test_one_that_names_a_time_is_asked_again_after_it(three: Three) -> None:
    three.waits_for(three.given, 30)
    assert three.best() is three.one
    three.clock.advance(31)
    assert three.best() is three.given


def test_the_server_behind_the_redirects_counts_as_well(three: Three) -> None:
    three.given.resolved = "https://cdn.example/m?signature=1"
    three.waits.heard(refusal(503, url="https://cdn.example/other", Retry_After="30"))
    assert three.best() is three.one
    three.given.resolved = None
    assert three.best() is three.given


def test_a_source_knows_where_it_is_not_to_be_led(three: Three) -> None:
    three.waits.heard(refusal(503, url="https://cdn.example/other", Retry_After="30"))
    assert three.one.is_held("https://cdn.example/m?signature=1")
    assert not three.one.is_held("https://other.example/m")
    assert not three.one.is_held("https://cdn.example:99999/m")
    three.clock.advance(31)
    assert not three.one.is_held("https://cdn.example/m?signature=1")


def test_one_that_gives_no_further_connection_is_left_alone_for_more(three: Three) -> None:
    assert three.choice.refused(refusal(url=three.given.url, Retry_After="30"))
    assert three.best(three.given) is three.one
    assert three.choice.refused(refusal(503))
    assert not three.choice.refused(refusal(404))
    assert not three.choice.refused(OSError("no"))


# -- what is said -------------------------------------------------------------------------------------


def test_the_error_of_the_given_one_is_told(three: Three) -> None:
    error = requests.ConnectionError("refused")
    three.fails(three.one, requests.ConnectionError("the mirror"))
    three.fails(three.given, error)
    assert three.choice.error() is error


def test_else_that_of_who_was_asked(three: Three) -> None:
    error = requests.ConnectionError("the mirror")
    three.fails(three.one, error)
    assert three.choice.error() is error


def test_that_of_one_that_brought_bytes_goes_first(three: Three) -> None:
    """It goes on soon, whatever the others say."""
    three.waits_for(three.given, 3600)
    error = requests.ConnectionError("broke")
    three.fails(three.one, error, 1000)
    assert three.choice.error() is error
    assert three.of_attempt("op").best(()) is three.two  # and the one that waits is still left alone


def test_bytes_of_a_connection_that_ended_well_count_as_well(three: Three) -> None:
    three.waits_for(three.given, 3600)
    three.choice.brought(three.one)
    error = requests.ConnectionError("refused")
    three.fails(three.one, error)
    assert three.choice.error() is error


def test_the_shortest_wait_is_told_when_the_given_one_waits(three: Three) -> None:
    three.waits_for(three.given, 3600)
    error = three.waits_for(three.one, 30)
    assert three.choice.error() is error
    later = three.of_attempt("op")
    assert later.best((three.given, three.two), three.two) is three.one  # it was told, and has waited
    assert three.of_attempt("another").best((), three.two) is None


def test_a_wait_that_another_download_was_told_is_told_in_words(three: Three) -> None:
    for source, seconds in ((three.given, 50), (three.one, 60), (three.two, 40)):
        three.waits.heard(refusal(503, url=source.url, Retry_After=str(seconds)))
    assert three.best() is None
    error = three.choice.error()
    assert "two.example asked a moment ago to be left alone, for another 40 s" in str(error)


def test_a_refusal_for_good_is_told_before_the_wait_of_a_mirror(three: Three) -> None:
    error = refusal(404)
    three.fails(three.given, error)
    three.waits_for(three.one, 30)
    assert three.choice.error() is error


def test_there_is_always_something_to_tell(three: Three) -> None:
    assert "no source of the file is left" in str(three.choice.error())


@pytest.mark.parametrize("make", [lambda: ValueError("a bug"), lambda: OSError("no")])
def test_whatever_failed_last_is_told_where_nothing_else_is_known(three: Three, make: Callable[[], Exception]) -> None:
    error = make()
    three.fails(three.given, error)
    three.given.error = None
    assert three.choice.error() is error
