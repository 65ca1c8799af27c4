"""Submodules are those of the commit, each fetched once, and a half one is continued or begun anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import submodules
from launcher_recovery.programs.running import CommandSilentError
from tests.nodes import Attempts, Far, Fault, Source, far_away, files, install, noise, run_git, staging


@pytest.fixture
def inner(tmp_path: Path) -> Source:
    """A repository whose first commit is the one that others pin."""
    made = Source(tmp_path / "inner")
    made.commit({"inside": "1"})
    return made


@pytest.fixture
def nested(source: Source, inner: Source, far: Far) -> str:
    """Address of a repository whose branch `with` has a submodule at an older commit; its default branch has none."""
    url = far.serve(inner, "inner.git")
    source.git("checkout", "--quiet", "-b", "with")
    source.add_submodule(url, "deps/inner")
    source.git("checkout", "--quiet", "--force", "main")
    inner.commit({"later": "2"})
    far.serve(inner, "inner.git")
    return far.serve(source)


def test_submodules_are_those_of_the_commit_asked_for(
    attempts: Attempts, nested: str, tmp_path: Path, destination: Path
) -> None:
    install(attempts.next(), nested, tmp_path / "plain")
    assert files(tmp_path / "plain") == {".git", "one"}
    install(attempts.next(), nested, destination, "with")
    assert files(destination / "deps/inner") == {".git", "inside"}
    assert run_git(destination, "submodule", "status")[0] != "+"
    # Paths that git wrote down still lead somewhere in the new place.
    assert run_git(destination / "deps/inner", "status", "--porcelain") == ""


def test_of_a_submodule_one_commit_is_fetched(attempts: Attempts, nested: str, destination: Path) -> None:
    install(attempts.next(), nested, destination, "with")
    assert run_git(destination / "deps/inner", "rev-parse", "--is-shallow-repository") == "true"
    assert int(run_git(destination / "deps/inner", "rev-list", "--count", "HEAD")) == 1


@pytest.mark.parametrize("how", [{"is_dumb": True}, {"speaks_v2": False}])
def test_a_server_that_gives_no_single_commit_gives_all(
    attempts: Attempts, source: Source, inner: Source, tmp_path: Path, destination: Path, how: dict[str, bool]
) -> None:
    with far_away(tmp_path / "other", **how) as other:
        source.add_submodule(other.serve(inner, "inner.git"), "deps/inner")
        inner.commit({"later": "2"})
        other.serve(inner, "inner.git")
        install(attempts.next(), other.serve(source), destination)
    assert files(destination / "deps/inner") == {".git", "inside"}


def test_submodules_of_submodules_and_addresses_beside_the_own(
    attempts: Attempts, far: Far, source: Source, inner: Source, tmp_path: Path, destination: Path
) -> None:
    middle = Source(tmp_path / "middle")
    middle.commit({"mid": "x"})
    far.serve(inner, "inner.git")
    far.serve(middle, "middle.git")
    far.serve(source)
    for repository, other in ((middle, "inner"), (source, "middle")):
        repository.git("remote", "add", "origin", f"{far.url}/git/x.git")
        repository.add_submodule(f"../{other}.git", other)
        far.serve(repository, f"{repository.folder.name}.git")
    install(attempts.next(), f"{far.url}/git/source.git", destination)
    assert files(destination / "middle/inner") == {".git", "inside"}
    assert attempts.steps() == ["clone", "checkout", "submodule middle", "submodule middle/inner", "submodules"]


def test_what_is_there_is_not_fetched_again_because_of_another_one(
    attempts: Attempts, far: Far, source: Source, tmp_path: Path, destination: Path
) -> None:
    for name in ("a", "b"):
        one = Source(tmp_path / name)
        one.commit({name: noise(1000, name)})
        source.add_submodule(far.serve(one, f"{name}.git"), name)
    url = far.serve(source)
    far.asked.clear()
    far.fail("/b.git/info/refs", *[Fault(status=503)] * 2)  # git tries twice by itself
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), url, destination)
    assert "The requested URL returned error: 503" in raised.value.output
    assert attempts.steps() == ["clone", "checkout", "submodule a"]
    once = far.count("/node.git/"), far.count("/a.git/")
    install(attempts.next(), url, destination)
    assert (far.count("/node.git/"), far.count("/a.git/")) == once
    assert files(destination) == {".git", ".gitmodules", "one", "a", "b"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("half", ["no commit", "no objects", "no head", "no config", "no worktree"])
def test_a_half_submodule_is_continued_or_begun_anew(
    attempts: Attempts, far: Far, nested: str, destination: Path, half: str
) -> None:
    far.fail("/inner.git/", Fault(), Fault(status=503), Fault(status=503))
    with pytest.raises(CommandError):
        install(attempts.next(), nested, destination, "with")
    folder = staging(destination)
    git_folder = folder / ".git/modules/deps/inner"
    if not git_folder.exists():
        run_git(folder, "init", "--quiet", "--bare", str(git_folder))
        run_git(git_folder, "config", "core.bare", "false")
        run_git(git_folder, "config", "core.worktree", "../../../../deps/inner")
    if half == "no objects":
        shutil.rmtree(git_folder / "objects")
    elif half == "no head":
        (git_folder / "HEAD").write_bytes(b"")
    elif half == "no config":
        (git_folder / "config").write_bytes(b"")
    elif half == "no worktree":
        shutil.rmtree(folder / "deps")
    install(attempts.next(), nested, destination, "with")
    assert files(destination / "deps/inner") == {".git", "inside"}


@pytest.mark.parametrize("name", ["../../../outside", "a/../../../../outside"])
def test_a_name_that_leads_out_of_the_repository_is_not_followed(
    attempts: Attempts, far: Far, source: Source, inner: Source, tmp_path: Path, destination: Path, name: str
) -> None:
    source.add_submodule(far.serve(inner, "inner.git"), "inner")
    text = (source.folder / ".gitmodules").read_text().replace('"inner"', f'"{name}"')
    source.commit({".gitmodules": text})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").touch()
    with pytest.raises(CommandError):
        install(attempts.next(), far.serve(source), destination)
    assert files(tmp_path / "outside") == {"mine"}
    assert not destination.exists()


def test_a_submodule_on_this_disk_is_not_read_for_a_repository_from_elsewhere(
    attempts: Attempts, far: Far, source: Source, inner: Source, destination: Path
) -> None:
    source.add_submodule(inner.url, "inner")
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), far.serve(source), destination)
    assert "transport 'file' not allowed" in raised.value.output
    assert not destination.exists()


def test_a_repository_that_has_itself_ends(
    attempts: Attempts, far: Far, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher_recovery.nodes.submodules._DEEPEST", 1)
    url = far.serve(source)
    for _ in range(3):
        source.git("rm", "--quiet", "-rf", "--ignore-unmatch", "self")
        shutil.rmtree(source.folder / ".git/modules", ignore_errors=True)
        source.add_submodule(url, "self")
        far.serve(source)
    install(attempts.next(), url, destination)
    assert (destination / "self/self/one").is_file()
    assert not (destination / "self/self/self/one").exists()


def test_a_list_of_submodules_without_any_is_fine(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    text = '[submodule "gone"]\n\tpath = gone\n\turl = ../gone.git\n'
    for content in ("", text):
        source.commit({".gitmodules": content})
    install(attempts.next(), far.serve(source), destination)
    assert files(destination) == {".git", ".gitmodules", "one"}
    install(attempts.next(), far.serve(source), destination.with_name("other"), source.git("rev-parse", "main~1"))
    assert files(destination.with_name("other")) == {".git", ".gitmodules", "one"}


def test_what_git_says_of_why_is_last_where_it_says_it() -> None:
    """Of a clone that failed it says so again and again, and why only once."""
    cause = "fatal: could not read Username for 'https://h': terminal prompts disabled"
    whole = CommandError(
        ["git", "submodule"], 1, f"Cloning into 'a'...\n{cause}\nfatal: clone of 'https://h' failed\nx"
    )
    found = submodules._with_cause_last(whole)
    assert str(found).endswith(cause)
    assert found.output.startswith(whole.output)
    for output in ("error: x", "fatal: clone of 'https://h' failed"):
        other = CommandError(["git", "submodule"], 1, output)
        assert submodules._with_cause_last(other) is other
    silent = CommandSilentError(["git", "submodule"], 143, cause, 300.0)
    assert submodules._with_cause_last(silent) is silent
