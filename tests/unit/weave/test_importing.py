"""The task of ComfyUI Launcher: an operation of parts, and the launcher's own function over what is whole."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy
import pytest

from launcher_recovery import integration
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import ProjectIncompleteError, RecoveryError
from launcher_recovery.fixes.effects import SETTINGS, SKIPPED
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.kinds import OperationKind
from launcher_recovery.observing import NAMESPACE
from launcher_recovery.operation import current_operation
from launcher_recovery.plugin import LauncherPlugin
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.signals import Event
from launcher_recovery.weave import hooks
from launcher_recovery.weave.advice import importing, launcher, queueing
from launcher_recovery.weave.advice.asked import Asked
from launcher_recovery.weave.advice.setup import Setup, current_setup
from launcher_recovery.weave.hosts.comfyui_launcher import NAME

POINT = JoinPoint("tasks", "create_comfyui_project", "create_project", tolerant=True, task=True)
SHA256 = "ab" * 32
TASK = """
import shutil

def create_comfyui_project(
    project_folder_path, models_folder_path, id, name, launcher_json=None, port=None, create_project_folder=True
):
    try:
        site.own(project_folder_path, launcher_json, create_project_folder)
    except:
        shutil.rmtree(project_folder_path, ignore_errors=True)
        shutil.rmtree(project_folder_path + "-other", ignore_errors=True)
        raise
"""


class Site:
    """A woven launcher whose parts are made by the test, at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models = folder / "projects" / "mine", folder / "models"
        self.folder.mkdir(parents=True)
        (self.folder / ".launcher").mkdir()
        (self.folder / ".launcher" / "state.json").write_text('{"id": "mine", "state": "", "status_message": ""}')
        self.models.mkdir()
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(
                enabled=True,
                persistence_path=str(folder / "recovery.db"),
                initial_delay=0.01,
                allow_private_addresses=True,
            )
        )
        integration.set_recovery_integrator(self.integrator)
        manager = pluggy.PluginManager(NAMESPACE)
        manager.add_hookspecs(hooks)
        manager.register(launcher, NAME)
        self.integrator.extensions.register(launcher, NAME)
        self.manager = manager
        LauncherPlugin(self.integrator, manager).attach()
        self.doing: dict[str, Callable[[], object]] = {}
        self.calls: list[str] = []
        self.owns: list[tuple[Setup, Any]] = []
        self.on_own: Callable[[], object] = lambda: None
        for kind in ("make_environment", "install_comfyui", "install_node", "install_requirements", "download"):
            self._make(kind)
        names: dict[str, Any] = {"site": self}
        exec(TASK, names)
        self.function = names["create_comfyui_project"]

    def _make(self, name: str) -> None:
        """Have the parts of a kind done by the test."""
        kind: OperationKind = self.integrator.kinds[name]

        def handler(operation: Any, arguments: Any, sources: Any) -> Any:
            place = Path(arguments.get("destination") or arguments.get("folder") or arguments["file"])
            self.calls.append(place.name)
            self.doing.get(place.name, lambda: None)()
            if name == "download":
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("model")
            elif name == "install_requirements":
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
            if name == "make_environment":
                (place / "bin").mkdir(exist_ok=True)
                (place / "bin" / "python").touch()
            if name == "install_comfyui":
                (place / "web").mkdir(exist_ok=True)
                (place / "web" / "index.html").write_text("ComfyUI")
            return str(place)

        changed = replace(kind, handler=handler, hook=name, still_there=lambda data: True)
        self.integrator.kinds[name] = changed

    def own(self, project_folder: str, launcher_json: Any, makes_folder: bool) -> None:
        """The launcher's own steps."""
        assert not makes_folder
        setup = current_setup.get()
        assert setup is not None
        self.owns.append((setup, launcher_json))
        self.on_own()
        page = Path(project_folder, "comfyui", "web", "index.html")
        page.rename(page.with_name("comfyui_index.html"))
        page.write_text("frame")
        Path(project_folder, "comfyui", "models").symlink_to(self.models)

    def json(self) -> dict[str, Any]:
        file = {"download_url": "https://example.com/a.pt", "dest_relative_path": "models/loras/a.pt"}
        nodes = {"https://example.com/x.git": {"hash": "", "disabled": False}}
        return {
            "workflow_json": {},
            "snapshot_json": {"comfyui": "", "git_custom_nodes": nodes},
            "files": [[{**file, "sha256_checksum": SHA256}]],
            "pip_requirements": ["wheel"],
        }

    def set_up(self, launcher_json: Any) -> None:
        arguments = (str(self.folder), str(self.models), "mine", "Mine", launcher_json)
        importing.set_up_project(Call(POINT, self.function, arguments, {}, self.integrator))

    @property
    def shown(self) -> tuple[str, str]:
        state = json.loads((self.folder / ".launcher" / "state.json").read_text())
        return state["state"], state["status_message"]

    def record(self, kind: str) -> RecoveryData:
        [found, *_] = self.integrator.persistence.find(kind=kind, limit=-1)
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    utils = types.ModuleType("utils")
    vars(utils).update(
        COMFYUI_REPO_URL="https://example.com/ComfyUI.git", CUSTOM_NODES_TO_IGNORE_FROM_SNAPSHOTS=["ComfyUI-Manager"]
    )
    monkeypatch.setitem(sys.modules, "utils", utils)
    return Site(tmp_path)  # the integrator is stopped with all others


def test_all_parts_are_there_before_the_launchers_own_code_runs(site: Site) -> None:
    site.set_up(site.json())
    comfyui = site.folder / "comfyui"
    nodes = [comfyui / "custom_nodes" / name for name in ("ComfyUI-Manager", "ComfyUI-ComfyWorkflows", "x")]
    [(setup, given)] = site.owns
    assert given == site.json()
    assert setup == Setup(
        folder=site.folder,
        comfyui=comfyui,
        python=site.folder / "venv" / "bin" / "python",
        nodes=frozenset(nodes),
        requirements=frozenset({site.folder / "requirements.txt"}),
        placed={comfyui / "models/loras/a.pt": comfyui / "models/loras/a.pt"},
    )
    assert current_setup.get() is None
    assert (site.models / "loras" / "a.pt").read_text() == "model"
    assert site.record("create_project").state is RecoveryState.SUCCESS
    assert site.record("finish_project").parent_id == site.record("create_project").operation_id


def test_an_empty_project_has_comfyui_and_the_launchers_own_nodes(site: Site) -> None:
    site.set_up(None)
    assert sorted(site.calls) == ["ComfyUI-ComfyWorkflows", "ComfyUI-Manager", "comfyui", "venv"]
    assert [given for _, given in site.owns] == [None]


def test_what_is_missing_is_told_and_nothing_is_deleted(site: Site) -> None:
    site.doing["x"] = _refuse
    with pytest.raises(ProjectIncompleteError):
        site.set_up(site.json())
    assert site.owns == []
    state, message = site.shown
    assert state == "failed"
    assert message.startswith("Not ready: 2 of 7 ")
    assert "the node x" in message
    assert (site.folder / "comfyui").is_dir()
    # A person mends it, and retries; the task is delivered again.
    site.doing.clear()
    site.calls.clear()
    site.set_up(site.json())
    assert site.calls == ["x", "requirements.txt"]
    assert len(site.owns) == 1


def _refuse() -> None:
    raise PermissionError(13, "no")


def test_an_error_of_the_launchers_own_code_deletes_nothing(site: Site) -> None:
    """It would; only other folders are its own business."""
    other = Path(f"{site.folder}-other")
    other.mkdir()
    site.on_own = _refuse
    with pytest.raises(ProjectIncompleteError):
        site.set_up(site.json())
    assert (site.folder / "comfyui").is_dir()
    assert not other.exists()
    assert site.function.__globals__["shutil"] is shutil
    assert current_setup.get() is None


def test_several_projects_are_kept_at_a_time(tmp_path: Path) -> None:
    """One that was cancelled has not stopped yet when the next one comes."""
    names: dict[str, Any] = {"shutil": shutil}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first, second = importing.kept(one, names), importing.kept(two, names)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    names["shutil"].rmtree(str(two))
    names["shutil"].rmtree(str(one))
    assert (one.exists(), two.exists()) == (False, True)
    second.__exit__(None, None, None)
    assert names["shutil"] is shutil


def test_a_project_that_was_deleted_before_its_turn_is_not_brought_back(site: Site) -> None:
    asked = Asked("mine", "Mine", site.folder, site.models, site.json(), None)
    kind = site.integrator.kinds["create_project"]
    draft = site.integrator.draft(kind, asked.hook_arguments)
    draft.owner = None
    site.integrator.lifecycle.enter(draft)
    shutil.rmtree(site.folder)
    call = Call(POINT, site.function, (), asked.task_arguments, site.integrator)
    importing.set_up_project(call)
    assert not site.folder.exists()
    assert site.calls == []
    assert site.record("create_project").state is RecoveryState.CANCELLED
    importing.set_up_project(call)  # nor when it is delivered twice


def test_what_becomes_of_an_import_is_not_told_of_the_next_one_of_its_name(site: Site) -> None:
    """The news of a cancel may be late, and the project be another one by then."""
    asked = Asked("mine", "Mine", site.folder, site.models, None, None)
    kind, integrator = site.integrator.kinds["create_project"], site.integrator
    [plugin] = [one for one in site.manager.get_plugins() if isinstance(one, LauncherPlugin)]
    first = integrator.lifecycle.enter(integrator.draft(kind, asked.hook_arguments))
    integrator.lifecycle.cancel(first.operation_id)
    event = Event(1, "recovery_update", {"operation_id": first.operation_id, "kind": kind.name, "state": "cancelled"})
    integrator.lifecycle.enter(integrator.draft(kind, asked.hook_arguments))
    integrator.tail.stop()
    before = '{"id": "mine", "state": "download_comfyui", "status_message": "Downloading ComfyUI..."}'
    (site.folder / ".launcher" / "state.json").write_text(before)
    plugin._on_event(event)
    assert (site.folder / ".launcher" / "state.json").read_text() == before


def test_the_launchers_own_code_runs_again_over_what_it_left(site: Site) -> None:
    """It was cut off in the middle: it renames a page, and makes a link, only once."""

    def cut_off() -> None:
        site.on_own = lambda: None
        site.own(str(site.folder), None, False)
        raise ConnectionError("cut off")

    site.on_own = cut_off
    site.set_up(site.json())
    assert site.record("finish_project").attempt == 2
    web = site.folder / "comfyui" / "web"
    assert (web / "comfyui_index.html").read_text() == "ComfyUI"
    assert (web / "index.html").read_text() == "frame"
    assert (site.folder / "comfyui" / "models").is_symlink()


def test_a_comfyui_that_is_too_new_is_told(site: Site) -> None:
    site.doing["x"] = lambda: (site.folder / "comfyui" / "web" / "index.html").unlink()
    with pytest.raises(ProjectIncompleteError, match=r"this ComfyUI has no web/index\.html, which ComfyUI Launcher"):
        site.set_up(site.json())
    assert site.owns == []


def test_what_a_person_does_without_is_not_installed_by_the_launcher(site: Site) -> None:
    def skip() -> None:
        operation = current_operation()
        assert operation is not None
        operation.metadata[SETTINGS] = {SKIPPED: True}
        operation.save_metadata()

    site.doing.update({"x": skip, "a.pt": skip, "requirements.txt": skip})
    site.set_up(site.json())
    [(setup, given)] = site.owns
    assert given["snapshot_json"]["git_custom_nodes"] == {}
    assert given["pip_requirements"] == []
    assert setup.requirements == frozenset()
    assert setup.left_out == {site.folder / "comfyui" / "models/loras/a.pt"}
    assert len(setup.nodes) == 2
    assert site.shown[0] == "ready"
    assert "x" in site.shown[1]
    assert "a.pt" in site.shown[1]


def test_a_cancel_is_no_failure_of_the_task(site: Site) -> None:
    def cancel() -> None:
        found = queueing.unfinished(site.integrator, "mine")
        assert found is not None
        site.integrator.cancel(found.operation_id)

    site.doing["x"] = cancel
    site.set_up(site.json())
    assert site.record("create_project").state is RecoveryState.CANCELLED
    assert site.owns == []


def test_what_is_not_due_is_not_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "is_due", lambda integrator, asked, task_id: False)
    site.set_up(site.json())
    assert site.calls == []


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_elsewhere_the_launchers_own_code_runs_as_it_is(site: Site, mode: str) -> None:
    site.integrator.update_config({"mode": mode})
    seen: list[Any] = []

    def create_comfyui_project(
        project_folder_path: str,
        models_folder_path: str,
        id: str,
        name: str,
        launcher_json: Any = None,
        port: int | None = None,
        create_project_folder: bool = True,
    ) -> None:
        seen.append((project_folder_path, create_project_folder, current_setup.get()))

    arguments = (str(site.folder), str(site.models), "mine", "Mine", site.json())
    importing.set_up_project(Call(POINT, create_comfyui_project, arguments, {}, site.integrator))
    assert seen == [(str(site.folder), True, None)]
    assert site.calls == []
    observed = site.integrator.persistence.find(kind="create_project", limit=-1)
    assert [data.state for data in observed] == ([] if mode == "off" else [RecoveryState.SUCCESS])


def test_parts_whose_kind_is_off_are_left_to_the_launcher(site: Site) -> None:
    site.integrator.update_config({"modes": {"download": "off", "install_node": "off"}})
    site.set_up(site.json())
    assert site.calls == ["venv", "comfyui", "requirements.txt"]
    [(setup, given)] = site.owns
    assert (setup.nodes, setup.placed) == (frozenset(), {})
    assert given == site.json()


def test_a_file_is_on_the_side_of_a_rollout_that_its_download_is_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its place, and those of all files that do as well: else it would be in the plan, and nobody would have it."""
    asked: set[str] = set()
    mode_for = RecoveryConfig.mode_for

    def of(config: RecoveryConfig, kind: str, key: str) -> str:
        if kind == "download":
            asked.add(key)
            return "off" if key.endswith("second.pt") else "recover"
        return mode_for(config, kind, key)

    monkeypatch.setattr(RecoveryConfig, "mode_for", of)
    first, *_ = site.json()["files"][0]
    second = {**first, "dest_relative_path": "models/loras/second.pt", "sha256_checksum": "cd" * 32}
    picture = {**first, "dest_relative_path": "input/a.png", "sha256_checksum": "ef" * 32}
    beside = {**first, "dest_relative_path": "models/b.pt", "sha256_checksum": "12" * 32}
    site.set_up({**site.json(), "files": [[first, second], [picture, beside]]})
    comfyui = site.folder / "comfyui"
    places = (
        site.models / "loras/a.pt",
        site.models / "loras/second.pt",
        comfyui / "input/a.png",
        site.models / "b.pt",
    )
    assert {f"download:{place}" for place in places} <= asked
    [(setup, given)] = site.owns
    assert set(setup.placed) == {comfyui / "input/a.png"}
    assert given["files"][0] == [first, second]


def test_what_pip_is_asked_for_beside_packages_is_left_to_the_launcher(site: Site) -> None:
    """It is a reason to refuse an import elsewhere, but here it is what the launcher would do."""
    asked = {**site.json(), "pip_requirements": ["wheel", "-e git+https://example.com/y.git#egg=y"]}
    site.set_up(asked)
    assert "requirements.txt" not in site.calls
    [(setup, given)] = site.owns
    assert (setup.requirements, given) == (frozenset(), asked)


def test_a_project_is_finished_only_by_the_launchers_worker(site: Site) -> None:
    asked = Asked("mine", "Mine", site.folder, site.models, None, None)
    with pytest.raises(RecoveryError, match="the launcher finishes a project only in its own worker"):
        importing.finish(None, asked.hook_arguments, lambda url: ())  # type: ignore[arg-type]


def test_an_operation_of_another_launcher_is_none_of_its_own(site: Site) -> None:
    run_again = launcher.launcher_run_again
    assert run_again("unknown", "create_project", {}) is None
    assert run_again("unknown", "download", {}) is None
    kind = site.integrator.kinds["create_project"]
    asked = Asked("another", "Another", site.folder, site.models, None, None)
    for import_json in (None, [], {"format": "another"}):
        draft = site.integrator.draft(kind, {**asked.hook_arguments, "import_json": import_json})
        kept = site.integrator.lifecycle.enter(draft)
        assert run_again(kept.operation_id, "create_project", {}) is None
        site.integrator.lifecycle.cancel(kept.operation_id)
    assert launcher.recovery_read_import({"nodes": []}) is None
    assert launcher.recovery_read_import(None) is None
