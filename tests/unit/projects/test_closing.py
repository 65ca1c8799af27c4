"""What comes after the nodes and at the very end of an import: its own packages, and what only the launcher does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import NoHandlerError, ProjectIncompleteError, RefusedError
from launcher_recovery.kinds import Arguments, OperationKind, Sources
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryState
from tests.projects import WORKFLOW, Creator, Doing, model, node
from tests.support import wait_for

S = RecoveryState


def refuse(arguments: dict[str, Any]) -> None:
    raise PermissionError(13, "Permission denied", "/nodes")


def until_told(creator: Creator, words: str) -> Doing:
    """Waits until the launcher is told these words."""
    return lambda arguments: wait_for(lambda: any(one["message"].startswith(words) for one in creator.told))


class Closing:
    """A kind of operation that ends imports, whose attempts raise what is in `errors` first."""

    def __init__(self, creator: Creator) -> None:
        self.creator = creator
        self.given: list[Arguments] = []
        self.errors: list[Exception] = []
        kind = OperationKind(
            name="finish",
            hook="finish",
            key=lambda arguments: f"finish:{arguments['project_id']}",
            title=lambda arguments: "finish",
            handler=self._handle,
        )
        creator.extend(kind, closing="finish")

    def _handle(self, operation: Operation, arguments: Arguments, sources: Sources) -> str:
        self.given.append(arguments)
        self.creator.calls.append("finish")
        if self.errors:
            raise self.errors.pop(0)
        if "finish" in self.creator.doing:
            self.creator.doing["finish"]({})
        return "finished"


@pytest.fixture
def closing(creator: Creator) -> Closing:
    creator.has_environment()
    return Closing(creator)


def test_it_is_done_last_and_gets_what_the_import_is_of(creator: Creator, closing: Closing) -> None:
    wanted: dict[str, Any] = {"nodes": [node("x")], "models": [model("a.pt")], "workflow": WORKFLOW}
    assert creator.create(**wanted)["state"] == "ready"
    assert creator.calls[-2:] == ["workflow", "finish"]
    (given,) = closing.given
    assert given == {
        "project_id": "p",
        "name": "P",
        "import_json": wanted,
        "project_folder": str(creator.folder),
        "models_folder": str(creator.models),
    }
    told = creator.whole.metadata["parts"][-1]
    assert (told["what"], told["name"], told["state"]) == ("closing", "launcher", "done")
    assert told["operation_id"] == creator.part("finish", "finish").operation_id
    assert creator.part("finish", "finish").parent_id == creator.whole.operation_id


def test_it_has_attempts_of_its_own_and_is_told_while_it_runs(creator: Creator, closing: Closing) -> None:
    closing.errors = [ConnectionResetError(104, "Connection reset by peer")]
    creator.doing["finish"] = until_told(creator, "Finishing")
    assert creator.create()["state"] == "ready"
    assert creator.part("finish", "finish").attempt == 2
    assert creator.whole.attempt == 1


def test_where_anything_is_missing_it_is_not_begun(creator: Creator, closing: Closing) -> None:
    creator.doing["x"] = refuse
    with pytest.raises(ProjectIncompleteError) as raised:
        creator.create(nodes=[node("x")], workflow=WORKFLOW)
    assert [part["name"] for part in raised.value.missing] == ["x", "workflow.json"]
    assert creator.stages()["launcher"] == "blocked"
    assert closing.given == []


def test_its_failure_is_that_of_the_import_and_a_retry_does_it_again(creator: Creator, closing: Closing) -> None:
    """Also where it is the disk that failed: it was tried again already, by itself."""
    closing.errors = [PermissionError(13, "Permission denied", "/comfyui")]
    with pytest.raises(ProjectIncompleteError, match=r"1 of 3 parts is missing: what the launcher does itself \("):
        creator.create(workflow=WORKFLOW)
    assert (creator.whole.state, creator.whole.attempt) == (S.FAILED, 1)
    creator.calls.clear()
    assert creator.create(workflow=WORKFLOW)["state"] == "ready"
    assert creator.calls == ["finish"]


def test_an_import_that_ends_with_what_nobody_declares_is_not_begun(creator: Creator) -> None:
    creator.extend(closing="finsh")
    with pytest.raises(NoHandlerError, match="no extension declares the kind of operation 'finsh'"):
        creator.create(models=[model("a.pt")])
    assert not creator.folder.exists()
    assert creator.calls == []


# -- packages -----------------------------------------------------------------------------------------


class Packages:
    """Stands for pip: notes what it is asked for, and fails as long as `errors` say."""

    def __init__(self, creator: Creator) -> None:
        self.creator = creator
        self.given: list[Arguments] = []
        self.errors: list[Exception] = []
        kinds = creator.host.integrator.kinds
        kinds["install_requirements"] = replace(kinds["install_requirements"], handler=self._handle)

    def _handle(self, operation: Operation, arguments: Arguments, sources: Sources) -> str:
        self.given.append(arguments)
        self.creator.calls.append("packages")
        if self.errors:
            raise self.errors.pop(0)
        if "packages" in self.creator.doing:
            self.creator.doing["packages"]({})
        Path(arguments["destination"]).write_text("".join(f"{line}\n" for line in arguments["lines"]))
        return str(arguments["destination"])


@pytest.fixture
def packages(creator: Creator) -> Packages:
    creator.has_environment()
    return Packages(creator)


def test_packages_are_installed_after_the_nodes(creator: Creator, packages: Packages) -> None:
    creator.doing["packages"] = until_told(creator, "Installing the packages of the import")
    assert creator.create(nodes=[node("x"), node("y")], requirements=["numpy<2", "torch"])["state"] == "ready"
    assert creator.calls == ["x", "y", "packages"]
    (given,) = packages.given
    assert given == {
        "destination": str(creator.folder / "requirements.txt"),
        "lines": ["numpy<2", "torch"],
        "nodes_folder": str(creator.folder / "custom_nodes"),
        "python": str(creator.folder / "venv" / "bin" / "python"),
        "project_id": "p",
    }
    part = next(part for part in creator.whole.metadata["parts"] if part["what"] == "requirements")
    assert (part["name"], part["state"]) == ("requirements.txt", "done")


def test_packages_wait_for_all_nodes_since_theirs_are_the_versions_in_the_end(
    creator: Creator, packages: Packages
) -> None:
    creator.doing["x"] = refuse
    with pytest.raises(ProjectIncompleteError, match=r"the packages of the import \(it needs the node x\)"):
        creator.create(nodes=[node("x")], requirements=["numpy<2"])
    assert packages.given == []


def test_other_packages_are_other_ones(creator: Creator, packages: Packages) -> None:
    packages.errors = [PermissionError(13, "Permission denied", "/venv")]
    with pytest.raises(ProjectIncompleteError, match=r"the packages of the import \("):
        creator.create(requirements=["numpy<2"])
    assert creator.create(requirements=["numpy<3"])["state"] == "ready"
    first, second = creator.host.operations("install_requirements")
    assert (first.state, second.state) == (S.FAILED, S.SUCCESS)


def test_an_import_can_go_on_without_its_packages(creator: Creator, packages: Packages) -> None:
    packages.errors = [PermissionError(13, "Permission denied", "/venv")]
    with pytest.raises(ProjectIncompleteError):
        creator.create(requirements=["numpy<2"])
    operation_id = creator.part("install_requirements", "Packages of the import").operation_id
    fixes = creator.host.integrator.fixes
    assert "skip_packages" in [offer.id for offer in fixes.for_operation(operation_id)]
    fixes.apply(operation_id, "skip_packages", {}, fixes.preview(operation_id, "skip_packages").token)
    assert creator.create(requirements=["numpy<2"])["left_out"] == ["requirements.txt"]
    assert len(packages.given) == 1


def test_an_option_of_pip_is_refused_before_anything_is_made(creator: Creator) -> None:
    with pytest.raises(RefusedError, match="option of pip"):
        creator.create(requirements=["--index-url http://h/simple"])
    assert not creator.folder.exists()


# -- launcher.json ------------------------------------------------------------------------------------


def test_a_launcher_json_that_is_wrong_is_refused_and_not_left_to_the_launcher(creator: Creator) -> None:
    with pytest.raises(RefusedError, match=r"^the launcher\.json has no files"):
        creator.create(format="comfyui_launcher")
    assert creator.whole.state is S.FAILED
    assert not creator.folder.exists()


def test_the_model_paths_of_comfyui_are_left_to_what_comes_last(creator: Creator, closing: Closing) -> None:
    from launcher_recovery.hookspecs import hookimpl
    from launcher_recovery.plans import Plan, read

    class Linking:
        @hookimpl
        def recovery_read_import(self, import_json: Any) -> Plan | None:
            plan = read(import_json)
            return None if plan is None else replace(plan, model_paths=False)

    creator.host.integrator.extensions.register(Linking(), "linking")
    place = creator.folder / "comfyui"
    place.mkdir()
    (place / "main.py").touch()
    assert creator.create(comfyui={"url": "http://127.0.0.1:9/c.git"}, models=[model("a.pt")])["state"] == "ready"
    assert sorted(path.name for path in place.iterdir()) == ["main.py"]
    assert json.loads(json.dumps(creator.whole.result))["state"] == "ready"
