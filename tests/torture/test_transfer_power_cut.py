"""The power goes at any moment, again and again: no bad file is published, what is safe is not fetched again."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.transfer.partial import durability
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.powercut import Disk, Tape
from tests.torture.files import database
from tests.transfers import Downloads, durable_bytes, turn

PIECE = 16 << 10
SYNC_BYTES = 48 << 10
RATE = 8_000_000
"""So slow, and written so soon, that pieces, syncs and commits come one after the other, as those of large files do."""

KNOBS = {"piece": PIECE, "sync_bytes": SYNC_BYTES, "gather_s": 0.001}

SIZES = {0: 1, 1: 1, PIECE: 2, 100_000: 5, 300_000: 8, 500_001: 8}
"""Bytes of files, and how often they are met."""


class Machine:
    """A machine on which one file is downloaded, and that loses its power.

    Args:
        folder: has the disk, on which only the file and its partial are, and the store.
        before: what is at the destination in the beginning; None: nothing.
    """

    def __init__(self, folder: Path, seed: int, file: File, before: bytes | None, patch: pytest.MonkeyPatch) -> None:
        self.rng = random.Random(seed)
        self.file = file
        self.before = before
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.destination = self.disk / "model.bin"
        self.store = database(folder / "recovery.db")
        self.boots = 0
        self._patch = patch
        if before is not None:
            self.destination.write_bytes(before)

    def run(self, origin: Origin, url: str, cut: tuple[int, int] | None, **options: Any) -> None:
        """Start it, download until the end, and cut the power meanwhile, or at the end at the latest.

        Args:
            cut: bytes that have to be sent before, and operations after that; None: the power stays.
        """
        self._boot()
        sent_before = origin.settled().sent()
        left = None if cut is None else cut[1]

        def is_due() -> bool:
            nonlocal left
            if cut is None or left is None or origin.sent() - sent_before < cut[0]:
                return False
            left -= 1
            return left < 0

        disk: Disk
        tape = Tape(self.store, self.rng, lambda: disk.happens())
        with closing(Disk(self.disk, self.rng, is_due, tape.cut)) as disk:
            with closing(SQLitePersistence(self.store)) as store, disk.watched(), tape.watched():
                owed = self.file.size - self._safe(store, is_checked=bool(options))
                Downloads(store, owner=f"boot {self.boots}")(url, self.destination, **options)
                is_published = disk.image is None
            assert origin.settled().sent() - sent_before <= owed, "what was safe was fetched again"
            if cut is not None:
                disk.cut()
                disk.restore()
                tape.restore()
                self._look(is_published)

    def _boot(self) -> None:
        self.boots += 1
        turn({**KNOBS, "boot_id": lambda: bytes([self.boots]) * 16}, self._patch.setattr)

    def _safe(self, store: SQLitePersistence, is_checked: bool) -> int:
        """Bytes that need not be fetched."""
        if is_checked and self.destination.exists() and self.destination.read_bytes() == self.file.content():
            return self.file.size
        return durable_bytes(store, self.destination)

    def _look(self, is_published: bool) -> None:
        """After a cut there is the file, or what was there before it; the file, if the download had ended."""
        found = self.destination.read_bytes() if self.destination.exists() else None
        assert found == self.file.content() or (found == self.before and not is_published), "a bad file is published"


def survive(folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
    """One to three cuts, then a start without one."""
    rng = random.Random(seed)
    file = File(*rng.choices(list(SIZES), list(SIZES.values())), etag=rng.choice(("strong", "strong", "weak")))
    is_checked = rng.random() < 0.5
    before = b"what was there before" if is_checked and rng.random() < 0.3 else None
    behaviours = [act.slow(RATE)]
    if rng.random() < 0.3:
        behaviours.append(act.drops(*(rng.randrange(file.size + 1) for _ in range(2)), reset=lambda: False))
    machine = Machine(folder, seed, file, before, patch)
    options = {"sha256": file.sha256, "size": file.size} if is_checked else {}
    with Origin() as origin:
        url = origin.add(file, *behaviours)
        for _ in range(rng.randint(1, 3)):
            # As often in the middle as around the end, where the file is published.
            sent = rng.choice((rng.randint(0, file.size), file.size))
            machine.run(origin, url, (sent, rng.randrange(25)), **options)
        machine.run(origin, url, None, **options)
    assert machine.destination.read_bytes() == file.content()
    assert [path.name for path in machine.disk.iterdir()] == [machine.destination.name]


@pytest.mark.parametrize("seed", range(25))
def test_power_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    survive(tmp_path, seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25, 1025))
def test_a_thousand_power_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    survive(tmp_path, seed, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_most_of_what_arrived_long_before_a_cut_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Half of the file arrives, and before any more of it does, most of that half is safe."""
    file = File(1_000_000)
    machine = Machine(tmp_path, seed, file, None, monkeypatch)
    marked = 0
    mark = durability.Durability.mark

    def marks(self: durability.Durability) -> None:
        nonlocal marked
        mark(self)
        marked = max(marked, sum(self._pieces.durable) * PIECE)

    monkeypatch.setattr(durability.Durability, "mark", marks)
    with Origin() as origin:
        url = origin.add(file, act.slow(RATE), act.hold(file.size // 2, lambda: marked >= 3 * file.size // 8))
        # So much only comes once that half is safe: the last block that is sent before may be up to 64 KiB too long.
        machine.run(origin, url, (file.size // 2 + (64 << 10), 3))
        before = origin.settled().sent()
        machine.run(origin, url, None)
        assert origin.settled().sent() - before <= 3 * file.size // 4
    assert machine.destination.read_bytes() == file.content()
