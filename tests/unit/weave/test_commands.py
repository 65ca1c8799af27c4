"""Commands of a woven launcher, run by real git, Python and pip against servers that fail."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.clock import Clock
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import CommandError, OperationCancelled, RefusedError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.nodes import interpreter, repository
from launcher_recovery.operation import running
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.testing import VirtualClock
from launcher_recovery.weave.advice import commands
from launcher_recovery.weave.advice.attempts import attempt
from launcher_recovery.weave.advice.forms import CheckOut, Install
from launcher_recovery.weave.advice.setup import Setup, Verified, current_setup
from tests.nodes import (
    Attempts,
    Far,
    Fault,
    Source,
    alone_with_pip,
    far_away,
    make_environment,
    packages_of,
    run_git,
    staging,
    versions,
    wheel,
)
from tests.support import wait_for

POINT = JoinPoint("utils", "run_command", "command")


class Launcher:
    """A launcher whose function fails whenever it is called; `run` calls it as it is woven."""

    def __init__(self, clock: Clock | None = None, **settings: Any) -> None:
        config = RecoveryConfig(**{"persistence_enabled": False, "allow_private_addresses": True, **settings})
        self.integrator = RecoveryIntegrator(config, persistence=MemoryPersistence(), clock=clock or VirtualClock())
        self.shell: list[tuple[Any, ...]] = []

    def run_command(self, cmd: list[str], cwd: str | None = None, bg: bool = False) -> int:
        self.shell.append((cmd, cwd, bg))
        if bg:
            return 5
        raise AssertionError

    def run(self, *words: str, **more: Any) -> Any:
        if isinstance(self.integrator.clock, VirtualClock):
            self.integrator.clock.advance(1)  # so that it is known which operation is the last
        call = Call(POINT, self.run_command, (list(words),), more, self.integrator)
        return commands.run_command(call)

    @property
    def last(self) -> RecoveryData:
        """The operation of the last call."""
        return self.integrator.persistence.find()[0]

    def is_over(self, attempts: int, state: RecoveryState = RecoveryState.SUCCESS) -> bool:
        """Whether the last call was an operation that ended so, and the shell was not asked."""
        return (self.last.kind, self.last.state, self.last.attempt, self.shell) == ("command", state, attempts, [])


Make = Callable[..., Launcher]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Launcher] = []

    def build(**how: Any) -> Launcher:
        made.append(Launcher(**how))
        return made[-1]

    yield build
    for one in made:
        one.integrator.stop()


@pytest.fixture
def launcher(make: Make) -> Launcher:
    return make()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with far_away(tmp_path / "far") as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A repository with a file `one`, and a branch `two` with a file of that name."""
    made = Source(tmp_path / "source")
    made.commit({"one": "1", "data": os.urandom(200_000)})
    made.git("checkout", "--quiet", "-b", "two")
    made.commit({"two": "2"})
    made.git("checkout", "--quiet", "main")
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where something is cloned to; its path has a space."""
    return tmp_path / "a project" / "custom_nodes" / "node"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment with pip, and an `activate`."""
    alone_with_pip(monkeypatch, tmp_path)
    folder = tmp_path / "a project" / "venv"
    make_environment(folder)
    (folder / "bin" / "activate").write_text("")
    return folder


def within(environment: Path, command: str) -> list[str]:
    return [".", str(environment / "bin" / "activate"), "&&", command]


def is_gone(place: Path) -> bool:
    """Whether there is nothing, half or whole, of what was to be there."""
    return not place.exists() and not staging(place).exists()


# -- clones -------------------------------------------------------------------------------------------


def test_a_clone_is_whole_and_told_as_the_launcher_tells_it(
    launcher: Launcher, far: Far, source: Source, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = Source(tmp_path / "inner")
    inner.commit({"deep": "x"})
    source.add_submodule(far.serve(inner, "inner.git"), "inner")
    url = far.serve(source)
    assert launcher.run("git", "clone", url, str(place), "--recursive") is None
    assert (place / "inner" / "deep").read_text() == "x"
    said = capsys.readouterr().out
    assert f"Cloning into '{place}'..." in said.splitlines()
    assert "%" not in said
    assert not staging(place).exists()
    assert launcher.is_over(1)
    assert (launcher.last.title, launcher.last.project) == ("git clone node", None)
    assert launcher.last.kwargs == {
        "url": url,
        "destination": str(place),
        "options": ["--recursive"],
        "project_id": None,
    }


def test_a_clone_can_be_used_where_it_is(launcher: Launcher, far: Far, source: Source, place: Path) -> None:
    """It has its whole history, on the branch that the server has as its default, and a clean tree."""
    launcher.run("git", "clone", far.serve(source), str(place))
    assert run_git(place, "status", "--porcelain", "--branch") == "## main...origin/main"
    assert run_git(place, "rev-parse", "--is-shallow-repository") == "false"
    assert run_git(place, "rev-parse", "HEAD") == source.head


@pytest.mark.parametrize(
    ("path", "faults", "attempts"),
    [
        ("/info/refs", [Fault(status=503)], 2),
        ("/git-upload-pack", [Fault(status=503), Fault(status=502)], 3),
        ("/git-upload-pack", [Fault(), Fault(cut_after=50_000)], 2),  # after the names of branches, within the pack
    ],
)
def test_a_clone_that_fails_is_tried_again_from_nothing(
    launcher: Launcher,
    far: Far,
    source: Source,
    place: Path,
    path: str,
    faults: Sequence[Fault],
    attempts: int,
) -> None:
    url = far.serve(source)
    far.fail(path, *faults)
    launcher.run("git", "clone", url, str(place))
    assert (place / "one").read_text() == "1"
    assert launcher.is_over(attempts)
    assert not staging(place).exists()


def test_a_clone_that_hangs_is_ended_and_tried_again(
    launcher: Launcher, far: Far, source: Source, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = far.serve(source)
    far.fail("/git-upload-pack", Fault(hangs=True))
    monkeypatch.setattr(repository, "SILENT_LIMIT_S", 3.0)
    launcher.run("git", "clone", url, str(place))
    assert (place / "one").exists()
    assert launcher.is_over(2)


def test_a_clone_that_is_given_up_leaves_nothing(launcher: Launcher, far: Far, place: Path) -> None:
    with pytest.raises(CommandError, match="not found"):
        launcher.run("git", "clone", f"{far.url}/git/nowhere.git", str(place))
    assert is_gone(place)
    assert launcher.is_over(1, RecoveryState.FAILED)


def test_a_clone_that_fails_for_ever_ends_with_its_error(make: Make, far: Far, source: Source, place: Path) -> None:
    url = far.serve(source)
    far.fail("/git-upload-pack", *[Fault(status=503)] * 9)
    launcher = make(max_retries=1)
    with pytest.raises(CommandError) as raised:
        launcher.run("git", "clone", url, str(place))
    assert "The requested URL returned error: 503" in raised.value.output
    assert raised.value.argv[:2] == ("git", "clone")
    assert is_gone(place)
    assert launcher.is_over(2, RecoveryState.EXHAUSTED)


def test_a_clone_into_what_is_there_fails_and_leaves_it_alone(
    launcher: Launcher, far: Far, source: Source, place: Path
) -> None:
    place.mkdir(parents=True)
    (place / "mine").touch()
    with pytest.raises(CommandError, match="already exists and is not an empty directory"):
        launcher.run("git", "clone", far.serve(source), str(place))
    assert [path.name for path in place.iterdir()] == ["mine"]


def test_an_empty_folder_stays_when_the_clone_fails_and_is_filled_when_it_does_not(
    launcher: Launcher, far: Far, source: Source, place: Path
) -> None:
    place.mkdir(parents=True)
    with pytest.raises(CommandError):
        launcher.run("git", "clone", f"{far.url}/git/nowhere.git", str(place))
    assert list(place.iterdir()) == []
    launcher.run("git", "clone", far.serve(source), str(place))
    assert (place / "one").exists()


def test_what_a_killed_launcher_left_half_is_not_in_the_way(
    launcher: Launcher, far: Far, source: Source, place: Path
) -> None:
    staging(place).mkdir(parents=True)
    (staging(place) / "half").touch()
    launcher.run("git", "clone", far.serve(source), str(place))
    assert not (place / "half").exists()
    assert (place / "one").exists()


def test_a_cancel_in_mid_clone_leaves_no_process_and_no_folder(
    make: Make, far: Far, source: Source, place: Path
) -> None:
    url = far.serve(source)
    far.fail("/git-upload-pack", Fault(hangs=True))
    launcher = make(clock=Clock())
    raised: list[BaseException] = []

    def run() -> None:
        try:
            launcher.run("git", "clone", url, str(place))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: far.count("/git-upload-pack"))
    assert programs_with(url) > 0
    launcher.integrator.cancel(launcher.last.operation_id)
    thread.join()
    assert [type(error) for error in raised] == [OperationCancelled]
    assert is_gone(place)
    wait_for(lambda: programs_with(url) == 0)


def programs_with(word: str) -> int:
    """How many processes have an argument with the word in it."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += word.encode() in path.read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.parametrize("url", ["--upload-pack=touch", "-u", "ext::sh -c true", "$(touch x)", "http://[", "/p/node"])
def test_an_address_that_is_none_is_refused(launcher: Launcher, place: Path, url: str) -> None:
    with pytest.raises(RefusedError, match="is not a repository address"):
        launcher.run("git", "clone", url, str(place))
    assert (launcher.shell, launcher.integrator.persistence.find()) == ([], [])


def test_an_address_cannot_become_a_command(launcher: Launcher, far: Far, place: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        launcher.run("git", "clone", f"{far.url}/git/x;touch${{IFS}}{tmp_path}/hacked", str(place))
    assert not (tmp_path / "hacked").exists()
    assert launcher.shell == []


def test_folders_outside_of_the_allowed_ones_are_refused(make: Make, far: Far, place: Path, tmp_path: Path) -> None:
    launcher = make(allowed_roots=(str(tmp_path / "elsewhere"),))
    for words in (("git", "clone", f"{far.url}/git/node.git"), ("python", "-m", "venv")):
        with pytest.raises(RefusedError, match="outside the allowed folders"):
            launcher.run(*words, str(place))
    assert launcher.shell == []


def test_a_clone_may_become_an_allowed_folder_itself_where_it_lies(
    make: Make, far: Far, source: Source, place: Path, tmp_path: Path
) -> None:
    """Such as the one in which a launcher makes its first models; where a link leads is no such folder."""
    launcher = make(allowed_roots=(str(place),))
    launcher.run("git", "clone", far.serve(source), str(place))
    assert (place / ".git").is_dir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    launcher = make(allowed_roots=(str(link.with_name("other")),))
    with pytest.raises(RefusedError, match="outside the allowed folders"):
        launcher.run("git", "clone", far.serve(source), str(link))


def test_a_command_within_an_operation_is_a_part_of_it(
    launcher: Launcher, far: Far, source: Source, place: Path
) -> None:
    lifecycle = launcher.integrator.lifecycle
    _, around = lifecycle.start(lifecycle.draft("f", (), {}, project="p"))
    assert around is not None
    with running(around):
        launcher.run("git", "clone", far.serve(source), str(place))
    lifecycle.detach(around)
    assert (launcher.last.parent_id, launcher.last.project) == (around.operation_id, "p")


# -- check-outs ---------------------------------------------------------------------------------------


@pytest.fixture
def clone(launcher: Launcher, far: Far, source: Source, place: Path) -> Path:
    """A clone, made by the launcher."""
    launcher.run("git", "clone", far.serve(source), str(place))
    return place


def head(folder: Path) -> str:
    return run_git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("ref", ["two", "v1", "commit", "beginning"])
def test_a_check_out_of_what_is_there(
    launcher: Launcher, far: Far, source: Source, place: Path, capsys: pytest.CaptureFixture[str], ref: str
) -> None:
    commit = source.git("rev-parse", "two")
    source.git("tag", "v1", "two")
    launcher.run("git", "clone", far.serve(source), str(place))
    asked = len(far.asked)
    names = {"commit": commit, "beginning": commit[:8]}
    assert launcher.run("git", "checkout", names.get(ref, ref), cwd=str(place)) is None
    assert (place / "two").exists()
    assert head(place) == commit
    assert launcher.is_over(1)
    assert len(far.asked) == asked
    assert capsys.readouterr().out.count("\n") > 1


@pytest.mark.parametrize("faults", [[], [Fault(status=503)]])
def test_a_commit_that_the_clone_lacks_is_fetched_first(
    launcher: Launcher, far: Far, source: Source, clone: Path, faults: Sequence[Fault]
) -> None:
    """Such as one that no branch has any more."""
    commit = source.commit({"three": "3"})
    source.git("branch", "three")
    far.serve(source)
    source.git("branch", "-D", "three")
    source.git("reset", "--quiet", "--hard", "HEAD^")
    far.serve(source)
    far.fail("/git-upload-pack", *faults)
    launcher.run("git", "checkout", commit, cwd=str(clone))
    assert (head(clone), (clone / "three").exists()) == (commit, True)
    assert launcher.is_over(1 + len(faults))
    assert not (clone / ".git" / "launcher-recovery").exists()


@pytest.mark.parametrize("ref", ["three", "v3"])
def test_a_branch_or_tag_that_the_clone_lacks_is_fetched_first(
    launcher: Launcher, far: Far, source: Source, clone: Path, ref: str
) -> None:
    commit = source.commit({"three": "3"})
    source.git("branch", "three")
    source.git("tag", "v3")
    far.serve(source)
    launcher.run("git", "checkout", ref, cwd=str(clone))
    assert head(clone) == commit


@pytest.mark.parametrize("ref", ["nothing", "0" * 40])
def test_what_nobody_has_is_not_tried_again(launcher: Launcher, clone: Path, ref: str) -> None:
    before = head(clone)
    with pytest.raises(CommandError):
        launcher.run("git", "checkout", ref, cwd=str(clone))
    assert launcher.is_over(1, RecoveryState.FAILED)
    assert head(clone) == before


def test_a_repository_of_nowhere_has_only_what_it_has(launcher: Launcher, source: Source) -> None:
    for ref in ("nothing", "0" * 40):
        with pytest.raises(CommandError):
            launcher.run("git", "checkout", ref, cwd=str(source.folder))
    launcher.run("git", "checkout", "two", cwd=str(source.folder))
    assert (source.folder / "two").exists()


def test_a_folder_that_is_no_repository(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="not a git repository"):
        launcher.run("git", "checkout", "main", cwd=str(tmp_path / "empty"))


def test_changes_that_would_be_lost_are_left_alone(launcher: Launcher, source: Source, clone: Path) -> None:
    (clone / "two").write_text("mine")
    with pytest.raises(CommandError, match="Aborting"):
        launcher.run("git", "checkout", "two", cwd=str(clone))
    assert (clone / "two").read_text() == "mine"


def test_a_lock_of_an_earlier_attempt_is_not_in_the_way(clone: Path) -> None:
    attempts = Attempts()
    attempts.next()
    lock = clone / ".git" / "index.lock"
    lock.touch()
    attempt(attempts.next(), CheckOut(clone, "two"))
    assert (clone / "two").exists()
    assert not lock.exists()


@pytest.mark.parametrize("ref", ["-f", "--orphan=x"])
def test_an_option_is_no_name_of_a_commit(launcher: Launcher, clone: Path, ref: str) -> None:
    with pytest.raises(RefusedError, match="is not a branch, tag or commit"):
        launcher.run("git", "checkout", ref, cwd=str(clone))


# -- Python -------------------------------------------------------------------------------------------


def test_an_environment_is_made(launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    folder = tmp_path / "a project" / "venv"
    assert launcher.run("python", "-m", "venv", str(folder)) is None
    assert (folder / "bin" / "activate").exists()
    assert any(packages_of(folder).glob("pip"))
    assert launcher.is_over(1)


def test_an_environment_is_made_by_the_python_that_a_shell_would_find(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What that one leaves half is removed."""
    programs, folder = tmp_path / "programs", tmp_path / "venv"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/sh\n/bin/mkdir "$3"\necho no luck with "$3"\nexit 1\n')
    (programs / "python").chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(CommandError, match="no luck"):
        launcher.run("python", "-m", "venv", str(folder))
    assert not folder.exists()
    assert f"no luck with {folder}\n" in capsys.readouterr().out


def test_requirements_are_installed_though_the_index_fails(
    launcher: Launcher, far: Far, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip takes an index that answers 503 for one without the package."""
    far.offer(wheel("plain", "1.0", size=100_000))
    file = environment.parent / "requirements.txt"
    file.write_text(far.requirements("plain"))
    far.fail("/simple/plain", Fault(status=503))
    far.fail("/files/plain", Fault(status=503))
    assert launcher.run(*within(environment, f"pip install -r {file}")) is None
    assert versions(environment) == {"plain": "1.0"}
    assert launcher.is_over(3)
    said = capsys.readouterr().out
    assert "Successfully installed plain-1.0\n" in said
    assert "Progress " not in said
    assert launcher.last.title == "pip install -r requirements.txt of a project"
    assert launcher.last.kwargs["python"] == str(environment / "bin" / "python")


def test_an_index_that_hangs_is_asked_again(
    launcher: Launcher, far: Far, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "PIP_TIMEOUT_S", 1)
    far.offer(wheel("plain", "1.0"))
    file = environment.parent / "requirements.txt"
    file.write_text(far.requirements("plain"))
    far.fail("/simple/plain", Fault(hangs=True))
    launcher.run(*within(environment, f"pip install -r {file}"))
    assert versions(environment) == {"plain": "1.0"}
    assert launcher.is_over(2)


def test_a_package_that_nobody_has_is_not_tried_again(launcher: Launcher, far: Far, environment: Path) -> None:
    file = environment.parent / "requirements.txt"
    file.write_text(far.requirements("nowhere"))
    with pytest.raises(CommandError, match="No matching distribution found for nowhere"):
        launcher.run(*within(environment, f"pip install -r {file}"))
    assert launcher.is_over(1, RecoveryState.FAILED)


def test_a_requirements_file_that_is_not_there(launcher: Launcher, environment: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        launcher.run(*within(environment, f"pip install -r {tmp_path / 'nowhere.txt'}"))


def test_versions_that_do_not_go_together_are_told(launcher: Launcher, far: Far, environment: Path) -> None:
    far.offer(wheel("plain", "1.0"), wheel("plain", "2.0"), wheel("first", "1.0", ("plain<2",)))
    file = environment.parent / "requirements.txt"
    for lines in (["first"], ["plain==2.0"]):
        file.write_text(far.requirements(*lines))
        launcher.run(*within(environment, f"pip install -r {file}"))
    (warning,) = launcher.last.metadata["warnings"]
    assert warning["message"] == "first 1.0 needs plain<2, but plain is 2.0 now."


def test_what_a_killed_pip_left_half_is_installed_again(far: Far, environment: Path) -> None:
    far.offer(wheel("plain", "1.0"))
    file = environment.parent / "requirements.txt"
    file.write_text(far.requirements("plain"))
    form = Install(environment, file, environment.parent)
    attempts = Attempts()
    file.write_text(far.requirements("nowhere"))
    with pytest.raises(CommandError):
        attempt(attempts.next(), form)
    file.write_text(far.requirements("plain"))
    half = packages_of(environment) / "plain-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
    attempt(attempts.next(), form)
    assert (packages_of(environment) / "plain" / "__init__.py").exists()


def test_a_script_runs_as_in_the_shell_that_activates(
    launcher: Launcher,
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = tmp_path / "a node" / "install.py"
    script.parent.mkdir()
    script.write_text(
        "import os, shutil, sys\n"
        "print(sys.prefix, sys.argv[1:], os.getcwd(), os.environ['VIRTUAL_ENV'], shutil.which('python'))\n"
        "print(*(name for name in ('PYTHONHOME', 'PYTHONPATH') if name in os.environ), 'end')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert launcher.run(*within(environment, f"python {script}")) is None
    python = environment / "bin" / "python"
    assert capsys.readouterr().out == f"{environment} [] {tmp_path} {environment} {python}\nend\n"
    assert launcher.is_over(1)
    assert launcher.last.title == "python install.py of a node"


def test_a_script_that_fails_for_want_of_a_server_is_run_again(
    launcher: Launcher, environment: Path, tmp_path: Path
) -> None:
    script = tmp_path / "install.py"
    script.write_text(
        "import pathlib, sys\n"
        "mark = pathlib.Path(__file__).with_name('mark')\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        "    raise ConnectionResetError(104, 'Connection reset by peer')\n"
    )
    launcher.run(*within(environment, f"python {script}"))
    assert launcher.is_over(2)


def test_output_that_cannot_be_printed_harms_nothing(
    launcher: Launcher, environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "install.py").write_text("print('\u2603')\n")
    with open(os.devnull, "w", encoding="ascii") as ascii_only:
        monkeypatch.setattr(sys, "stdout", ascii_only)
        launcher.run(*within(environment, f"python {tmp_path / 'install.py'}"))
    assert launcher.is_over(1)


# -- what is left to the launcher ---------------------------------------------------------------------


def test_other_commands_are_left_to_the_launcher(launcher: Launcher, place: Path) -> None:
    clone = ("git", "clone", "https://h/x", str(place))
    assert launcher.run(*clone, bg=True) == 5
    for words in (("git", "pull"), ("mklink", "/D", "a", "b")):
        with pytest.raises(AssertionError):
            launcher.run(*words)
    with pytest.raises(TypeError):
        launcher.run(*clone, no="x")
    call = Call(POINT, launcher.run_command, ("git clone https://h/x y",), {}, launcher.integrator)
    with pytest.raises(AssertionError):
        commands.run_command(call)
    with pytest.raises(AssertionError):
        commands.run_command(replace(call, args=(["git", 5],)))
    assert len(launcher.shell) == 5
    assert launcher.integrator.persistence.find() == []


@pytest.mark.parametrize("settings", [{"mode": "off"}, {"rollout": {"*": 0.0}}])
def test_when_it_is_off_the_launcher_does_what_it_does(make: Make, place: Path, settings: dict[str, Any]) -> None:
    launcher = make(**settings)
    with pytest.raises(AssertionError):
        launcher.run("git", "clone", "-u", str(place))
    assert launcher.shell == [(["git", "clone", "-u", str(place)], None, False)]
    assert launcher.integrator.persistence.find() == []


def test_observed_it_is_recorded_what_would_have_been_done(make: Make, place: Path) -> None:
    """The launcher's function says only that it failed, which is no error in the launcher."""
    launcher = make(mode="observe")
    with pytest.raises(AssertionError):
        launcher.run("git", "clone", "https://h/x", str(place))
    assert len(launcher.shell) == 1
    assert (launcher.last.state, launcher.last.category) == ("failed", "unknown")
    assert launcher.last.metadata["would"].startswith("once: ")


def test_while_nothing_can_be_recorded_the_launcher_does_it(
    launcher: Launcher, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise StoreError("no disk")

    monkeypatch.setattr(launcher.integrator.engine, "enter", fail)
    with pytest.raises(AssertionError):
        launcher.run("git", "clone", "https://h/x", str(place))
    assert len(launcher.shell) == 1


# -- a project that is whole --------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path: Path, environment: Path, source: Source) -> Iterator[Setup]:
    """A project that is whole, while the launcher's own function runs over it."""
    folder = environment.parent
    comfyui, node = folder / "comfyui", folder / "comfyui" / "custom_nodes" / "node"
    for place in (comfyui, node):
        repository_of = Source(place, like=source)
        repository_of.commit({"requirements.txt": "plain", "requirements_post.txt": "plain", "install.py": ""})
    (folder / "requirements.txt").write_text("plain")
    made = Setup(
        folder,
        comfyui,
        environment / "bin" / "python",
        nodes=frozenset({node, node.with_name("gone")}),
        requirements=frozenset({folder / "requirements.txt"}),
    )
    token = current_setup.set(made)
    yield made
    current_setup.reset(token)


def test_what_is_done_is_not_done_again(
    make: Make, setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the mode is, also by another path to the project; one line says so."""
    (tmp_path / "link").symlink_to(setup.folder)
    for launcher in (make(), make(mode="off")):
        for folder in (setup.folder, tmp_path / "link"):
            comfyui = folder / "comfyui"
            node, venv = comfyui / "custom_nodes" / "node", folder / "venv"
            launcher.run("git", "clone", "https://h/x", str(comfyui))
            launcher.run("git", "checkout", head(setup.comfyui), cwd=str(comfyui))
            launcher.run("git", "checkout", head(node)[:9], cwd=str(node))
            launcher.run("python", "-m", "venv", str(venv))
            launcher.run(*within(venv, f"pip install -r {comfyui / 'requirements.txt'}"))
            launcher.run("git", "clone", "https://h/node", str(node), "--recursive")
            launcher.run(*within(venv, f"pip install -r {node / 'requirements.txt'}"))
            launcher.run(*within(venv, f"python {node / 'install.py'}"))
            launcher.run(*within(venv, f"pip install -r {folder / 'requirements.txt'}"))
        assert (launcher.shell, launcher.integrator.persistence.find()) == ([], [])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 36
    assert lines[0] == "git clone comfyui: done already"


def test_what_is_not_certainly_done_is_done(make: Make, setup: Setup, tmp_path: Path) -> None:
    launcher = make(mode="off")
    comfyui = setup.comfyui
    node, venv = comfyui / "custom_nodes" / "node", setup.folder / "venv"
    other = make_environment(tmp_path / "other").parents[1]
    (other / "bin" / "activate").touch()
    (comfyui / "custom_nodes" / "mine" / ".git").mkdir(parents=True)
    (node.with_name("gone")).mkdir()
    commands_left = [
        ("git", "clone", "https://h/x", str(comfyui.with_name("elsewhere"))),
        ("git", "clone", "https://h/x", str(node.with_name("mine"))),
        ("git", "clone", "https://h/x", str(node.with_name("gone"))),
        ("python", "-m", "venv", str(other)),
        ("python", "-m", "venv", str(setup.folder / "nowhere")),
        within(venv, f"pip install -r {node / 'requirements_post.txt'}"),
        within(venv, f"pip install -r {node.with_name('gone') / 'requirements.txt'}"),
        within(venv, f"python {comfyui / 'install.py'}"),
        within(venv, f"python {node.with_name('gone') / 'install.py'}"),
        within(other, f"pip install -r {comfyui / 'requirements.txt'}"),
        within(other, f"python {node / 'install.py'}"),
    ]
    for words in commands_left:
        with pytest.raises(AssertionError):
            launcher.run(*words)
    refs = ["two", "main", run_git(comfyui, "rev-parse", "two"), head(comfyui)[:4]]
    for ref in refs:
        with pytest.raises(AssertionError):
            launcher.run("git", "checkout", ref, cwd=str(comfyui))
    with pytest.raises(AssertionError):
        launcher.run("git", "checkout", head(comfyui), cwd=str(setup.folder))
    (comfyui / ".git" / "HEAD").write_text("broken")
    with pytest.raises(AssertionError):
        launcher.run("git", "checkout", "0" * 40, cwd=str(comfyui))
    assert len(launcher.shell) == len(commands_left) + len(refs) + 2


# -- checksums ----------------------------------------------------------------------------------------

SUM = JoinPoint("utils", "compute_sha256_checksum", "checksum")


class Sums:
    """A launcher that computes checksums by itself, and says so; `of` asks as it is woven."""

    def __init__(self, launcher: Launcher) -> None:
        self.integrator = launcher.integrator

    def compute_sha256_checksum(self, file_path: str) -> str:
        return f"the launcher's own of {file_path}"

    def of(self, path: Any) -> Any:
        return commands.checksum(Call(SUM, self.compute_sha256_checksum, (path,), {}, self.integrator))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "m"
    path.parent.mkdir()
    path.write_bytes(b"abc" * 1_000_000)
    return path


def test_a_checksum_is_computed(launcher: Launcher, file: Path, tmp_path: Path) -> None:
    sums = Sums(launcher)
    assert sums.of(str(file)) == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "empty").touch()
    assert sums.of(str(tmp_path / "empty")) == hashlib.sha256().hexdigest()
    with pytest.raises(FileNotFoundError):
        sums.of(str(tmp_path / "nowhere"))
    with pytest.raises(IsADirectoryError):
        sums.of(str(tmp_path))


def test_when_it_is_off_the_launcher_computes_it(make: Make, file: Path) -> None:
    assert Sums(make(mode="off")).of(str(file)) == f"the launcher's own of {file}"


def test_of_a_file_that_was_verified_it_is_known(launcher: Launcher, file: Path, tmp_path: Path) -> None:
    """It may be asked for by another path; a file that is not the same any more is read."""
    (tmp_path / "link").symlink_to(file.parent)
    known = Setup(tmp_path, tmp_path, tmp_path, verified={file: Verified.of(file, "AB" * 32)})
    sums = Sums(launcher)
    token = current_setup.set(known)
    try:
        assert sums.of(str(file)) == "ab" * 32
        assert sums.of(str(tmp_path / "link" / "m")) == "ab" * 32
        (tmp_path / "other").write_bytes(file.read_bytes())
        assert sums.of(str(tmp_path / "other")) == hashlib.sha256(file.read_bytes()).hexdigest()
        before = file.stat()
        file.write_bytes(b"xyz" * 1_000_000)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert sums.of(str(file)) == hashlib.sha256(file.read_bytes()).hexdigest()
        os.replace(tmp_path / "other", file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert sums.of(str(file)) == hashlib.sha256(file.read_bytes()).hexdigest()
        file.unlink()
        with pytest.raises(FileNotFoundError):
            sums.of(str(file))
    finally:
        current_setup.reset(token)
