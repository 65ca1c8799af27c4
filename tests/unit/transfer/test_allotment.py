"""Which connection fetches what: all that is missing, nothing twice, and all end at about the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher_recovery.transfer.connections.allotment import HELP_S, Allotment
from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.integrity.comparing import Comparison
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import Source

MIB = 1 << 20


@dataclass
class Connection:
    """As much of a connection as is looked at."""

    extent: Extent | None = None
    rate: float = 0.0
    rival: Connection | None = None

    def rate_at(self, now: float) -> float | None:
        return self.rate or None


def made(size: int, piece: int = MIB, connections: int = 1) -> tuple[Pieces, Allotment]:
    pieces = Pieces(size, piece)
    found = Allotment(pieces, connections)
    found.wanted = connections
    return pieces, found


def take(allotment: Allotment, worker: Connection, *others: Connection, avoided: Any = ()) -> tuple[int, int] | None:
    """What the connection is given, and begins to fetch."""
    workers: Any = [worker, *others]
    worker.extent = allotment.next(workers[0], workers, avoided)
    return None if worker.extent is None else (worker.extent.pos, worker.extent.end)


def fetch(pieces: Pieces, worker: Connection, count: int | None = None) -> None:
    """The bytes of its extent arrive, or `count` of them."""
    extent = worker.extent
    assert extent is not None
    until = extent.end if count is None else extent.pos + count
    while extent.pos < until:
        length = min(until, pieces.end_of(extent.pos // pieces.piece)) - extent.pos
        pieces.add(extent.pos, length)
        extent.pos += length
    if count is None:
        worker.extent = None


def test_one_connection_is_given_32_mib_while_its_rate_is_not_known_then_8_s() -> None:
    pieces, allotment = made(100 * MIB)
    one = Connection()
    assert take(allotment, one) == (0, 32 * MIB)
    fetch(pieces, one)
    one.rate = 2 * MIB
    assert take(allotment, one) == (32 * MIB, 48 * MIB)
    fetch(pieces, one)
    one.rate = 1000.0
    assert take(allotment, one) == (48 * MIB, 49 * MIB)  # not less than a piece


@given(st.integers(1, 40), st.integers(1, 4), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * MIB))))
def test_everything_is_given_once_and_in_whole_pieces(tail: int, connections: int, order: Any) -> None:
    size = 37 * MIB + tail
    pieces, allotment = made(size, connections=connections)
    workers = [Connection(rate=MIB) for _ in range(connections)]
    turns = [*order, *((number, None) for _ in range(80) for number in range(connections))]
    for number, count in turns:
        worker = workers[number % connections]
        if worker.extent is None:
            others = [other for other in workers if other is not worker]
            given = take(allotment, worker, *others)
            if given is None:
                continue
            assert given[1] == size or given[1] % MIB == 0
            assert all(
                other.extent is None or given[1] <= other.extent.pos or given[0] >= other.extent.end for other in others
            )
        assert worker.extent is not None
        fetch(pieces, worker, None if count is None else min(count, worker.extent.left))
        if worker.extent is not None and not worker.extent.left:
            worker.extent = None
    assert pieces.is_whole


def test_extents_get_shorter_towards_the_end_and_not_shorter_than_a_piece() -> None:
    pieces, allotment = made(64 * MIB, connections=4)
    worker = Connection(rate=100 * MIB)
    lengths = []
    while (given := take(allotment, worker)) is not None:
        lengths.append((given[1] - given[0]) // MIB)
        fetch(pieces, worker)
    assert lengths[0] == 8
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == 1
    assert sum(lengths) == 64


def test_extents_of_short_pieces_are_not_shorter_than_a_mebibyte() -> None:
    """However many pieces that are, so that there are not many requests towards the end."""
    pieces, allotment = made(64 * MIB + 100, MIB // 4, connections=4)
    worker = Connection(rate=100 * MIB)
    lengths = []
    while (given := take(allotment, worker)) is not None:
        lengths.append(given[1] - given[0])
        fetch(pieces, worker)
    assert min(lengths) == MIB
    assert len(lengths) == 22
    assert sum(lengths) == 64 * MIB + 100


def test_no_more_connections_get_something_than_there_are_to_be() -> None:
    _, allotment = made(64 * MIB, connections=2)
    first, second, third = Connection(), Connection(), Connection()
    assert take(allotment, first) is not None
    assert take(allotment, second, first) is not None
    assert take(allotment, third, first, second) is None
    allotment.wanted = 3
    assert take(allotment, third, first, second) is not None


def test_pieces_that_are_avoided_are_left_to_others() -> None:
    pieces, allotment = made(4 * MIB)
    one = Connection()
    assert take(allotment, one, avoided=[0, 2]) == (MIB, 2 * MIB)
    fetch(pieces, one)
    assert take(allotment, one, avoided=[0, 2]) == (3 * MIB, 4 * MIB)
    fetch(pieces, one)
    assert take(allotment, one, avoided=[0, 2]) is None
    assert not allotment.has_work([], [0, 2])
    assert allotment.has_work([], [0])
    assert take(allotment, one) == (0, MIB)


@pytest.mark.parametrize(("rate", "is_helped"), [(MIB, True), (4 * MIB, False), (0.0, False)])
def test_an_idle_connection_takes_half_of_what_another_one_would_be_long_with(rate: float, is_helped: bool) -> None:
    _, allotment = made(10 * MIB, connections=2)
    allotment.wanted = 2
    slow, idle = Connection(Extent(0, 10 * MIB), rate=rate), Connection()
    given = take(allotment, idle, slow)
    assert given == ((5 * MIB, 10 * MIB) if is_helped else None)
    assert slow.extent == Extent(0, 5 * MIB if is_helped else 10 * MIB)


def test_what_is_shorter_than_two_pieces_is_not_divided() -> None:
    _, allotment = made(2 * MIB - 1, connections=2)
    slow, idle = Connection(Extent(0, 2 * MIB - 1), rate=10.0), Connection()
    assert take(allotment, idle, slow) is None


def test_a_rival_takes_half_and_fetches_the_last_piece_as_well() -> None:
    pieces, allotment = made(8 * MIB)
    slow = Connection(Extent(0, 8 * MIB), rate=100.0)
    fast = Connection(rival=slow)
    seen = []
    while (given := take(allotment, fast, slow)) is not None:
        seen.append((given[0] // MIB, given[1] // MIB))
        fetch(pieces, fast)
        if pieces.is_whole:
            break
    assert seen == [(4, 8), (2, 4), (1, 2), (0, 1)]
    slow.extent = None
    assert take(allotment, fast, slow) is None


def test_what_a_rival_has_fetched_is_not_given_to_it_again() -> None:
    """While the one that it was to be faster than is still at it, and others have not done theirs either."""
    pieces, allotment = made(4 * MIB)
    slow, other = Connection(Extent(3 * MIB, 4 * MIB), rate=100.0), Connection(Extent(0, 3 * MIB), rate=100.0)
    fast = Connection(rival=slow)
    assert take(allotment, fast, slow, other) == (3 * MIB, 4 * MIB)
    fetch(pieces, fast)
    assert take(allotment, fast, slow, other) is None


def test_a_rival_begins_where_bytes_are_missing() -> None:
    """An earlier one, whose source failed, was further than the connection that is still at it."""
    pieces, allotment = made(6 * MIB)
    slow = Connection(Extent(0, 6 * MIB), rate=100.0)
    first = Connection(rival=slow)
    for expected in ((3, 6), (2, 3), (1, 2), (0, 1)):
        assert take(allotment, first, slow) == (expected[0] * MIB, expected[1] * MIB)
        if expected[0]:
            fetch(pieces, first)
    fetch(pieces, first, 1000)
    idle = Connection(rate=100 * MIB)
    assert take(allotment, idle, slow) is None  # nobody races by himself
    assert not allotment.has_work([slow])  # type: ignore[list-item]
    second = Connection(rival=slow)
    assert take(allotment, second, slow) == (1000, MIB)


def test_half_of_what_is_missing_is_what_a_rival_takes() -> None:
    pieces, allotment = made(8 * MIB)
    slow = Connection(Extent(0, 8 * MIB), rate=100.0)
    for index in range(4):
        pieces.fill(index, MIB)
    assert take(allotment, Connection(rival=slow), slow) == (6 * MIB, 8 * MIB)
    assert slow.extent == Extent(0, 6 * MIB)


def test_nobody_else_helps_where_most_has_come_already() -> None:
    """What is shorter than two pieces would be fetched twice, and by the same source."""
    pieces, allotment = made(8 * MIB, connections=2)
    slow = Connection(Extent(0, 8 * MIB), rate=100.0)
    for index in range(7):
        pieces.fill(index, MIB)
    assert take(allotment, Connection(), slow) is None
    assert slow.extent == Extent(0, 8 * MIB)


def test_a_connection_is_outrun_once_all_that_it_is_at_has_come() -> None:
    pieces, allotment = made(4 * MIB)
    slow = Connection(Extent(2 * MIB, 4 * MIB))
    worker: Any = slow
    pieces.fill(2, MIB)
    pieces.fill(3, MIB - 1)
    assert not allotment.is_outrun(worker)
    pieces.fill(3, MIB)
    assert allotment.is_outrun(worker)
    slow.extent = Extent(4 * MIB, 4 * MIB)  # it is done by itself
    assert not allotment.is_outrun(worker)
    slow.extent = None
    assert not allotment.is_outrun(worker)


def test_the_slowest_is_the_one_that_needs_longest_if_that_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    _, allotment = made(64 * MIB)
    quick = Connection(Extent(0, 10 * MIB), rate=10 * MIB / HELP_S)
    slow = Connection(Extent(10 * MIB, 20 * MIB), rate=9 * MIB / HELP_S)
    slower = Connection(Extent(20 * MIB, 21 * MIB), rate=1.0)
    new = Connection(Extent(21 * MIB, 60 * MIB))
    workers: Any = [quick, slow, slower, new]
    assert allotment.slowest(workers, 0.0) is workers[2]
    assert allotment.slowest(workers[:2], 0.0) is workers[1]
    assert allotment.slowest(workers[:1], 0.0) is None
    assert allotment.slowest([workers[3], Connection(rate=5.0)], 0.0) is None  # type: ignore[list-item]


# -- comparing ------------------------------------------------------------------------------------------------


def whole(size: int) -> tuple[Pieces, Allotment, Source]:
    pieces, allotment = made(size)
    for index in range(pieces.count):
        pieces.fill(index, pieces.length_of(index))
    source = Source("http://origin/model.bin")
    allotment.comparison = Comparison(pieces, [source], {})
    return pieces, allotment, source


def test_one_connection_compares_what_is_there() -> None:
    _, allotment, source = whole(3 * MIB)
    assert allotment.is_comparing
    assert not allotment.has_work([])  # it has not begun
    assert allotment.comparison is not None
    assert allotment.comparison.is_for(source)
    allotment.wanted = 4
    assert allotment.has_work([])
    first, second = Connection(), Connection()
    assert take(allotment, first) == (0, MIB)
    assert not allotment.has_work([first])  # type: ignore[list-item]
    assert take(allotment, second, first) is None


def test_what_a_difference_leaves_is_fetched_as_anything_that_is_missing() -> None:
    pieces, allotment, source = whole(64 * MIB)
    assert allotment.comparison is not None
    assert allotment.comparison.is_for(source)
    one = Connection()
    assert take(allotment, one) == (0, 2 * MIB)
    assert one.extent is not None
    one.extent.pos = 100
    allotment.comparison.differs(0, one.extent)
    pieces.fill(0, 100)
    assert one.extent.end == MIB
    one.extent = None  # the connection broke
    assert allotment.has_work([])
    assert take(allotment, one) == (100, MIB)
    fetch(pieces, one)
    assert allotment.comparison.is_compared
    assert take(allotment, one) is None
    assert allotment.comparison.go_on()
    assert take(allotment, one) == (MIB, 3 * MIB)
