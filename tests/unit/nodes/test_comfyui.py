"""ComfyUI is had at the commit that a person has chosen for the import, also when it is there at another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes import known_good, vault
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import OperationKind
from launcher_recovery.nodes.comfyui import install_comfyui, is_as_wanted
from launcher_recovery.nodes.staging import InPlace
from launcher_recovery.records import RecoveryState
from tests.nodes import NODE, Far, Fault, Source, files, make_environment, run_git, versions, wheel
from tests.unit.fixes.attached import Attached


class Comfy:
    """Has ComfyUI installed where a node would be."""

    @hookimpl
    def recovery_operations(self) -> list[OperationKind]:
        def handle(operation: Any, arguments: Any, sources: Any) -> Any:
            return install_comfyui(operation, arguments)

        return [replace(NODE, handler=handle, still_there=is_as_wanted)]


class Import:
    """An import that has ComfyUI, and puts a node into it; it needs the folder `web`."""

    def __init__(self, host: Attached, url: str, python: Path) -> None:
        self.host, self.url, self.python = host, url, python
        self.place = host.folder / "ComfyUI"
        host.imports(self._have_comfyui)

    def _have_comfyui(self) -> str:
        self.host.install("ComfyUI", url=self.url, python=str(self.python))
        node = self.place / "custom_nodes" / "node"
        node.mkdir(parents=True, exist_ok=True)
        (node / "made.py").write_text("made")
        if not (self.place / "web").is_dir():
            raise ValueError("there is no web")
        known_good.note_worked(self.head)
        return "ready"

    @property
    def head(self) -> str:
        return run_git(self.place, "rev-parse", "HEAD")

    def run(self) -> Any:
        return self.host.create()

    def pin(self, **given: Any) -> Any:
        return self.host.fix(self.host.failed("create_project"), "pin_comfyui", **given)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attached]:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    made = Attached(tmp_path)
    made.integrator.extensions.register(Comfy(), "comfy")
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def commits(source: Source, far: Far, request: pytest.FixtureRequest) -> list[str]:
    """Two of ComfyUI; the newer one has no `web` and, if so asked, another requirement."""
    requires = getattr(request, "param", False)
    far.offer(wheel("numpy", "1.26"), wheel("numpy", "2.1"))

    def content(main: str, version: str) -> dict[str, str | bytes]:
        found: dict[str, str | bytes] = {"main.py": main}
        return {**found, "requirements.txt": far.requirements(f"numpy=={version}")} if requires else found

    old = source.commit({".gitignore": "/custom_nodes/\n", "web/index.html": "old", **content("old", "1.26")})
    source.git("rm", "-r", "--quiet", "web")
    return [old, source.commit(content("new", "2.1"))]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return make_environment(tmp_path / "environment", wheel("numpy", "2.0"))


@pytest.fixture
def whole(host: Attached, far: Far, source: Source, commits: list[str], python: Path) -> Import:
    return Import(host, far.serve(source), python)


@pytest.mark.parametrize("length", [40, 12])
def test_what_is_there_is_brought_to_the_commit_that_was_chosen_and_what_is_in_it_stays(
    whole: Import, commits: list[str], length: int
) -> None:
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    assert whole.head == commits[1]
    whole.pin(commit=commits[0][:length])
    assert whole.run() == ["ready"]
    assert whole.head == commits[0]
    assert (whole.place / "main.py").read_text() == "old"
    assert (whole.place / "custom_nodes" / "node" / "made.py").read_text() == "made"
    assert "launcher-recovery" not in files(whole.place / ".git")
    assert known_good.last(whole.host.data) == commits[0]


def test_it_is_fetched_at_that_commit_where_nothing_is_there_yet(whole: Import, commits: list[str], far: Far) -> None:
    far.fail("info/refs", Fault(status=404))
    with pytest.raises(CommandError):
        whole.run()
    whole.pin(commit=commits[0])
    assert whole.run() == ["ready"]
    assert whole.head == commits[0]
    # By the same operation, which failed and was tried again.
    assert len(whole.host.operations("install_node")) == 1


def test_without_a_choice_or_with_one_that_was_undone_what_is_there_stays(
    whole: Import, commits: list[str], far: Far
) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="there is no web"):
            whole.run()
    asked = far.count("/git/")
    whole.host.undo(whole.host.failed("create_project"), whole.pin(commit=commits[0]))
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    assert whole.head == commits[1]
    assert far.count("/git/") == asked


@pytest.mark.parametrize(
    ("commits", "path", "before", "after"),
    [(False, "git-upload-pack", "2.0", "2.0"), (True, "/files/numpy-1.26", "2.1", "1.26")],
    indirect=["commits"],
)
def test_a_change_that_failed_on_its_way_goes_on(
    whole: Import, commits: list[str], far: Far, python: Path, path: str, before: str, after: str
) -> None:
    """Also when the files are those of the commit already, and only what that requires could not be had."""
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    whole.pin(commit=commits[0])
    far.fail(path, Fault(status=404))
    with pytest.raises(CommandError):
        whole.run()
    assert versions(python.parents[1]) == {"numpy": before}
    assert whole.run() == ["ready"]
    assert whole.head == commits[0]
    assert versions(python.parents[1]) == {"numpy": after}
    assert whole.host.operations("install_node")[-1].state is RecoveryState.SUCCESS


def test_a_commit_that_is_not_there_changes_nothing(whole: Import, commits: list[str]) -> None:
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    whole.pin(commit="0" * 40)
    with pytest.raises(CommandError):
        whole.run()
    assert whole.head == commits[1]
    assert (whole.place / "custom_nodes" / "node" / "made.py").is_file()


def test_a_damaged_repository_is_told_and_nothing_of_it_is_removed(whole: Import, commits: list[str]) -> None:
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    whole.pin(commit=commits[0])
    (whole.place / ".git" / "index").write_bytes(b"\0" * 40)
    with pytest.raises(CommandError, match="index"):
        whole.run()
    assert (whole.place / "custom_nodes" / "node" / "made.py").is_file()


def test_what_is_no_repository_is_left_as_it_is(whole: Import, commits: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    whole.pin(commit=commits[0])
    (whole.place / ".git").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    assert (whole.place / "main.py").read_text() == "new"
    # git is broken in another way: then there is no telling what is there.
    (whole.place / ".git").mkdir()
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()


def test_the_commit_that_worked_is_offered_to_the_next_import(
    whole: Import, commits: list[str], source: Source
) -> None:
    with pytest.raises(ValueError, match="there is no web"):
        whole.run()
    assert whole.host.offered(whole.host.failed("create_project"), "pin_comfyui").parameters[0].default is None
    whole.pin(commit=commits[0])
    whole.run()
    whole.place.rename(whole.place.with_name("before"))
    with pytest.raises(ValueError, match="there is no web"):
        whole.host.create("another")
    failed = whole.host.failed("create_project")
    assert whole.host.offered(failed, "pin_comfyui").parameters[0].default == commits[0]
    whole.host.fix(failed, "pin_comfyui")
    assert whole.host.create("another") == ["ready"]


def test_a_note_that_cannot_be_written_is_logged_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    vault.use(tmp_path / "file" / "folder")
    try:
        known_good.note_worked("0" * 40)
        assert "which ComfyUI worked could not be noted" in caplog.text
        with pytest.raises(ValueError, match="is not a commit"):
            known_good.note_worked("main")
    finally:
        vault.use(None)


def test_the_place_itself_is_never_removed_whatever_is_found_in_it(tmp_path: Path) -> None:
    """As a staging folder is that was begun for something else."""
    (tmp_path / "custom_nodes").mkdir()
    InPlace(tmp_path, "https://h/ComfyUI").discard()
    assert files(tmp_path) == {"custom_nodes"}
