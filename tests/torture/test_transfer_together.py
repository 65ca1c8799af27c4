"""Several processes want one file at one place: one of them downloads it, and all of them get it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Child

MIB = 1 << 20
FILE = File(48 * MIB)
RATE = 20_000_000
EIGHT = 8


@contextmanager
def running(*children: Child) -> Iterator[None]:
    with ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
        yield


@pytest.mark.parametrize(
    ("checked", "has_flock"), [(True, True), (False, False)], ids=["sha256, flock", "no sha256, no flock"]
)
def test_eight_processes_fetch_one_file_once(tmp_path: Path, checked: bool, has_flock: bool) -> None:
    destination = tmp_path / "models" / "model.bin"
    options = {"sha256": FILE.sha256, "size": FILE.size} if checked else {}
    with Origin() as origin:
        url = origin.add(FILE, act.slow(RATE))
        children = [
            Child(tmp_path / "recovery.db", url, destination, has_flock=has_flock, **options) for _ in range(EIGHT)
        ]
        with running(*children):
            results = [child.result() for child in children]
        assert origin.settled().sent() == FILE.size
    assert results == [{"path": str(destination)}] * EIGHT
    assert destination.read_bytes() == FILE.content()
    assert [path.name for path in destination.parent.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("has_flock", [True, False], ids=["flock", "no flock"])
def test_another_one_goes_on_when_the_one_that_downloads_is_killed(tmp_path: Path, has_flock: bool) -> None:
    destination = tmp_path / "models" / "model.bin"
    store = tmp_path / "recovery.db"
    SQLitePersistence(store).close()
    # The kernel would take more for a dead process, and throw it away, until it has closed the connections.
    is_dead = threading.Event()
    with Origin() as origin, closing(SQLitePersistence(store)) as seen:
        url = origin.add(FILE, act.slow(RATE), act.hold(8 * MIB, is_dead.is_set))
        children = [Child(store, url, destination, has_flock=has_flock, sha256=FILE.sha256) for _ in range(4)]
        with running(*children):
            wait_for(lambda: origin.sent() >= 8 * MIB and len(seen.owners()) == len(children))
            [download] = seen.find(limit=-1)
            [pid] = [row.owner.pid for row in seen.owners() if row.owner.owner_id == download.owner]
            [killed] = [child for child in children if child.pid == pid]
            before = len({one.request.connection for one in origin.exchanges()})
            killed.kill()
            is_dead.set()
            children.remove(killed)
            results = [child.result() for child in children]
        assert origin.settled().sent() <= FILE.size + before * MIB
    assert results == [{"path": str(destination)}] * len(children)
    assert destination.read_bytes() == FILE.content()


def test_processes_that_know_nothing_of_each_other_do_no_harm(tmp_path: Path) -> None:
    """Each has a store of its own, as two launchers have it that share a folder of models."""
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.slow(RATE))
        children = [Child(tmp_path / f"{n}.db", url, destination, delay_s=1.0, sha256=FILE.sha256) for n in range(3)]
        with running(*children):
            results = [child.result() for child in children]
        assert origin.settled().sent() == FILE.size
    assert results == [{"path": str(destination)}] * 3
    assert destination.read_bytes() == FILE.content()
    assert [path.name for path in destination.parent.iterdir()] == ["model.bin"]


def test_all_of_them_are_told_when_it_cannot_be_had(tmp_path: Path) -> None:
    with Origin() as origin:
        url = origin.add(FILE, act.refuse("404 Not Found"), act.silence(2.0))
        children = [Child(tmp_path / "recovery.db", url, tmp_path / "model.bin") for _ in range(4)]
        with running(*children):
            results = [child.result() for child in children]
        assert len(origin.settled().exchanges()) <= 2
    assert all("404" in result["message"] for result in results)
