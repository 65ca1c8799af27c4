"""The resumable download: continues at the exact byte, never publishes anything but the right file."""

from __future__ import annotations

import hashlib
import os
import random
import re
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from launcher_recovery.clock import Clock
from launcher_recovery.errors import (
    IntegrityError,
    NoSpaceError,
    OperationCancelled,
    UnexpectedContentError,
)
from launcher_recovery.persistence import MemoryPersistence, SQLitePersistence
from launcher_recovery.records import RecoveryState
from launcher_recovery.signals import Event, recovery_updated
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.connections import supervisor as supervisor_module
from launcher_recovery.transfer.connections import worker as worker_module
from launcher_recovery.transfer.disk.naming import partial_path as path_for
from launcher_recovery.transfer.http.request import NotThatFile, ask
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.partial import part as part_module
from launcher_recovery.transfer.partial.part import read_note
from launcher_recovery.transfer.sources.source import Source
from sample_launcher.hub import (
    Drop,
    EtagChange,
    Fault,
    Html,
    Hub,
    IgnoreRange,
    RateLimit,
    Stall,
    Status,
    WrongByte,
)
from tests.faults import FaultServer, Reply, first_of, part, whole
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads

MIB = 1 << 20
SIZE = 3 * MIB + 12_345
NAME = "model.bin"


def kept_bytes(destination: Path) -> int:
    """Bytes that the partial has."""
    path = path_for(destination)
    note = read_note(path)
    if note is not None:
        return sum(note.filled)
    return path.stat().st_size if path.exists() else 0


def kept_part(destination: Path) -> bytes:
    """The bytes that the partial has, from the front as far as there is no gap."""
    return path_for(destination).read_bytes()[: kept_bytes(destination)]


def until_kept(destination: Path, count: int) -> None:
    """Wait until the partial has so many bytes."""
    until = threading.Event()
    for _ in range(6000):
        if kept_bytes(destination) >= count:
            return
        until.wait(0.005)
    raise AssertionError(f"only {kept_bytes(destination)} bytes were kept")


@pytest.fixture
def downloads() -> Downloads:
    return Downloads(MemoryPersistence(), VirtualClock())


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "models" / "checkpoints" / NAME


def offer(hub: Hub, faults: Sequence[Fault] = (), size: int = SIZE, **options: Any) -> str:
    return hub.add_model(NAME, size, list(faults), **options)


def asked(hub: Hub) -> list[tuple[str | None, int]]:
    """Range and status of every request for the model."""
    return [(one["range"], one["status"]) for one in hub.stats(NAME)["requests"]]


def starts(hub: Hub) -> list[tuple[int, int]]:
    """The first byte that was asked for, and the status, of every request for the model."""
    return [(first_of(range_), status) for range_, status in asked(hub)]


def expect_right(hub: Hub, destination: Path) -> None:
    assert destination.read_bytes() == hub.content(NAME)
    assert sorted(path.name for path in destination.parent.iterdir()) == [destination.name]


def leave_partial(destination: Path, data: bytes) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    path_for(destination).write_bytes(data)


# -- going on at the exact byte -------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_a_download_in_one_go_asks_once_and_for_everything(
    hub: Hub, downloads: Downloads, destination: Path, checked: bool
) -> None:
    url = offer(hub)
    options = {"sha256": hub.sha256(NAME), "size": SIZE} if checked else {}
    assert downloads(url, destination, **options) == destination
    expect_right(hub, destination)
    assert asked(hub) == [(None, 200) if checked else ("bytes=0-33554431", 206)]
    assert downloads.outcomes == [("success", None)]


@pytest.mark.parametrize("store", [MemoryPersistence, SQLitePersistence])
@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_after_each_orderly_close_the_next_attempt_asks_for_exactly_the_next_byte(
    hub: Hub, tmp_path: Path, destination: Path, store: Any, checked: bool
) -> None:
    drops = [1, 70_001, MIB, 65_536, 4_095, 0, MIB + 3]
    url = offer(hub, [Drop(after=after) for after in drops])
    downloads = Downloads(
        store() if store is MemoryPersistence else store(str(tmp_path / "recovery.db")), VirtualClock()
    )
    options = {"sha256": hub.sha256(NAME), "size": SIZE} if checked else {}
    downloads(url, destination, **options)
    expect_right(hub, destination)
    expected = [(sum(drops[:number]), 206) for number in range(len(drops) + 1)]
    assert starts(hub) == ([(0, 200), *expected[1:]] if checked else expected)
    assert hub.stats(NAME)["bytes_sent"] == SIZE
    assert downloads.outcomes == [("failed", "network")] * len(drops) + [("success", None)]
    downloads.store.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_after_resets_at_random_bytes_little_is_sent_twice_and_the_file_is_right(
    hub: Hub, downloads: Downloads, destination: Path, checked: bool, seed: int
) -> None:
    rng = random.Random(seed)
    drops = [Drop(after=rng.randrange(SIZE // 3), reset=True) for _ in range(6)]
    url = offer(hub, drops)
    downloads(url, destination, **({"sha256": hub.sha256(NAME)} if checked else {}))
    expect_right(hub, destination)
    # What a reset throws away in the kernel is at most what both socket buffers hold.
    assert hub.stats(NAME)["bytes_sent"] - SIZE < len(drops) * MIB
    assert all(status == 206 for range_, status in asked(hub) if range_)


@pytest.mark.parametrize("seed", range(6))
def test_a_connection_that_closes_at_two_random_bytes_costs_under_64_kib(
    hub: Hub, downloads: Downloads, destination: Path, seed: int
) -> None:
    rng = random.Random(seed)
    url = offer(hub, [Drop(after=rng.randrange(SIZE // 2)), Drop(after=rng.randrange(SIZE // 2))])
    downloads(url, destination)
    expect_right(hub, destination)
    assert hub.stats(NAME)["bytes_sent"] - SIZE < 64 << 10


def test_a_server_that_falls_silent_is_left_and_the_rest_fetched(
    hub: Hub, downloads: Downloads, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "SILENCE_S", 0.2)
    url = offer(hub, [Stall(after=MIB, seconds=600)])
    downloads(url, destination)
    expect_right(hub, destination)
    assert starts(hub) == [(0, 206), (MIB, 206)]
    assert downloads.outcomes == [("success", None)]  # it sent something before, so it is asked again at once


def test_without_a_sha256_the_rest_is_asked_for_on_condition_of_the_same_etag(
    downloads: Downloads, destination: Path
) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, "ETag": '"a"', "Last-Modified": DATE}, parts=[body[:400]])
    with FaultServer(first, part("bytes 400-999/1000", body[400:], ETag='"a"')) as server:
        downloads(server.url(), destination)
    assert [(one.range, one.if_range) for one in server.asked] == [
        ("bytes=0-33554431", None),
        ("bytes=400-999", '"a"'),
    ]
    assert all(one.headers["accept-encoding"] == "identity" for one in server.asked)
    assert destination.read_bytes() == body


DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def test_a_weak_etag_is_no_condition_but_the_date_is(downloads: Downloads, destination: Path) -> None:
    body = os.urandom(1000)
    weak = {"ETag": 'W/"a"', "Last-Modified": DATE}
    first = Reply(headers={"Content-Length": 1000, **weak}, parts=[body[:400]])
    with FaultServer(first, part("bytes 400-999/1000", body[400:], **weak)) as server:
        downloads(server.url(), destination)
    assert [(one.first, one.if_range) for one in server.asked] == [(0, None), (400, DATE)]
    assert destination.read_bytes() == body


@pytest.mark.parametrize("headers", [{"ETag": 'W/"a"'}, {}], ids=["weak ETag alone", "nothing"])
def test_without_a_usable_validator_the_whole_file_is_fetched_again(
    downloads: Downloads, destination: Path, headers: dict[str, str]
) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, **headers}, parts=[body[:400]])
    with FaultServer(first, whole(body, **headers)) as server:
        downloads(server.url(), destination)
    assert [one.first for one in server.asked] == [0, 0]
    assert destination.read_bytes() == body


def test_with_a_sha256_a_partial_is_continued_although_nothing_is_known_of_it(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub)
    leave_partial(destination, hub.content(NAME, 0, 1_000_001))
    downloads(url, destination, sha256=hub.sha256(NAME).upper())
    expect_right(hub, destination)
    assert starts(hub) == [(1000001, 206)]


def test_without_a_sha256_a_partial_of_unknown_origin_is_not_continued(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub)
    leave_partial(destination, b"something else" * 1000)
    downloads(url, destination)
    expect_right(hub, destination)
    assert starts(hub) == [(0, 206)]


# -- the file changed, or the range cannot be had -------------------------------------------------------------


def test_a_file_that_changes_in_the_middle_is_fetched_whole_and_never_mixed(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=MIB), EtagChange()])
    before = hub.content(NAME)
    downloads(url, destination)
    expect_right(hub, destination)
    assert hub.content(NAME) != before
    assert starts(hub) == [(0, 206), (MIB, 200)]


def test_a_file_that_changes_against_its_sha256_is_never_published(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=MIB), EtagChange()])
    with pytest.raises(IntegrityError, match="sha256"):
        downloads(url, destination, sha256=hub.sha256(NAME))
    assert list(destination.parent.iterdir()) == []
    assert (downloads.record.state, downloads.record.fix) == (RecoveryState.FAILED, "update_url")


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(part("bytes 400-999/1000", b"x" * 600, ETag='"b"'), id="another ETag in spite of If-Range"),
        pytest.param(part("bytes 400-1999/2000", b"x" * 1600, ETag='"a"'), id="another total"),
        pytest.param(part("bytes 401-999/1000", b"x" * 599, ETag='"a"'), id="another start"),
        pytest.param(part("bytes=400-999/1000", b"x" * 600, ETag='"a"'), id="no Content-Range to be read"),
        pytest.param(
            Reply("206 Partial Content", {"Content-Length": 600, "ETag": '"a"'}, [b"x" * 600]), id="no Content-Range"
        ),
        pytest.param(Reply("416 Range Not Satisfiable", {"Content-Length": 0}), id="416 without a size"),
        pytest.param(
            Reply("416 Range Not Satisfiable", {"Content-Length": 0, "Content-Range": "bytes */300"}), id="416, shrunk"
        ),
    ],
)
def test_a_part_that_does_not_fit_is_refused_and_the_whole_file_fetched_in_the_same_attempt(
    downloads: Downloads, destination: Path, rest: Reply
) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, "ETag": '"a"'}, parts=[body[:400]])
    with FaultServer(first, rest, whole(body, ETag='"a"')) as server:
        downloads(server.url(), destination)
    assert [one.first for one in server.asked] == [0, 400, 0]
    assert destination.read_bytes() == body
    assert len(downloads.attempts) == 2


def test_a_server_that_ignores_the_range_sends_the_whole_file_which_replaces_the_partial(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=MIB), IgnoreRange()])
    downloads(url, destination, sha256=hub.sha256(NAME))
    expect_right(hub, destination)
    assert starts(hub) == [(0, 206), (MIB, 200)]
    assert hub.stats(NAME)["bytes_sent"] == MIB + SIZE


def test_a_part_is_taken_although_the_total_is_not_told(downloads: Downloads, destination: Path) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, "ETag": '"a"'}, parts=[body[:400]])
    with FaultServer(first, part("bytes 400-999/*", body[400:], ETag='"a"')) as server:
        downloads(server.url(), destination)
    assert destination.read_bytes() == body


def test_a_part_that_is_shorter_than_asked_for_is_kept_and_the_rest_fetched(
    downloads: Downloads, destination: Path
) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, "ETag": '"a"'}, parts=[body[:400]])
    short = part("bytes 400-699/1000", body[400:700], ETag='"a"')
    with FaultServer(first, short, part("bytes 700-999/1000", body[700:], ETag='"a"')) as server:
        downloads(server.url(), destination)
    assert [one.first for one in server.asked] == [0, 400, 700]
    assert destination.read_bytes() == body


def test_a_complete_partial_is_published_without_a_byte_being_sent(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub)
    leave_partial(destination, hub.content(NAME))
    downloads(url, destination, sha256=hub.sha256(NAME), size=SIZE)
    expect_right(hub, destination)
    assert starts(hub) == [(SIZE, 416)]
    assert hub.stats(NAME)["bytes_sent"] == 0


def test_a_complete_but_damaged_partial_is_deleted_and_fetched_again(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub)
    leave_partial(destination, hub.content(NAME)[:-1] + b"?")
    downloads(url, destination, sha256=hub.sha256(NAME))
    expect_right(hub, destination)
    assert starts(hub) == [(SIZE, 416), (0, 200)]


@pytest.mark.parametrize("known", [False, True], ids=["size unknown", "size known from before"])
def test_a_partial_longer_than_the_file_is_thrown_away(
    hub: Hub, downloads: Downloads, destination: Path, known: bool
) -> None:
    url = offer(hub, [Drop(after=1000), Status(status=404)] if known else [])
    if known:
        with pytest.raises(requests.HTTPError):
            downloads(url, destination)
    leave_partial(destination, hub.content(NAME) + b"more")
    downloads(url, destination, sha256=hub.sha256(NAME))
    expect_right(hub, destination)
    before = [(0, 206), (1000, 404)] if known else []
    assert starts(hub) == [*before, (SIZE + 4, 416), (0, 200)]


# -- answers that are not the file ----------------------------------------------------------------------------


def test_a_part_that_nobody_asked_for_is_taken_when_it_is_the_whole(downloads: Downloads, destination: Path) -> None:
    with FaultServer(part("bytes 0-3/4", b"good")) as server:
        downloads(server.url(), destination)
    assert destination.read_bytes() == b"good"


def test_a_part_that_nobody_asked_for_is_refused_in_words(downloads: Downloads, destination: Path) -> None:
    with FaultServer(part("bytes 5-9/10", b"after")) as server, pytest.raises(IntegrityError, match="not asked for"):
        downloads(server.url(), destination)
    assert not destination.exists()
    assert downloads.outcomes[0] == ("failed", "integrity")


def test_a_compressed_answer_is_refused_because_its_bytes_are_not_the_files(
    downloads: Downloads, destination: Path
) -> None:
    with (
        FaultServer(whole(b"squeezed", Content_Encoding="gzip")) as server,
        pytest.raises(UnexpectedContentError, match="Content-Encoding gzip"),
    ):
        downloads(server.url(), destination)
    assert not destination.exists()


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_a_login_page_is_not_taken_for_the_file_and_the_partial_is_kept(
    hub: Hub, downloads: Downloads, destination: Path, checked: bool
) -> None:
    url = offer(hub, [Drop(after=MIB), Html()])
    options = {"sha256": hub.sha256(NAME)} if checked else {}
    with pytest.raises(UnexpectedContentError, match="a web page"):
        downloads(url, destination, **options)
    assert (downloads.record.state, downloads.record.fix) == (RecoveryState.FAILED, "add_token")
    assert "log in" in str(downloads.record.explanation)
    assert kept_bytes(destination) == MIB
    downloads(url, destination, **options)  # a person retries after logging in
    expect_right(hub, destination)
    assert hub.stats(NAME)["bytes_sent"] == SIZE


@pytest.mark.parametrize("status", ["204 No Content", "203 Non-Authoritative Information"])
def test_other_kinds_of_success_are_not_the_file(downloads: Downloads, destination: Path, status: str) -> None:
    with (
        FaultServer(Reply(status, {"Content-Length": 0})) as server,
        pytest.raises(UnexpectedContentError, match=f"status {status[:3]}"),
    ):
        downloads(server.url(), destination)
    assert not destination.exists()


def chunked(*pieces: bytes, end: bool = True) -> Reply:
    frames = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    return Reply(
        headers={"Transfer-Encoding": "chunked", "ETag": '"a"'}, parts=[*frames, *([b"0\r\n\r\n"] if end else [])]
    )


def test_a_body_in_chunks_without_a_length_is_taken_whole(downloads: Downloads, destination: Path) -> None:
    body = os.urandom(200_000)
    with FaultServer(chunked(body[:70_000], body[70_000:])) as server:
        downloads(server.url(), destination)
    assert destination.read_bytes() == body
    progress = downloads.record.progress
    assert progress is not None
    assert (progress.done, progress.total) == (200_000, 200_000)


def test_a_body_in_chunks_that_breaks_off_is_not_taken_for_whole(downloads: Downloads, destination: Path) -> None:
    body = os.urandom(200_000)
    rest = part("bytes 70000-199999/200000", body[70_000:], ETag='"a"')
    with FaultServer(chunked(body[:70_000], end=False), rest) as server:
        downloads(server.url(), destination)
    assert [one.first for one in server.asked] == [0, 70000]
    assert destination.read_bytes() == body


def test_a_body_that_ends_with_the_connection_is_checked_against_the_size(
    downloads: Downloads, destination: Path
) -> None:
    body = os.urandom(1000)
    with FaultServer(Reply(parts=[body[:999]]), Reply(parts=[body])) as server:
        downloads(server.url(), destination, size=1000)
    assert destination.read_bytes() == body
    assert downloads.outcomes == [("failed", "network"), ("success", None)]


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_a_part_with_more_bytes_than_the_total_says_is_not_published(
    downloads: Downloads, destination: Path, checked: bool
) -> None:
    body = os.urandom(1000)
    first = Reply(headers={"Content-Length": 1000, "ETag": '"a"'}, parts=[body[:400]])
    longer = part("bytes 400-999/1000", body[400:] + b"more", ETag='"a"')
    options = {"sha256": hashlib.sha256(body).hexdigest()} if checked else {}
    with FaultServer(first, longer, whole(body, ETag='"a"')) as server:
        downloads(server.url(), destination, **options)
    assert destination.read_bytes() == body
    assert [one.first for one in server.asked] == [0, 400, 0]


def test_bytes_behind_the_announced_length_are_not_part_of_the_file(downloads: Downloads, destination: Path) -> None:
    with FaultServer(Reply(headers={"Content-Length": 4}, parts=[b"goodbad"])) as server:
        downloads(server.url(), destination)
    assert destination.read_bytes() == b"good"


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_an_empty_file_is_a_file(hub: Hub, downloads: Downloads, destination: Path, checked: bool) -> None:
    url = offer(hub, size=0)
    downloads(url, destination, **({"sha256": hub.sha256(NAME), "size": 0} if checked else {}))
    expect_right(hub, destination)
    assert destination.stat().st_size == 0


# -- wrong bytes ----------------------------------------------------------------------------------------------


def test_a_file_that_the_server_sends_twice_with_another_sha256_is_deleted_and_given_up(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub)
    with pytest.raises(
        IntegrityError, match=f"expected the sha256 {'0' * 64}, but the server's file has {hub.sha256(NAME)}"
    ):
        downloads(url, destination, sha256="0" * 64)
    assert list(destination.parent.iterdir()) == []
    assert [start for start, _ in starts(hub)] == [0, 0]
    assert downloads.record.state is RecoveryState.FAILED
    assert downloads.outcomes == [("failed", "validation")]


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_the_error_of_a_broken_connection_names_its_server(
    hub: Hub, downloads: Downloads, destination: Path, reset: bool
) -> None:
    url = offer(hub, [Drop(after=MIB, reset=reset), Status(status=404)])
    said: list[str | None] = []
    downloads.engine.observe = lambda event, data, error: said.append(error and str(error))
    with pytest.raises(requests.HTTPError):
        downloads(url, destination)
    how = r"broke after \d+ bytes: \S" if reset else rf"closed the connection {SIZE - MIB} bytes before the end"
    assert re.search(rf"{re.escape(url)} {how}", said[1] or "")
    assert downloads.outcomes[0] == ("failed", "network")


def test_what_was_deleted_does_not_count_as_kept(hub: Hub, downloads: Downloads, destination: Path) -> None:
    url = offer(hub)
    with pytest.raises(IntegrityError):
        downloads(url, destination, sha256="0" * 64)
    progress = downloads.record.progress
    assert progress is not None
    assert (progress.done, progress.resumed) == (0, 0)


def test_progress_of_a_failed_attempt_is_what_it_kept(hub: Hub, downloads: Downloads, destination: Path) -> None:
    url = offer(hub, [Drop(after=MIB), Status(status=404)])
    with pytest.raises(requests.HTTPError):
        downloads(url, destination)
    progress = downloads.record.progress
    assert progress is not None
    assert (progress.done, progress.total, progress.rate, progress.eta_s) == (MIB, SIZE, None, None)


def test_a_wrong_byte_on_the_way_is_found_and_its_piece_fetched_again(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [WrongByte(at=SIZE // 2)])
    downloads(url, destination, sha256=hub.sha256(NAME))
    expect_right(hub, destination)
    assert [start for start, _ in starts(hub)] == [0, 0]
    assert downloads.outcomes == [("success", None)]


def test_a_wrong_byte_before_a_drop_is_found_in_the_end(hub: Hub, downloads: Downloads, destination: Path) -> None:
    url = offer(hub, [Drop(after=MIB), WrongByte(at=2 * MIB), Drop(after=MIB)])
    downloads(url, destination, sha256=hub.sha256(NAME))
    expect_right(hub, destination)
    assert [start for start, _ in starts(hub)] == [0, MIB, 0, 0]


def test_a_file_of_another_size_than_expected_is_refused_before_its_body_is_read(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, size=300 * MIB)
    with pytest.raises(IntegrityError, match=f"has {300 * MIB} bytes, but 5 bytes were expected"):
        downloads(url, destination, size=5)
    assert not destination.exists()
    assert hub.stats(NAME)["bytes_sent"] < 100 * MIB
    assert downloads.outcomes == [("failed", "integrity"), ("exhausted", "integrity")]


# -- the server refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "category", "fix"),
    [(404, "not_found", "update_url"), (403, "permission", "add_token"), (401, "permission", "add_token")],
)
def test_a_refusal_that_waiting_does_not_change_ends_the_first_attempt(
    hub: Hub, downloads: Downloads, destination: Path, status: int, category: str, fix: str
) -> None:
    url = offer(hub, [Status(status=status)])
    with pytest.raises(requests.HTTPError, match=str(status)):
        downloads(url, destination)
    record = downloads.record
    assert (record.state, record.category, record.fix) == (RecoveryState.FAILED, category, fix)
    assert starts(hub) == [(0, status)]
    assert not destination.exists()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_the_wait_that_a_server_asks_for_is_kept(
    hub: Hub, downloads: Downloads, destination: Path, status: int, as_date: bool
) -> None:
    # A date is by the clock of the server, which its answer tells; that of the test runs ahead.
    wait = formatdate(time.time() + 120, usegmt=True) if as_date else 120
    fault = RateLimit(retry_after=wait) if status == 429 else Status(status=503, retry_after=wait)
    url = offer(hub, [Drop(after=MIB), fault])
    downloads(url, destination, connections=1)  # on a slow machine a second one may be sent the 503
    expect_right(hub, destination)
    assert downloads.attempts[1].delay_s == pytest.approx(120, abs=2)  # a drop's wait of 1 s went before
    assert downloads.outcomes[1] == ("failed", "rate_limit" if status == 429 else "network")
    assert hub.stats(NAME)["bytes_sent"] == SIZE


def test_an_overloaded_server_is_asked_again_until_the_attempts_are_used_up(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Status(status=503, times=3)])
    with pytest.raises(requests.HTTPError, match="503"):
        downloads(url, destination, max_attempts=3)
    assert downloads.record.state is RecoveryState.EXHAUSTED
    downloads(url, destination, max_attempts=3)  # a person retries
    expect_right(hub, destination)
    assert [attempt.number for attempt in downloads.attempts] == [1, 2, 3, 4]


def test_attempts_that_bring_bytes_do_not_count_against_the_limit(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=SIZE // 8)] * 7)
    downloads(url, destination, max_attempts=2)
    expect_right(hub, destination)
    assert len(downloads.attempts) == 8


# -- mirrors --------------------------------------------------------------------------------------------------

REFUSALS = [
    pytest.param([Status(status=404)], id="404"),
    pytest.param([Status(status=503)], id="503"),
    pytest.param([Html()], id="login page"),
    pytest.param([Drop(after=0)], id="closed at once"),
]


@pytest.mark.parametrize("faults", REFUSALS)
def test_a_mirror_is_asked_in_the_same_attempt_when_the_first_address_refuses(
    hub: Hub, downloads: Downloads, destination: Path, faults: list[Fault]
) -> None:
    url = offer(hub, faults)
    with Hub() as mirror:
        downloads(url, destination, sha256=hub.sha256(NAME), sources=[offer(mirror)])
        assert [start for start, _ in starts(mirror)] == [0]
    expect_right(hub, destination)
    assert len(downloads.attempts) == 1


def test_a_mirror_goes_on_with_what_the_first_address_brought(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=MIB), Status(status=503)])
    with Hub() as mirror:
        downloads(url, destination, sha256=hub.sha256(NAME), sources=[offer(mirror)])
        assert starts(mirror) == [(MIB, 206)]
    expect_right(hub, destination)
    assert starts(hub) == [(0, 206)]
    assert len(downloads.attempts) == 1


def test_without_a_sha256_no_mirror_is_asked(hub: Hub, downloads: Downloads, destination: Path) -> None:
    url = offer(hub, [Status(status=404)])
    with Hub() as mirror:
        with pytest.raises(requests.HTTPError, match="404"):
            downloads(url, destination, size=SIZE, sources=[offer(mirror)])
        assert starts(mirror) == []


def test_a_mirror_with_another_content_is_never_published_and_the_next_one_is_asked(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Status(status=404)])
    with Hub() as wrong, Hub() as right:
        # From its first answer on, this one has another version of the file.
        sources = [offer(wrong, [EtagChange()]), offer(right)]
        downloads(url, destination, sha256=hub.sha256(NAME), sources=sources)
        assert [start for start, _ in starts(right)] == [0]
    expect_right(hub, destination)


def test_the_error_of_the_first_address_is_told_when_no_source_has_the_file(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Status(status=403)])
    with Hub() as mirror, pytest.raises(requests.HTTPError, match="403"):
        downloads(url, destination, sha256=hub.sha256(NAME), sources=[mirror.model_url("absent")])
    assert downloads.record.fix == "add_token"


# -- the destination ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [["sha256"], ["size"], ["sha256", "size"], []], ids="+".join)
def test_a_right_file_that_is_there_is_kept_without_a_request(
    hub: Hub, downloads: Downloads, destination: Path, known: list[str]
) -> None:
    url = offer(hub)
    destination.parent.mkdir(parents=True)
    destination.write_bytes(hub.content(NAME))
    facts = {"sha256": hub.sha256(NAME), "size": SIZE}
    downloads(url, destination, **{name: facts[name] for name in known})
    assert starts(hub) == []


@pytest.mark.parametrize("known", [["sha256"], ["size"], ["sha256", "size"]], ids="+".join)
def test_a_wrong_file_that_is_there_stays_until_the_right_one_replaces_it(
    downloads: Downloads, destination: Path, known: list[str]
) -> None:
    body = os.urandom(200_000)
    destination.parent.mkdir(parents=True)
    destination.write_bytes(b"old")
    in_the_middle: list[bytes] = []
    middle = [body[:100_000], lambda: in_the_middle.append(destination.read_bytes()), body[100_000:]]
    facts: dict[str, Any] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    with FaultServer(Reply(headers={"Content-Length": len(body)}, parts=middle)) as server:
        downloads(server.url(), destination, **{name: facts[name] for name in known})
    assert in_the_middle == [b"old"]
    assert destination.read_bytes() == body


def test_a_wrong_file_stays_when_the_right_one_cannot_be_had(hub: Hub, downloads: Downloads, destination: Path) -> None:
    url = offer(hub, [Status(status=404)])
    destination.parent.mkdir(parents=True)
    destination.write_bytes(b"old")
    with pytest.raises(requests.HTTPError):
        downloads(url, destination, size=SIZE)
    assert destination.read_bytes() == b"old"


@contextmanager
def as_nobody() -> Iterator[None]:
    """For root, whom no folder's rights stop: be somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_to_is_told_and_not_tried_again(hub: Hub, downloads: Downloads) -> None:
    url = offer(hub)
    made = subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip()
    folder = Path(made)
    folder.chmod(0o555)
    try:
        with as_nobody(), pytest.raises(PermissionError):
            downloads(url, folder / "models" / NAME)
        record = downloads.record
        assert (record.state, record.fix) == (RecoveryState.FAILED, "fix_permissions")
        folder.chmod(0o755)
        downloads(url, folder / "models" / NAME)
        expect_right(hub, folder / "models" / NAME)
    finally:
        folder.chmod(0o755)
        for path in [folder / "models" / NAME, folder / "models" / f"{NAME}.part"]:
            path.unlink(missing_ok=True)
        (folder / "models").rmdir()
        folder.rmdir()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """`folder` takes no more than about `size` bytes until the function is called that this gives."""
    folder.mkdir(parents=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(argv, capture_output=True).returncode == 0
    if mounted:
        try:
            yield lambda: subprocess.run(["mount", "-o", f"remount,size={16 * size}", str(folder)], check=True)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    # Who may not mount limits the size of any one file; the kernel's answer differs only in its number.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_too_small_is_told_and_used_once_there_is_room(
    hub: Hub, downloads: Downloads, tmp_path: Path
) -> None:
    url = offer(hub)
    destination = tmp_path / "disk" / NAME
    with small_disk(destination.parent, MIB) as make_room:
        with pytest.raises(OSError, match=r"not enough room|too large") as raised:
            downloads(url, destination)
        assert len(downloads.attempts) == 1
        if isinstance(raised.value, NoSpaceError):
            assert (downloads.record.state, downloads.record.fix) == (RecoveryState.FAILED, "free_disk_space")
        make_room()
        downloads(url, destination)
        expect_right(hub, destination)


def test_the_file_appears_only_when_it_is_whole_and_safe_on_the_disk(
    hub: Hub, downloads: Downloads, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = offer(hub)
    order: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        order.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")
        real_fsync(descriptor)

    def replace(source: Any, target: Any) -> None:
        order.append("replace")
        assert not destination.exists()
        real_replace(source, target)

    monkeypatch.setattr(part_module.os, "fsync", fsync)
    monkeypatch.setattr(part_module.os, "replace", replace)
    downloads(url, destination)
    assert order == ["fsync file", "replace", "fsync folder"]


def test_where_folders_cannot_be_synced_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module.os, "name", "nt")
    monkeypatch.setattr(part_module.os, "open", None)
    part_module.sync_folder(tmp_path)


# -- a person, and progress -----------------------------------------------------------------------------------


def held_in_the_middle(body: bytes, at: int, then: Callable[[], object]) -> Reply:
    """Sends `at` bytes, does `then`, sends the rest."""
    headers = {"Content-Length": len(body), "ETag": '"a"'}
    return Reply(headers=headers, parts=[body[:at], then, body[at:]])


def test_cancel_in_the_middle_ends_the_handler_and_keeps_the_partial(downloads: Downloads, destination: Path) -> None:
    body = os.urandom(4 * MIB)
    ended = threading.Event()
    ended_first: list[bool] = []

    def cancel() -> None:
        until_kept(destination, MIB)
        assert downloads.data is not None
        downloads.lifecycle.cancel(downloads.data.operation_id)
        ended_first.append(ended.wait(30))

    with FaultServer(held_in_the_middle(body, MIB, cancel)) as server:
        with pytest.raises(OperationCancelled, match="was cancelled"):
            downloads(server.url(), destination)
        ended.set()
    assert ended_first == [True]
    assert kept_part(destination) == body[:MIB]
    assert not destination.exists()
    assert downloads.outcomes == [("cancelled", None)]


def test_pause_in_the_middle_keeps_the_partial_and_resume_goes_on_at_its_end(destination: Path) -> None:
    downloads = Downloads(MemoryPersistence(), Clock())
    ended = threading.Event()
    downloads.engine.observe = lambda event, data, error: event == "attempt_finished" and ended.set()
    body = os.urandom(4 * MIB)

    def operation_id() -> str:
        assert downloads.data is not None
        return downloads.data.operation_id

    kept: list[bytes] = []

    def pause() -> None:
        until_kept(destination, MIB)
        downloads.lifecycle.pause(operation_id())
        assert ended.wait(30)

    def resume() -> None:
        assert ended.wait(60)
        kept.append(kept_part(destination))
        server.then(part(f"bytes {MIB}-{len(body) - 1}/{len(body)}", body[MIB:], ETag='"a"'))
        downloads.lifecycle.resume(operation_id())

    with FaultServer(held_in_the_middle(body, MIB, pause)) as server:
        person = threading.Thread(target=resume)
        person.start()
        downloads(server.url(), destination)
        person.join()
    assert kept == [body[:MIB]]
    assert server.asked[1].range == f"bytes={MIB}-{len(body) - 1}"
    assert destination.read_bytes() == body
    assert downloads.outcomes == [("paused", None), ("success", None)]


@pytest.mark.parametrize("where", ["existing file", "partial"])
def test_cancel_is_heard_while_bytes_on_the_disk_are_hashed(
    hub: Hub, downloads: Downloads, destination: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = offer(hub)
    if where == "partial":
        leave_partial(destination, hub.content(NAME, 0, 2 * MIB))
    else:
        destination.parent.mkdir(parents=True)
        destination.write_bytes(hub.content(NAME))
    downloads.engine.observe = lambda event, data, error: (
        event == "attempt_started" and downloads.lifecycle.cancel(data.operation_id)
    )
    with pytest.raises(OperationCancelled):
        downloads(url, destination, sha256=hub.sha256(NAME))
    assert hub.stats(NAME)["bytes_sent"] < SIZE


def test_progress_counts_the_whole_file_and_tells_what_earlier_attempts_brought(
    hub: Hub, downloads: Downloads, destination: Path
) -> None:
    url = offer(hub, [Drop(after=MIB), Drop(after=MIB)])
    downloads(url, destination)
    progress = downloads.record.progress
    assert progress is not None
    assert (progress.done, progress.total, progress.unit, progress.resumed) == (SIZE, SIZE, "bytes", 2 * MIB)
    assert downloads.record.watermark == SIZE


def test_progress_is_told_while_bytes_arrive(destination: Path) -> None:
    clock = VirtualClock()
    downloads = Downloads(MemoryPersistence(), clock)
    body = os.urandom(300_000)
    seen: list[float] = []
    totals: list[float | None] = []

    def told(sender: object, event: Event) -> None:
        progress = event.payload["progress"]
        if progress is not None and event.payload["state"] == "in_progress":
            seen.append(progress["done"])
            totals.append(progress["total"])

    def note(expected: int) -> Callable[[], None]:
        def wait_for_it() -> None:
            until_kept(destination, expected)
            clock.advance(1)

        return wait_for_it

    parts = [body[:100_000], note(100_000), body[100_000:200_000], note(200_000), body[200_000:]]
    with (
        FaultServer(Reply(headers={"Content-Length": 300_000}, parts=parts)) as server,
        recovery_updated.connected_to(told, sender=downloads.lifecycle),
    ):
        downloads(server.url(), destination)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert any(0 < done <= 100_000 for done in seen)
    assert set(totals) <= {None, 300_000}  # not known before the first answer
    assert totals[-1] == 300_000


def test_a_person_is_told_who_is_waited_for(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_UNANSWERED_S", 0.05)
    downloads = Downloads(MemoryPersistence(), Clock(), delay_s=0.01)
    messages: set[str | None] = set()

    def told(sender: object, event: Event) -> None:
        messages.add((event.payload["progress"] or {}).get("message"))

    file = File(1000)
    with Origin() as origin, recovery_updated.connected_to(told, sender=downloads.lifecycle):
        downloads(origin.add(file, act.script(act.silence(1.0))), destination)
    assert messages == {None, "waiting for an answer from 127.0.0.1"}
    assert destination.read_bytes() == file.content()


# -- one request by itself ------------------------------------------------------------------------------------

URL = "http://hub.example/model.bin"


@responses.activate
def test_a_request_for_the_rest_names_range_and_condition_and_forbids_compression() -> None:
    wanted = {"Range": "bytes=5-", "If-Range": '"a"', "Accept-Encoding": "identity"}
    responses.get(
        URL,
        body=b"56789",
        status=206,
        headers={"Content-Range": "bytes 5-9/10", "ETag": '"a"', "Content-Length": "5"},
        auto_calculate_content_length=False,
        match=[matchers.header_matcher(wanted)],
    )
    with requests.Session() as session:
        answer = ask(session, Source(URL), 5, None, Validators('"a"', DATE, 10), trust_range=False)
        assert (answer.start, answer.end, answer.validators) == (5, 10, Validators('"a"', None, 10))
        assert answer.response is not None
        assert answer.response.content == b"56789"


@responses.activate
def test_a_request_whose_result_a_checksum_proves_has_no_condition() -> None:
    headers = {"Content-Range": "bytes 5-9/10", "ETag": '"new"', "Content-Length": "5"}
    call = responses.get(URL, body=b"56789", status=206, headers=headers, auto_calculate_content_length=False)
    with requests.Session() as session:
        answer = ask(session, Source(URL), 5, 10, Validators('"old"', DATE, 10), trust_range=True)
        assert answer.validators.etag == '"new"'
        answer.close()
    assert call.calls[0].request.headers["Range"] == "bytes=5-9"
    assert "If-Range" not in call.calls[0].request.headers


@responses.activate
def test_nothing_is_missing_when_the_server_says_that_the_file_ends_there() -> None:
    responses.get(URL, status=416, headers={"Content-Range": "bytes */10"})
    with requests.Session() as session:
        answer = ask(session, Source(URL), 10, None, Validators(size=10), trust_range=True)
        assert (answer.response, answer.start, answer.end, answer.validators.size) == (None, 10, 10, 10)
        with pytest.raises(NotThatFile):
            ask(session, Source(URL), 9, None, Validators(size=10), trust_range=True)


@responses.activate
def test_an_error_names_no_password_of_the_address() -> None:
    signed = "http://hub.example/model.bin?X-Amz-Signature=abcdef0123456789"
    responses.get("http://hub.example/model.bin", body="squeezed", headers={"Content-Encoding": "gzip"})
    with requests.Session() as session, pytest.raises(UnexpectedContentError) as raised:
        ask(session, Source(signed), 0, None, Validators(), trust_range=False)
    assert "abcdef0123456789" not in str(raised.value)
    assert "hub.example" in str(raised.value)


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        (Validators('"a"', None, 5), Validators('"a"', DATE, 5), True),
        (Validators('"a"', None, 5), Validators('"b"', None, 5), False),
        (Validators(None, None, 5), Validators(None, None, 6), False),
        (Validators(None, DATE), Validators(None, "Fri, 02 Jan 2026 00:00:00 GMT"), False),
        (Validators(), Validators('"a"', DATE, 5), True),
    ],
)
def test_two_answers_are_of_one_file_unless_something_that_both_tell_differs(
    mine: Validators, theirs: Validators, same: bool
) -> None:
    assert mine.same_file(theirs) is same
    assert theirs.same_file(mine) is same
