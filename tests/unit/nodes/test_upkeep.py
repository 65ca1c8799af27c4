"""Which staging folders are deleted, and which stay because an install may still go on with them."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, StoreError
from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import upkeep
from launcher_recovery.nodes.upkeep import clean
from launcher_recovery.persistence import MemoryPersistence, Store
from launcher_recovery.records import RecoveryData, RecoveryState, Transfer
from launcher_recovery.transfer.disk import upkeep as of_downloads
from tests.nodes import Attempts, Far, Fault, Source, files, install, staging

S = RecoveryState
NOW = datetime.now(timezone.utc)
WEEK_AGO = NOW - timedelta(days=7)


def age(folder: Path, days: float) -> None:
    """Have everything in a folder be written so many days ago."""
    at = (NOW - timedelta(days=days)).timestamp()
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at, at), follow_symlinks=False)


class Nodes:
    """A folder of nodes, some of which are being made, and the store that knows of them."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        folder.mkdir()

    def begun(self, name: str, days: float, files_days: float | None = None) -> Path:
        """One that was begun so many days ago, with files of that age; its staging folder."""
        folder = staging(self.folder / name)
        (folder / ".git" / "objects" / "pack").mkdir(parents=True)
        (folder / ".git" / "objects" / "pack" / "tmp_pack").write_bytes(b"half")
        (folder / "nodes.py").write_text("x")
        age(folder, days if files_days is None else files_days)
        self.known(name, days, str(folder))
        return folder

    def known(self, name: str, days: float, partial: str) -> None:
        at = NOW - timedelta(days=days)
        self.store.keep_transfer(Transfer(str(self.folder / name), Transfer.FOLDER, partial, None, None, at))

    def operation(self, name: str, state: RecoveryState) -> None:
        self.store.insert(RecoveryData(name, "install_node", state=state, key=f"install_node:{self.folder / name}"))


@pytest.fixture
def nodes(tmp_path: Path, store: Store) -> Nodes:
    return Nodes(tmp_path / "custom_nodes", store)


def test_what_nobody_can_go_on_with_is_deleted_and_forgotten(nodes: Nodes) -> None:
    """One of which the store knows no operation any more; a newer one, and one that is written to, stay."""
    old, newer, written = nodes.begun("old", 8), nodes.begun("newer", 6), nodes.begun("written", 9, 1)
    assert clean(nodes.store, WEEK_AGO) == [str(old)]
    assert files(nodes.folder) == {newer.name, written.name}
    left = [transfer.destination for transfer in nodes.store.partials()]
    assert left == [str(nodes.folder / "written"), str(nodes.folder / "newer")]
    assert clean(nodes.store, WEEK_AGO) == []


def test_what_git_writes_to_deep_inside_counts(nodes: Nodes) -> None:
    folder = nodes.begun("a", 8)
    (folder / ".git" / "objects" / "pack" / "tmp_pack").touch()
    assert clean(nodes.store, WEEK_AGO) == []
    assert folder.is_dir()


@pytest.mark.parametrize("state", S)
def test_a_folder_stays_as_long_as_its_install_may_be_retried(nodes: Nodes, state: RecoveryState) -> None:
    """However old it is: while it runs, waits, is paused, and after it failed or was cancelled as well."""
    folder = nodes.begun("a", 99)
    nodes.operation("a", state)
    assert clean(nodes.store, WEEK_AGO) == ([str(folder)] if state is S.SUCCESS else [])
    assert folder.exists() is (state is not S.SUCCESS)


def test_only_a_folder_with_our_name_is_deleted(nodes: Nodes, tmp_path: Path) -> None:
    """A link, a file, and another folder than that of the node stay where they are, and are looked at no more."""
    target = nodes.begun("target", 0)
    staging(nodes.folder / "link").symlink_to(target, target_is_directory=True)
    staging(nodes.folder / "file").write_text("x")
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, partial in (
        ("link", staging(nodes.folder / "link")),
        ("file", staging(nodes.folder / "file")),
        ("x", mine),
    ):
        nodes.known(name, 8, str(partial))
    nodes.known("gone", 8, str(staging(nodes.folder / "gone")))
    assert clean(nodes.store, WEEK_AGO) == []
    assert files(nodes.folder) == {target.name, ".link.part.disabled", ".file.part.disabled"}
    assert mine.is_dir()
    assert [transfer.destination for transfer in nodes.store.partials()] == [str(nodes.folder / "target")]


def test_what_cannot_be_deleted_is_said_and_tried_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of it may be gone by then; it has another name, under which nobody takes it for something to go on with."""
    folder = nodes.begun("a", 8)
    rmtree, refused = shutil.rmtree, [True]

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if refused and not ignore_errors:
            refused.clear()
            (path / "nodes.py").unlink()
            raise PermissionError(13, "Permission denied")
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(upkeep.shutil, "rmtree", refuse)
    assert clean(nodes.store, WEEK_AGO) == [str(folder)]
    assert "cannot be deleted ([Errno 13] Permission denied): delete it yourself" in caplog.text
    assert files(nodes.folder) == {".a.gone.disabled"}
    assert clean(nodes.store, WEEK_AGO) == []
    assert files(nodes.folder) == set()
    assert nodes.store.partials() == []


class Broken(MemoryPersistence):
    def latest_with_key(self, key: str) -> RecoveryData | None:
        raise StoreError("the disk is full")


def test_a_store_that_fails_is_said_and_one_without_transfers_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes(tmp_path / "custom_nodes", Broken())
    folder = nodes.begun("a", 8)
    assert clean(nodes.store, WEEK_AGO) == []
    assert folder.is_dir()
    assert caplog.messages == ["old folders of nodes cannot be looked for at the moment: the disk is full"]
    assert clean(object(), WEEK_AGO) == []  # type: ignore[arg-type]


def test_those_of_downloads_and_those_of_nodes_are_cleaned_each_by_its_own(nodes: Nodes, tmp_path: Path) -> None:
    folder, file = nodes.begun("a", 8), tmp_path / "m.part"
    file.write_bytes(b"x")
    age(tmp_path, 8)
    nodes.store.keep_transfer(Transfer(str(tmp_path / "m"), {}, str(file), None, 5, NOW - timedelta(days=8)))
    assert of_downloads.clean(nodes.store, WEEK_AGO) == [str(file)]
    assert folder.is_dir()
    assert clean(nodes.store, WEEK_AGO) == [str(folder)]


def test_an_install_tells_where_it_works_and_when_that_is_over(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    """Known while it is unfinished, also after it failed; not known any more as unfinished once it is in its place."""
    url, store = far.serve(source), attempts.lifecycle.store
    far.fail("/git-upload-pack", Fault(status=503))
    with pytest.raises(CommandError):
        install(attempts.next(), url, destination)
    (known,) = store.partials()
    assert (known.destination, known.partial, known.is_folder) == (str(destination), str(staging(destination)), True)
    install(attempts.next(), url, destination)
    assert store.partials() == []
    # There already: nothing to be remembered of one that somebody else put there.
    other = destination.with_name("other")
    shutil.copytree(destination, other)
    install(Attempts().next(), url, other)
    assert store.transfer(str(other)) is None


def test_the_integrator_cleans_up_at_its_start(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path / "custom_nodes", MemoryPersistence())
    old, newer = nodes.begun("old", 3), nodes.begun("newer", 1)
    integrator = RecoveryIntegrator(RecoveryConfig(enabled=True, retention_days=2), persistence=nodes.store)
    integrator.start(None)
    integrator.stop()
    assert (old.exists(), newer.exists()) == (False, True)
