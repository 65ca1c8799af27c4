"""Nodes over a real ssh: cloned, and where that is not let in, said so; a person is never asked anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.records import RecoveryData, RecoveryState
from tests.nodes import Source, files, run_git
from tests.ssh_server import SshServer, make_key, ssh_server
from tests.support import Host


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "ssh") as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    source = Source(tmp_path / "source")
    source.commit({"one": "1"})
    run_git(tmp_path, "clone", "--quiet", "--bare", str(source.folder), "node.git")
    return tmp_path / "node.git"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there when somebody was asked in a window, as ssh and git do where there is no terminal."""
    program, mark = tmp_path / "ask", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho "$@" >> {mark}\necho yes\n')
    program.chmod(0o755)
    for name in ("SSH_ASKPASS", "GIT_ASKPASS"):
        monkeypatch.setenv(name, str(program))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    return mark


def installed(folder: Path, url: str) -> RecoveryData:
    """What is kept of an install, whatever it came to."""
    host = Host(folder / "custom_nodes", max_retries=1)
    host.attach()
    try:
        host.install("node", url)
    except Exception:
        pass  # it is in the record
    finally:
        host.detach()
    (found,) = host.operations("install_node")
    return found


def test_a_node_is_cloned_over_ssh(
    server: SshServer, repository: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command())
    found = installed(tmp_path, server.url(repository))
    assert (found.state, found.attempt) == (RecoveryState.SUCCESS, 1), found.error
    assert files(tmp_path / "custom_nodes" / "node") == {".git", "one"}
    assert not asked.exists()


_HTTPS = "Use the https address of the repository, or"
REFUSED = {
    "unknown server": "The ssh of this computer does not know the git server yet, and nobody is asked here. "
    f"{_HTTPS} connect to the server by hand once.",
    "another server": "The git server has another key than before: it was renewed, or somebody is in between. "
    f"{_HTTPS} ask who runs the server.",
    "another key": "The git server does not know the ssh key of this computer. Add the key to your account there, or "
    "use the https address of the repository.",
}


@pytest.mark.parametrize("what", REFUSED)
def test_who_is_not_let_in_is_told_what_to_do_and_asked_nothing(
    server: SshServer, repository: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    other = make_key(tmp_path / "other")
    if what == "unknown server":
        server.known_hosts.unlink()
    elif what == "another server":
        server.knows(other)
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(other if what == "another key" else None))
    found = installed(tmp_path, server.url(repository))
    assert (found.state, found.attempt, found.category) == (RecoveryState.FAILED, 1, "permission"), found.error
    assert found.explanation == REFUSED[what]
    assert found.fix == ("add_token" if what == "another key" else "update_url")
    assert not (tmp_path / "custom_nodes" / "node").exists()
    assert not asked.exists()


def test_a_repository_that_the_server_does_not_have(
    server: SshServer, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command())
    found = installed(tmp_path, server.url(tmp_path / "nowhere.git"))
    assert (found.state, found.category, found.fix) == (RecoveryState.FAILED, "not_found", "update_url"), found.error
    assert found.explanation == "There is no such repository, or it is private."


def test_a_server_that_is_away_is_tried_again(
    server: SshServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command())
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.port = free.getsockname()[1]
    found = installed(tmp_path, server.url(repository))
    assert (found.state, found.attempt, found.category) == (RecoveryState.EXHAUSTED, 2, "network"), found.error
    assert found.explanation == "The connection to the git server broke off."
