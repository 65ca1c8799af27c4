"""A mirror shows that it has the same file before a byte of it is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from launcher_recovery.errors import IntegrityError
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.journal import Known
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.proving import SAMPLE, has_samples, prove
from launcher_recovery.transfer.sources.source import OtherFileError, Source
from tests.origin import Behaviour, File, Origin
from tests.origin import behaviours as act

MIB = 1 << 20
PIECE = MIB
FILE = File(5 * MIB + 100)
CONTENT = FILE.content()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A partial that has pieces 1 and 3 whole, and hashed, and 4 up to its middle."""
    part, pieces = Part(tmp_path / "model.part"), Pieces(FILE.size, PIECE)
    known = Known(bytes(16), pieces)
    made = Layout(
        part,
        known,
        tmp_path / "model.bin",
        threading.RLock(),
        Buffers(2),
        None,
        None,
        dict,
        lambda transfer: True,
        lambda index, before: None,
    )
    for index, length in ((1, PIECE), (3, PIECE), (4, PIECE // 2)):
        start = pieces.start_of(index)
        part.write(CONTENT[start : start + length], start)
        pieces.fill(index, length)
        if length == PIECE:
            pieces.hashes[index] = bytes(16)
    yield made
    part.close()


def mirror(url: str) -> Source:
    return Source(url, is_given=False)


def test_two_samples_that_agree_prove_it_as_far_apart_as_they_can_be(
    origin: Origin, session: requests.Session, layout: Layout
) -> None:
    source = mirror(origin.add(FILE))
    prove(source, session, layout, has_checksum=False)
    assert source.is_proven
    assert [one.range for one in origin.requests()] == [
        f"bytes={PIECE}-{PIECE + SAMPLE - 1}",
        f"bytes={4 * PIECE - SAMPLE}-{4 * PIECE - 1}",
    ]
    assert origin.settled().sent() == 2 * SAMPLE
    assert source.validators == Validators(FILE.entity_tag, FILE.modified, FILE.size)


@pytest.mark.parametrize("at", [PIECE, PIECE + SAMPLE - 1, 4 * PIECE - SAMPLE, 4 * PIECE - 1])
def test_a_byte_that_differs_in_a_sample_says_that_it_is_another_file(
    origin: Origin, session: requests.Session, layout: Layout, at: int
) -> None:
    source = mirror(origin.add(replace(FILE, wrong=frozenset({at}))))
    with pytest.raises(OtherFileError, match="has another file") as raised:
        prove(source, session, layout, has_checksum=True)
    assert raised.value.size is None
    assert not source.is_proven


def test_a_file_of_another_size_is_another_one_whatever_its_samples(
    origin: Origin, session: requests.Session, layout: Layout
) -> None:
    source = mirror(origin.add(replace(FILE, size=FILE.size + 1)))
    with pytest.raises(OtherFileError, match=f"a file of {FILE.size + 1} bytes instead of {FILE.size}") as raised:
        prove(source, session, layout, has_checksum=True)
    assert raised.value.size == FILE.size + 1
    assert not source.is_proven


@pytest.mark.parametrize(
    "behaviour",
    [
        act.ignores_range,
        act.another_part(1000),
        act.multipart,
        act.content_range(lambda start, last, total: f"bytes {start}-{last}/*"),
    ],
    ids=["all of it", "another part", "several parts", "no size"],
)
def test_a_server_that_does_not_give_the_parts_proves_nothing(
    origin: Origin, session: requests.Session, layout: Layout, behaviour: Behaviour
) -> None:
    source = mirror(origin.add(FILE, behaviour))
    with pytest.raises(IntegrityError, match="does not give the parts") as raised:
        prove(source, session, layout, has_checksum=True)
    assert not isinstance(raised.value, OtherFileError)
    assert not source.is_proven


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [(act.refuse("503 Service Unavailable"), "503"), (act.drop(1000), "before the end|broke|Connection")],
    ids=["refused", "broken"],
)
def test_a_mirror_that_cannot_be_asked_has_not_lied(
    origin: Origin, session: requests.Session, layout: Layout, behaviour: Behaviour, said: str
) -> None:
    source = mirror(origin.add(FILE, behaviour))
    with pytest.raises(requests.RequestException, match=said):
        prove(source, session, layout, has_checksum=True)
    assert not source.is_proven


def left(layout: Layout, there: str) -> Layout | None:
    """A layout with less."""
    if there == "nothing":
        return None
    layout.pieces.hashes[3] = None
    if there == "two pieces without a hash":
        layout.pieces.hashes[1] = None
    if there == "one piece":
        layout.pieces.drop(3)
    return layout


THERE = ["nothing", "one piece", "two pieces, one without a hash", "two pieces without a hash"]


@pytest.mark.parametrize("there", THERE)
def test_where_there_is_too_little_to_compare_only_a_checksum_can_prove_it(
    origin: Origin, session: requests.Session, layout: Layout, there: str
) -> None:
    """A single piece may be what all files of a kind begin with."""
    source = mirror(origin.add(FILE))
    with pytest.raises(IntegrityError, match="nothing proves that the mirror"):
        prove(source, session, left(layout, there), has_checksum=False)
    assert not source.is_proven
    assert origin.requests() == []


@pytest.mark.parametrize("there", THERE)
def test_where_a_checksum_proves_it_in_the_end_pieces_need_not_be_hashed_to_be_compared(
    origin: Origin, session: requests.Session, layout: Layout, there: str
) -> None:
    """How far the hashes are is a matter of chance, and is not to decide about a mirror that has another file."""
    given = left(layout, there)
    is_compared = there.startswith("two")
    same, other = mirror(origin.add(FILE)), mirror(origin.add(replace(FILE, version=1), path="/other"))
    prove(same, session, given, has_checksum=True)
    assert len(origin.requests()) == (2 if is_compared else 0)
    if is_compared:
        with pytest.raises(OtherFileError):
            prove(other, session, given, has_checksum=True)
    else:
        prove(other, session, given, has_checksum=True)
    assert (same.is_proven, other.is_proven) == (True, not is_compared)


KIB = 1 << 10


@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        ({0: 100 * KIB}, []),
        ({0: 128 * KIB}, [(0, 64 * KIB), (64 * KIB, 128 * KIB)]),
        ({0: 900 * KIB}, [(0, SAMPLE), (900 * KIB - SAMPLE, 900 * KIB)]),
        ({1: MIB, 2: 5}, [(MIB, MIB + SAMPLE), (2 * MIB + 5 - SAMPLE, 2 * MIB + 5)]),
        ({0: 70 * KIB, 1: 10, 3: 300 * KIB}, [(0, 70 * KIB), (3 * MIB + 300 * KIB - SAMPLE, 3 * MIB + 300 * KIB)]),
        ({0: 60 * KIB, 1: 60 * KIB}, []),
    ],
)
def test_one_that_is_to_race_is_compared_with_parts_of_pieces_where_a_checksum_proves_the_whole(
    origin: Origin,
    session: requests.Session,
    layout: Layout,
    filled: dict[int, int],
    expected: list[tuple[int, int]],
) -> None:
    """A slow connection is long with two whole ones; without a checksum that is waited for all the same."""
    for index in range(layout.pieces.count):
        layout.pieces.fill(index, filled.get(index, 0))
    layout.part.write(CONTENT, 0)
    assert has_samples(layout, has_checksum=True) is bool(expected)
    assert not has_samples(layout, has_checksum=False)
    same, other = mirror(origin.add(FILE)), mirror(origin.add(replace(FILE, version=1), path="/other"))
    prove(same, session, layout, has_checksum=True, is_racing=True)
    assert [one.range for one in origin.requests()] == [f"bytes={start}-{end - 1}" for start, end in expected]
    if expected:
        with pytest.raises(OtherFileError):
            prove(other, session, layout, has_checksum=True, is_racing=True)


def test_what_is_known_to_be_wrong_is_nothing_to_compare_with(
    origin: Origin, session: requests.Session, layout: Layout
) -> None:
    source = mirror(origin.add(replace(FILE, version=1)))
    prove(source, session, layout, has_checksum=True, is_comparing=True)
    assert source.is_proven
    assert origin.requests() == []


def test_short_pieces_are_samples_as_they_are(origin: Origin, session: requests.Session, tmp_path: Path) -> None:
    file = File(25_000)
    part, pieces = Part(tmp_path / "short.part"), Pieces(file.size, 10_000)
    known = Known(bytes(16), pieces)
    made = Layout(
        part, known, tmp_path / "s", threading.RLock(), Buffers(2), None, None, dict, lambda _: True, lambda *_: None
    )
    part.write(file.content(), 0)
    for index in range(3):
        pieces.fill(index, pieces.length_of(index))
        pieces.hashes[index] = bytes(16)
    source = mirror(origin.add(file))
    prove(source, session, made, has_checksum=False)
    assert [one.range for one in origin.requests()] == ["bytes=0-9999", "bytes=20000-24999"]
    part.close()
