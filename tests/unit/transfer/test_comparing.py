"""A wrong file is compared with what sources send, until it is right or they have nothing else to offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.integrity import comparing as module
from launcher_recovery.transfer.integrity.comparing import Comparison
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import OtherFileError, Source

PIECE = 1000
RIGHT = 0
"""What a piece has that is as it should be; any other number stands for other bytes."""
same_each_time = settings(derandomize=True, deadline=None, database=None)


def a_source(name: str, **options: bool) -> Source:
    return Source(f"http://{name}/model.bin", is_given=name == "a", **options)


class File:
    """What is there, and what sources send; a piece is one number."""

    def __init__(self, there: Sequence[int], sent: dict[Source, Callable[[int], int]]) -> None:
        self.there = list(there)
        self.sent = sent
        self.pieces = Pieces(len(there) * PIECE, PIECE)
        for index in range(self.pieces.count):
            self.pieces.fill(index, PIECE)
        self.fetched: list[tuple[str, int]] = []
        """Name of the source and piece, as they were asked for."""
        self.looks = 0

    def compare(self, comparison: Comparison) -> None:
        """Fetch what it wants, until it is time to look at the whole."""
        while (extent := comparison.next()) is not None:
            self.fetch(comparison, extent)

    def fetch(self, comparison: Comparison, extent: Extent) -> None:
        source = comparison.source
        assert source is not None
        while extent.pos < extent.end:
            index = extent.pos // PIECE
            assert extent.pos == index * PIECE
            self.fetched.append((source.host, index))
            value = self.sent[source](index)
            if value != self.there[index]:
                comparison.differs(index, extent)
                self.there[index] = value
            extent.pos += PIECE

    def find(self, comparison: Comparison) -> bool:
        """What an attempt does with it; whether the file is right in the end."""
        while True:
            self.looks += 1
            if not any(self.there):
                return True
            if not comparison.go_on():
                return False
            for source in self.sent:
                comparison.is_for(source)
            self.compare(comparison)

    def by(self, host: str) -> list[int]:
        return [index for name, index in self.fetched if name == host]


def always(values: Sequence[int]) -> Callable[[int], int]:
    return lambda index: values[index]


def with_wrong(places: Iterable[int], value: int = 1, count: int = 10) -> list[int]:
    return [value if index in set(places) else RIGHT for index in range(count)]


A, B, C = (a_source(name) for name in "abc")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for source in (A, B, C):
        source.revive()
        source.ignores_ranges = False


# -- one source -----------------------------------------------------------------------------------------------


def test_what_became_wrong_on_the_way_is_found_from_the_front_and_nothing_behind_it_fetched() -> None:
    file = File(with_wrong([6]), {A: always(with_wrong([]))})
    comparison = Comparison(file.pieces, [A], dict.fromkeys(range(10), A))
    assert file.find(comparison)
    assert file.by("a") == list(range(7))
    assert comparison.is_contradicted


def test_what_the_only_source_has_wrong_is_compared_once_and_no_contradiction() -> None:
    file = File(with_wrong([6]), {A: always(with_wrong([6]))})
    comparison = Comparison(file.pieces, [A], dict.fromkeys(range(10), A))
    assert not file.find(comparison)
    assert file.by("a") == list(range(10))
    assert comparison.has_compared
    assert not comparison.is_contradicted
    assert file.looks == 2


def test_two_wrong_pieces_are_found_one_after_the_other() -> None:
    file = File(with_wrong([2, 6]), {A: always(with_wrong([]))})
    assert file.find(Comparison(file.pieces, [A], {}))
    assert file.by("a") == list(range(8))  # one more, to see that the row of wrong ones has ended
    assert file.looks == 3


def test_a_source_that_sends_something_else_each_time_is_asked_for_each_piece_once() -> None:
    values = iter(range(1, 10_000))
    file = File(with_wrong(range(200), count=200), {A: lambda index: next(values) + 1})
    comparison = Comparison(file.pieces, [A], dict.fromkeys(range(200), A))
    assert not file.find(comparison)
    assert file.by("a") == list(range(200))
    assert file.looks == 3  # the first, after the first difference, and at the end
    assert comparison.is_contradicted


def test_what_is_compared_again_is_no_step_forward() -> None:
    file = File(with_wrong([8]), {A: always(with_wrong([]))})
    comparison = Comparison(file.pieces, [A], {})
    assert comparison.go_on()
    assert comparison.goes_on(Extent(2 * PIECE, 5 * PIECE))
    assert not comparison.goes_on(Extent(PIECE, 5 * PIECE))
    assert not comparison.goes_on(Extent(2 * PIECE, 5 * PIECE))
    assert comparison.goes_on(Extent(2 * PIECE + 1, 5 * PIECE))


def test_a_file_with_many_wrong_pieces_is_hashed_a_few_times() -> None:
    file = File(with_wrong(range(0, 200, 2), count=200), {A: always([RIGHT] * 200)})
    assert file.find(Comparison(file.pieces, [A], {}))
    assert file.by("a") == list(range(200))
    assert file.looks <= module._MOST_LOOKS + 2


# -- several sources ------------------------------------------------------------------------------------------


def test_what_one_source_sent_is_compared_with_another_one_only() -> None:
    file = File(with_wrong([6]), {A: always(with_wrong([6])), B: always(with_wrong([]))})
    assert file.find(Comparison(file.pieces, [A, B], dict.fromkeys(range(10), A)))
    assert file.by("a") == []
    assert file.by("b") == list(range(7))


def test_pieces_of_two_sources_are_compared_with_the_other_one_each() -> None:
    """Both have one wrong for good; neither is asked for what it sent itself."""
    file = File(
        [*with_wrong([3])[:7], *with_wrong([8], 2)[7:]], {A: always(with_wrong([3])), B: always(with_wrong([8], 2))}
    )
    brought = {**dict.fromkeys(range(7), A), **dict.fromkeys(range(7, 10), B)}
    comparison = Comparison(file.pieces, [A, B], brought)
    assert file.find(comparison)
    assert file.by("b") == list(range(7))
    assert file.by("a") == [7, 8, 9]
    assert not comparison.is_contradicted


def test_of_what_an_earlier_attempt_left_a_mirror_is_asked_first() -> None:
    file = File(with_wrong([4]), {A: always(with_wrong([4])), B: always(with_wrong([]))})
    assert file.find(Comparison(file.pieces, [A, B], {}))
    assert (file.by("a"), file.by("b")) == ([], list(range(5)))


def test_and_the_given_one_as_well_since_the_mirror_may_have_been_the_one_that_sent_it() -> None:
    file = File(with_wrong([4]), {A: always(with_wrong([])), B: always(with_wrong([4]))})
    assert file.find(Comparison(file.pieces, [A, B], {}))
    assert (file.by("a"), file.by("b")) == (list(range(5)), list(range(10)))


def test_what_a_mirror_has_wrong_is_put_back_and_it_is_not_asked_for_what_both_have() -> None:
    """The only piece that is wrong is wrong at both; in another one the mirror is wrong alone."""
    file = File(with_wrong([4]), {A: always(with_wrong([4])), B: always(with_wrong([2, 4]))})
    comparison = Comparison(file.pieces, [A, B], dict.fromkeys(range(10), A))
    assert not file.find(comparison)
    assert file.by("b") == list(range(10))
    assert file.by("a") == [2]
    assert file.there == with_wrong([4])


def test_a_third_source_is_asked_for_what_the_first_two_agree_on() -> None:
    wrong = with_wrong([4])
    file = File(wrong, {A: always(wrong), B: always(wrong), C: always(with_wrong([]))})
    assert file.find(Comparison(file.pieces, [A, B, C], dict.fromkeys(range(10), A)))
    assert (file.by("a"), file.by("b"), file.by("c")) == ([], list(range(10)), list(range(5)))


def test_a_source_that_is_known_to_have_what_is_there_is_not_asked() -> None:
    file = File(with_wrong([4]), {A: always(with_wrong([4]))})
    comparison = Comparison(file.pieces, [A], {}, [A])
    assert not file.find(comparison)
    assert not comparison.has_compared


def test_a_source_that_gives_no_parts_is_not_asked_nor_is_one_that_is_of_no_use() -> None:
    A.ignores_ranges = True
    B.failed(requests.ConnectionError(), is_final=True, is_forgiven=False)
    file = File(with_wrong([4]), {A: always(with_wrong([])), B: always(with_wrong([]))})
    assert not file.find(Comparison(file.pieces, [A, B], {}))
    assert file.fetched == []


@pytest.mark.parametrize(("size", "is_asked"), [(None, True), (10 * PIECE, True), (11 * PIECE, False)])
def test_a_mirror_that_had_another_file_than_the_wrong_one_may_have_the_right_one(
    size: int | None, is_asked: bool
) -> None:
    """If that has the size of what is there."""
    B.failed(OtherFileError("it has another file", size), is_final=True, is_forgiven=False)
    file = File(with_wrong(range(10)), {A: always(with_wrong(range(10))), B: always(with_wrong([]))})
    assert file.find(Comparison(file.pieces, [A, B], dict.fromkeys(range(10), A))) is is_asked
    assert file.by("b") == (list(range(10)) if is_asked else [])


def test_a_source_that_fails_in_the_middle_is_followed_by_another_one() -> None:
    """What it has compared so far counts; a source that cannot be asked just now is waited for in the end."""
    file = File(with_wrong([7]), {A: always(with_wrong([])), B: always(with_wrong([]))})
    comparison = Comparison(file.pieces, [A, B], dict.fromkeys(range(10), A))
    assert comparison.go_on()
    assert comparison.source is B
    for _ in range(3):
        extent = comparison.next()
        assert extent is not None
        file.fetch(comparison, extent)
    extent = comparison.next()
    assert extent is not None
    extent.pos += 10
    B.failed(requests.ConnectionError(), is_final=False, is_forgiven=False)
    assert comparison.is_for(A)
    assert not comparison.is_for(B)
    file.compare(comparison)
    assert file.there == with_wrong([])
    assert file.fetched == [*(("b", index) for index in range(3)), *(("a", index) for index in range(3, 8))]
    A.failed(requests.ConnectionError(), is_final=False, is_forgiven=False)
    assert not comparison.is_for(B)
    file.there[9] = 5
    assert comparison.go_on()  # to be continued when one of them can be asked again


# -- how it is asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "length"), [(32, 4), (64, 4), (320, 8), (4096, 16)])
def test_the_ranges_are_short_and_those_of_a_large_file_longer(size: int, length: int) -> None:
    """In MiB: a piece at least, 16 MiB at most."""
    mib = 1 << 20
    pieces = Pieces(size * mib)
    for index in range(pieces.count):
        pieces.fill(index, pieces.length_of(index))
    comparison = Comparison(pieces, [A], {})
    assert comparison.next() is None
    assert comparison.go_on()
    assert comparison.next() == Extent(0, length * mib)


def test_a_comparison_that_broke_off_goes_on_where_it_was() -> None:
    file = File(with_wrong([9]), {A: always(with_wrong([]))})
    comparison = Comparison(file.pieces, [A], {})
    assert comparison.go_on()
    extent = comparison.next()
    assert extent is not None
    extent.pos += 300
    assert comparison.next() == Extent(300, PIECE)


def test_a_difference_ends_the_range_with_its_piece_the_first_time() -> None:
    pieces = Pieces(128 * PIECE, PIECE)
    for index in range(pieces.count):
        pieces.fill(index, PIECE)
    comparison = Comparison(pieces, [A], {})
    assert comparison.go_on()
    extent = comparison.next()
    assert extent == Extent(0, 4 * PIECE)
    extent.pos = 1500
    comparison.differs(1, extent)
    assert extent.end == 2 * PIECE
    assert comparison.is_compared
    assert comparison.go_on()
    assert not comparison.is_compared
    extent = comparison.next()
    assert extent == Extent(2 * PIECE, 6 * PIECE)
    extent.pos = 2 * PIECE + 10
    comparison.differs(2, extent)
    assert extent.end == 6 * PIECE
    extent.pos = 4 * PIECE - 1
    assert not comparison.is_compared
    extent.pos += 1
    assert comparison.is_compared


@same_each_time
@given(st.data(), st.integers(1, 40), st.integers(1, 3))
def test_it_ends_and_asks_no_source_twice_for_a_piece(data: st.DataObject, count: int, number: int) -> None:
    """Whatever is there and whatever they send; what is right in the end is said to be."""
    sources = [A, B, C][:number]
    values = st.integers(0, 2)
    sent = {one: data.draw(st.lists(values, min_size=count, max_size=count)) for one in sources}
    brought = {
        index: sender for index in range(count) if (sender := data.draw(st.sampled_from([*sources, None]))) is not None
    }
    there = [data.draw(values) for _ in range(count)]
    file = File(there, {one: always(sent[one]) for one in sources})
    found = file.find(Comparison(file.pieces, sources, brought))
    assert found is not any(file.there)
    assert max(Counter(file.fetched).values(), default=1) == 1
    assert file.looks <= module._MOST_LOOKS + 3 * number + 2


@same_each_time
@given(st.data(), st.integers(1, 40))
def test_what_is_wrong_at_the_source_that_sent_it_alone_is_made_right(data: st.DataObject, count: int) -> None:
    """Each of two sources may have pieces wrong for good, or may have sent them wrong once."""
    senders = [data.draw(st.sampled_from([A, B])) for _ in range(count)]
    wrong = [data.draw(st.booleans()) for _ in range(count)]
    sent = {
        one: [int(wrong[index] and senders[index] is one and data.draw(st.booleans())) for index in range(count)]
        for one in (A, B)
    }
    file = File([int(one) for one in wrong], {one: always(sent[one]) for one in (A, B)})
    assert file.find(Comparison(file.pieces, [A, B], dict(enumerate(senders))))
