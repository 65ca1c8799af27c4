"""However often the process that downloads is killed: the file arrives, and little comes twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from launcher_recovery.transfer.partial.part import read_note
from tests.origin import Answer, Authority, End, Exchange, File, Origin, Request
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Child, file_sha256

MIB = 1 << 20
RATE = 40_000_000
"""Bytes a second and connection."""

LOST_AT_MOST = 3 * MIB
"""Bytes for each connection and kill: what the process had in its hands, and what the kernel had for it, which is the
more, the less time the process gets to read."""

PATIENCE_S = 120.0


class Killer:
    """A behaviour that kills whoever downloads, in the moment when so many bytes were sent.

    The process that is killed gets none after that: the kernel would take them, and throw them away, as long as it has
    not closed the connections, which is a matter of how busy the machine is.
    """

    def __init__(self, points: Iterable[int]) -> None:
        self.child: Child | None = None
        self.kills = 0
        self._left = sorted(points)
        self._sent = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request, file: File, due: Answer) -> Answer:
        life = self.kills

        def gate(count: int) -> tuple[int, End | None]:
            with self._lock:
                if life == self.kills and self._left and self._sent >= self._left[0]:
                    assert self.child is not None
                    assert self.child.pid is not None
                    os.kill(self.child.pid, signal.SIGKILL)
                    del self._left[0]
                    self.kills += 1
                if life != self.kills:
                    return 0, End.FIN
                if self._left:
                    count = min(count, self._left[0] - self._sent)
                self._sent += count
                return count, None

        return replace(due, gate=gate)


def lost_by_connection(exchanges: Sequence[Exchange], part: Path) -> dict[int, int]:
    """Bytes that were sent and are not in the partial."""
    note = read_note(part)
    lost: Counter[int] = Counter()
    for one in exchanges:
        start, end = one.start, one.start + one.sent
        lost[one.request.connection] += end - start
        for index, filled in enumerate(() if note is None else note.filled):
            first = index * note.piece  # type: ignore[union-attr]
            lost[one.request.connection] -= max(0, min(end, first + filled) - max(start, first))
    return lost


def torture(folder: Path, origin: Origin, seed: int, kills: int, size: int, *, checked: bool) -> None:
    """Download a file, killing the process whenever so many random bytes have been sent."""
    file = File(size)
    destination = folder / "model.bin"
    options = {"sha256": file.sha256, "size": size} if checked else {}
    killer = Killer(random.Random(seed).sample(range(1, size), kills))
    url = origin.add(file, act.slow(RATE), killer)
    child = killer.child = Child(folder.parent / "recovery.db", url, destination, **options)
    connections = 0
    for number in range(kills):
        seen = len(origin.exchanges())
        with child:
            wait_for(lambda: not child.is_running, PATIENCE_S)
            assert killer.kills == number + 1, child.result()
        exchanges = origin.settled().exchanges()[seen:]
        [part] = folder.iterdir()
        lost = lost_by_connection(exchanges, part)
        assert max(lost.values()) <= LOST_AT_MOST, f"kill {number + 1}: {lost}"
        connections += len(lost)
    with child:
        assert child.result(PATIENCE_S) == {"path": str(destination)}
    assert file_sha256(destination) == file.sha256
    assert [path.name for path in folder.iterdir()] == ["model.bin"]
    assert origin.settled().sent() - size <= connections * LOST_AT_MOST
    # Read by itself, without the package's own code.
    with closing(sqlite3.connect(folder.parent / "recovery.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [(state, attempt)] = database.execute("SELECT state, attempt FROM recovery_data").fetchall()
        assert state == "success"
        assert attempt <= kills + 1  # a life may end before it begins one


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_three_kills(tmp_path: Path, checked: bool) -> None:
    (tmp_path / "models").mkdir()
    with Origin() as origin:
        torture(tmp_path / "models", origin, 1, 3, 64 * MIB, checked=checked)


@pytest.mark.slow
def test_three_kills_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    (tmp_path / "models").mkdir()
    with Origin(authority.context()) as origin:
        torture(tmp_path / "models", origin, 2, 3, 64 * MIB, checked=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_fifty_kills(tmp_path: Path, checked: bool) -> None:
    (tmp_path / "models").mkdir()
    with Origin() as origin:
        torture(tmp_path / "models", origin, 3, 50, 512 * MIB, checked=checked)
