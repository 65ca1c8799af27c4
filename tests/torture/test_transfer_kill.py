"""However often the process that downloads is killed: the file arrives, and little comes twice."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Child, file_sha256

MIB = 1 << 20
RATE = 40_000_000
"""Bytes a second and connection, so that what is counted as sent has nearly arrived as well."""

LOST_AT_MOST = MIB
"""Bytes for each connection and kill: what was in the kernel, and never reached the file."""

PATIENCE_S = 120.0


def torture(folder: Path, origin: Origin, seed: int, kills: int, size: int, *, checked: bool) -> None:
    """Download a file, killing the process whenever so many random bytes have been sent."""
    rng = random.Random(seed)
    file = File(size)
    destination = folder / "model.bin"
    options = {"sha256": file.sha256, "size": size} if checked else {}
    child = Child(folder.parent / "recovery.db", origin.add(file, act.slow(RATE)), destination, **options)
    connections = 0
    for point in sorted(rng.sample(range(1, size), kills)):
        seen = len(origin.exchanges())
        with child:
            wait_for(lambda point=point: origin.sent() >= point or not child.is_running, PATIENCE_S)  # type: ignore[misc]
            assert child.is_running, child.result()
            connections += len({one.request.connection for one in origin.exchanges()[seen:]})
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
