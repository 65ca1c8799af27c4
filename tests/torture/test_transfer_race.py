"""What one slow connection would be long with is fetched from another source as well; the first to deliver wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launcher_recovery.persistence import MemoryPersistence
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads, turn, with_pieces

PIECE = 256 << 10
FILE = File(8 * PIECE + 11)
SAMPLES = 2 * PIECE
ON_ITS_WAY = 64 << 10
"""What may have left a slow server before the connection is cut."""

SLOW, SLOWER, FAST = 600e3, 60e3, 20e6


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    turn({"piece": PIECE, "help_s": 0.4, "rate_s": 0.15}, monkeypatch.setattr)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def mirror() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.mark.parametrize("known", ["sha256", "hashes of pieces"])
def test_a_faster_mirror_delivers_what_is_missing_and_the_slow_one_is_cut(
    tmp_path: Path, origin: Origin, mirror: Origin, known: str
) -> None:
    url = origin.add(FILE, act.slow(SLOW))
    options = with_pieces(tmp_path, url, FILE, PIECE) if known == "hashes of pieces" else {}
    downloads = Downloads(MemoryPersistence())
    downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[mirror.add(FILE, act.slow(FAST))], **options)
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    assert downloads.outcomes == [("success", None)]
    first, second = origin.settled().sent(), mirror.settled().sent()
    assert second > SAMPLES
    assert first < FILE.size
    assert not origin.exchanges()[-1].done
    assert first + second <= FILE.size + PIECE + SAMPLES + ON_ITS_WAY


def test_a_mirror_that_is_slower_still_costs_a_piece_at_most(tmp_path: Path, origin: Origin, mirror: Origin) -> None:
    """After its samples it has become so: the one that was there first wins, and the mirror is cut."""
    file = File(6 * PIECE)
    url = origin.add(file, act.slow(2 * SLOW))
    sources = [mirror.add(file, act.since(3, act.slow(SLOWER)))]
    Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=file.sha256, sources=sources)
    assert (tmp_path / "model.bin").read_bytes() == file.content()
    assert len(mirror.requests()) >= 3
    assert not mirror.settled().exchanges()[-1].done
    assert origin.settled().sent() + mirror.settled().sent() <= file.size + PIECE + SAMPLES + ON_ITS_WAY


@pytest.mark.parametrize("version", [0, 1], ids=["the same file", "another file"])
def test_a_mirror_races_before_there_is_a_whole_piece_where_a_checksum_proves_the_whole(
    tmp_path: Path, origin: Origin, mirror: Origin, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Parts of the first piece show whether it has the same file."""
    turn({"piece": FILE.size}, monkeypatch.setattr)
    url = origin.add(FILE, act.slow(SLOW))
    sources = [mirror.add(replace(FILE, version=version), act.slow(FAST))]
    downloads = Downloads(MemoryPersistence())
    downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=sources)
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    assert downloads.outcomes == [("success", None)]
    if version:
        assert origin.settled().sent() == FILE.size
        assert mirror.settled().sent() <= SAMPLES
    else:
        assert not origin.settled().exchanges()[-1].done
        assert mirror.settled().exchanges()[-1].done


def test_nobody_races_against_itself(tmp_path: Path, origin: Origin) -> None:
    """However slow it is."""
    url = origin.add(FILE, act.slow(4 * SLOW))
    Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=FILE.sha256, connections=4)
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    assert origin.settled().sent() == FILE.size


def test_one_that_has_another_file_does_not_join(tmp_path: Path, origin: Origin, mirror: Origin) -> None:
    url = origin.add(FILE, act.slow(4 * SLOW))
    sources = [mirror.add(replace(FILE, version=1))]
    Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=sources)
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    assert origin.settled().sent() == FILE.size
    assert mirror.settled().sent() <= SAMPLES
