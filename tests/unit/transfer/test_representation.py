"""What would prove that further bytes belong to a body, and which answers go on with it."""

from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from launcher_recovery.transfer.http.representation import Representation, Rest, rest_of, sent_with

ETAG = '"v1"'
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Thu, 01 Jan 2026 00:00:01 GMT"
KNOWN = Representation(ETAG, "", 100)


def sent(**headers: str) -> Representation | None:
    return sent_with(CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}))


def rest(status: int = 206, known: Representation = KNOWN, start: int = 40, **headers: str) -> Rest | None:
    given = {"Content_Range": "bytes 40-99/100", "ETag": ETAG, **headers}
    named = {name.replace("_", "-"): value for name, value in given.items() if value}
    return rest_of(status, CaseInsensitiveDict(named), start, known)


def test_a_strong_etag_is_the_condition() -> None:
    assert sent(ETag=ETAG, Content_Length="100") == KNOWN
    assert sent(ETag=ETAG, Last_Modified=MODIFIED, Date=LATER) == Representation(ETAG)


def test_without_one_a_date_is_that_is_older_than_the_answer() -> None:
    assert sent(ETag='W/"v1"', Last_Modified=MODIFIED, Date=LATER) == Representation(MODIFIED)
    assert sent(Last_Modified=MODIFIED, Date=LATER, Content_Encoding="Identity") == Representation(MODIFIED)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"v1"'},
        {"ETag": "v1"},
        {"Last_Modified": MODIFIED},
        {"Last_Modified": MODIFIED, "Date": MODIFIED},
        {"Last_Modified": "yesterday", "Date": LATER},
        {"Last_Modified": MODIFIED, "Date": LATER, "Content_Encoding": "gzip"},
        {"ETag": ETAG, "Accept_Ranges": "none"},
    ],
)
def test_nothing_else_proves_anything(headers: dict[str, str]) -> None:
    assert sent(**headers) is None


def test_a_compressed_body_needs_a_strong_etag() -> None:
    assert sent(ETag=ETAG, Content_Encoding="GZip") == Representation(ETAG, "gzip")


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"Content_Length": "7"}, 7),
        ({"Content_Length": "7, 7"}, 7),
        ({"Content_Length": "7, 8"}, None),
        ({"Content_Length": "-7"}, None),
        ({"Content_Length": "7", "Transfer_Encoding": "chunked"}, None),
    ],
)
def test_the_size_is_known_only_where_it_is_clear(headers: dict[str, str], size: int | None) -> None:
    assert sent(ETag=ETAG, **headers) == Representation(ETAG, "", size)


def test_the_rest_of_the_same_version_goes_on() -> None:
    assert rest() == Rest(100, KNOWN)
    assert rest(Content_Length="60") == Rest(100, KNOWN)
    assert rest(Content_Range="bytes 40-49/100") == Rest(50, KNOWN)
    assert rest(Content_Range="bytes 40-99/*") == Rest(100, KNOWN)
    assert rest(Content_Encoding="identity") == Rest(100, KNOWN)


def test_the_size_may_be_told_with_the_rest() -> None:
    assert rest(known=Representation(ETAG)) == Rest(100, KNOWN)


def test_a_date_is_proof_where_it_was_the_condition() -> None:
    known = Representation(MODIFIED, "", 100)
    assert rest(known=known, Last_Modified=MODIFIED) == Rest(100, known)
    assert rest(known=known, Last_Modified=LATER) is None


def test_the_encoding_may_be_left_out_but_not_be_another_one() -> None:
    packed = Representation(ETAG, "gzip", 100)
    assert rest(known=packed) == Rest(100, packed)
    assert rest(known=packed, Content_Encoding="gzip") == Rest(100, packed)
    assert rest(known=packed, Content_Encoding="identity") is None
    assert rest(Content_Encoding="gzip") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"v2"'},
        {"ETag": 'W/"v1"'},
        {"ETag": ""},
        {"Content_Range": ""},
        {"Content_Range": "bytes 41-99/100"},
        {"Content_Range": "bytes 0-99/100"},
        {"Content_Range": "bytes 40-99/101"},
        {"Content_Range": "bytes 40-100/100"},
        {"Content_Range": "bytes 40-39/100"},
        {"Content_Range": "bytes */100"},
        {"Content_Range": "items 40-99/100"},
        {"Content_Length": "59"},
    ],
)
def test_any_other_answer_does_not_go_on(headers: dict[str, str]) -> None:
    assert rest(**headers) is None


def test_only_a_206_goes_on() -> None:
    assert rest(200) is None
    assert rest(416) is None
