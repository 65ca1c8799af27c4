"""What of old downloads is deleted and forgotten, and what is left alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, StoreError
from launcher_recovery.clock import to_datetime
from launcher_recovery.persistence import MemoryPersistence, Store
from launcher_recovery.persistence.base import Retention
from launcher_recovery.records import RecoveryData, RecoveryState, Transfer
from launcher_recovery.resume import Resumer
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.disk import upkeep
from launcher_recovery.transfer.disk.upkeep import clean
from tests.support import but_for
from tests.unit.kit import Kit

S = RecoveryState
NOW = to_datetime(VirtualClock().time())
WEEK_AGO = NOW - timedelta(days=7)


class Folder:
    """A folder of partial files and models, of which a store knows."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store

    def _write(self, name: str, days: float) -> str:
        path = self.path / name
        path.write_bytes(b"bytes")
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(path, (at, at))
        return str(path)

    def partial(self, name: str, days: float, file_days: float | None = None, suffix: str = ".part") -> str:
        """A partial that was kept so many days ago, and whose file was written to then."""
        return self.keep(name, days, self._write(name + suffix, days if file_days is None else file_days))

    def published(self, name: str, days: float) -> str:
        """A file that was published so many days ago."""
        self._write(name, days)
        return self.keep(name, days, None)

    def keep(self, name: str, days: float, partial: str | None) -> str:
        destination = str(self.path / name)
        self.store.keep_transfer(Transfer(destination, {}, partial, None, 5, NOW - timedelta(days=days)))
        return destination

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@pytest.fixture
def folder(tmp_path: Path, store: Store) -> Folder:
    path = tmp_path / "models"
    path.mkdir()
    return Folder(path, store)


def test_old_partial_is_deleted_and_forgotten(folder: Folder) -> None:
    """A partial of which nobody has heard for the time goes; a newer one, and one whose file is newer, stay."""
    old, newer, written = folder.partial("old", 8), folder.partial("newer", 6), folder.partial("written", 9, 1)
    assert clean(folder.store, WEEK_AGO) == [f"{old}.part"]
    assert folder.names() == ["newer.part", "written.part"]
    assert [transfer.destination for transfer in folder.store.partials()] == [written, newer]
    assert clean(folder.store, WEEK_AGO) == []


@pytest.mark.parametrize("state", S)
def test_partial_of_an_unfinished_download_stays(folder: Folder, state: RecoveryState) -> None:
    """However old it is, a partial stays while its download is paused, waits or runs."""
    destination = folder.partial("a", 99)
    folder.store.insert(RecoveryData("a", "download", state=state, key=f"download:{destination}"))
    is_over = state in (S.SUCCESS, S.FAILED, S.EXHAUSTED, S.CANCELLED)
    assert clean(folder.store, WEEK_AGO) == ([f"{destination}.part"] if is_over else [])
    assert folder.names() == ([] if is_over else ["a.part"])


def test_download_is_found_by_its_key_without_secrets(folder: Folder) -> None:
    """A path that looks like a secret is not in the key; its download is found all the same."""
    kit = Kit(folder.store)
    destination = folder.partial("token=abcdef0123456789", 99)
    data = kit.open(key=f"download:{destination}")
    assert data.key is not None
    assert "abcdef" not in data.key
    assert clean(folder.store, WEEK_AGO, kit.lifecycle.kept_key) == []
    kit.lifecycle.cancel(data.operation_id)
    assert clean(folder.store, WEEK_AGO, kit.lifecycle.kept_key) == [f"{destination}.part"]


def test_partial_that_is_gone_is_forgotten(folder: Folder) -> None:
    """What somebody else deleted, with its folder or without, is forgotten, unless its download is to go on."""
    folder.keep("a", 8, str(folder.path / "a.part"))
    folder.keep("b", 8, str(folder.path / "gone" / "b.part"))
    (folder.path / "file").touch()
    folder.keep("c", 8, str(folder.path / "file" / "c.part"))
    waiting = folder.keep("d", 8, str(folder.path / "d.part"))
    folder.store.insert(RecoveryData("d", "download", state=S.PAUSED, key=f"download:{waiting}"))
    assert clean(folder.store, WEEK_AGO) == []
    assert [transfer.destination for transfer in folder.store.partials()] == [waiting]


def test_only_partial_files_are_deleted(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """Links, folders and files of other names stay where they are, and are looked at no more."""
    target = folder.partial("target", 0)
    os.symlink(f"{target}.part", folder.path / "link.part")
    folder.keep("link", 8, str(folder.path / "link.part"))
    (folder.path / "folder.part").mkdir()
    folder.keep("folder", 8, str(folder.path / "folder.part"))
    folder.partial("model", 8, suffix=".safetensors")
    assert clean(folder.store, WEEK_AGO) == []
    assert folder.names() == ["folder.part", "link.part", "model.safetensors", "target.part"]
    assert [transfer.destination for transfer in folder.store.partials()] == [target]
    assert len([line for line in caplog.messages if "is left as it is" in line]) == 3


def test_published_file_that_is_gone_is_forgotten(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a file goes with the file, after the time; a file is never deleted."""
    for name, days in (("there", 8), ("gone", 8), ("gone lately", 6)):
        folder.published(name, days)
    (folder.path / "gone").unlink()
    (folder.path / "gone lately").unlink()
    folder.keep("elsewhere/x", 8, None)
    assert clean(folder.store, WEEK_AGO) == []
    assert folder.names() == ["there"]
    left = [str(folder.path / name) for name in ("there", "gone lately")]
    assert folder.store.published(NOW) == left

    def refuse(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(upkeep, "os", but_for(os, stat=refuse))
    clean(folder.store, NOW)
    assert folder.store.published(NOW) == left


def test_partial_that_cannot_be_deleted(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, the others are deleted all the same, and it is tried again the next time."""
    first, second = folder.partial("a", 9), folder.partial("b", 8)
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path == f"{first}.part":
            raise PermissionError(13, "Permission denied")
        unlink(path)

    monkeypatch.setattr(upkeep, "os", but_for(os, unlink=refuse))
    assert clean(folder.store, WEEK_AGO) == [f"{second}.part"]
    assert f"{first}.part cannot be deleted ([Errno 13] Permission denied): delete it yourself" in caplog.text
    monkeypatch.undo()
    assert clean(folder.store, WEEK_AGO) == [f"{first}.part"]


class Broken(MemoryPersistence):
    def published(self, older_than: datetime) -> list[str]:
        raise StoreError("the disk is full")


def test_store_that_fails_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was deleted before the store failed is returned."""
    folder = Folder(tmp_path, Broken())
    destination = folder.partial("a", 8)
    assert clean(folder.store, WEEK_AGO) == [f"{destination}.part"]
    assert caplog.messages == ["old partial files cannot be looked for at the moment: the disk is full"]


def test_store_without_transfers_is_left_alone() -> None:
    """A store of somebody's own that keeps no transfers has nothing to be cleaned."""
    assert clean(object(), WEEK_AGO) == []  # type: ignore[arg-type]


# -- when ---------------------------------------------------------------------------------------------


def test_sweep_cleans_up_transfers_with_operations(kit: Kit) -> None:
    """The resumer tells the time since which things stay, when it cleans up itself."""
    seen: list[datetime] = []
    resumer = Resumer(kit.lifecycle, {}, kit.clock, Retention(timedelta(days=2)), seen.append)
    resumer.sweep()
    resumer.sweep()
    assert seen == [NOW - timedelta(days=2)]
    kit.clock.advance(3600)
    resumer.sweep()
    assert len(seen) == 2
    Resumer(kit.lifecycle, {}, kit.clock, clean_up=seen.append).sweep()
    assert len(seen) == 2


@pytest.mark.parametrize("rerun", [None, lambda data: None], ids=["resumes nothing", "resumes"])
def test_integrator_cleans_up(tmp_path: Path, rerun: Callable[[RecoveryData], Any] | None) -> None:
    """Whether a process resumes operations or not, it cleans up at its start, by the days that are set."""
    folder = Folder(tmp_path, MemoryPersistence())
    folder.partial("a", 3)
    folder.partial("b", 1)
    config = RecoveryConfig(enabled=True, retention_days=2)
    integrator = RecoveryIntegrator(config, persistence=folder.store, clock=VirtualClock())
    integrator.start(rerun)
    if integrator._resumer is not None:
        integrator._resumer.sweep()
    integrator.stop()
    assert folder.names() == ["b.part"]


def test_clean_up_that_breaks_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises is logged, and the start goes on."""
    monkeypatch.setattr(upkeep, "clean", lambda *given: 1 / 0)
    integrator = RecoveryIntegrator(RecoveryConfig(enabled=True), persistence=MemoryPersistence())
    with caplog.at_level(logging.ERROR):
        integrator.start()
    integrator.stop()
    assert "old partial files could not be cleaned up" in caplog.text
