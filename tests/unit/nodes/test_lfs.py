"""Git LFS pointers: fetched where git-lfs is there, never put in place of what a node needs, told of otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.errors import CommandError
from tests.nodes import Attempts, Far, Source, files, install, noise

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"

# As git-lfs does: it says that it is there, and writes the files in the folder it is called in.
GIT_LFS = """#!/bin/sh
echo "$PWD $*" >> {log}
case "$1" in
  pull) for file in $(grep -rl --include=*.bin spec/v1 .); do echo content > "$file"; done ;;
esac
"""


@pytest.fixture
def without_lfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git finds no git-lfs, wherever this machine has one."""
    program = tmp_path / "bin" / "git-lfs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho \"git: 'lfs' is not a git command. See 'git --help'.\" >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("without_lfs")
def test_a_node_whose_weights_are_pointers_is_not_put_in_its_place(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    source.commit({f"models/{number}.bin": POINTER for number in range(7)} | {"example.png": POINTER})
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), far.serve(source), destination)
    assert "models/0.bin" in str(raised.value)
    assert "and 2 more" in str(raised.value)
    assert "example.png" not in raised.value.output
    assert "git: 'lfs' is not a git command" in raised.value.output
    assert not destination.exists()
    assert attempts.steps() == ["clone", "checkout"]


@pytest.mark.usefixtures("without_lfs")
def test_a_node_whose_pictures_are_pointers_is_installed_and_the_person_is_told(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    source.commit({"docs/example.PNG": POINTER, "a.md": "text"})
    install(attempts.next(), far.serve(source), destination)
    assert files(destination) == {".git", "one", "docs", "a.md"}
    assert attempts.metadata["warnings"] == [
        {
            "code": "lfs_pointers",
            "message": "docs/example.PNG of node could not be fetched without Git LFS; the node works without.",
            "files": ["docs/example.PNG"],
            "fix": "install_git_lfs",
        }
    ]


def test_where_git_lfs_is_there_the_files_are_fetched_those_of_submodules_as_well(
    attempts: Attempts, far: Far, source: Source, tmp_path: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Source(tmp_path / "inner")
    inner.commit({"b.bin": POINTER})
    source.commit({"a.bin": POINTER})
    source.add_submodule(far.serve(inner, "inner.git"), "inner")
    program, log = tmp_path / "bin" / "git-lfs", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(GIT_LFS.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    install(attempts.next(), far.serve(source), destination)
    assert [(destination / name).read_text() for name in ("a.bin", "inner/b.bin")] == ["content\n"] * 2
    folder = destination.with_name(".node.part.disabled")
    assert log.read_text().splitlines() == [
        f"{folder} version",
        f"{folder} install --local --skip-repo",
        f"{folder} pull",
        f"{folder}/inner install --local --skip-repo",
        f"{folder}/inner pull",
    ]


def test_files_that_only_look_like_pointers_are_left_alone(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    source.commit({"a.bin": POINTER + "x" * 1024, "b.bin": "version 1\n"})
    install(attempts.next(), far.serve(source), destination)
    assert "warnings" not in attempts.metadata


# -- the real git-lfs -----------------------------------------------------------------------------------


@pytest.fixture
def large(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Source:
    """A repository with a file that the real git-lfs keeps; for git-lfs a folder is a server as well."""
    if shutil.which("git-lfs") is None:
        pytest.skip("there is no git-lfs")
    monkeypatch.setenv("HOME", str(tmp_path))  # it writes down there what it is to be asked for
    source.git("lfs", "install", "--local")
    source.git("lfs", "track", "*.bin")
    source.commit({"weights.bin": noise(50_000)})
    pointer = source.git("show", "HEAD:weights.bin")
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1")
    return source


def test_the_real_git_lfs_fetches_what_pointers_stand_for(attempts: Attempts, large: Source, destination: Path) -> None:
    install(attempts.next(), large.url, destination)
    assert (destination / "weights.bin").read_bytes() == noise(50_000)
    assert "warnings" not in attempts.metadata


def test_what_the_real_git_lfs_cannot_get_is_said_and_the_node_is_not_put_in_its_place(
    attempts: Attempts, large: Source, destination: Path
) -> None:
    shutil.rmtree(large.folder / ".git" / "lfs" / "objects")
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), large.url, destination)
    verdict = ErrorClassifier().classify(raised.value)
    assert (verdict.rule, verdict.retry.value, verdict.fix) == ("lfs-missing", "after_fix", "update_url"), (
        raised.value.output
    )
    assert not destination.exists()


def test_pictures_that_the_real_git_lfs_cannot_get_keep_no_node_away(
    attempts: Attempts, large: Source, destination: Path
) -> None:
    """Such as those of a repository whose owner has not paid for more of them."""
    large.git("rm", "--quiet", "weights.bin")
    large.git("lfs", "track", "*.png")
    large.commit({"example.png": noise(50_000)})
    shutil.rmtree(large.folder / ".git" / "lfs" / "objects")
    install(attempts.next(), large.url, destination)
    assert {"one", "example.png"} < files(destination)
    (warning,) = attempts.metadata["warnings"]
    assert warning["message"] == (
        "example.png of node could not be fetched from the Git LFS server; the node works without."
    )
