"""The built-in handlers: programs are ended with all they started, and a node is in its place whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher_recovery.clock import Clock
from launcher_recovery.defaults import commands, git, guard, http, workflow
from launcher_recovery.defaults.commands import end_group, run_command
from launcher_recovery.defaults.paths import confined
from launcher_recovery.errors import (
    CommandError,
    OperationCancelled,
    OperationPaused,
    RecoveryTimeoutError,
    RefusedError,
)
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import RecoveryData
from sample_launcher.hub import Hub, Status
from tests.support import wait_for

NODE: OperationKind = git.recovery_operations()[0]
DOWNLOAD: OperationKind = http.recovery_operations()[0]


class Attempts:
    """One operation over several attempts; each `next` is what a restarted process would have."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle(MemoryPersistence(), owner_id="me")
        self.id = self.lifecycle.open("launcher_install_node", (), {}, title="node").operation_id

    def next(self) -> Operation:
        self.lifecycle.store.release_orphans({"me"}, self.lifecycle.store.find()[0].created_at)
        live = Operation(self.lifecycle.begin_attempt(self.id, 9), self.lifecycle, Clock())
        self.lifecycle.attach(live)
        return live

    def steps(self) -> list[str]:
        return [step.name for step in self.lifecycle.store.steps(self.id)]


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


# -- programs -----------------------------------------------------------------------------------------


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_what_a_program_prints_on_both_streams_is_returned(attempts: Attempts, tmp_path: Path) -> None:
    source = "import os, sys; print(os.getcwd(), os.environ['X'], flush=True); sys.stderr.write('and \\xff this')"
    output = run_command(attempts.next(), python(source), cwd=tmp_path, env={"X": "yes", "PYTHONUTF8": "1"})
    assert output == f"{tmp_path.resolve()} yes\nand \xff this"


def test_output_that_is_no_text_does_no_harm(attempts: Attempts) -> None:
    assert run_command(attempts.next(), python("import os; os.write(1, b'a\\xff\\r\\nb\\rc')")) == "a\ufffd\nb\nc"


def test_of_much_output_the_end_is_kept(attempts: Attempts) -> None:
    output = run_command(attempts.next(), python("for n in range(5000): print(n)"))
    assert output.splitlines() == [str(number) for number in range(4940, 5000)]


def test_nothing_can_be_asked_of_a_person(attempts: Attempts) -> None:
    assert run_command(attempts.next(), python("import sys; print(repr(sys.stdin.read()))")) == "''\n"


@pytest.mark.parametrize(("source", "status"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_program_that_fails_raises_with_command_line_status_and_output(
    attempts: Attempts, source: str, status: int
) -> None:
    with pytest.raises(CommandError) as raised:
        run_command(attempts.next(), python(f"print('first'); print('it went wrong', flush=True); {source}"))
    assert raised.value.argv[:2] == (sys.executable, "-c")
    assert (raised.value.returncode, raised.value.output) == (status, "first\nit went wrong\n")
    assert str(raised.value).endswith(f"ended with exit status {status}: it went wrong")


def test_a_program_that_is_not_there(attempts: Attempts) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_command(attempts.next(), ["no-such-program", "x"])


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


# A program with a child of its own; both write down who they are. What they do then, the tests say.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
folder, child, parent = sys.argv[1:4]
if child != "none":
    subprocess.Popen([sys.executable, __file__, folder, "none", child], start_new_session="leaves" in child)
if "deaf" in parent:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "quiet" in parent:
    os.close(1)
    os.close(2)
file = pathlib.Path(folder, f"{os.getpid()}.tmp")
file.touch()
file.rename(file.with_suffix(".pid"))
while True:
    if "chatty" in parent:
        print("still here", flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[[str, str], list[str]]]:
    """The command line of a program and its child; whoever is left at the end is killed."""
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    yield lambda parent, child: [sys.executable, str(script), str(tmp_path), child, parent]
    for pid in members(tmp_path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def members(folder: Path) -> list[int]:
    return [int(file.stem) for file in folder.glob("*.pid")]


@pytest.mark.parametrize(
    ("parent", "child"),
    [("", ""), ("chatty", "chatty"), ("deaf", ""), ("", "deaf"), ("quiet", ""), ("quiet", "quiet")],
)
@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_whoever_a_program_started_ends_with_it_when_a_person_stops_the_operation(
    attempts: Attempts,
    family: Callable[[str, str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parent: str,
    child: str,
    how: str,
) -> None:
    monkeypatch.setattr("launcher_recovery.defaults.commands._END_S", 0.2)
    live = attempts.next()

    def stop() -> None:
        wait_for(lambda: len(members(tmp_path)) == 2)
        getattr(attempts.lifecycle, how)(attempts.id)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(OperationCancelled if how == "cancel" else OperationPaused):
        run_command(live, family(parent, child))
    thread.join()
    # A killed process takes a moment to be gone; nobody is left to end it but the kernel.
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_a_program_whose_time_is_over_is_ended(
    attempts: Attempts, family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    live = attempts.next()
    live.attempt_ends_at = 0.0
    with pytest.raises(RecoveryTimeoutError):
        run_command(live, family("", "none"))
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_one_that_left_the_group_and_holds_the_output_open_keeps_nobody_waiting(
    attempts: Attempts, family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    live = attempts.next()

    def stop() -> None:
        wait_for(lambda: len(members(tmp_path)) == 2)
        attempts.lifecycle.cancel(attempts.id)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(OperationCancelled):
        run_command(live, family("", "leaves"))
    thread.join()
    wait_for(lambda: sum(map(alive, members(tmp_path))) == 1)


GUARDED = """
import sys
from launcher_recovery.clock import Clock
from launcher_recovery.defaults.commands import run_command
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.memory import MemoryPersistence

lifecycle = Lifecycle(MemoryPersistence(), owner_id="me")
data = lifecycle.open("f", (), {})
run_command(Operation(lifecycle.begin_attempt(data.operation_id, 9), lifecycle, Clock()), sys.argv[1:])
"""


def test_whoever_a_program_started_ends_when_the_server_is_killed(
    family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    server = subprocess.Popen([*python(GUARDED), *family("deaf", "deaf")], cwd=Path(__file__).parents[2])
    wait_for(lambda: len(members(tmp_path)) == 2)
    server.kill()
    server.wait()
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_ending_what_has_ended_is_fine() -> None:
    process = subprocess.Popen(python(""), start_new_session=True, text=True)
    process.wait()
    end_group(process)
    assert process.returncode == 0


def test_where_there_are_no_groups_the_program_itself_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(python("import time; time.sleep(600)"), start_new_session=True, text=True)
    with monkeypatch.context() as windows:
        windows.setattr(commands, "os", SimpleNamespace(name="nt"))
        end_group(process)
    assert process.returncode == -signal.SIGKILL


def test_the_guard_passes_the_status_on_and_kills_the_group_when_its_server_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = threading.Event()
    ended: list[tuple[int, int]] = []
    ignored: list[int] = []

    def read(file: int, size: int) -> bytes:
        assert gone.wait(60)
        return b""

    groups = SimpleNamespace(read=read, getpid=lambda: 4711, killpg=lambda *asked: ended.append(asked))
    monkeypatch.setattr(guard, "os", groups)
    numbers = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL, "SIG_IGN": signal.SIG_IGN}
    monkeypatch.setattr(guard, "signal", SimpleNamespace(signal=lambda number, how: ignored.append(number), **numbers))
    assert guard.main(python("exit(3)")) == 3
    assert guard.main(python("import os; os.kill(os.getpid(), 9)")) == 128 + 9
    # A command that is asked to end together with the guard is waited for.
    assert ignored == [signal.SIGTERM] * 2
    assert ended == []
    gone.set()
    wait_for(lambda: len(ended) == 2)
    for system in (groups, SimpleNamespace(read=read)):
        monkeypatch.setattr(guard, "os", system)
        with subprocess.Popen(python("import time; time.sleep(600)")) as process:
            guard._end_with(process)
        assert process.returncode == -signal.SIGKILL
    assert ended == [(4711, signal.SIGKILL)] * 3


# -- installing a node --------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose default branch has a file `one`, a branch `two`, a tag `v0`, and no requirements."""
    folder = tmp_path / "repository"
    folder.mkdir()
    commands = [
        ["init", "--quiet", "--initial-branch=main"],
        ["commit", "--quiet", "--allow-empty", "--message=nothing"],
        ["tag", "v0"],
    ]
    for branch, name in (("two", "two"), ("main", "one")):
        commands += [["checkout", "--quiet", "-B", branch, "v0"], ["add", name], ["commit", "--quiet", "--message=x"]]
    for command in commands:
        if command[0] == "add":
            (folder / command[1]).write_text(command[1])
        run_git(folder, *command)
    return folder


def run_git(folder: Path, *words: str) -> None:
    identity = {f"GIT_{role}_{what}": "a@b.invalid" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **identity})


@pytest.fixture
def nested(repository: Path, tmp_path: Path) -> Path:
    """A repository whose branch `with` has the other one as a submodule; its default branch has none."""
    folder = tmp_path / "nested"
    folder.mkdir()
    run_git(folder, "init", "--quiet", "--initial-branch=main")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message=nothing")
    run_git(folder, "checkout", "--quiet", "-b", "with")
    run_git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", repository.as_uri(), "inner")
    run_git(folder, "commit", "--quiet", "--message=inner")
    run_git(folder, "checkout", "--quiet", "main")
    return folder


@pytest.fixture
def pip(tmp_path: Path) -> Callable[..., str]:
    """Makes an interpreter that writes down how it was called, and ends as it is told."""

    def make(code: int = 0) -> str:
        file = tmp_path / f"python{code}"
        file.write_text(f'#!/bin/sh\necho "$PWD: $@" >> {tmp_path}/asked\necho it went wrong\nexit {code}\n')
        file.chmod(0o755)
        return str(file)

    return make


def install(
    operation: Operation, url: str, destination: Path, ref: str | None = None, python: str | None = None
) -> Any:
    assert NODE.handler is not None
    arguments = {"url": url, "destination": str(destination), "ref": ref, "python": python, "project_id": None}
    return NODE.handler(operation, arguments, lambda url: ())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_submodules_are_those_of_the_commit_asked_for(attempts: Attempts, nested: Path, tmp_path: Path) -> None:
    install(attempts.next(), nested.as_uri(), tmp_path / "plain")
    assert files(tmp_path / "plain") == {".git"}
    install(attempts.next(), nested.as_uri(), tmp_path / "with", "with")
    assert files(tmp_path / "with" / "inner") == {".git", "one"}


def test_only_a_repository_on_this_disk_may_name_others_on_it() -> None:
    assert "file" in git._protocols("file:///a").split(":")
    for url in ("https://a.invalid/b", "ssh://a.invalid/b", "git@a.invalid:b"):
        assert git._protocols(url) == "https:http:ssh"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [(None, {".git", "one"}), ("main", {".git", "one"}), ("two", {".git", "two"}), ("v0", {".git"})],
)
def test_a_node_is_cloned_at_the_branch_tag_or_commit_asked_for(
    attempts: Attempts, repository: Path, tmp_path: Path, ref: str | None, expected: set[str]
) -> None:
    destination = tmp_path / "nodes" / "deep" / "node"
    assert install(attempts.next(), repository.as_uri(), destination, ref) == str(destination)
    assert files(destination) == expected
    assert files(destination.parent) == {"node"}
    assert attempts.steps() == ["clone", "requirements"]


def test_a_commit_is_checked_out(attempts: Attempts, repository: Path, tmp_path: Path) -> None:
    command = ["git", "rev-parse", "two"]
    commit = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()
    install(attempts.next(), repository.as_uri(), tmp_path / "node", commit)
    assert files(tmp_path / "node") == {".git", "two"}


def test_requirements_are_installed_with_the_python_of_the_project_before_the_node_appears(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str]
) -> None:
    destination = tmp_path / "node"
    install(attempts.next(), hub.node_url, destination, "v1.0.0", pip())
    asked = "-m pip install --disable-pip-version-check -r requirements.txt"
    assert (tmp_path / "asked").read_text() == f"{tmp_path}/.node.part: {asked}\n"
    assert (destination / "__init__.py").is_file()
    assert not (destination / "README.md").exists()  # which came after v1.0.0


def test_the_launchers_own_python_is_the_default(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real one is needed to run anything at all, so the requirements are looked at instead.
    seen: list[list[str]] = []

    def record(operation: Operation, argv: list[str], **options: Any) -> str:
        seen.append(argv)
        return "" if argv[0] != "git" else run_command(operation, argv, **options)

    monkeypatch.setattr(git, "run_command", record)
    install(attempts.next(), hub.node_url, tmp_path / "node")
    assert seen[-1][:3] == [sys.executable, "-m", "pip"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "{hub}/git/none.git"}, "not found"),
        ({"ref": "nope"}, "invalid reference: nope"),
        ({"python": 3}, "wrong"),
    ],
)
def test_what_failed_leaves_nothing_in_place(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str], change: dict[str, Any], words: str
) -> None:
    arguments = {"url": hub.node_url, "ref": None, "python": 0, **change}
    url = str(arguments["url"]).format(hub=hub.url)
    with pytest.raises(CommandError, match=words):
        install(attempts.next(), url, tmp_path / "node", arguments["ref"], pip(arguments["python"]))
    assert not (tmp_path / "node").exists()


def test_a_half_clone_is_never_in_place_and_is_made_again(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str]
) -> None:
    site = hub.build_site()
    lost = next(file for file in sorted(site.rglob("objects/??/*")) if file.is_file())
    hub.arm(f"/{lost.relative_to(site)}", [Status()])
    with pytest.raises(CommandError):
        install(attempts.next(), hub.node_url, tmp_path / "node", None, pip())
    assert not (tmp_path / "node").exists()
    assert attempts.steps() == []
    (tmp_path / ".node.part").mkdir(exist_ok=True)
    (tmp_path / ".node.part" / "rest").touch()
    install(attempts.next(), hub.node_url, tmp_path / "node", None, pip())
    assert files(tmp_path / "node") == {".git", "__init__.py", "requirements.txt", "README.md"}
    assert not (tmp_path / ".node.part").exists()


def clones(hub: Hub) -> int:
    return len(hub.stats("/git/demo-node.git/info/refs")["requests"])


def test_a_restart_goes_on_behind_the_clone(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str]
) -> None:
    with pytest.raises(CommandError):
        install(attempts.next(), hub.node_url, tmp_path / "node", None, pip(3))
    assert attempts.steps() == ["clone"]
    once = clones(hub)
    install(attempts.next(), hub.node_url, tmp_path / "node", None, pip())
    assert clones(hub) == once
    assert files(tmp_path / "node") == {".git", "__init__.py", "requirements.txt", "README.md"}


@pytest.mark.parametrize("change", ["staging is gone", "another ref", "another repository"])
def test_a_clone_that_is_gone_or_of_something_else_is_made_again(
    attempts: Attempts, hub: Hub, repository: Path, tmp_path: Path, pip: Callable[..., str], change: str
) -> None:
    with pytest.raises(CommandError):
        install(attempts.next(), hub.node_url, tmp_path / "node", None, pip(3))
    once = clones(hub)
    url, ref = hub.node_url, None
    if change == "staging is gone":
        shutil.rmtree(tmp_path / ".node.part")
    elif change == "another ref":
        ref = "v1.0.0"
    else:
        url = repository.as_uri()
    install(attempts.next(), url, tmp_path / "node", ref, pip())
    expected = {".git", "__init__.py", "requirements.txt", "README.md"}
    if change == "another ref":
        expected.remove("README.md")
    assert files(tmp_path / "node") == (expected if change != "another repository" else {".git", "one"})
    assert (clones(hub) > once) is (change != "another repository")


def test_requirements_that_were_installed_for_another_ref_are_installed_again(
    attempts: Attempts, hub: Hub, tmp_path: Path, pip: Callable[..., str]
) -> None:
    install(attempts.next(), hub.node_url, tmp_path / "node", None, pip())
    shutil.rmtree(tmp_path / "node")
    install(attempts.next(), hub.node_url, tmp_path / "node", "v1.0.0", pip())
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_what_is_in_place_is_kept_whoever_put_it_there(attempts: Attempts, repository: Path, tmp_path: Path) -> None:
    mine = tmp_path / "node" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    staging = tmp_path / ".node.part"
    (staging / ".git").mkdir(parents=True)
    for _ in range(2):
        assert install(attempts.next(), repository.as_uri(), tmp_path / "node") == str(tmp_path / "node")
        assert (files(tmp_path / "node"), mine.read_text()) == ({"mine.txt"}, "mine")
        assert not staging.exists()
    assert attempts.steps() == []


def test_an_empty_folder_is_no_node(attempts: Attempts, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    install(attempts.next(), repository.as_uri(), tmp_path / "node")
    assert files(tmp_path / "node") == {".git", "one"}


def test_what_somebody_put_in_place_meanwhile_is_not_replaced(
    attempts: Attempts, repository: Path, tmp_path: Path, pip: Callable[..., str]
) -> None:
    (tmp_path / "node").mkdir()
    operation = attempts.next()
    finish = operation.step

    def step(name: str, function: Callable[[], Any], **more: Any) -> Any:
        (tmp_path / "node" / "mine.txt").touch()
        return finish(name, function, **more)

    operation.step = step
    with pytest.raises(OSError, match="not empty"):
        install(operation, repository.as_uri(), tmp_path / "node")
    assert files(tmp_path / "node") == {"mine.txt"}


def test_a_linked_folder_is_filled_where_it_really_is(attempts: Attempts, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "nodes").symlink_to(tmp_path / "real")
    given = tmp_path / "nodes" / "node"
    assert install(attempts.next(), repository.as_uri(), given) == str(given)
    assert files(tmp_path / "real") == {"node"}


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://github.com/a/b", True),
        ("http://h/a.git", True),
        ("ssh://git@h/a", True),
        ("file:///srv/a", True),
        ("git@github.com:a/b.git", True),
        ("git://h/a", False),
        ("ext::sh -c id", False),
        ("-u", False),
        ("/srv/a", False),
        ("a/b", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_repository_addresses_are_taken(url: str, fine: bool) -> None:
    arguments = {"url": url, "destination": "/nodes/a", "ref": None}
    if fine:
        NODE.check(arguments, ("/nodes",))
        return
    with pytest.raises(RefusedError, match="is not a repository address"):
        NODE.check(arguments, ("/nodes",))


# -- what identifies a call ---------------------------------------------------------------------------


def test_the_same_place_is_the_same_operation(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for kind in (NODE, DOWNLOAD):
        keys = {
            kind.key({"destination": str(path)})
            for path in (tmp_path / "real/m", tmp_path / "link/m", tmp_path / "link/../real/./m")
        }
        assert keys == {f"{kind.name}:{tmp_path.resolve()}/real/m"}
        assert kind.title({"destination": str(tmp_path / "real/m")}) == "m"
        assert kind.scope({"url": "http://Hub.example:80/x", "destination": ""}) == "hub.example"
        assert kind.key({"destination": "a\0b"}) == f"{kind.name}:a\0b"


def test_workflows_and_projects_are_told_apart() -> None:
    validate, create = workflow.recovery_operations()
    assert (validate.handler, create.handler) == (None, None)
    same = [{"workflow": {"b": 1, "a": [2]}, "project_id": "p"}, {"workflow": {"a": [2], "b": 1}, "project_id": "p"}]
    other = [
        {"workflow": {"a": [2], "b": 2}, "project_id": "p"},
        {"workflow": {"a": [2], "b": 1}, "project_id": "q"},
        {"workflow": None, "project_id": None},
    ]
    assert len({validate.key(arguments) for arguments in same}) == 1
    assert len({validate.key(arguments) for arguments in same + other}) == 4
    assert validate.title(same[0]) == "workflow of p"
    assert validate.title(other[2]) == "workflow of no project"
    assert create.key({"project_id": "p", "name": "N"}) == create.key({"project_id": "p", "name": "M"})
    assert create.title({"project_id": "p", "name": "N"}) == "N"
    assert create.title({"project_id": "p", "name": ""}) == "p"


# -- downloads ----------------------------------------------------------------------------------------


def test_a_download_is_kept_as_long_as_the_file_is_as_it_arrived(attempts: Attempts, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m.pt", 5000)
    destination = tmp_path / "models" / "m.pt"
    operation = attempts.next()
    assert DOWNLOAD.handler is not None
    arguments = {"url": url, "destination": str(destination), "sha256": hub.sha256("m.pt").upper(), "size": 5000}
    asked: list[str] = []
    assert DOWNLOAD.handler(operation, arguments, lambda url: asked.append(url) or ()) == str(destination)
    assert asked == [url]
    assert destination.read_bytes() == hub.content("m.pt")
    kept = attempts.lifecycle.store.get(attempts.id)
    assert kept is not None
    assert kept.metadata["size"] == 5000
    kept.kwargs["destination"] = str(destination)
    assert DOWNLOAD.still_there(kept)
    destination.write_bytes(b"x")
    assert not DOWNLOAD.still_there(kept)
    destination.unlink()
    assert not DOWNLOAD.still_there(kept)


def test_an_installed_node_is_kept_as_long_as_its_folder_is_there(tmp_path: Path) -> None:
    data = RecoveryData("id", "launcher_install_node", kwargs={"destination": str(tmp_path / "node")})
    assert not NODE.still_there(data)
    (tmp_path / "node").mkdir()
    assert NODE.still_there(data)


def test_without_allowed_folders_any_will_do(tmp_path: Path) -> None:
    assert confined(str(tmp_path / "a" / ".." / "b"), ()) == tmp_path.resolve() / "b"
    assert confined(str(tmp_path / "b"), ("/other", str(tmp_path))) == tmp_path.resolve() / "b"
    with pytest.raises(RefusedError, match="'' is not a file name: a path below a folder is needed"):
        confined("", ())
    with pytest.raises(RefusedError, match="must lie below /one or /two"):
        confined("/three/m", ("/one", "/two"))
