"""Fixes for git, pip, nodes and ComfyUI itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher_recovery.errors import CommandError, RecoveryStateError
from launcher_recovery.fixes import FixRefusedError, Restoring, effects, known_good
from launcher_recovery.records import RecoveryData
from tests.unit.fixes.failed import Failed

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def repository(failed: Failed, name: str = "node") -> Path:
    """A git repository where a node is to be."""
    path = failed.root / "project" / "custom_nodes" / name
    path.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    return path


def status(path: Path) -> subprocess.CompletedProcess[str]:
    """What git says of a repository that it takes for that of another user."""
    environ = {**os.environ, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    return subprocess.run(["git", "-C", str(path), "status"], env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("is_command", [True, False])
def test_one_repository_is_trusted_until_that_is_undone_and_no_other(failed: Failed, is_command: bool) -> None:
    path, other = repository(failed, "trusted"), repository(failed, "other")
    (failed.root / "gitconfig").write_text("[user]\n\tname = Ann\n[safe]\n\tdirectory = /somewhere/else\n")
    before = (failed.root / "gitconfig").read_text()
    error = status(path)
    assert "dubious ownership" in error.stderr
    told = CommandError(["git", "status"], error.returncode, error.stderr) if is_command else OSError(error.stderr)
    data = failed.node("mark_safe_directory", error=told)
    applied = failed.apply(data, "mark_safe_directory")
    assert applied.parameters == {"path": str(path)}
    assert status(path).returncode == 0
    assert status(other).returncode != 0
    with pytest.raises(FixRefusedError, match=r"^That is so already\.$"):
        failed.fixes.preview(data.operation_id, "mark_safe_directory")
    failed.undo(data, applied)
    assert status(path).returncode != 0
    assert (failed.root / "gitconfig").read_text() == before


@pytest.mark.parametrize("ending", ["/*", "*"])
def test_all_folders_cannot_be_trusted(failed: Failed, ending: str) -> None:
    given = {"path": f"{repository(failed)}{ending}"}
    with pytest.raises(FixRefusedError, match="Exactly one folder can be trusted"):
        failed.fixes.preview(failed.node("mark_safe_directory").operation_id, "mark_safe_directory", given)


def test_what_is_no_repository_is_not_trusted(failed: Failed) -> None:
    with pytest.raises(FixRefusedError, match="is not a git repository"):
        failed.fixes.preview(
            failed.node("mark_safe_directory").operation_id, "mark_safe_directory", {"path": str(failed.models)}
        )


def test_settings_of_git_that_cannot_be_written_are_told_with_what_git_said(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository(failed)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(failed.root / "no" / "folder" / "gitconfig"))
    data = failed.node("mark_safe_directory")
    with pytest.raises(FixRefusedError, match=r"git said: .*could not lock config file"):
        failed.apply(data, "mark_safe_directory", path=str(path))
    (entry,) = failed.fixes.history(data.operation_id)
    assert entry.state == "failed"
    assert "could not lock config file" in entry.says[-1]


def test_git_uses_long_paths_for_this_operation(failed: Failed) -> None:
    data = failed.node("shorten_path")
    assert any("LongPathsEnabled" in text for text in failed.fixes.preview(data.operation_id, "enable_long_paths").says)
    applied = failed.apply(data, "enable_long_paths")
    environ = effects.git_environment(failed.record(data.operation_id), "https://git.example/")
    told = subprocess.run(
        ["git", "config", "core.longpaths"], env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert told.stdout == "true\n"
    failed.undo(data, applied)
    assert effects.git_environment(failed.record(data.operation_id), "https://git.example/") == {}


def test_settings_of_git_that_the_environment_has_already_stay(failed: Failed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Ann")
    data = failed.node("shorten_path")
    failed.apply(data, "enable_long_paths")
    environ = {**os.environ, **effects.git_environment(failed.record(data.operation_id), "https://git.example/")}
    listed = subprocess.run(["git", "config", "--list"], env=environ, capture_output=True, text=True).stdout
    assert "user.name=Ann\ncore.longpaths=true" in listed


def test_pip_prefers_what_is_ready_made_for_this_operation(failed: Failed) -> None:
    data = failed.node("install_build_tools")
    applied = failed.apply(data, "prefer_binary")
    assert effects.pip_options(failed.record(data.operation_id)) == ["--prefer-binary"]
    assert effects.pip_options(failed.record(failed.download().operation_id)) == []
    failed.undo(data, applied)
    assert effects.pip_options(failed.record(data.operation_id)) == []


def test_a_node_that_is_left_out_is_said_to_be_missing(failed: Failed) -> None:
    data = failed.node("fix_requirements")
    applied = failed.apply(data, "skip_node")
    assert "node will be missing." in applied.says
    assert effects.is_skipped(failed.record(data.operation_id))
    failed.undo(data, applied)
    assert not effects.is_skipped(failed.record(data.operation_id))


def test_the_last_commit_that_worked_is_proposed_and_another_one_is_said_not_to_be_known(failed: Failed) -> None:
    folder = failed.root / "data"
    data = failed.operation("create_project", {"project_folder": str(failed.root / "project")}, "pin_comfyui")
    with pytest.raises(FixRefusedError, match="commit is needed"):
        failed.fixes.preview(data.operation_id, "pin_comfyui")
    known_good.note(folder, COMMIT)
    assert failed.fixes.for_operation(data.operation_id)[0].parameters[0].default == COMMIT
    assert not any("Nothing is known" in text for text in failed.fixes.preview(data.operation_id, "pin_comfyui").says)
    shown = failed.fixes.preview(data.operation_id, "pin_comfyui", {"commit": "abcdef0"})
    assert "Nothing is known of this commit: no import with it was noted here." in shown.says
    failed.apply(data, "pin_comfyui")
    assert effects.comfyui_commit(failed.record(data.operation_id)) == COMMIT


@pytest.mark.parametrize("commit", ["main", "abc", "--upload-pack=x"])
def test_what_is_no_commit_is_refused(failed: Failed, commit: str) -> None:
    data = failed.operation("create_project", {"project_folder": str(failed.root / "project")}, "pin_comfyui")
    with pytest.raises(FixRefusedError, match="is not a commit"):
        failed.fixes.preview(data.operation_id, "pin_comfyui", {"commit": commit})
    with pytest.raises(ValueError, match="is not a commit"):
        known_good.note(failed.root, commit)


@pytest.mark.parametrize("content", ["{", "[]", '{"comfyui": 5}', '{"comfyui": "main"}'])
def test_a_damaged_note_of_the_last_commit_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "known-good.json").write_text(content)
    assert known_good.last(tmp_path) is None


class Environments:
    """Records what is restored."""

    def __init__(self, changes: Mapping[str, str | None] | None) -> None:
        self.found = changes
        self.restored: list[str] = []

    def changes(self, data: RecoveryData) -> Mapping[str, str | None] | None:
        return self.found

    def restore(self, data: RecoveryData) -> None:
        self.restored.append(data.operation_id)
        self.found = {}


def test_the_environment_is_restored_as_it_was_shown(failed: Failed) -> None:
    environments = Environments({"torch": "2.6.0", "numpy": "1.26.4", "xformers": None})
    failed.fixes.use(environments)
    data = failed.node("pin_dependency")
    shown = failed.fixes.preview(data.operation_id, "restore_environment")
    assert shown.says == (
        "It may take minutes, and cannot be undone.",
        "Puts back: numpy 1.26.4, torch 2.6.0. Removes: xformers.",
    )
    assert not shown.can_undo
    assert environments.restored == []
    failed.fixes.apply(data.operation_id, "restore_environment", {}, shown.token)
    assert environments.restored == [data.operation_id]
    with pytest.raises(FixRefusedError, match="That is so already"):
        failed.fixes.preview(data.operation_id, "restore_environment")


def test_without_a_record_nothing_is_restored(failed: Failed) -> None:
    failed.fixes.use(Environments(None))
    with pytest.raises(FixRefusedError, match="Nobody recorded how the environment was before"):
        failed.fixes.preview(failed.node("pin_dependency").operation_id, "restore_environment")


def test_a_function_that_can_say_what_it_would_do_restores_environments(failed: Failed) -> None:
    asked: list[tuple[str, bool]] = []

    def restore(operation_id: str, *, dry_run: bool) -> SimpleNamespace:
        asked.append((operation_id, dry_run))
        if operation_id != data.operation_id:
            raise RecoveryStateError("nothing was recorded")
        return SimpleNamespace(
            reinstalled=[SimpleNamespace(name="torch", before="2.7.0", after="2.6.0")],
            removed=[SimpleNamespace(name="xformers", before="0.1", after=None)],
        )

    data, other = failed.node("pin_dependency"), failed.node("pin_dependency", key="another")
    failed.fixes.use(Restoring(restore))
    assert "Puts back: torch 2.6.0. Removes: xformers." in failed.apply(data, "restore_environment").says
    assert asked == [(data.operation_id, True)] * 2 + [(data.operation_id, False)]
    with pytest.raises(FixRefusedError, match="Nobody recorded"):
        failed.fixes.preview(other.operation_id, "restore_environment")
