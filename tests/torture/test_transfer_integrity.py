"""A byte that is flipped on the way is found, and costs what is concerned by it, not the file again."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from launcher_recovery.errors import IntegrityError
from launcher_recovery.persistence import MemoryPersistence
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads, file_sha256, turn, with_pieces

MIB = 1 << 20
PIECE = 4 * MIB
FILE = File(32 * MIB + 11)
PLACES = (0, 5 * MIB, 13 * MIB + 1, 21 * MIB, 27 * MIB, FILE.size - 1)
SAMPLES = 2 * PIECE
"""What a mirror is asked for at most, before it may join."""


def download(origin: Origin, url: str, folder: Path, **options: object) -> int:
    """Download with the sha256; returns the bytes that the origin sent."""
    destination = folder / "models" / "model.bin"
    before = origin.settled().sent()
    Downloads(MemoryPersistence())(url, destination, **options)
    assert destination.read_bytes() == FILE.content()
    assert [path.name for path in destination.parent.iterdir()] == ["model.bin"]
    destination.unlink()
    return origin.settled().sent() - before


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("length", [MIB, PIECE])
def test_where_the_hashes_of_the_pieces_are_known_it_costs_one_piece(tmp_path: Path, length: int, at: int) -> None:
    with Origin() as origin:
        url = origin.add(FILE, act.flip(at))
        options = with_pieces(tmp_path, url, FILE, length)
        assert download(origin, url, tmp_path, sha256=FILE.sha256, **options) <= FILE.size + length


def test_several_wrong_bytes_cost_their_pieces(tmp_path: Path) -> None:
    """Two in one piece, one in another, and one that comes again with the next answer."""
    with Origin() as origin:
        flips = [act.flip(at) for at in (PIECE, PIECE + 1, 3 * PIECE)]
        url = origin.add(FILE, *flips, act.flip(5 * PIECE, times=2))
        options = with_pieces(tmp_path, url, FILE, PIECE)
        assert download(origin, url, tmp_path, sha256=FILE.sha256, **options) <= FILE.size + 4 * PIECE


def test_with_only_the_hash_of_the_whole_file_it_costs_half_the_file_on_average(tmp_path: Path) -> None:
    """The pieces are fetched again from the front, until the first that is another one: at most 1.6 times the bytes."""
    costs = []
    with Origin() as origin:
        for at in PLACES:
            url = origin.add(FILE, act.flip(at))
            sent = download(origin, url, tmp_path, sha256=FILE.sha256)
            assert sent <= FILE.size + min((at // PIECE + 1) * PIECE, FILE.size)
            costs.append(sent / FILE.size)
    assert statistics.mean(costs) <= 1.6
    assert max(costs) <= 2.0 + PIECE / FILE.size


def test_of_many_pieces_it_costs_those_up_to_the_wrong_one_and_the_rest_of_a_short_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the file on average, and at most 1/32 of it more, in as many requests."""
    turn({"piece": 256 << 10}, monkeypatch.setattr)
    file = File(64 * MIB)
    at = file.size // 2 + 5
    with Origin() as origin:
        url = origin.add(file, act.flip(at))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=file.sha256)
        assert file_sha256(tmp_path / "model.bin") == file.sha256
        assert file.size + at < origin.settled().sent() <= file.size + at + file.size // 32
        ranges = [one.range for one in origin.requests() if one.range is not None]
        assert len(ranges[ranges.index("bytes=0-2097151") :]) == 17


def test_with_a_mirror_the_first_server_sends_nothing_again(tmp_path: Path) -> None:
    """The pieces are compared with those of the mirror until one differs: at most 1.6 times the bytes in all."""
    costs = []
    with Origin() as origin, Origin() as mirror:
        for at in PLACES:
            url = origin.add(FILE, act.flip(at))
            sources = [mirror.add(FILE)]
            before = mirror.settled().sent()
            first = download(origin, url, tmp_path, sha256=FILE.sha256, sources=sources)
            second = mirror.settled().sent() - before
            assert first <= FILE.size + PIECE
            costs.append((first + second - SAMPLES) / FILE.size)
    assert statistics.mean(costs) <= 1.6


@pytest.mark.parametrize("known", ["sha256", "hashes of pieces"])
def test_what_one_server_has_wrong_for_good_comes_from_another(tmp_path: Path, known: str) -> None:
    """The same piece is wrong however often it is asked for; the mirror has it right."""
    damaged = replace(FILE, wrong=frozenset({13 * MIB}))
    with Origin() as origin, Origin() as mirror:
        url, sources = origin.add(damaged), [mirror.add(FILE)]
        options = with_pieces(tmp_path, url, FILE, PIECE) if known == "hashes of pieces" else {}
        sent = download(origin, url, tmp_path, sha256=FILE.sha256, sources=sources, **options)
        assert sent <= 2 * FILE.size + PIECE
        if options:
            assert sent + mirror.settled().sent() <= FILE.size + 2 * PIECE + SAMPLES


def test_what_one_server_has_wrong_in_many_places_comes_from_another_in_one_go(tmp_path: Path) -> None:
    """Nothing is asked for twice, and the whole is not hashed once for each of them."""
    damaged = replace(FILE, wrong=frozenset(range(0, FILE.size, 2 * PIECE)))
    with Origin() as origin, Origin() as mirror:
        sources = [mirror.add(FILE)]
        sent = download(origin, origin.add(damaged), tmp_path, sha256=FILE.sha256, sources=sources)
        assert sent == FILE.size
        assert mirror.settled().sent() <= FILE.size + PIECE


@pytest.mark.parametrize("known", ["sha256", "hashes of pieces"])
def test_what_is_wrong_for_good_is_never_published(tmp_path: Path, known: str) -> None:
    """And is not fetched without end; what it says is the truth."""
    damaged = replace(FILE, wrong=frozenset({13 * MIB}))
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin:
        url = origin.add(damaged)
        options = with_pieces(tmp_path, url, FILE, PIECE) if known == "hashes of pieces" else {}
        with pytest.raises(IntegrityError):
            downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, **options)
        assert origin.settled().sent() <= 2 * FILE.size + PIECE
    assert not (tmp_path / "model.bin").exists()
    # With the hash of the whole alone it is a file that another address has, or that is not the one of the hash.
    expected = ("validation", "update_url") if known == "sha256" else ("integrity", "redownload")
    assert (downloads.record.category, downloads.record.fix) == expected


def test_a_mirror_that_has_another_file_of_the_same_size_is_not_used(tmp_path: Path) -> None:
    """It is asked for samples at most, however slow the server is that has the file."""
    with Origin() as origin, Origin() as liar:
        url = origin.add(FILE, act.slow(10e6))
        sources = [liar.add(replace(FILE, version=1))]
        assert download(origin, url, tmp_path, sha256=FILE.sha256, sources=sources) <= FILE.size + PIECE
        assert liar.settled().sent() <= SAMPLES


@pytest.mark.parametrize("known", ["sha256", "hashes of pieces"])
def test_a_mirror_that_is_wrong_in_one_place_is_found_out(tmp_path: Path, known: str) -> None:
    """Samples cannot tell; the checksum does, and the file comes from the server that was asked for."""
    with Origin() as origin, Origin() as liar:
        url = origin.add(FILE, act.script(act.drop(9 * MIB), act.refuse("503 Service Unavailable")))
        options = with_pieces(tmp_path, url, FILE, PIECE) if known == "hashes of pieces" else {}
        sources = [liar.add(replace(FILE, wrong=frozenset({20 * MIB})))]
        sent = download(origin, url, tmp_path, sha256=FILE.sha256, sources=sources, **options)
        assert sent <= 2 * FILE.size
