"""A file that changes on the server, between two runs or while it is downloaded, is never mixed from its versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import IntegrityError
from launcher_recovery.persistence import MemoryPersistence
from tests.origin import Behaviour, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Child, Downloads

MIB = 1 << 20
OLD = File(8 * MIB + 5)
NEW = replace(OLD, version=1)
ON_ITS_WAY = MIB
"""What may have left a server before a connection is closed whose answer is of no use."""

CHANGES = {
    "strong ETag": (OLD, NEW),
    "weak ETag": (replace(OLD, etag="weak"), replace(NEW, etag="weak")),
    "date alone": (replace(OLD, etag=None), replace(NEW, etag=None)),
    "nothing": (replace(OLD, etag=None, dated=False), replace(NEW, etag=None, dated=False)),
    "grown": (OLD, replace(NEW, size=OLD.size + MIB)),
    "shrunk": (OLD, replace(NEW, size=OLD.size // 2)),
    "shrunk below what is there": (OLD, replace(NEW, size=MIB)),
    "shrunk to what is there": (OLD, replace(NEW, size=3 * MIB)),
    "grown at its end": (OLD, replace(OLD, size=OLD.size + MIB, version=0, label=1)),
}


def begin(origin: Origin, downloads: Downloads, file: File, destination: Path, **options: Any) -> str:
    """A first run that gets 3 MiB and then nothing; returns the address."""
    url = origin.add(file, act.script(act.drop(3 * MIB)), act.since(2, act.refuse("404 Not Found")))
    with pytest.raises(Exception, match="404"):
        downloads(url, destination, **options)
    assert not destination.exists()
    return url


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_between_two_runs_without_a_checksum_it_is_the_new_file(tmp_path: Path, old: File, new: File) -> None:
    destination = tmp_path / "model.bin"
    store = MemoryPersistence()
    with Origin() as origin:
        url = begin(origin, Downloads(store), old, destination)
        before = origin.settled().sent()
        origin.add(new)
        Downloads(store)(url, destination)
        assert origin.settled().sent() - before <= new.size + ON_ITS_WAY
    assert destination.read_bytes() == new.content()
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_between_two_runs_with_the_checksum_of_the_old_file_it_is_none(tmp_path: Path, old: File, new: File) -> None:
    destination = tmp_path / "model.bin"
    store = MemoryPersistence()
    with Origin() as origin:
        url = begin(origin, Downloads(store), old, destination, sha256=old.sha256)
        origin.add(new)
        downloads = Downloads(store)
        with pytest.raises(IntegrityError):
            downloads(url, destination, sha256=old.sha256)
    assert not destination.exists()
    assert downloads.record.fix == "update_url"


@pytest.mark.parametrize("careless", [False, True], ids=["If-Range", "no If-Range"])
@pytest.mark.parametrize("label", [None, 0], ids=["new validators", "old validators"])
def test_between_two_runs_the_checksum_of_the_new_file_gives_the_new_file(
    tmp_path: Path, label: int | None, careless: bool
) -> None:
    """Also where the server says that nothing has changed, so that old and new bytes meet in the partial."""
    destination = tmp_path / "model.bin"
    store = MemoryPersistence()
    change = act.changed_carelessly if careless else act.changed
    with Origin() as origin:
        url = begin(origin, Downloads(store), OLD, destination, sha256=NEW.sha256)
        origin.add(OLD, change(version=1, label=label))
        Downloads(store)(url, destination, sha256=NEW.sha256)
        assert origin.settled().sent() <= 3 * MIB + 2 * NEW.size
    assert destination.read_bytes() == NEW.content()


@pytest.mark.parametrize("checked", [False, True], ids=["no sha256", "sha256"])
def test_after_a_kill_it_is_the_new_file(tmp_path: Path, checked: bool) -> None:
    destination = tmp_path / "models" / "model.bin"
    options = {"sha256": NEW.sha256} if checked else {}
    with Origin() as origin:
        child = Child(tmp_path / "recovery.db", origin.add(OLD, act.slow(10e6)), destination, **options)
        with child:
            wait_for(lambda: origin.sent() > 3 * MIB)
            child.kill()
        origin.add(NEW)
        with child:
            assert child.result() == {"path": str(destination)}
    assert destination.read_bytes() == NEW.content()


WHILE = {
    "new validators": act.changed(version=1),
    "no If-Range": act.changed_carelessly(version=1),
    "another size": act.changed(version=1, size=40 * MIB),
}
BIG = File(48 * MIB)


@pytest.mark.parametrize("change", WHILE.values(), ids=WHILE)
@pytest.mark.parametrize("number", [2, 4])
def test_while_several_connections_run_it_is_the_new_file(tmp_path: Path, number: int, change: Behaviour) -> None:
    """Connections that were there before still get the old one."""
    changed = change_of(change)
    with Origin() as origin:
        url = origin.add(BIG, act.since(number, change), act.slow(20e6))
        downloads = Downloads(MemoryPersistence())
        downloads(url, tmp_path / "model.bin")
        assert origin.most_at_once() > 1
        # It begins anew once, which is no failure of the attempt.
        assert origin.settled().sent() <= BIG.size + changed.size + 4 * ON_ITS_WAY
        assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "model.bin").read_bytes() in (BIG.content(), changed.content())


@pytest.mark.parametrize("change", WHILE.values(), ids=WHILE)
def test_while_several_connections_run_the_checksum_decides(tmp_path: Path, change: Behaviour) -> None:
    changed = change_of(change)
    with Origin() as origin:
        url = origin.add(BIG, act.since(2, change), act.slow(20e6))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=changed.sha256)
    assert (tmp_path / "model.bin").read_bytes() == changed.content()


def test_while_several_connections_run_and_nothing_tells_the_checksum_does(tmp_path: Path) -> None:
    """The server goes on to say that it is the same file: old and new bytes meet, and are told apart in the end."""
    changed = replace(BIG, version=1)
    with Origin() as origin:
        url = origin.add(BIG, act.since(2, act.changed(version=1, label=0)), act.slow(20e6))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=changed.sha256)
    assert (tmp_path / "model.bin").read_bytes() == changed.content()


def test_a_file_of_which_nothing_tells_a_change_comes_over_one_connection(tmp_path: Path) -> None:
    """Without validators and a checksum two answers may be of two versions: there is only one."""
    file = replace(BIG, etag=None, dated=False)
    with Origin() as origin:
        url = origin.add(file, act.since(2, act.changed(version=1)), act.slow(20e6))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() in (file.content(), replace(file, version=1).content())


def test_a_file_that_changes_with_every_request_is_given_up(tmp_path: Path) -> None:
    """Each answer is of another version, and breaks off: there is nothing to go on with, and an end to it."""
    destination = tmp_path / "model.bin"

    def other(request: Any, file: File, due: Any) -> Any:
        return act.drop(MIB)(request, file, act.changed(version=request.number)(request, file, due))

    downloads = Downloads(MemoryPersistence())
    with Origin() as origin:
        url = origin.add(OLD, other)
        with pytest.raises(Exception, match=r"."):
            downloads(url, destination)
        assert origin.settled().sent() < 100 * MIB
    assert not destination.exists()
    assert downloads.record.category in ("network", "integrity")


def change_of(behaviour: Behaviour) -> File:
    """The file that a behaviour of `WHILE` has in the place of `BIG`."""
    return replace(BIG, version=1, size=40 * MIB) if behaviour is WHILE["another size"] else replace(BIG, version=1)
