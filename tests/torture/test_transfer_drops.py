"""However often and wherever connections break: the file arrives, and hardly a byte comes twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from launcher_recovery.persistence import MemoryPersistence
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads, file_sha256

MIB = 1 << 20
LOST_PER_DROP = 53_687
"""Bytes: 0.5 per cent of 1 GiB, by a hundred."""


def torture(folder: Path, origin: Origin, seed: int, drops: int, size: int, *, checked: bool) -> None:
    """Download a file of which the connections break at random bytes, half of them by a reset."""
    rng = random.Random(seed)
    file = File(size)
    url = origin.add(file, act.drops(*rng.sample(range(size), drops), reset=lambda: rng.random() < 0.5))
    destination = folder / "model.bin"
    options = {"sha256": file.sha256, "size": size} if checked else {}
    Downloads(MemoryPersistence())(url, destination, **options)
    assert file_sha256(destination) == file.sha256
    assert [path.name for path in folder.iterdir()] == ["model.bin"]
    assert origin.settled().sent() - size <= drops * LOST_PER_DROP
    assert len(origin.exchanges()) > drops


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
@pytest.mark.parametrize("seed", range(3))
def test_ten_drops(tmp_path: Path, seed: int, checked: bool) -> None:
    (tmp_path / "models").mkdir()
    with Origin() as origin:
        torture(tmp_path / "models", origin, seed, 10, 32 * MIB, checked=checked)


def test_ten_drops_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    (tmp_path / "models").mkdir()
    with Origin(authority.context()) as origin:
        torture(tmp_path / "models", origin, 3, 10, 32 * MIB, checked=True)


def test_drops_byte_by_byte(tmp_path: Path) -> None:
    """A hundred connections that each bring a byte or none: what moves the file counts as progress."""
    file = File(MIB)
    with Origin() as origin:
        behaviours = [act.drop(number % 3 > 0) for number in range(100)]
        Downloads(MemoryPersistence())(origin.add(file, act.script(*behaviours)), tmp_path / "model.bin")
        assert origin.settled().sent() == file.size
    assert (tmp_path / "model.bin").read_bytes() == file.content()


@pytest.mark.parametrize("size", [None, MIB], ids=["no size", "size"])
def test_nothing_is_believed_of_a_head_that_breaks_off(tmp_path: Path, size: int | None) -> None:
    """It may have another length, or none: no file is begun anew for that, refused, or taken for an empty one."""
    file = File(MIB)
    with Origin() as origin:
        behaviours = [one for number in range(0, 250, 10) for one in (act.cut_head(number), act.drop(1000))]
        downloads = Downloads(MemoryPersistence())
        downloads(origin.add(file, act.script(*behaviours)), tmp_path / "model.bin", size=size)
        assert origin.settled().sent() == file.size
    assert (tmp_path / "model.bin").read_bytes() == file.content()
    assert {category for _, category in downloads.outcomes} == {"network", None}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_drops_in_a_gibibyte(tmp_path: Path, seed: int, checked: bool) -> None:
    """At most 1.005 times the bytes."""
    (tmp_path / "models").mkdir()
    with Origin() as origin:
        torture(tmp_path / "models", origin, seed, 100, 1024 * MIB, checked=checked)
        assert origin.sent() <= 1.005 * 1024 * MIB
