"""What is there is gone on with only if it belongs to the file, and what comes is the file or is refused."""

from __future__ import annotations

import base64
import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.errors import ErrorDocumentError, IntegrityError, LoginRequiredError, UnexpectedContentError
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.transfer.connections import fetching
from launcher_recovery.transfer.disk import space
from launcher_recovery.transfer.disk.reservations import RESERVATIONS
from launcher_recovery.transfer.partial.part import Part
from tests.origin import Answer, Behaviour, File, Origin, Request, Silence
from tests.origin import behaviours as act
from tests.transfers import Downloads, turn, with_pieces

PIECE = 64 << 10
FILE = File(12 * PIECE + 7)
OTHER = replace(FILE, version=1)
LONGER = replace(FILE, version=1, size=FILE.size + PIECE)
SAMPLES = 2 * PIECE
CUT = 7 * PIECE + 99


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    turn({"piece": PIECE}, monkeypatch.setattr)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def mirror() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def third() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def downloads() -> Downloads:
    return Downloads(MemoryPersistence())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.bin"


def is_alone(path: Path) -> bool:
    return [one.name for one in path.parent.iterdir()] == [path.name]


def leave(origin: Origin, store: MemoryPersistence, path: Path, count: int, **options: Any) -> str:
    """A partial with so many bytes, of which the server is gone; returns its address."""
    url = origin.add(FILE, act.script(act.drop(count)), act.since(2, act.refuse("404 Not Found")))
    with pytest.raises(Exception, match="404"):
        Downloads(store)(url, path, **options)
    return url


def saying_its_digest(request: Request, file: File, due: Answer) -> Answer:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return due.having("Repr-Digest", f"sha-256=:{digest}:")


def dribbled(behaviour: Behaviour) -> Behaviour:
    """A short body comes in three parts, of which the first says nothing."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        page = behaviour(request, file, due)
        (body,) = page.body
        assert isinstance(body, bytes)
        return replace(page, body=(body[:1], Silence(0.05), body[1:20], Silence(0.05), body[20:]))

    return answer


# -- what is left ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviours",
    [(act.refuse("404 Not Found"),), (act.drop(0),), (act.chunked(), act.drop(0))],
    ids=["refused", "room made for it", "size not known"],
)
def test_a_download_that_never_got_a_byte_leaves_nothing_in_the_folder(
    origin: Origin, downloads: Downloads, path: Path, behaviours: tuple[Behaviour, ...]
) -> None:
    path.parent.mkdir()
    url = origin.add(FILE, *behaviours)
    with pytest.raises(requests.RequestException):
        downloads(url, path, max_attempts=1)
    assert list(path.parent.iterdir()) == []


def test_one_that_got_some_keeps_them_over_attempts_that_get_none(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    leave(origin, downloads.store, path, CUT)
    assert [one.stat().st_size > CUT for one in path.parent.iterdir()] == [True]
    assert len(origin.settled().requests()) > 1


# -- what it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (act.login_page, LoginRequiredError),
        (act.disguised_page, LoginRequiredError),
        (act.json_error, ErrorDocumentError),
    ],
)
def test_what_is_no_file_is_recognised_also_when_its_first_bytes_are_long_in_coming(
    origin: Origin,
    downloads: Downloads,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour,
    error: type[Exception],
) -> None:
    turn({"look_s": 30.0}, monkeypatch.setattr)
    with pytest.raises(error):
        downloads(origin.add(FILE, dribbled(behaviour)), path)
    assert len(origin.requests()) == 1
    assert not path.exists()


# -- how it is laid out ---------------------------------------------------------------------------------------


def test_where_the_hashes_are_of_another_file_than_the_first_source_has_a_mirror_is_asked(
    origin: Origin, mirror: Origin, downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of that other file is forgotten, and what was reserved for it; nobody says how long the right one is."""
    monkeypatch.setattr(space, "preallocate", lambda fd, size: False)
    reserved = RESERVATIONS.on(tmp_path)
    options = with_pieces(tmp_path, mirror.add(FILE), FILE, PIECE)
    told = options["metalink"].read_text()
    options["metalink"].write_text(told.replace(f"<size>{FILE.size}</size>", ""))
    downloads(origin.add(LONGER), tmp_path / "model.bin", sha256=FILE.sha256, **options)
    assert RESERVATIONS.on(tmp_path) == reserved
    assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_a_disk_that_fails_when_the_partial_is_laid_out_is_no_reason_to_ask_a_mirror(
    origin: Origin, mirror: Origin, downloads: Downloads, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(Part, "lay_out", fail)
    with pytest.raises(OSError, match="the disk fails"):
        downloads(origin.add(FILE), path, sha256=FILE.sha256, sources=[mirror.add(FILE)])
    assert (len(origin.requests()), len(mirror.requests())) == (1, 0)


# -- what changes ---------------------------------------------------------------------------------------------


def test_a_file_that_changes_again_and_again_is_given_up_after_three_times(
    origin: Origin, downloads: Downloads, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is right by itself, and of another version than the one before."""
    monkeypatch.setattr(fetching, "FIRST_BYTES", 4 * PIECE)

    def other(request: Request, file: File, due: Answer) -> Answer:
        return act.changed_carelessly(version=request.number)(request, file, due)

    url = origin.add(FILE, other)
    with pytest.raises(IntegrityError, match="keeps changing while it is downloaded"):
        downloads(url, path)
    assert {category for _, category in downloads.outcomes} == {"integrity"}
    assert [one.range for one in origin.requests() if one.range and one.range.startswith("bytes=0-")] == [
        f"bytes=0-{4 * PIECE - 1}"
    ] * (3 * len(downloads.outcomes))
    assert list(path.parent.iterdir()) == []


def test_a_file_that_changes_once_is_fetched_anew_in_the_same_attempt(
    origin: Origin, downloads: Downloads, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had come is lost, and nothing else."""
    monkeypatch.setattr(fetching, "FIRST_BYTES", 4 * PIECE)
    downloads(origin.add(FILE, act.since(2, act.changed_carelessly(version=1))), path, max_attempts=1)
    assert path.read_bytes() == OTHER.content()
    assert downloads.outcomes == [("success", None)]
    asked = [one.range for one in origin.requests()]
    assert asked.count(asked[0]) == 2
    assert is_alone(path)


@pytest.mark.parametrize("count", [PIECE // 2, CUT], ids=["too little to compare", "enough to compare"])
@pytest.mark.parametrize("new", [FILE, OTHER, LONGER], ids=["the same", "another", "another size"])
def test_at_another_address_a_partial_is_gone_on_with_if_it_is_the_same_file(
    origin: Origin, mirror: Origin, path: Path, count: int, new: File
) -> None:
    """Two samples tell, where there is no checksum; otherwise it begins anew, and that is no failure."""
    store = MemoryPersistence()
    leave(origin, store, path, count)
    downloads = Downloads(store)
    downloads(mirror.add(new), path, max_attempts=1)
    assert path.read_bytes() == new.content()
    assert downloads.outcomes == [("failed", "network"), ("failed", "not_found"), ("success", None)]
    sent = mirror.settled().sent()
    if new is FILE and count == CUT:
        assert sent <= FILE.size - 7 * PIECE + SAMPLES
    else:
        assert new.size <= sent <= new.size + SAMPLES


# -- sources that have another file ---------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [True, False], ids=["sha256", "no sha256"])
@pytest.mark.parametrize("other", [OTHER, LONGER], ids=["same size", "another size"])
def test_a_mirror_that_has_another_file_costs_samples_and_no_byte_that_is_there(
    origin: Origin, mirror: Origin, downloads: Downloads, path: Path, other: File, checked: bool
) -> None:
    url = origin.add(FILE, act.script(act.drop(CUT), act.refuse("503 Service Unavailable")))
    options = {"sha256": FILE.sha256} if checked else {}
    downloads(url, path, sources=[mirror.add(other)], **options)
    assert path.read_bytes() == FILE.content()
    assert origin.settled().sent() == FILE.size
    assert mirror.settled().sent() <= 2 * SAMPLES  # twice: the second attempt knows nothing of it


def test_a_mirror_that_changes_while_it_is_used_takes_nothing_with_it(
    origin: Origin, mirror: Origin, downloads: Downloads, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has proven itself, and then has another file."""
    monkeypatch.setattr(fetching, "FIRST_BYTES", 6 * PIECE)
    broken = act.when(lambda request: 1 < request.number < 4, act.refuse("503 Service Unavailable"))
    url = origin.add(FILE, act.script(act.drop(5 * PIECE)), broken)
    changing = act.since(4, act.changed(version=1, size=LONGER.size))
    downloads(url, path, sources=[mirror.add(FILE, changing)])
    assert path.read_bytes() == FILE.content()
    # It has sent one piece that is used; everything else is from the address that was given, once.
    assert origin.settled().sent() == FILE.size - PIECE


@pytest.mark.parametrize("other", [OTHER, LONGER], ids=["same size", "another size"])
def test_where_the_given_address_has_another_file_a_mirror_has_the_right_one(
    origin: Origin, mirror: Origin, downloads: Downloads, path: Path, other: File
) -> None:
    """The checksum is what counts; one of the same size is compared with at once, and asked for nothing twice."""
    sources = [mirror.add(FILE)]
    downloads(origin.add(other), path, sha256=FILE.sha256, sources=sources, max_attempts=1)
    assert path.read_bytes() == FILE.content()
    assert is_alone(path)
    assert mirror.settled().sent() <= FILE.size + PIECE
    assert origin.settled().sent() <= other.size * (1 if other is OTHER else 2)


def test_where_the_given_address_is_gone_the_mirror_that_has_the_right_file_is_found(
    origin: Origin, mirror: Origin, third: Origin, downloads: Downloads, path: Path
) -> None:
    """The first one has a file of another size, which says how long it is to be as long as nobody else does."""
    sources = [mirror.add(LONGER), third.add(FILE)]
    url = origin.add(FILE, act.refuse("404 Not Found"))
    downloads(url, path, sha256=FILE.sha256, sources=sources, max_attempts=1)
    assert path.read_bytes() == FILE.content()
    assert is_alone(path)
    assert third.settled().sent() <= FILE.size + PIECE
    assert mirror.settled().sent() <= 2 * LONGER.size


@pytest.mark.parametrize("known", [{"size": FILE.size}, {}], ids=["size", "no size"])
def test_where_nobody_has_it_there_is_an_end_to_it(
    origin: Origin, mirror: Origin, third: Origin, downloads: Downloads, path: Path, known: Any
) -> None:
    """Each is asked for its file, and once more to see that it is not the way that made it wrong."""
    sources = [mirror.add(LONGER), third.add(replace(FILE, version=2, size=FILE.size - 1))]
    with pytest.raises(
        UnexpectedContentError,
        match=r"it has [0-9a-f]{64} wherever it is from; the checksum in the request may be wrong",
    ):
        downloads(origin.add(OTHER), path, sha256=FILE.sha256, sources=sources, **known)
    assert list(path.parent.iterdir()) == []
    sent = [one.settled().sent() for one in (origin, mirror, third)]
    assert sent[0] <= 2 * OTHER.size + PIECE
    # An answer that is seen to be of another size has begun to arrive.
    assert sum(sent) <= 2 * (OTHER.size + LONGER.size + FILE.size) + 4 * PIECE
    if known:
        assert sum(sent[1:]) <= 2 * PIECE


# -- what is wrong, and why -----------------------------------------------------------------------------------


OTHER_IN_BASE64 = base64.b64encode(bytes.fromhex(OTHER.sha256)).decode()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Repr-Digest", f"sha-256=:{OTHER_IN_BASE64}:"),
        ("Digest", f"SHA-256={OTHER_IN_BASE64}"),
        ("X-Linked-ETag", f'"{OTHER.sha256}"'),
    ],
)
def test_what_the_server_says_itself_is_not_fetched_again_to_see_it(
    origin: Origin, downloads: Downloads, path: Path, header: str, value: str
) -> None:
    url = origin.add(OTHER, act.said(header, value))
    with pytest.raises(UnexpectedContentError) as raised:
        downloads(url, path, sha256=FILE.sha256)
    assert str(raised.value).partition("\n")[0] == (
        f"{url}: expected the sha256 {FILE.sha256}, but the server's file has {OTHER.sha256}, as it says itself; "
        "the checksum in the request may be wrong. The file was deleted"
    )
    assert downloads.outcomes == [("failed", "validation")]
    assert origin.settled().sent() == FILE.size


def test_what_a_server_sends_twice_is_its_file_and_not_fetched_a_third_time(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    """It may have been damaged on the way, the first time."""
    url = origin.add(OTHER)
    with pytest.raises(UnexpectedContentError) as raised:
        downloads(url, path, sha256=FILE.sha256)
    assert str(raised.value).partition("\n")[0] == (
        f"{url}: expected the sha256 {FILE.sha256}, but the server's file has {OTHER.sha256}, twice; "
        "the checksum in the request may be wrong. The file was deleted"
    )
    assert downloads.outcomes == [("failed", "validation")]
    assert origin.settled().sent() == 2 * FILE.size


def test_and_a_mirror_may_have_what_the_server_says_that_it_has_not(
    origin: Origin, mirror: Origin, downloads: Downloads, path: Path
) -> None:
    url = origin.add(OTHER, saying_its_digest)
    downloads(url, path, sha256=FILE.sha256, sources=[mirror.add(FILE)])
    assert path.read_bytes() == FILE.content()
    assert origin.settled().sent() == FILE.size


def test_a_server_that_says_something_else_of_its_file_than_it_sends_is_told_as_such(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    url = origin.add(OTHER, act.said("X-Linked-ETag", f'"{FILE.sha256}"'))
    with pytest.raises(UnexpectedContentError, match="twice; what the server says of it may be wrong"):
        downloads(url, path)
    assert origin.settled().sent() == 2 * FILE.size


def test_what_a_server_tells_of_its_file_is_what_it_is_checked_by(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    """Where the caller has no checksum."""
    downloads(origin.add(FILE, saying_its_digest, act.flip(5 * PIECE)), path)
    assert path.read_bytes() == FILE.content()
    assert origin.settled().sent() == FILE.size + 6 * PIECE


def test_a_server_that_sends_something_else_each_time_is_asked_for_it_twice_in_an_attempt(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    """That may be the way there, and get better: it is tried again, with an end to it."""

    def other(request: Request, file: File, due: Answer) -> Answer:
        return act.changed(version=request.number, label=0)(request, file, due)

    url = origin.add(FILE, other)
    with pytest.raises(IntegrityError, match="it is sent differently each time") as raised:
        downloads(url, path, sha256=FILE.sha256)
    assert type(raised.value) is IntegrityError
    assert downloads.outcomes == [("failed", "integrity"), ("exhausted", "integrity")]
    assert origin.settled().sent() == 4 * FILE.size
    assert list(path.parent.iterdir()) == []


def test_where_no_parts_can_be_had_that_is_why_it_is_not_repaired(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    url = origin.add(FILE, act.ignores_range, act.flip(5 * PIECE, times=2), act.script(act.drop(3 * PIECE)))
    with pytest.raises(IntegrityError, match="its damaged piece cannot be fetched by itself"):
        downloads(url, path, sha256=FILE.sha256, max_attempts=1)
    assert list(path.parent.iterdir()) == []


def test_a_file_of_unknown_size_that_is_wrong_in_the_end_is_deleted(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    """Nothing tells its pieces apart."""
    url = origin.add(replace(FILE, etag=None, dated=False), act.ignores_range, act.chunked())
    with pytest.raises(
        UnexpectedContentError, match=f"the server's file has {FILE.sha256}, twice; the checksum in the"
    ):
        downloads(url, path, sha256="0" * 64)
    assert downloads.outcomes == [("failed", "integrity"), ("failed", "validation")]
    first = downloads.attempts[0].error
    assert first is not None
    assert f"expected the sha256 {'0' * 64}, but what came has {FILE.sha256}. The file" in first
    assert origin.settled().sent() == 2 * FILE.size
    assert list(path.parent.iterdir()) == []


def test_a_file_of_unknown_size_that_a_server_has_as_it_says_is_not_fetched_again_to_see_it(
    origin: Origin, downloads: Downloads, path: Path
) -> None:
    url = origin.add(FILE, act.ignores_range, act.chunked(), saying_its_digest)
    with pytest.raises(UnexpectedContentError, match=f"the server's file has {FILE.sha256}, as it says itself"):
        downloads(url, path, sha256="0" * 64)
    assert origin.settled().sent() == FILE.size


def test_a_partial_that_is_longer_than_the_file_is_none(origin: Origin, path: Path) -> None:
    """One of a server that did not tell the size, which is known by now."""
    store = MemoryPersistence()
    url = origin.add(
        FILE, act.ignores_range, act.chunked(), act.script(act.drop(CUT)), act.since(2, act.refuse("404 Not Found"))
    )
    with pytest.raises(Exception, match="404"):
        Downloads(store)(url, path)
    short = replace(FILE, version=3, size=PIECE)
    origin.add(short)
    Downloads(store)(url, path, size=PIECE, sha256=short.sha256, max_attempts=1)
    assert path.read_bytes() == short.content()


def test_a_file_that_is_at_its_place_is_not_asked_for(origin: Origin, downloads: Downloads, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(FILE.content())
    downloads(origin.add(FILE), path, sha256=FILE.sha256)
    assert origin.requests() == []
