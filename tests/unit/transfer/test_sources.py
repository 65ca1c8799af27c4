"""What is known of an address: whose it is, whether it is asked again, how fast it was, and what it told."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import requests

from launcher_recovery.errors import IntegrityError
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.sources.source import OtherFileError, Source, key_of, same_origin, same_site

URL = "https://hub.example/models/model.bin?token=secret"
SHA256 = Checksum("sha256", "ab" * 32)
OTHER = Checksum("sha256", "cd" * 32)
MALFORMED = ["https://[hub.example/x", "https://hub.example:port/x", "https://hub.example:99999/x"]


def digest_header(checksum: Checksum) -> dict[str, str]:
    return {"Digest": f"sha-256={checksum.value}"}


# -- addresses ------------------------------------------------------------------------------------------------


def test_a_source_is_asked_for_what_is_given() -> None:
    headers = {"Authorization": "Bearer 1"}
    source = Source(URL, headers)
    headers["Authorization"] = "Bearer 2"
    assert (source.url, source.headers, source.host) == (URL, {"Authorization": "Bearer 1"}, "hub.example")
    assert (source.is_given, source.is_proven, source.is_out) == (True, True, False)
    assert (source.rate, source.resolved, source.validators, source.error) == (0.0, None, None, None)
    assert Source(URL).headers == {}


def test_a_mirror_has_to_prove_itself() -> None:
    mirror = Source(URL, is_given=False)
    assert (mirror.is_given, mirror.is_proven) == (False, False)


def test_what_stands_for_an_address_says_nothing_of_it() -> None:
    """The same for the same one, since the journal of another process has it."""
    assert Source(URL).key == key_of(URL) == hashlib.sha256(URL.encode()).hexdigest()[:16]
    assert key_of(URL) != key_of(URL + "1")
    assert len(key_of("https://hub.example/\udcff")) == 16


@pytest.mark.parametrize(
    ("one", "other", "origin", "site"),
    [
        ("https://hub.example/a", "https://hub.example/b?c#d", True, True),
        ("https://hub.example/a", "https://hub.example:443/a", True, True),
        ("http://hub.example/a", "http://hub.example:80/a", True, True),
        ("https://HUB.example/a", "https://hub.EXAMPLE/a", True, True),
        ("HTTPS://hub.example/a", "https://hub.example/a", True, True),
        ("https://me:word@hub.example/a", "https://hub.example/a", True, True),
        ("https://hub.example/a", "http://hub.example/a", False, True),
        ("https://hub.example/a", "https://hub.example:8443/a", False, True),
        ("https://hub.example/a", "https://hub.example:80/a", False, True),
        ("https://hub.example/a", "https://hub.example:0/a", False, True),
        ("https://hub.example/a", "https://cdn.hub.example/a", False, False),
        ("https://hub.example/a", "https://hub.example.org/a", False, False),
        ("https://[::1]/a", "https://[::1]:443/a", True, True),
        ("ftp://hub.example/a", "ftp://hub.example/b", True, True),
    ],
)
def test_whose_an_address_is(one: str, other: str, origin: bool, site: bool) -> None:
    assert (same_origin(one, other), same_origin(other, one)) == (origin, origin)
    assert (same_site(one, other), same_site(other, one)) == (site, site)


@pytest.mark.parametrize("url", MALFORMED)
def test_an_address_that_makes_no_sense_is_nobodys(url: str) -> None:
    """It gets no headers of anybody, not even its own; requests says what is wrong with it."""
    assert not same_origin(url, url)
    assert not same_origin(url, "https://hub.example/x")
    assert not same_origin("https://hub.example/x", url)
    assert not same_site(url, url)
    assert not same_site("https://hub.example/x", url)
    with pytest.raises(requests.RequestException):
        requests.get(url, timeout=1)


def test_a_source_whose_address_makes_no_sense_has_no_host() -> None:
    assert Source(MALFORMED[0]).host == Source("file:///x").host == ""


@pytest.mark.parametrize("url", ["", "/model.bin", "https:///model.bin"])
def test_without_a_host_nothing_is_of_one_site(url: str) -> None:
    assert not same_site(url, url)
    assert not same_origin(url, url)


# -- whether it is asked again --------------------------------------------------------------------------------


def failed(source: Source, times: int = 1, *, is_final: bool = False, is_forgiven: bool = False) -> Exception:
    error = requests.ConnectionError("broke")
    for _ in range(times):
        source.failed(error, is_final=is_final, is_forgiven=is_forgiven)
    return error


def usable(source: Source) -> tuple[bool, bool]:
    """Whether another connection makes sense while one works, and while none does."""
    return source.is_usable(True), source.is_usable(False)


def test_one_that_failed_is_left_alone_unless_others_to_it_work() -> None:
    source = Source(URL)
    assert usable(source) == (True, True)
    error = failed(source)
    assert (source.error, usable(source), source.is_out) == (error, (True, False), False)
    source.worked()
    assert usable(source) == (True, True)


def test_after_four_failures_in_a_row_it_is_out() -> None:
    source = Source(URL)
    failed(source, 3)
    assert usable(source) == (True, False)
    failed(source)
    assert (source.is_out, usable(source)) == (True, (False, False))


def test_failures_count_only_in_a_row() -> None:
    source = Source(URL)
    for _ in range(5):
        failed(source, 3)
        source.worked()
    assert not source.is_out


def test_what_no_second_question_changes_ends_it_at_once() -> None:
    source = Source(URL)
    failed(source, is_final=True)
    assert (source.is_out, usable(source)) == (True, (False, False))
    source.worked()
    assert source.is_out


def test_silence_is_forgiven_once() -> None:
    source = Source(URL)
    failed(source, is_forgiven=True)
    assert usable(source) == (True, True)
    failed(source, is_forgiven=True)
    assert usable(source) == (True, False)
    source.worked()
    failed(source, is_forgiven=True)
    assert usable(source) == (True, True)


def test_silence_after_another_failure_is_not_forgiven() -> None:
    source = Source(URL)
    failed(source)
    failed(source, is_forgiven=True)
    assert usable(source) == (True, False)


def test_one_that_was_out_may_be_asked_as_if_nothing_had_been() -> None:
    source = Source(URL)
    failed(source, 4)
    source.revive()
    assert (source.is_out, source.error, usable(source)) == (False, None, (True, True))
    failed(source, 3)
    assert not source.is_out


def test_another_file_is_an_error_that_may_know_its_size() -> None:
    assert (OtherFileError("another").size, OtherFileError("another", 5).size) == (None, 5)
    assert str(OtherFileError("another", 5)) == "another"
    assert isinstance(OtherFileError("another"), IntegrityError)


# -- how fast it was ------------------------------------------------------------------------------------------


def test_the_newest_rate_counts_three_tenths() -> None:
    source = Source(URL)
    source.had_rate(1000)
    assert source.rate == 1000
    source.had_rate(2000)
    assert source.rate == pytest.approx(1300)
    source.worked()
    source.had_rate(0)
    assert source.rate == pytest.approx(1300), "no measurement"
    for _ in range(40):
        source.had_rate(50)
    assert source.rate == pytest.approx(50, rel=1e-2)


# -- what it told ---------------------------------------------------------------------------------------------


def test_mirrors_and_checksums_are_taken_from_headers_once() -> None:
    source = Source(URL)
    link = "<https://mirror.example/m.bin>; rel=duplicate; pri=2, <https://first.example/m.bin>; rel=duplicate; pri=1"
    source.told({**digest_header(SHA256), "Link": link}, URL)
    source.told({**digest_header(SHA256), "Link": link}, URL)
    assert source.mirrors == ["https://first.example/m.bin", "https://mirror.example/m.bin"]
    assert source.checksums == [SHA256]
    source.told({**digest_header(OTHER), "Link": "<other.bin>; rel=duplicate"}, URL)
    assert source.mirrors[2:] == ["https://hub.example/models/other.bin"]
    assert source.checksums == [SHA256, OTHER]


@pytest.mark.parametrize(
    ("url", "is_given"),
    [("https://cdn.example/model.bin", True), (URL, False), (MALFORMED[1], True)],
    ids=["redirected elsewhere", "a mirror", "no address"],
)
def test_a_checksum_is_believed_only_where_the_file_was_asked_for(url: Any, is_given: bool) -> None:
    """A mirror would say that its own file is right."""
    source = Source(URL, is_given=is_given)
    source.told({**digest_header(SHA256), "Link": "<https://mirror.example/m.bin>; rel=duplicate"}, url)
    assert source.checksums == []
    assert source.mirrors == ["https://mirror.example/m.bin"]


def test_headers_that_say_nothing_change_nothing() -> None:
    source = Source(URL)
    source.told({"Content-Type": "application/octet-stream"}, URL)
    assert (source.mirrors, source.checksums) == ([], [])
