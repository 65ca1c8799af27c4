"""The launcher's own handlers do what naive launchers do, mistakes included."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest
import requests
from flask import Flask
from flask_socketio import SocketIO

from sample_launcher import commands, plugins
from sample_launcher.commands import CommandFailedError
from sample_launcher.hookspecs import hookimpl
from sample_launcher.hub import Drop, Hub, Status, WrongByte
from sample_launcher.projects import ProjectBusyError, ProjectStore, read_state, write_state


class Launcher:
    """The native handlers over a temporary data folder."""

    def __init__(self, data: Path) -> None:
        self.store = ProjectStore(data)
        self.changes: list[str] = []
        self.manager: pluggy.PluginManager = plugins.create_manager(self.changes.append, False, self.store)

    def download(self, url: str, destination: Path) -> str:
        answer: str = self.manager.hook.launcher_download(
            url=url, destination=str(destination), sha256=None, size=None, project_id=None
        )
        return answer

    def install(self, url: str, destination: Path, ref: str | None = None, python: str | None = None) -> str:
        answer: str = self.manager.hook.launcher_install_node(
            url=url, destination=str(destination), ref=ref, python=python, project_id=None
        )
        return answer

    def validate(self, workflow: Any, nodes: Path | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.manager.hook.launcher_validate_workflow(
            workflow=workflow,
            models_folder=str(self.store.models),
            nodes_folder=str(nodes or self.store.folder),
            project_id=None,
        )
        return answer

    def create(self, project_id: str, import_json: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self.manager.hook.launcher_create_project(
            project_id=project_id,
            name="A project",
            import_json=import_json,
            project_folder=str(self.store.path(project_id)),
            models_folder=str(self.store.models),
        )
        return answer


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path / "data")


@pytest.fixture
def fake_python(tmp_path: Path) -> Callable[[int], str]:
    """Makes an interpreter that writes down its arguments and ends with a code."""

    def make(code: int) -> str:
        file = tmp_path / f"python{code}"
        file.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho it went wrong\nexit {code}\n')
        file.chmod(0o755)
        return str(file)

    return make


def test_a_download_arrives_whole_in_a_new_folder(launcher: Launcher, hub: Hub, tmp_path: Path) -> None:
    destination = tmp_path / "a" / "b" / "m.pt"
    assert launcher.download(hub.add_model("m.pt", 100_000), destination) == str(destination)
    assert destination.read_bytes() == hub.content("m.pt")


def test_a_file_that_is_there_is_taken_for_finished(launcher: Launcher, hub: Hub, tmp_path: Path) -> None:
    destination = tmp_path / "m.pt"
    destination.write_bytes(b"half of it")
    launcher.download(hub.add_model("m.pt", 100), destination)
    assert destination.read_bytes() == b"half of it"
    assert hub.stats("m.pt")["requests"] == []


@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_connection_loses_the_whole_download(
    launcher: Launcher, hub: Hub, tmp_path: Path, reset: bool
) -> None:
    url = hub.add_model("m.pt", 5_000_000, [Drop(after=4_000_000, reset=reset)])
    with pytest.raises(requests.RequestException):
        launcher.download(url, tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()
    launcher.download(url, tmp_path / "m.pt")
    assert [one["range"] for one in hub.stats("m.pt")["requests"]] == [None, None]


def test_an_error_status_is_raised_and_leaves_nothing(launcher: Launcher, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(requests.HTTPError, match="503"):
        launcher.download(hub.add_model("m.pt", 100, [Status()]), tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


def test_wrong_bytes_are_not_noticed(launcher: Launcher, hub: Hub, tmp_path: Path) -> None:
    launcher.download(hub.add_model("m.pt", 100, [WrongByte(at=3)]), tmp_path / "m.pt")
    assert (tmp_path / "m.pt").read_bytes() != hub.content("m.pt")


def test_a_node_is_cloned_and_its_requirements_go_to_the_given_python(
    launcher: Launcher, hub: Hub, tmp_path: Path, fake_python: Callable[[int], str]
) -> None:
    node = tmp_path / "nodes" / "demo"
    assert launcher.install(hub.node_url, node, python=fake_python(0)) == str(node)
    assert (node / "__init__.py").exists()
    assert (tmp_path / "asked").read_text() == f"-m pip install -r {node}/requirements.txt\n"


def test_a_ref_is_checked_out(launcher: Launcher, hub: Hub, tmp_path: Path, fake_python: Callable[[int], str]) -> None:
    launcher.install(hub.node_url, tmp_path / "demo", ref="v1.0.0", python=fake_python(0))
    assert not (tmp_path / "demo" / "README.md").exists()


@pytest.mark.parametrize(
    ("repository", "ref", "code", "words"),
    [
        ("none.git", None, 0, "not found"),
        ("demo-node.git", "nope", 0, "nope"),
        ("demo-node.git", None, 3, ""),
    ],
)
def test_a_failed_install_removes_the_folder_and_shows_the_output(
    launcher: Launcher,
    hub: Hub,
    tmp_path: Path,
    fake_python: Callable[[int], str],
    repository: str,
    ref: str | None,
    code: int,
    words: str,
) -> None:
    with pytest.raises(CommandFailedError, match=words or "it went wrong"):
        launcher.install(f"{hub.url}/git/{repository}", tmp_path / "demo", ref, fake_python(code))
    assert not (tmp_path / "demo").exists()


def test_a_clone_that_was_cut_off_is_made_again(
    launcher: Launcher, hub: Hub, tmp_path: Path, fake_python: Callable[[int], str]
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "demo")], check=True)
    launcher.install(hub.node_url, tmp_path / "demo", python=fake_python(0))
    assert (tmp_path / "demo" / "__init__.py").exists()


def test_a_folder_that_is_no_clone_is_refused_and_kept(launcher: Launcher, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("mine")
    with pytest.raises(CommandFailedError, match="not an empty directory"):
        launcher.install(hub.node_url, tmp_path / "demo")
    assert (tmp_path / "demo" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("ref", ["--orphan", "-f", ""])
def test_a_ref_is_never_taken_for_an_option(launcher: Launcher, hub: Hub, tmp_path: Path, ref: str) -> None:
    with pytest.raises(ValueError, match="no branch, tag or commit"):
        launcher.install(hub.node_url, tmp_path / "demo", ref)
    assert not (tmp_path / "demo").exists()


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match="no-such-command cannot be started: No such file"):
        commands.run(["no-such-command"], tmp_path)


def place(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")


@pytest.mark.parametrize(
    "workflow",
    [
        {"nodes": [{"type": "CheckpointLoaderSimple", "widgets_values": ["sd.safetensors", 3]}]},
        {"nodes": [{"type": "CheckpointLoaderSimple", "widgets_values": {"name": "sd.safetensors"}}]},
        {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}}},
        '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}}}',
    ],
)
def test_both_formats_list_node_types_and_models(launcher: Launcher, workflow: Any) -> None:
    missing = launcher.validate(workflow)
    assert missing["node_types"] == ["CheckpointLoaderSimple"]
    assert missing["models"] == ["sd.safetensors"]
    assert [problem["code"] for problem in missing["problems"]] == ["missing_model"]
    assert missing["valid"] is False
    place(launcher.store.models, "checkpoints/sd.safetensors")
    assert launcher.validate(workflow)["valid"] is True


@pytest.mark.parametrize(
    ("name", "there", "valid"),
    [
        ("sub/a.pt", "loras/sub/a.pt", True),
        ("sub\\a.pt", "loras/sub/a.pt", True),
        ("a.pt", "loras/a.pt.part", False),
        ("a.pt", "loras/ba.pt", False),
        ("sub/a.pt", "loras/a.pt", False),
    ],
)
def test_a_model_is_found_by_its_relative_path(launcher: Launcher, name: str, there: str, valid: bool) -> None:
    place(launcher.store.models, there)
    workflow = {"1": {"class_type": "LoraLoader", "inputs": {"x": name}}}
    assert launcher.validate(workflow)["valid"] is valid


def test_a_node_type_counts_when_a_custom_node_declares_it(launcher: Launcher, tmp_path: Path) -> None:
    place(tmp_path, "nodes/one/__init__.py")
    (tmp_path / "nodes/one/__init__.py").write_text(
        "raise SystemExit('never run')\n"
        "NODE_CLASS_MAPPINGS: dict = {'A': 1, **{}}\nNODE_CLASS_MAPPINGS['B'] = 2\nOTHER = {'C': 3}\n"
    )
    place(tmp_path, "nodes/broken/__init__.py")
    (tmp_path / "nodes/broken/__init__.py").write_text("this is not python")
    workflow = {"nodes": [{"type": kind} for kind in ("A", "B", "C", "KSampler")]}
    found = launcher.validate(workflow, tmp_path / "nodes")
    assert [problem["node_type"] for problem in found["problems"]] == ["C"]


def test_nodes_inside_a_subgraph_are_looked_at(launcher: Launcher) -> None:
    workflow = {
        "nodes": [{"type": "id-1"}],
        "definitions": {"subgraphs": [{"id": "id-1", "nodes": [{"type": "Inner", "widgets_values": ["a.pt"]}]}]},
    }
    found = launcher.validate(workflow)
    assert (found["node_types"], found["models"]) == (["Inner"], ["a.pt"])


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        ("{", "not JSON"),
        ([], "must be a JSON object, not list"),
        ({"nodes": {}}, "'nodes' must be a list"),
        ({"nodes": [5]}, "node 0 must be an object"),
        ({"nodes": [{"id": 1}]}, "node 0 must be an object with a 'type'"),
        ({"1": {"inputs": {}}}, "entry '1' must be an object"),
        ({"1": {"class_type": "A", "inputs": []}}, "entry '1' must be an object"),
    ],
)
def test_what_is_no_workflow_is_refused_with_a_sentence(launcher: Launcher, workflow: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        launcher.validate(workflow)


def demo(hub: Hub, model: str = "m.pt") -> dict[str, Any]:
    return {
        "format": "sample_launcher",
        "nodes": [{"url": hub.node_url}],
        "models": [{"url": hub.model_url(model), "path": "loras/m.pt"}],
        "workflow": {
            "1": {"class_type": "DemoNode", "inputs": {}},
            "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "m.pt"}},
        },
    }


def test_a_project_becomes_ready_and_a_second_call_goes_on_where_the_first_failed(launcher: Launcher, hub: Hub) -> None:
    hub.add_model("m.pt", 1000, [Status()])
    with pytest.raises(requests.HTTPError):
        launcher.create("p", demo(hub))
    folder = launcher.store.path("p")
    state = read_state(folder) or {}
    assert (state["state"], state["status_message"][:12]) == ("failed", "Failed: 503 ")
    made = (folder / "venv" / "pyvenv.cfg").stat().st_mtime_ns
    cloned = len(hub.stats("/git/demo-node.git/info/refs")["requests"])

    state = launcher.create("p", demo(hub))
    assert (state["state"], state["status_message"]) == ("ready", "Ready")
    assert (folder / "venv" / "pyvenv.cfg").stat().st_mtime_ns == made
    assert len(hub.stats("/git/demo-node.git/info/refs")["requests"]) == cloned
    assert json.loads((folder / "workflow.json").read_text()) == demo(hub)["workflow"]
    assert "p" in launcher.changes
    python = folder / "venv" / "bin" / "python"
    subprocess.run([str(python), "-c", "import demo_node_helper"], check=True)


@pytest.mark.slow
def test_an_import_with_a_comfyui_of_its_own_puts_its_nodes_into_that(launcher: Launcher, hub: Hub) -> None:
    hub.add_model("m.pt", 1000, [Status()])
    wanted = {**demo(hub), "comfyui": {"url": hub.comfyui_url, "ref": "v1.0.0"}}
    with pytest.raises(requests.HTTPError):
        launcher.create("p", wanted)
    cloned = len(hub.stats("/git/comfyui.git/info/refs")["requests"])
    assert launcher.create("p", wanted)["state"] == "ready"
    assert len(hub.stats("/git/comfyui.git/info/refs")["requests"]) == cloned

    folder = launcher.store.path("p")
    assert (folder / "comfyui" / "custom_nodes" / "demo-node" / "__init__.py").exists()
    assert not (folder / "custom_nodes").exists()
    done = subprocess.run(
        [str(folder / "venv" / "bin" / "python"), "main.py"],
        cwd=folder / "comfyui", check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "ComfyUI of the demo: CheckpointLoaderSimple\n"


def tell(launcher: Launcher, project_id: str, state: str, message: str = "It goes on", **details: Any) -> None:
    """What a plugin that sets a project up itself does."""
    launcher.manager.hook.launcher_project_changed(
        project_id=project_id,
        project_folder=str(launcher.store.path(project_id)),
        state=state,
        status_message=message,
        details=details,
    )


def test_what_a_plugin_tells_of_a_project_is_kept_and_the_project_is_busy_until_it_is_over(launcher: Launcher) -> None:
    launcher.store.reserve("p", "A project")
    parts = [{"what": "model", "name": "m.pt", "state": "running"}]
    tell(launcher, "p", "setting_up", progress=40, parts=parts)
    project = launcher.store.get("p") or {}
    assert (project["name"], project["state"], project["status_message"]) == ("A project", "setting_up", "It goes on")
    assert project["details"] == {"progress": 40, "parts": parts}
    assert project["busy"] is True
    with pytest.raises(ProjectBusyError):
        launcher.store.delete("p")
    with pytest.raises(ProjectBusyError):
        launcher.store.claim("p")

    tell(launcher, "p", "failed", "Not ready: 1 of 1 parts is missing", missing=[])
    project = launcher.store.get("p") or {}
    assert (project["state"], project["busy"], project["details"]) == ("failed", False, {"missing": []})
    assert launcher.changes == ["p", "p"]
    launcher.store.delete("p")
    tell(launcher, "p", "setting_up")
    assert (launcher.store.get("p"), launcher.store.path("p").exists()) == (None, False)
    launcher.store.reserve("p", "Another")
    assert (launcher.store.get("p") or {})["busy"] is False


def test_a_state_that_is_none_is_refused(launcher: Launcher) -> None:
    launcher.store.reserve("p", "A project")
    with pytest.raises(ValueError, match="'done' is no state of a project; give 'setting_up', 'ready' or 'failed'"):
        tell(launcher, "p", "done")
    assert "details" not in (launcher.store.get("p") or {})


def test_an_import_of_another_launcher_is_not_taken_for_an_empty_one(launcher: Launcher) -> None:
    with pytest.raises(ValueError, match=r"cannot read a launcher\.json; start it with recovery"):
        launcher.create("p", {"format": "comfyui_launcher", "snapshot_json": {}, "files": []})


def test_without_the_plugin_nothing_is_left_of_what_it_told(launcher: Launcher) -> None:
    launcher.store.reserve("p", "A project")
    tell(launcher, "p", "failed", missing=[{"what": "model", "name": "m.pt", "reason": "gone"}])
    state = launcher.create("p", None)
    assert (state["state"], state["details"]) == ("ready", None)


class Shortcut:
    """Answers download and install at once, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @hookimpl
    def launcher_download(
        self, url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
    ) -> str:
        self.asked.append(("download", {"sha256": sha256, "size": size, "project_id": project_id}))
        return destination

    @hookimpl
    def launcher_install_node(
        self, url: str, destination: str, ref: str | None, python: str | None, project_id: str | None
    ) -> str:
        self.asked.append(("install", {"ref": ref, "python": python, "project_id": project_id}))
        Path(destination).mkdir(parents=True)
        return destination


def with_environment(launcher: Launcher, project_id: str) -> Path:
    """A project folder whose environment counts as made."""
    folder = launcher.store.path(project_id)
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    write_state(folder, environment_made=True)
    return folder


def test_a_plugin_takes_over_and_is_asked_with_every_argument(launcher: Launcher, hub: Hub) -> None:
    shortcut = Shortcut()
    launcher.manager.register(shortcut)
    folder = with_environment(launcher, "p")
    wanted = demo(hub)
    wanted["models"][0] |= {"sha256": "a" * 64, "size": 5}
    wanted["nodes"][0]["ref"] = "v1"
    state = launcher.create("p", wanted)
    assert shortcut.asked == [
        ("install", {"ref": "v1", "python": str(folder / "venv/bin/python"), "project_id": "p"}),
        ("download", {"sha256": "a" * 64, "size": 5, "project_id": "p"}),
    ]
    # Nothing was really fetched, so the workflow cannot run; that is told, and not raised.
    assert state["state"] == "failed"
    assert state["status_message"] == ("Failed: No installed custom node provides DemoNode. The model m.pt is missing.")


def test_a_project_is_busy_while_it_is_set_up_and_cannot_be_deleted(launcher: Launcher, hub: Hub) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class Waiting:
        @hookimpl
        def launcher_download(self, destination: str) -> str:
            reached.set()
            assert go_on.wait(30)
            return destination

    launcher.manager.register(Waiting())
    with_environment(launcher, "p")
    wanted = {**demo(hub), "nodes": []}
    thread = threading.Thread(target=launcher.create, args=("p", wanted))
    thread.start()
    assert reached.wait(30)
    assert (launcher.store.get("p") or {})["busy"] is True
    with pytest.raises(Exception, match="p"):
        launcher.store.delete("p")
    go_on.set()
    thread.join()
    assert (launcher.store.get("p") or {})["busy"] is False
    launcher.store.delete("p")
    assert launcher.store.all() == []


def test_a_state_is_never_seen_half_written(tmp_path: Path) -> None:
    write_state(tmp_path, state="a" * 100_000)
    done = threading.Event()

    def write() -> None:
        for letter in "bcdefghij" * 5:
            write_state(tmp_path, state=letter * 100_000)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert len((read_state(tmp_path) or {})["state"]) == 100_000
    thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["launcher_state.json"]


class _Entry:
    def __init__(self, name: str, plugin: object) -> None:
        self.name = name
        self.value = f"{name}:plugin"
        self._plugin = plugin

    def load(self) -> object:
        if isinstance(self._plugin, Exception):
            raise self._plugin
        return self._plugin


def test_a_broken_plugin_is_named_in_the_log_and_the_others_load(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    class Misspelt:
        @hookimpl
        def launcher_dwonload(self) -> None:
            """A hook that the launcher does not have."""

    class FailsToStart:
        @hookimpl
        def launcher_startup(self) -> None:
            raise RuntimeError("no licence")

    class Good:
        started = 0

        @hookimpl
        def launcher_startup(self) -> None:
            Good.started += 1

    entries = [
        _Entry("absent", ImportError("No module named 'absent'")),
        _Entry("misspelt", Misspelt()),
        _Entry("fails", FailsToStart()),
        _Entry("good", Good()),
        _Entry("good", object()),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries[:4])
    manager = plugins.create_manager(lambda _: None, True, ProjectStore(tmp_path))
    app = Flask(__name__)
    plugins.start(manager, app, SocketIO(app, async_mode="threading"))
    assert Good.started == 1
    assert [record.getMessage() for record in caplog.records] == [
        "The plugin 'absent' (absent:plugin) is left out: No module named 'absent'.",
        "The plugin 'misspelt' (misspelt:plugin) is left out: the launcher has no hook 'launcher_dwonload'.",
        "The plugin 'fails' did not start: no licence.",
    ]


def test_a_project_is_ready_without_the_nodes_that_a_plugin_left_out_and_says_so(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sample_launcher.handlers._environment", lambda folder, tell, with_pip: sys.executable)

    class LeavesOut:
        @hookimpl(tryfirst=True)
        def launcher_install_node(self, destination: str) -> str:
            return destination

    launcher.manager.register(LeavesOut())
    nodes = [{"url": "https://git.example/one.git"}, {"url": "https://git.example/two.git", "name": "second"}]
    project = launcher.create("p", {"nodes": nodes})
    assert (project["state"], project["status_message"]) == (
        "ready",
        "Ready without one, second, left out as you asked",
    )
    assert "installed_nodes" not in project
