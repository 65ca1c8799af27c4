"""The ssh of the user is kept, wherever it is set; what it is not told, such as to ask nobody, it is told here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher_recovery.nodes.ssh import ssh_command
from tests.nodes import Attempts, Source, files, install, run_git

OPTIONS = " -o BatchMode=yes -o ConnectTimeout=20 "


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Those of the user, which say nothing."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return path


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A program that runs here what it is to run elsewhere, and writes down how it was called."""
    program = tmp_path / "bin" / "my ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/called\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    program.chmod(0o755)
    return program


def found(folder: Path) -> str | None:
    return ssh_command(folder, os.environ)


def test_what_asks_nobody_is_used_where_the_user_has_set_nothing(tmp_path: Path) -> None:
    assert str(found(tmp_path)).startswith(f"ssh{OPTIONS}")
    assert str(found(tmp_path / "not" / "there")).startswith(f"ssh{OPTIONS}")


@pytest.mark.parametrize("command", ["ssh -i key", "/opt/bin/ssh -o ConnectTimeout=5", '"C:/Program Files/ssh.exe" -v'])
@pytest.mark.parametrize("is_variable", [True, False])
def test_a_command_of_the_user_is_kept_and_its_own_options_come_first(
    tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch, command: str, is_variable: bool
) -> None:
    monkeypatch.setenv("GIT_SSH", "plink")  # which git asks only where neither of the others is set
    if is_variable:
        monkeypatch.setenv("GIT_SSH_COMMAND", command)
        run_git(tmp_path, "config", "--file", str(settings), "core.sshCommand", "ssh -i other")
    else:
        run_git(tmp_path, "config", "--file", str(settings), "core.sshCommand", command)
    assert str(found(tmp_path)).startswith(f"{command}{OPTIONS}")


@pytest.mark.parametrize("command", ["plink -batch", "/home/ann/ssh-of-the-company", "'unfinished", "  "])
def test_another_program_is_called_as_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    assert found(tmp_path) == command


def test_a_program_of_the_user_is_left_to_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH", "plink")
    assert found(tmp_path) is None


def test_a_node_is_fetched_by_the_ssh_that_the_settings_of_git_name(
    attempts: Attempts, source: Source, destination: Path, settings: Path, ssh: Path, tmp_path: Path
) -> None:
    run_git(tmp_path, "config", "--file", str(settings), "core.sshCommand", f"'{ssh}' -i key")
    install(attempts.next(), f"ssh://ann@git.invalid{source.folder}", destination)
    assert files(destination) == {".git", "one"}
    calls = (tmp_path / "called").read_text().splitlines()
    assert calls
    assert all(call.startswith("-i key ") and "BatchMode" not in call for call in calls)


def test_a_variable_of_the_user_goes_before_the_settings(
    attempts: Attempts,
    source: Source,
    destination: Path,
    settings: Path,
    ssh: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_git(tmp_path, "config", "--file", str(settings), "core.sshCommand", "false")
    named = ssh.with_name("ssh")
    named.symlink_to(ssh)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(named))
    install(attempts.next(), f"ssh://ann@git.invalid{source.folder}", destination)
    assert files(destination) == {".git", "one"}
    assert f"{OPTIONS.strip()} -o ServerAliveInterval=15" in (tmp_path / "called").read_text()
