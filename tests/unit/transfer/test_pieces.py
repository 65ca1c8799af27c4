"""What is there of a file, what is missing, and what the journal says of it, for every size and division."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher_recovery.transfer.partial.pieces import HASH_BYTES, MOST_PIECES, PIECE, Pieces, piece_size

GIB = 1 << 30
same_each_time = settings(derandomize=True, deadline=None, database=None)


def made(size: int, piece: int, filled: list[int]) -> Pieces:
    pieces = Pieces(size, piece)
    for index, number in enumerate(filled):
        pieces.fill(index, number)
    return pieces


@st.composite
def some_pieces(draw: st.DrawFn, most: int = 40) -> Pieces:
    size, piece = draw(st.integers(0, most)), draw(st.integers(1, 12))
    pieces = Pieces(size, piece)
    for index in range(pieces.count):
        length = pieces.length_of(index)
        pieces.fill(index, draw(st.sampled_from([0, length]) | st.integers(0, length)))
    return pieces


def there(pieces: Pieces) -> set[int]:
    """The bytes that are there, one by one."""
    return {pieces.start_of(index) + byte for index in range(pieces.count) for byte in range(pieces.filled[index])}


# -- how a file is divided ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        (0, PIECE),
        (1, PIECE),
        (PIECE * MOST_PIECES, PIECE),
        (PIECE * MOST_PIECES + 1, 2 * PIECE),
        (2 * PIECE * MOST_PIECES, 2 * PIECE),
        (2 * PIECE * MOST_PIECES + 1, 4 * PIECE),
    ],
)
def test_pieces_get_larger_before_there_are_too_many(size: int, piece: int) -> None:
    assert piece_size(size) == piece
    assert Pieces(size).piece == piece
    assert Pieces(size).count <= MOST_PIECES


def test_the_last_piece_is_what_is_left() -> None:
    pieces = Pieces(10, 4)
    assert pieces.count == 3
    assert [pieces.start_of(index) for index in range(3)] == [0, 4, 8]
    assert [pieces.length_of(index) for index in range(3)] == [4, 4, 2]
    assert [pieces.end_of(index) for index in range(3)] == [4, 8, 10]


def test_a_last_piece_may_be_a_full_one() -> None:
    pieces = Pieces(8, 4)
    assert [pieces.length_of(index) for index in range(pieces.count)] == [4, 4]


def test_an_empty_file_has_no_pieces_and_is_whole() -> None:
    pieces = Pieces(0)
    assert (pieces.count, pieces.have, pieces.is_whole, list(pieces.gaps())) == (0, 0, True, [])


def test_a_file_of_many_gigabytes() -> None:
    size = 20 * GIB + 1
    pieces = Pieces(size)
    last = pieces.count - 1
    assert (pieces.piece, pieces.length_of(last), pieces.end_of(last)) == (8 << 20, 1, size)
    assert list(pieces.add(size - 1, 1)) == [last]
    assert list(pieces.gaps()) == [(0, size - 1)]


# -- bytes arrive ---------------------------------------------------------------------------------------------


def test_bytes_that_arrive_fill_the_pieces_that_they_are_of() -> None:
    pieces = Pieces(10, 4)
    assert list(pieces.add(0, 3)) == [0]
    assert (pieces.filled, pieces.have) == ([3, 0, 0], 3)
    assert list(pieces.add(3, 6)) == [0, 1, 2]
    assert (pieces.filled, pieces.have, pieces.is_whole) == ([4, 4, 1], 9, False)
    assert list(pieces.add(9, 1)) == [2]
    assert (pieces.filled, pieces.is_whole) == ([4, 4, 2], True)
    assert [pieces.is_complete(index) for index in range(3)] == [True, True, True]


@pytest.mark.parametrize("start", [0, 3, 4, 10])
def test_no_bytes_change_nothing(start: int) -> None:
    pieces = made(10, 4, [4, 0, 2])
    assert list(pieces.add(start, 0)) == []
    assert (pieces.filled, pieces.have) == ([4, 0, 2], 6)


def test_a_piece_that_loses_bytes_loses_its_hash_and_is_not_durable() -> None:
    pieces = made(8, 4, [4, 4])
    pieces.hashes = [b"a" * HASH_BYTES, b"b" * HASH_BYTES]
    pieces.durable = [True, True]
    pieces.fill(0, 3)
    assert (pieces.hashes, pieces.durable) == ([None, b"b" * HASH_BYTES], [False, True])
    pieces.drop(1)
    assert (pieces.hashes, pieces.durable, pieces.filled, pieces.have) == ([None, None], [False, False], [3, 0], 3)


def test_a_piece_that_stays_complete_keeps_its_hash() -> None:
    pieces = made(4, 4, [4])
    pieces.hashes, pieces.durable = [b"a" * HASH_BYTES], [True]
    pieces.fill(0, 4)
    assert (pieces.hashes, pieces.durable, pieces.have) == ([b"a" * HASH_BYTES], [True], 4)


@given(st.data())
@same_each_time
def test_what_is_there_is_the_sum_of_what_came(data: st.DataObject) -> None:
    """Bytes come at the beginning of gaps, in any order and any amount, until there are no gaps."""
    pieces = Pieces(data.draw(st.integers(1, 60)), data.draw(st.integers(1, 12)))
    arrived: set[int] = set()
    while not pieces.is_whole:
        start, end = data.draw(st.sampled_from(list(pieces.gaps())))
        length = data.draw(st.integers(1, end - start))
        changed = pieces.add(start, length)
        assert list(changed) == sorted({byte // pieces.piece for byte in range(start, start + length)})
        arrived.update(range(start, start + length))
        assert there(pieces) == arrived
        assert pieces.have == len(arrived) == sum(pieces.filled)
    assert all(map(pieces.is_complete, range(pieces.count)))


# -- what is missing ------------------------------------------------------------------------------------------


def test_gaps_go_from_where_a_piece_is_filled_to_the_next_byte_that_is_there() -> None:
    assert list(made(20, 4, [1, 0, 4, 4, 2]).gaps()) == [(1, 8), (18, 20)]
    assert list(made(20, 4, [4, 3, 2, 0, 0]).gaps()) == [(7, 8), (10, 20)]


@pytest.mark.parametrize(
    ("taken", "gaps"),
    [
        ([], [(0, 20)]),
        ([(0, 20)], []),
        ([(0, 8)], [(8, 20)]),
        ([(8, 20)], [(0, 8)]),
        ([(12, 16), (4, 8)], [(0, 4), (8, 12), (16, 20)]),
        ([(4, 12), (8, 10)], [(0, 4), (12, 20)]),
        ([(4, 10), (8, 12)], [(0, 4), (12, 20)]),
        ([(4, 4), (30, 40)], [(0, 20)]),
        ([(10, 8)], [(0, 20)]),
        ([(16, 40)], [(0, 16)]),
    ],
)
def test_what_others_are_about_to_fetch_is_no_gap(taken: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> None:
    assert list(Pieces(20, 4).gaps(taken)) == gaps


@given(some_pieces(), st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)), max_size=5))
@same_each_time
def test_gaps_cover_exactly_what_is_missing_and_not_taken(pieces: Pieces, taken: list[tuple[int, int]]) -> None:
    """A range may be over, or end before where its connection is: another one took its end."""
    gaps = list(pieces.gaps(taken))
    in_gaps = [byte for start, end in gaps for byte in range(start, end)]
    missing = set(range(pieces.size)) - there(pieces)
    assert in_gaps == sorted(missing - {byte for start, end in taken for byte in range(start, end)})
    assert all(start < end for start, end in gaps)


@given(some_pieces())
@same_each_time
def test_no_two_gaps_touch(pieces: Pieces) -> None:
    gaps = list(pieces.gaps())
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(gaps))


# -- divided anew ---------------------------------------------------------------------------------------------


@given(some_pieces(), st.integers(1, 45))
@same_each_time
def test_divided_anew_what_lies_behind_a_gap_within_a_piece_is_lost_and_nothing_else(
    pieces: Pieces, length: int
) -> None:
    before, other = there(pieces), pieces.divided(length)
    for start in range(0, pieces.size, length):
        run = 0
        while run < min(length, pieces.size - start) and start + run in before:
            run += 1
        assert other.filled[start // length] == run
    assert (other.size, other.piece, other.have) == (pieces.size, length, len(there(other)))
    assert not any(other.hashes)
    assert not any(other.durable)


# -- the journal ----------------------------------------------------------------------------------------------


def a_hash(number: int) -> bytes:
    return random.Random(number).randbytes(HASH_BYTES)


def kept(size: int = 10, piece: int = 4) -> dict[str, Any]:
    """A journal of pieces that are all there and durable."""
    pieces = made(size, piece, [min(piece, size - start) for start in range(0, size, piece)])
    pieces.hashes = [a_hash(index) for index in range(pieces.count)]
    pieces.durable = [True] * pieces.count
    return pieces.to_journal()


@given(st.integers(0, 60), st.integers(1, 12), st.data())
@same_each_time
def test_the_journal_gives_back_what_is_durable_and_every_hash(size: int, piece: int, data: st.DataObject) -> None:
    pieces = Pieces(size, piece)
    for index in range(pieces.count):
        state = data.draw(st.sampled_from(["nothing", "a part", "complete", "hashed", "durable"]))
        length = pieces.length_of(index)
        pieces.fill(index, {"nothing": 0, "a part": length - 1}.get(state, length))
        if state in ("hashed", "durable") and pieces.is_complete(index):
            pieces.hashes[index] = a_hash(index)
            pieces.durable[index] = state == "durable"
    journal = pieces.to_journal()
    read = json.loads(json.dumps(journal))
    assert read == journal, "it is made of JSON values alone"
    back = Pieces.from_journal(read)
    assert back is not None
    assert (back.size, back.piece, back.hashes, back.durable) == (size, piece, pieces.hashes, pieces.durable)
    lengths = [pieces.length_of(index) if durable else 0 for index, durable in enumerate(pieces.durable)]
    assert (back.filled, back.have) == (lengths, sum(lengths))
    assert back.to_journal() == journal


def test_the_journal_names_runs_of_durable_pieces() -> None:
    pieces = made(24, 4, [4, 4, 4, 0, 4, 4])
    pieces.hashes = [a_hash(index) if index != 3 else None for index in range(6)]
    pieces.durable = [True, True, True, False, False, True]
    assert pieces.to_journal()["durable"] == [[0, 2], [5, 5]]


def test_a_journal_of_an_empty_file() -> None:
    back = Pieces.from_journal(Pieces(0, 4).to_journal())
    assert back is not None
    assert (back.size, back.piece, back.count, back.is_whole) == (0, 4, 0, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"size": None},
        {"size": "many"},
        {"size": -1},
        {"size": 13},
        {"size": float("inf")},
        {"size": 1 << 62, "piece": 1},
        {"piece": 0},
        {"piece": -4},
        {"piece": 2},
        {"size": 0, "piece": -4, "hashes": "", "durable": []},
        {"size": 0, "piece": 0, "hashes": "", "durable": []},
        {"hashes": None},
        {"hashes": "not base64"},
        {"hashes": "AAAA"},
        {"durable": None},
        {"durable": [[0]]},
        {"durable": [[0, 3]]},
        {"durable": [[-1, -1]]},
        {"durable": [[-3, 0]]},
        {"durable": [[2, 1]]},
        {"durable": [["0", "1"]]},
    ],
)
def test_a_journal_that_makes_no_sense_is_none(changed: dict[str, Any]) -> None:
    assert Pieces.from_journal(kept()) is not None
    assert Pieces.from_journal({**kept(), **changed}) is None


@pytest.mark.parametrize("missing", ["size", "piece", "hashes", "durable"])
def test_a_journal_that_lacks_something_is_none(missing: str) -> None:
    assert Pieces.from_journal({name: value for name, value in kept().items() if name != missing}) is None


@pytest.mark.parametrize("found", [None, [], "pieces", 3])
def test_what_is_no_journal_is_none(found: Any) -> None:
    assert Pieces.from_journal(found) is None


def test_a_durable_piece_without_a_hash_could_not_be_looked_at_again() -> None:
    pieces = made(8, 4, [4, 4])
    pieces.hashes, pieces.durable = [a_hash(0), None], [True, True]
    assert Pieces.from_journal(pieces.to_journal()) is None


def test_runs_are_what_is_there_without_a_gap() -> None:
    pieces = Pieces(55, 10)
    assert pieces.runs() == []
    for index, filled in ((0, 10), (1, 3), (2, 10), (3, 10), (5, 5)):
        pieces.fill(index, filled)
    assert pieces.runs() == [(0, 13), (20, 40), (50, 55)]
