"""A node is fetched at the branch, tag or commit asked for, as little of it as the server can give, and never twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import addresses, updating
from launcher_recovery.nodes import repository as running
from launcher_recovery.programs.running import CommandSilentError, Silence
from tests.nodes import Attempts, Far, Fault, Source, far_away, files, install, noise, run_git, staging


def depth(folder: Path) -> int:
    return int(run_git(folder, "rev-list", "--count", "HEAD"))


@pytest.mark.parametrize(
    ("ref", "expected"),
    [(None, {".git", "one"}), ("main", {".git", "one"}), ("two", {".git", "two"}), ("v0", {".git"})],
)
def test_a_node_is_fetched_at_the_branch_or_tag_asked_for_and_nothing_else_of_it(
    attempts: Attempts, far: Far, source: Source, destination: Path, ref: str | None, expected: set[str]
) -> None:
    assert install(attempts.next(), far.serve(source), destination, ref) == str(destination)
    assert files(destination) == expected
    assert files(destination.parent) == {"node"}
    assert depth(destination) == 1
    assert attempts.steps() == ["clone", "checkout", "submodules"]
    assert attempts.metadata["commit"] == run_git(source.folder, "rev-parse", f"{ref or 'main'}^{{commit}}")


def test_a_branch_can_be_updated_later(attempts: Attempts, far: Far, source: Source, destination: Path) -> None:
    """ComfyUI-Manager pulls: that needs a branch, and where it came from."""
    url = far.serve(source)
    install(attempts.next(), url, destination)
    source.commit({"three": "3"})
    far.serve(source)
    run_git(destination, "pull", "--quiet")
    assert files(destination) == {".git", "one", "three"}
    assert run_git(destination, "status", "--branch", "--porcelain") == "## main...origin/main"


@pytest.mark.parametrize("is_newest", [False, True])
@pytest.mark.parametrize("is_dumb", [False, True])
def test_what_is_pinned_can_be_updated_later(
    attempts: Attempts, tmp_path: Path, source: Source, destination: Path, is_newest: bool, is_dumb: bool
) -> None:
    """ComfyUI-Manager checks out the default branch, and pulls."""
    pinned = source.commit({"three": "3"})
    if not is_newest:
        source.commit({"four": "4"})
    with far_away(tmp_path / "far", is_dumb=is_dumb) as far:
        url = far.serve(source)
        install(attempts.next(), url, destination, pinned)
        assert files(destination) == {".git", "one", "three"}
        assert run_git(destination, "status", "--branch", "--porcelain") == "## HEAD (no branch)"
        source.commit({"five": "5"})
        far.serve(source)
        assert run_git(destination, "symbolic-ref", "refs/remotes/origin/HEAD") == "refs/remotes/origin/main"
        run_git(destination, "checkout", "--quiet", "main")
        run_git(destination, "pull", "--quiet")
    expected = {".git", "one", "three", "five", *(() if is_newest else ("four",))}
    assert files(destination) == expected


def test_what_cannot_be_updated_is_installed_all_the_same(
    attempts: Attempts, far: Far, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server has no default branch, or fails when it is asked for that."""

    def fail(*_: object) -> None:
        raise CommandError(["git", "ls-remote"], 128, "fatal: the remote end hung up unexpectedly")

    monkeypatch.setattr(updating, "_have_default_branch", fail)
    install(attempts.next(), far.serve(source), destination, source.git("rev-parse", "two"))
    assert files(destination) == {".git", "two"}


@pytest.mark.parametrize("speaks_v2", [True, False])
@pytest.mark.parametrize("length", [40, 10, 7])
def test_a_commit_that_is_no_tip_is_fetched_also_where_the_server_gives_out_only_tips(
    attempts: Attempts, tmp_path: Path, source: Source, destination: Path, speaks_v2: bool, length: int
) -> None:
    pinned = source.commit({"three": "3"})
    source.commit({"four": "4"})
    with far_away(tmp_path / "far", speaks_v2=speaks_v2) as far:
        install(attempts.next(), far.serve(source), destination, pinned[:length])
    assert files(destination) == {".git", "one", "three"}
    assert attempts.metadata["commit"] == pinned
    if speaks_v2 and length == 40:
        assert depth(destination) == 1


def test_the_beginning_of_a_tips_name_is_enough_for_that_commit_alone(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    install(attempts.next(), far.serve(source), destination, source.git("rev-parse", "two")[:8])
    assert files(destination) == {".git", "two"}
    assert depth(destination) == 1


@pytest.mark.parametrize("ref", [None, "two", "v0", "commit"])
def test_a_server_of_plain_files_gives_all_of_it(
    attempts: Attempts, tmp_path: Path, source: Source, destination: Path, ref: str | None
) -> None:
    ref = source.git("rev-parse", "main~1") if ref == "commit" else ref
    with far_away(tmp_path / "far", is_dumb=True) as far:
        install(attempts.next(), far.serve(source), destination, ref)
    expected = {None: {".git", "one"}, "two": {".git", "two"}}
    assert files(destination) == expected.get(ref, {".git"})


def test_a_folder_on_this_disk(attempts: Attempts, source: Source, destination: Path) -> None:
    install(attempts.next(), source.url, destination, "two")
    assert files(destination) == {".git", "two"}


@pytest.mark.parametrize("is_dumb", [False, True])
def test_a_server_whose_head_is_no_branch(
    attempts: Attempts, tmp_path: Path, source: Source, destination: Path, is_dumb: bool
) -> None:
    with far_away(tmp_path / "far", is_dumb=is_dumb) as far:
        url = far.serve(source)
        run_git(far.folder / "node.git", "update-ref", "--no-deref", "HEAD", source.git("rev-parse", "two"))
        install(attempts.next(), url, destination)
    assert files(destination) == {".git", "two"}


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nope", "couldn't find remote ref refs/heads/nope"),
        ("refs/pull/1/head", "couldn't find remote ref refs/pull/1/head"),
        ("f" * 40, "reference is not a tree"),
        ("abcdef1", "invalid reference: abcdef1"),
    ],
)
def test_what_is_not_there_is_said_and_leaves_nothing_in_place(
    attempts: Attempts, far: Far, source: Source, destination: Path, ref: str, words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        install(attempts.next(), far.serve(source), destination, ref)
    assert not destination.exists()
    assert attempts.steps() == []


def test_a_repository_that_is_not_there(attempts: Attempts, far: Far, destination: Path) -> None:
    with pytest.raises(CommandError, match="not found"):
        install(attempts.next(), f"{far.url}/git/none.git", destination)
    assert not destination.exists()


# -- faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("info/refs", Fault(status=503), "returned error: 503"),
        ("git-upload-pack", Fault(status=503), "503"),
        ("/git-upload-pack", Fault(cut_after=300), "bad pack header"),
        # A reset takes away what git has not read yet, in which case it sees none of the pack.
        ("/git-upload-pack", Fault(cut_after=50_000), "unpack-objects failed|index-pack|bad pack header"),
        ("info/refs", Fault(cut_after=20), "hung up|transfer closed|end-of-file|still expected|fetch failed"),
    ],
)
def test_what_a_server_fails_with_is_raised_and_a_later_attempt_goes_on(
    attempts: Attempts, far: Far, source: Source, destination: Path, path: str, fault: Fault, words: str
) -> None:
    source.commit({"large": noise(100_000)})
    url = far.serve(source)
    # The last of the requests, which is the one that brings the pack.
    far.fail(path, *([Fault(), Fault()] if path.startswith("/") else []), fault)
    with pytest.raises(CommandError, match=words) as raised:
        install(attempts.next(), url, destination)
    assert "fatal: " in raised.value.output
    assert ErrorClassifier().classify(raised.value).retry == "yes"
    assert not destination.exists()
    assert attempts.steps() == []
    install(attempts.next(), url, destination)
    assert (destination / "large").read_bytes() == noise(100_000)
    assert files(destination.parent) == {"node"}


def test_who_is_waited_for_is_told_and_a_server_that_hangs_is_left(
    attempts: Attempts, far: Far, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Soon(Silence):
        """Silence of 0.3 s is too long."""

        def __init__(self, limit: float, tell: Callable[[float], object]) -> None:
            super().__init__(limit / 1000, told_after=0.0, tell=tell)

    monkeypatch.setattr(running, "Silence", Soon)
    url = far.serve(source)
    far.fail("info/refs", Fault(hangs=True))
    operation = attempts.next()
    told: list[str | None] = []
    monkeypatch.setattr(operation, "progress", lambda done, total, unit, message: told.append(message))
    with pytest.raises(CommandSilentError):
        install(operation, url, destination)
    assert "waiting for an answer from 127.0.0.1 for 0 s" in told
    monkeypatch.undo()
    install(attempts.next(), url, destination)
    assert files(destination) == {".git", "one"}


def requests_for_packs(far: Far) -> int:
    return sum(one.method == "POST" for one in far.asked)


def test_what_is_there_is_not_fetched_again(
    attempts: Attempts, far: Far, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = far.serve(source)
    with monkeypatch.context() as broken:
        broken.setattr("launcher_recovery.nodes.publishing.publish", lambda staging, check: os.rmdir(staging.folder))
        with pytest.raises(OSError, match="not empty"):
            install(attempts.next(), url, destination)
    once = len(far.asked)
    install(attempts.next(), url, destination)
    assert len(far.asked) == once
    assert files(destination) == {".git", "one"}


@pytest.fixture
def half_done(attempts: Attempts, far: Far, source: Source, destination: Path) -> str:
    """An install that failed after its sources were there; the address."""
    source.commit({"requirements.txt": "x\n"})
    url = far.serve(source)
    with pytest.raises(FileNotFoundError):
        install(attempts.next(), url, destination, None, "/no/such/python")
    assert attempts.steps() == ["clone", "checkout", "submodules"]
    source.git("rm", "--quiet", "requirements.txt")
    source.commit({"new": "new"})
    far.serve(source)
    return url


def test_the_pinned_commit_stays_the_same_over_attempts(attempts: Attempts, half_done: str, destination: Path) -> None:
    """What came to the branch meanwhile is for another install."""
    with pytest.raises(FileNotFoundError):
        install(attempts.next(), half_done, destination, None, "/no/such/python")
    assert files(staging(destination)) == {".git", "one", "requirements.txt"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("change", ["gone", "another ref", "another repository", "empty object", "lost index"])
def test_sources_that_are_gone_damaged_or_of_something_else_are_fetched_again(
    attempts: Attempts, far: Far, half_done: str, tmp_path: Path, destination: Path, change: str
) -> None:
    url, ref, folder, expected = half_done, None, staging(destination), {".git", "one", "new"}
    if change == "gone":
        shutil.rmtree(folder)
    elif change == "another ref":
        ref, expected = "two", {".git", "two"}
    elif change == "another repository":
        other = Source(tmp_path / "other")
        other.commit({"other": "x"})
        url, expected = far.serve(other, "other.git"), {".git", "other"}
    elif change == "empty object":
        for path in folder.glob(".git/objects/??/*"):
            path.chmod(0o600)
            path.write_bytes(b"")
    else:
        (folder / ".git" / "HEAD").write_bytes(b"")
    install(attempts.next(), url, destination, ref)
    assert files(destination) == expected
    assert run_git(destination, "status", "--porcelain") == ""
    assert not folder.exists()


def test_what_a_killed_git_left_behind_is_no_hindrance(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    url = far.serve(source)
    far.fail("git-upload-pack", Fault(), Fault(status=503))
    with pytest.raises(CommandError):
        install(attempts.next(), url, destination)
    git_folder = staging(destination) / ".git"
    for name in ("index.lock", "shallow.lock", "config.lock", "HEAD.lock", "refs/remotes/origin/main.lock"):
        (git_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (git_folder / name).touch(0o400)
    pack = git_folder / "objects" / "pack" / "tmp_pack_x"
    pack.parent.mkdir(exist_ok=True)
    pack.write_bytes(b"half")
    install(attempts.next(), url, destination)
    assert files(destination) == {".git", "one"}
    assert not list((destination / ".git").rglob("*.lock"))
    assert not (destination / ".git/objects/pack/tmp_pack_x").exists()


def test_files_that_were_lost_are_written_again(attempts: Attempts, half_done: str, destination: Path) -> None:
    """As after a power cut: the step is known to be done, and the files are empty."""
    (staging(destination) / "one").write_bytes(b"")
    (staging(destination) / "junk").write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        install(attempts.next(), half_done, destination, None, "/no/such/python")
    assert (staging(destination) / "one").read_text() == "one"
    assert not (staging(destination) / "junk").exists()


# -- in portions --------------------------------------------------------------------------------------

SIZE = 20_000


@pytest.fixture
def large(far: Far, source: Source) -> str:
    """The address of a repository of a hundred files, on a server that gives single ones."""
    source.commit({f"folder/{number}": noise(SIZE, str(number)) for number in range(100)})
    url = far.serve(source)
    run_git(far.folder / "node.git", "config", "uploadpack.allowFilter", "true")
    return url


def sent(far: Far) -> int:
    return sum(one.sent for one in far.asked)


def cut(attempts: Attempts, far: Far, url: str, destination: Path, earlier: int, after: int) -> None:
    """An attempt whose answer is cut off, after so many that are not."""
    far.fail("/git-upload-pack", *[Fault()] * earlier, Fault(cut_after=after))
    with pytest.raises(CommandError):
        install(attempts.next(), url, destination)
    assert far.faults == []


def test_a_pack_that_was_cut_off_is_fetched_in_portions_of_which_none_is_lost(
    attempts: Attempts, far: Far, large: str, destination: Path
) -> None:
    cut(attempts, far, large, destination, 2, 90 * SIZE)
    assert sent(far) > 90 * SIZE
    far.asked.clear()
    # Asking (2), the folders, the first portion of 32 files, and half of the second one.
    cut(attempts, far, large, destination, 4, 30 * SIZE)
    assert attempts.live is not None
    assert attempts.live.moved
    first = sent(far)
    assert 62 * SIZE < first < 66 * SIZE
    far.asked.clear()
    install(attempts.next(), large, destination)
    assert 68 * SIZE < sent(far) < 72 * SIZE
    assert all((destination / "folder" / str(number)).read_bytes() == noise(SIZE, str(number)) for number in range(100))
    assert run_git(destination, "fsck", "--strict", "--no-dangling") == ""
    # A clone like others: it asks nobody for what it has, and can be updated.
    settings = run_git(destination, "config", "--list", "--local")
    assert "promisor" not in settings
    assert "partial" not in settings
    assert not list((destination / ".git").rglob("*.promisor"))
    assert not (destination / ".git" / "launcher-recovery-fetching").exists()
    run_git(destination, "pull", "--quiet")


@pytest.mark.parametrize("speaks_v2", [True, False])
def test_a_server_that_gives_no_single_files_gives_all_at_once(
    attempts: Attempts, far: Far, large: str, destination: Path, speaks_v2: bool
) -> None:
    far.speaks_v2 = speaks_v2
    run_git(far.folder / "node.git", "config", "uploadpack.allowFilter", "false" if speaks_v2 else "true")
    cut(attempts, far, large, destination, 2 if speaks_v2 else 1, 50 * SIZE)
    install(attempts.next(), large, destination)
    assert (destination / "folder" / "99").read_bytes() == noise(SIZE, "99")
    assert run_git(destination, "fsck", "--strict", "--no-dangling") == ""
    assert run_git(destination, "status", "--porcelain") == ""


# -- what git is given --------------------------------------------------------------------------------


def test_only_a_repository_on_this_disk_may_name_others_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_ALLOW_PROTOCOL", raising=False)
    assert "file" in running.protocols("file:///a").split(":")
    for url in ("https://a.invalid/b", "ssh://a.invalid/b", "git@a.invalid:b"):
        assert running.protocols(url) == "https:http:ssh"
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "https:file:ext")
    assert running.protocols("https://a.invalid/b") == "https"
    assert running.protocols("file:///a") == "https:file"


def test_nobody_is_asked_and_other_gits_do_not_interfere(
    attempts: Attempts, far: Far, source: Source, destination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "ask"
    program.write_text(f"#!/bin/sh\ntouch {asked}\necho x\n")
    program.chmod(0o755)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(program))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    url = far.serve(source)
    far.fail("info/refs", Fault(status=401))
    with pytest.raises(CommandError, match=r"could not read Username|Authentication failed|returned error: 401"):
        install(attempts.next(), url, destination)
    assert not asked.exists()
    install(attempts.next(), url, destination)
    assert files(destination) == {".git", "one"}
    assert not (tmp_path / "elsewhere").exists()


def test_a_configuration_elsewhere_does_not_decide(
    attempts: Attempts, far: Far, source: Source, destination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as hooks that come with every new repository, and the user's own numbered settings."""
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[init]\n\ttemplateDir = {tmp_path}/template\n[clone]\n\tdefaultRemoteName = far\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "http.extraHeader")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "X-Own: yes")
    install(attempts.next(), far.serve(source), destination)
    assert not (tmp_path / "ran").exists()
    settings = running.environment("https://a.invalid/b")
    assert settings["GIT_CONFIG_COUNT"] == str(1 + len(running._SETTINGS))
    assert "GIT_CONFIG_KEY_0" not in settings


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://u:p@a.example:1/b", "a.example"), ("git@b.example:c/d", "b.example"), ("file:///a", None)],
)
def test_whom_an_address_asks(url: str, host: str | None) -> None:
    assert addresses.host_of(url) == host
