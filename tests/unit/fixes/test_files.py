"""Fixes on files: what is damaged or in the way is moved aside, room is made; only what was shown is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes import FixConflictError, FixRefusedError
from launcher_recovery.fixes.tools import pip_cache_of
from launcher_recovery.records import Progress
from tests.unit.fixes.failed import Failed

GIB = 1 << 30


def test_a_damaged_model_goes_into_quarantine_with_a_note_and_comes_back(failed: Failed) -> None:
    model = failed.models / "model.safetensors"
    model.write_bytes(b"damaged")
    data = failed.download("redownload")
    applied = failed.apply(data, "quarantine_model")
    moved = failed.models / ".recovery-quarantine" / "model.safetensors.1.quarantined"
    assert moved.read_bytes() == b"damaged"
    assert not model.exists()
    note = json.loads(Path(f"{moved}.note.json").read_text())
    assert (note["moved_from"], note["fix"]) == (str(model), applied.id)
    assert failed.lifecycle.retry(data.operation_id).state.value == "pending"
    failed.undo(data, applied)
    assert model.read_bytes() == b"damaged"
    assert not moved.parent.exists()


def test_what_is_in_quarantine_already_is_not_written_over(failed: Failed) -> None:
    data = failed.download("redownload")
    for content in (b"one", b"two"):
        (failed.models / "model.safetensors").write_bytes(content)
        failed.apply(data, "quarantine_model")
    assert {path.read_bytes() for path in failed.models.glob("*/*.quarantined")} == {b"one", b"two"}


def test_it_is_not_brought_back_over_what_came_meanwhile(failed: Failed) -> None:
    model = failed.models / "model.safetensors"
    model.write_bytes(b"damaged")
    data = failed.download("redownload")
    applied = failed.apply(data, "quarantine_model")
    model.write_bytes(b"whole")
    with pytest.raises(FixConflictError, match=r"^There is something at .*model.safetensors again"):
        failed.undo(data, applied)
    assert model.read_bytes() == b"whole"
    model.unlink()
    assert failed.undo(data, applied).state == "undone"
    assert model.read_bytes() == b"damaged"


def test_a_model_that_is_a_link_is_moved_and_not_what_it_leads_to(failed: Failed) -> None:
    (failed.root / "elsewhere").write_bytes(b"damaged")
    model = failed.models / "model.safetensors"
    model.symlink_to(failed.root / "elsewhere")
    failed.apply(failed.download("redownload"), "quarantine_model")
    assert not os.path.lexists(model)
    assert (failed.root / "elsewhere").read_bytes() == b"damaged"


@pytest.mark.parametrize("path", ["{root}/other/file", "{models}/../../other/file", "{models}", "{models}/link/file"])
def test_files_of_others_are_refused(failed: Failed, path: str) -> None:
    other = failed.root / "other"
    other.mkdir()
    (other / "file").write_bytes(b"x")
    (failed.models / "link").symlink_to(other)
    (failed.models / "model.safetensors").write_bytes(b"x")
    data = failed.download("redownload")
    given = {"path": path.format(root=failed.root, models=failed.models)}
    with pytest.raises(FixRefusedError, match="does not belong to this one"):
        failed.fixes.preview(data.operation_id, "quarantine_model", given)


def test_files_outside_of_the_allowed_folders_are_refused(failed: Failed) -> None:
    (failed.models / "model.safetensors").write_bytes(b"x")
    failed.fixes = failed.new_fixes(roots=lambda: (str(failed.root / "allowed"),))
    with pytest.raises(FixRefusedError, match="outside the allowed folders"):
        failed.fixes.preview(failed.download("redownload").operation_id, "quarantine_model")


def test_a_file_and_its_partial_are_put_aside_to_be_fetched_from_the_start(failed: Failed) -> None:
    data = failed.download("redownload")
    assert failed.fixes.preview(data.operation_id, "redownload").actions == ()
    partial = failed.partial("model.safetensors", 1000)
    (failed.models / "model.safetensors").write_bytes(b"damaged")
    failed.apply(data, "redownload")
    assert not partial.exists()
    assert len(list(failed.models.glob(".recovery-quarantine/*.quarantined"))) == 2


@pytest.mark.parametrize("is_command", [True, False])
def test_a_lock_that_git_complained_of_is_renamed_and_can_come_back(failed: Failed, is_command: bool) -> None:
    repository = failed.root / "project" / "custom_nodes" / "node"
    repository.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    lock = repository / ".git" / "index.lock"
    lock.touch()
    (repository / "file").touch()
    done = subprocess.run(["git", "-C", str(repository), "add", "."], capture_output=True, text=True)
    assert done.returncode != 0
    told = CommandError(["git", "add"], done.returncode, done.stderr) if is_command else OSError(done.stderr)
    data = failed.node("remove_stale_lock", error=told)
    applied = failed.apply(data, "remove_stale_lock")
    subprocess.run(["git", "-C", str(repository), "add", "."], check=True)
    failed.undo(data, applied)
    assert lock.exists()


def test_only_a_lock_of_git_is_taken_for_one(failed: Failed) -> None:
    data = failed.node("remove_stale_lock")
    for path in (failed.root / "project" / "custom_nodes" / "poetry.lock", failed.root / ".git" / "index"):
        with pytest.raises(FixRefusedError, match="is not a lock of git"):
            failed.fixes.preview(data.operation_id, "remove_stale_lock", {"path": str(path)})


def test_a_folder_in_the_way_gets_a_name_that_comfyui_takes_for_no_node(failed: Failed) -> None:
    data = failed.node("remove_existing_folder")
    there = failed.root / "project" / "custom_nodes" / "node"
    there.mkdir()
    (there / "mine.py").write_text("x")
    applied = failed.apply(data, "remove_existing_folder")
    assert not there.exists()
    assert (there.parent / "node.1.disabled" / "mine.py").read_text() == "x"
    failed.undo(data, applied)
    assert (there / "mine.py").read_text() == "x"


def test_room_is_offered_with_what_is_needed_and_what_there_is_and_only_that_is_deleted(failed: Failed) -> None:
    failed.download(name="old.bin")
    old = failed.partial("old.bin", 300_000)
    failed.download(name="running.bin", ended=False)
    running = failed.partial("running.bin", 300_000)
    mine = failed.partial("model.safetensors", 300_000)
    failed.cache = failed.root / "pip"
    kept = failed.cache / "http-v2" / "a" / "b"
    kept.mkdir(parents=True)
    (kept / "body").write_bytes(b"x" * 100_000)
    (failed.cache / "mine.txt").write_text("x")
    data = failed.download("free_disk_space", progress=Progress(1 * GIB, 3 * GIB, "bytes"))
    shown = failed.fixes.preview(data.operation_id, "free_disk_space")
    assert shown.says[0].startswith(f"2.15 GB are needed in {failed.models}, ")
    assert [action["path"] for action in shown.actions] == [str(old), str(failed.cache / "http-v2")]
    assert "300 kB" in shown.says[2] or "301 kB" in shown.says[2] or "303 kB" in shown.says[2]
    assert not shown.can_undo
    failed.fixes.apply(data.operation_id, "free_disk_space", {}, shown.token)
    assert not old.exists()
    assert [path.name for path in failed.cache.iterdir()] == ["mine.txt"]
    assert running.exists()
    assert mine.exists()
    assert failed.store.transfer(str(failed.models / "old.bin")) is None
    assert failed.store.transfer(str(failed.models / "model.safetensors")) is not None


def test_what_is_not_ticked_is_not_offered(failed: Failed) -> None:
    failed.download(name="old.bin")
    failed.partial("old.bin", 5000)
    data = failed.download("free_disk_space")
    given = {"partials": False, "pip_cache": False}
    shown = failed.fixes.preview(data.operation_id, "free_disk_space", given)
    assert shown.actions == ()
    assert shown.says[-1] == "There is nothing that can be deleted without harm."


def test_quarantine_is_emptied_on_request(failed: Failed) -> None:
    (failed.models / "model.safetensors").write_bytes(b"damaged")
    data = failed.download("free_disk_space")
    failed.apply(data, "redownload")
    assert failed.fixes.preview(data.operation_id, "free_disk_space").actions == ()
    failed.apply(data, "free_disk_space", quarantine=True)
    assert list(failed.models.iterdir()) == []


def test_a_partial_that_is_gone_on_with_after_it_was_shown_stays(failed: Failed) -> None:
    old_data = failed.download(name="old.bin")
    old = failed.partial("old.bin", 5000)
    data = failed.download("free_disk_space")
    shown = failed.fixes.preview(data.operation_id, "free_disk_space")
    failed.lifecycle.retry(old_data.operation_id)
    with pytest.raises(FixConflictError, match="What was shown is not what is there any more"):
        failed.fixes.apply(data.operation_id, "free_disk_space", {}, shown.token)
    assert old.exists()


@pytest.mark.parametrize("cause", ["retried", "changed"])
def test_a_partial_that_changes_at_the_last_moment_stays(
    failed: Failed, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """Between the look that has to be the same as the one shown, and the deletion."""
    old_data = failed.download(name="old.bin")
    old = failed.partial("old.bin", 5000)
    data = failed.download("free_disk_space")
    shown = failed.fixes.preview(data.operation_id, "free_disk_space")
    write = failed.fixes._journal.write

    def meanwhile(entry: dict[str, object]) -> None:
        write(entry)
        if entry["state"] == "applying" and cause == "retried":
            failed.lifecycle.retry(old_data.operation_id)
        elif entry["state"] == "applying":
            old.write_bytes(b"y" * 6000)

    monkeypatch.setattr(failed.fixes._journal, "write", meanwhile)
    with pytest.raises(FixConflictError, match=r"old\.bin\.part is not as it was shown any more"):
        failed.fixes.apply(data.operation_id, "free_disk_space", {}, shown.token)
    assert old.exists()
    assert [path.name for path in failed.models.iterdir()] == ["old.bin.part"]


def test_pips_own_cache_is_found_and_purged(failed: Failed, tmp_path: Path) -> None:
    data = failed.node("purge_pip_cache")
    cache = pip_cache_of(data)
    assert cache == tmp_path / "pip"
    (cache / "wheels").mkdir(parents=True)
    (cache / "wheels" / "a.whl").write_bytes(b"x" * 10_000)
    failed.cache = cache
    applied = failed.apply(data, "purge_pip_cache")
    assert not applied.can_undo
    assert list(cache.iterdir()) == []
    with pytest.raises(FixRefusedError, match=r"^This cannot be undone\.$"):
        failed.undo(data, applied)
    listed = subprocess.run([sys.executable, "-m", "pip", "cache", "list"], capture_output=True, text=True, check=True)
    assert "a.whl" not in listed.stdout


def test_without_a_pip_there_is_no_cache(failed: Failed) -> None:
    arguments = {"url": "https://git.example/node.git", "destination": "/x", "python": "/no/such/python"}
    assert pip_cache_of(failed.operation("install_node", arguments)) is None
