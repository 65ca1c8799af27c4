"""The launcher as a real process: projects over HTTP, refusals in one sentence, and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio

from sample_launcher.hub import Drop, Hub
from sample_launcher.projects import write_state

ROOT = Path(__file__).parents[2]


class Running:
    """A launcher process with recovery off, on any free port."""

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sample_launcher", "--port", "0", "--data-dir", str(data)),
                *("--no-recovery", *arguments),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.banner: list[str] = []
        for line in self.process.stdout:
            self.banner.append(line.rstrip())
            if line.startswith("  3."):
                break
        assert self.banner, self.process.communicate()[1]
        self.url = self.banner[0].removeprefix("Launcher at ").rstrip("/")

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=10, **options)

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=10).json()

    def settled(self, project_id: str) -> dict[str, Any]:
        """The project once nothing is working on it."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            project: dict[str, Any] = self.get(f"/api/projects/{project_id}")["project"]
            if not project["busy"] and project["state"] != "setting_up":
                return project
            time.sleep(0.05)
        raise AssertionError(f"{project_id} did not settle: {project}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the process, wait for that, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts launchers over one data folder; each is killed at the end if it still runs."""
    started: list[Running] = []

    def make(*arguments: str, **environment: str) -> Running:
        started.append(Running(tmp_path / "launcher-data", *arguments, **environment))
        return started[-1]

    yield make
    for running in started:
        running.process.kill()
        running.process.communicate()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A launcher that is only asked for what it refuses."""
    running = Running(tmp_path_factory.mktemp("plain") / "launcher-data", "--no-hub")
    yield running
    running.process.kill()
    running.process.communicate()


def wanted(hub: Hub, **more: Any) -> dict[str, Any]:
    return {
        "format": "sample_launcher",
        "nodes": [],
        "models": [{"url": hub.model_url("m.pt"), "path": "loras/m.pt"}],
        "workflow": {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "m.pt"}}},
        **more,
    }


def test_an_import_becomes_ready_with_node_model_and_workflow(start: Callable[..., Running], hub: Hub) -> None:
    launcher = start("--no-hub")
    hub.add_model("m.pt", 3_000_000)
    workflow = {"nodes": [{"type": "DemoNode"}, {"type": "LoraLoader", "widgets_values": ["m.pt"]}]}
    import_json = wanted(hub, nodes=[{"url": hub.node_url, "ref": "v1.0.0"}], workflow=workflow)
    body = {"name": "Mÿ  Project!", "import_json": import_json}
    answer = launcher.post("/api/projects/import", json=body)
    assert (answer.status_code, answer.json()) == (202, {"success": True, "id": "my-project"})

    project = launcher.settled("my-project")
    assert (project["state"], project["status_message"]) == ("ready", "Ready")
    assert project["name"] == "Mÿ Project!"
    assert launcher.get("/api/projects")["projects"] == [project]
    assert launcher.get("/api/models")["models"] == [{"path": "loras/m.pt", "size": 3_000_000}]
    folder = launcher.data / "projects" / "my-project"
    assert (folder / "custom_nodes" / "demo-node" / "__init__.py").exists()
    assert (folder / "workflow.json").exists()

    again = launcher.post("/api/projects/import", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "name_exists")
    gone = requests.delete(f"{launcher.url}/api/projects/my-project")
    assert (gone.status_code, folder.exists()) == (200, False)
    assert launcher.end() == 0


def test_a_dropped_connection_loses_the_download_and_trying_again_starts_at_byte_0(
    start: Callable[..., Running], hub: Hub
) -> None:
    launcher = start("--no-hub")
    hub.add_model("m.pt", 3_000_000, [Drop(after=2_000_000)])
    launcher.post("/api/projects/import", json={"name": "first", "import_json": wanted(hub)})
    project = launcher.settled("first")
    assert project["state"] == "failed"
    assert project["status_message"].startswith("Failed: ")
    assert launcher.get("/api/models")["models"] == []

    again = launcher.post("/api/projects/first/retry", json={})
    assert (again.status_code, again.json()) == (202, {"success": True, "id": "first"})
    assert launcher.settled("first")["state"] == "ready"
    asked = hub.stats("m.pt")["requests"]
    assert [(one["range"], one["sent"]) for one in asked] == [(None, 2_000_000), (None, 3_000_000)]


def test_a_killed_launcher_leaves_half_a_file_that_the_next_one_takes_for_whole(
    start: Callable[..., Running], hub: Hub
) -> None:
    launcher = start("--no-hub")
    hub.add_model("m.pt", 40_000_000, rate=4_000_000)
    launcher.post("/api/projects/import", json={"name": "first", "import_json": wanted(hub)})
    model = launcher.data / "models" / "loras" / "m.pt"
    until = time.monotonic() + 60
    while not (model.exists() and model.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    launcher.end(signal.SIGKILL)
    half = model.stat().st_size
    assert 0 < half < 40_000_000

    launcher = start("--no-hub")
    stopped = launcher.get("/api/projects/first")["project"]
    assert (stopped["state"], stopped["busy"]) == ("setting_up", False)
    launcher.post("/api/projects/import", json={"name": "second", "import_json": wanted(hub)})
    assert launcher.settled("second")["state"] == "ready"
    assert model.stat().st_size == half


def test_a_project_that_is_being_set_up_is_not_deleted_and_sigterm_ends_the_launcher(
    start: Callable[..., Running], hub: Hub
) -> None:
    launcher = start("--no-hub")
    hub.add_model("m.pt", 1_000_000_000, rate=1_000_000)
    launcher.post("/api/projects/import", json={"name": "slow", "import_json": wanted(hub)})
    for refused in (
        requests.delete(f"{launcher.url}/api/projects/slow"),
        launcher.post("/api/projects/slow/retry", json={}),
    ):
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "project_busy"
    assert launcher.end(signal.SIGTERM) == 0
    assert "Traceback" not in launcher.process.communicate()[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ends_with_the_launcher_that_ran_it(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    # The command holds the fifo open for writing for as long as it lives.
    held = f"exec sleep 600 > '{ready}'"
    program = f"from sample_launcher import commands; commands.run(['sh', '-c', {held!r}])"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as process, open(ready, "rb") as fifo:
        process.send_signal(number)
        assert fifo.read() == b""


def test_an_empty_project_becomes_ready(start: Callable[..., Running]) -> None:
    launcher = start("--no-hub")
    assert launcher.post("/api/projects", json={"name": "Empty"}).status_code == 202
    assert launcher.settled("empty")["status_message"] == "Ready"
    folder = launcher.data / "projects" / "empty"
    assert (folder / "launcher_import.json").stat().st_mode & 0o077 == 0

    def retry() -> tuple[int, str]:
        answer = launcher.post("/api/projects/empty/retry", json={})
        return answer.status_code, answer.json()["error"]["code"]

    assert retry() == (409, "project_ready")
    write_state(folder, state="failed")
    (folder / "launcher_import.json").write_text("5")
    assert retry() == (409, "not_kept")
    assert launcher.settled("empty")["state"] == "failed"
    assert launcher.end(signal.SIGINT) == 0


def test_a_client_hears_of_every_change_of_a_project(start: Callable[..., Running]) -> None:
    launcher = start("--no-hub")
    with socketio.SimpleClient() as client:
        client.connect(launcher.url, transports=["websocket"])
        launcher.post("/api/projects", json={"name": "Empty"})
        assert client.receive(timeout=30) == ["projects_changed", {"id": "empty"}]


def test_an_installed_plugin_is_loaded_and_a_broken_one_is_only_named(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "trial-1.0.dist-info").mkdir(parents=True)
    (site / "trial-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trial\nVersion: 1.0\n")
    (site / "trial-1.0.dist-info" / "entry_points.txt").write_text(
        "[comfyui_launcher]\nbroken = trial_absent\ntrial = trial_plugin\n"
    )
    (site / "trial_plugin.py").write_text(
        "from pluggy import HookimplMarker\n"
        "@HookimplMarker('comfyui_launcher')\n"
        "def launcher_startup(app, plugin_manager):\n"
        "    if not app.config['RECOVERY_ENABLED']:\n"
        "        app.add_url_rule('/recovery/', 'trial', lambda: 'here')\n"
    )
    # What was typed, --no-recovery, holds over the environment.
    launcher = start("--no-hub", PYTHONPATH=str(site), RECOVERY_ENABLED="true")
    assert f"Recovery at {launcher.url}/recovery/" in launcher.banner
    assert requests.get(f"{launcher.url}/recovery/").text == "here"
    assert 'href="/recovery/"' in requests.get(launcher.url).text
    assert launcher.end() == 0
    said = launcher.process.communicate()[1]
    assert "The plugin 'broken' (trial_absent) is left out: No module named 'trial_absent'." in said
    assert "Traceback" not in said


GOOD: dict[str, Any] = {"format": "sample_launcher", "nodes": [], "models": [], "workflow": {}}
MODEL = {"url": "http://127.0.0.1:1/m.pt", "path": "loras/m.pt"}


def model(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "models": [{**MODEL, **changes}]}


def node(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "nodes": [{"url": "http://127.0.0.1:1/a.git", **changes}]}


@pytest.mark.parametrize("name", [None, "", "   ", "!!!", "日本", 5, True, [], "x" * 81])
@pytest.mark.parametrize("path", ["/api/projects", "/api/projects/import"])
def test_a_bad_name_is_refused(plain: Running, path: str, name: Any) -> None:
    body = {"import_json": GOOD} if name is None else {"name": name, "import_json": GOOD}
    refused(plain, path, body, "bad_name")


@pytest.mark.parametrize(
    ("import_json", "code"),
    [
        (None, "bad_import"),
        ("{}", "bad_import"),
        ([], "bad_import"),
        ({}, "bad_format"),
        ({**GOOD, "format": "another"}, "bad_format"),
        ({**GOOD, "format": "comfyui_launcher"}, "bad_format"),  # it has nothing of that format but the name
        ({**GOOD, "nodes": {}}, "bad_import"),
        ({**GOOD, "models": None}, "bad_import"),
        ({**GOOD, "workflow": None}, "bad_workflow"),
        ({**GOOD, "workflow": []}, "bad_workflow"),
        ({**GOOD, "models": ["m"]}, "bad_model"),
        ({**GOOD, "models": [MODEL, MODEL]}, "bad_model_path"),
        *[
            (model(url=url), "bad_model_url")
            for url in (None, "", "ftp://a/b", "file:///etc/passwd", "http://", "http://[", "http://a b", 5)
        ],
        *[
            (model(path=path), "bad_model_path")
            for path in (
                *(None, "", ".", "/etc/x.pt", "../x.pt", "a/../../x.pt", "a/../b.pt", "..\\x.pt", "a\\b.pt"),
                *("C:/x.pt", "a\0b", "a\nb", "loras/", "link/x.pt", "x" * 300, "\ud800", 5),
            )
        ],
        *[(model(sha256=value), "bad_sha256") for value in ("", "a" * 63, "g" * 64, 5)],
        *[(model(size=value), "bad_size") for value in (-1, 1.5, "5", True)],
        ({**GOOD, "comfyui": []}, "bad_comfyui"),
        ({**GOOD, "comfyui": {}}, "bad_comfyui_url"),
        ({**GOOD, "comfyui": {"url": "file:///x"}}, "bad_comfyui_url"),
        ({**GOOD, "comfyui": {"url": "http://127.0.0.1:1/c.git", "ref": "--force"}}, "bad_comfyui"),
        ({**GOOD, "nodes": [5]}, "bad_node"),
        *[(node(url=url), "bad_node_url") for url in (None, "ext::sh -c id", "git@host:a.git", "-u", "file:///x")],
        *[(node(name=name), "bad_node") for name in ("..", "a/b", ".hidden", "", 5)],
        *[(node(ref=ref), "bad_node") for ref in ("-f", "--orphan", "", "a b", 5)],
        ({**GOOD, "nodes": [{"url": "http://a/x.git"}, {"url": "http://b/x.git"}]}, "bad_node"),
    ],
)
def test_a_bad_import_is_refused(plain: Running, import_json: Any, code: str) -> None:
    link = plain.data / "models" / "link"
    if not link.is_symlink():
        link.symlink_to(plain.data.parent)
    refused(plain, "/api/projects/import", {"name": "bad", "import_json": import_json}, code)


def refused(plain: Running, path: str, body: Any, code: str) -> None:
    answer = plain.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["success"] is False
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["params"] == {}
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]
    assert plain.get("/api/projects")["projects"] == []
    assert list((plain.data / "projects").iterdir()) == []


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        (
            "POST",
            "/api/projects",
            {"data": "{", "headers": {"Content-Type": "application/json"}},
            400,
            "malformed_json",
        ),
        (
            "POST",
            "/api/projects",
            {"data": "[" * 100_000, "headers": {"Content-Type": "application/json"}},
            400,
            "malformed_json",
        ),
        (
            "POST",
            "/api/projects",
            {"data": b"\xff", "headers": {"Content-Type": "application/json"}},
            400,
            "malformed_json",
        ),
        ("POST", "/api/projects", {"json": []}, 422, "not_an_object"),
        ("POST", "/api/projects", {"data": {"name": "x"}}, 415, "not_json"),
        ("POST", "/api/projects", {}, 415, "not_json"),
        (
            "POST",
            "/api/projects/import",
            {"data": "{}", "headers": {"Content-Type": "text/plain"}},
            415,
            "not_json",
        ),
        ("POST", "/api/projects", {"json": {"name": "x" * 9_000_000}}, 413, "too_large"),
        ("GET", "/api/projects/nope", {}, 404, "unknown_project"),
        ("DELETE", "/api/projects/nope", {}, 404, "unknown_project"),
        ("POST", "/api/projects/nope/retry", {"json": {}}, 404, "unknown_project"),
        ("POST", "/api/projects/nope/retry", {}, 415, "not_json"),
        ("DELETE", "/api/projects/..", {}, 404, "unknown_project"),
        ("GET", "/api/nothing", {}, 404, "not_found"),
        ("PUT", "/api/projects", {"json": {}}, 405, "method_not_allowed"),
        ("GET", "/api/projects/demo-import", {}, 503, "no_hub"),
    ],
)
def test_other_bad_requests_are_answered_in_the_same_form(
    plain: Running, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    url = plain.url + path
    if path.endswith(".."):
        url = plain.url + "/api/projects/%2e%2e"
    request = requests.Request(method, url, **options).prepare()
    request.url = url
    answer = requests.Session().send(request, timeout=10)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"].endswith(".")


def test_unfinished_and_hidden_files_are_no_models(plain: Running) -> None:
    for name in ("a.pt", "b.pt.part", ".c.pt", ".hidden/d.pt", "e.pt.part.json"):
        file = plain.data / "models" / "listed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    assert {"path": "listed/a.pt", "size": 5} in plain.get("/api/models")["models"]
    assert len(plain.get("/api/models")["models"]) == 1


def test_the_page_has_a_policy_and_no_script_of_its_own(plain: Running) -> None:
    page = requests.get(plain.url)
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "<script src=" in page.text
    assert "<style" not in page.text
    assert "/recovery/" not in page.text
    for name in ("launcher.js", "style.css", "icon.svg"):
        assert requests.get(f"{plain.url}/static/{name}").status_code == 200


def test_the_demo_import_describes_what_the_hub_really_has(start: Callable[..., Running]) -> None:
    launcher = start("--hub-port", "0")
    hub_url = launcher.banner[1].removeprefix("Model hub at ")
    demo = launcher.get("/api/projects/demo-import")
    listed = requests.get(f"{hub_url}/_hub/models").json()["models"][0]
    assert demo["models"] == [
        {
            "url": listed["url"],
            "path": "checkpoints/demo-model.safetensors",
            "sha256": listed["sha256"],
            "size": 268_435_456,
        }
    ]
    assert demo["nodes"] == [{"url": f"{hub_url}/git/demo-node.git"}]
    assert demo["comfyui"] == {"url": f"{hub_url}/git/comfyui.git"}
    assert launcher.end() == 0
    wait_until_gone(hub_url)


def wait_until_gone(url: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            requests.get(f"{url}/_hub/stats", timeout=5)
        except requests.ConnectionError:
            return
        time.sleep(0.05)
    raise AssertionError(f"{url} still answers")


def test_the_hub_of_a_killed_launcher_lives_and_is_taken_over_by_the_next(
    start: Callable[..., Running],
) -> None:
    first = start("--hub-port", "0")
    hub_url = first.banner[1].removeprefix("Model hub at ")
    first.end(signal.SIGKILL)
    pid = requests.get(f"{hub_url}/_hub/stats").json()["pid"]
    second = start("--hub-port", hub_url.rsplit(":", 1)[1])
    assert requests.get(f"{hub_url}/_hub/stats").json()["pid"] == pid
    assert second.end() == 0
    wait_until_gone(hub_url)


def test_a_hub_that_somebody_else_runs_is_used_and_left_running(start: Callable[..., Running], hub: Hub) -> None:
    launcher = start("--hub-port", str(hub.port))
    assert f"Model hub at {hub.url}" in launcher.banner
    assert launcher.end() == 0
    assert requests.get(f"{hub.url}/_hub/stats").status_code == 200
    assert not hub.ended.is_set()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "99999"], "'99999' is no port"),
        (["--port", "-1"], "'-1' is no port"),
        (["--hub-port", "x"], "'x' is no port"),
        (["--data-dir", "FILE"], "is a file; give a folder"),
        (["--data-dir", "FILE/below"], "cannot be used"),
        (["--port", "TAKEN", "--no-hub"], "choose another with --port"),
        (["--port", "0", "--hub-port", "TAKEN"], "use --hub-port or --no-hub"),
        (["--host", "nowhere.invalid"], "no address 'nowhere.invalid'"),
        (["--surprise"], "Unrecognized arguments: --surprise"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence_with_exit_code_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "file").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0.1)
        places = {"FILE": str(tmp_path / "file"), "TAKEN": str(taken.getsockname()[1])}
        for name, value in places.items():
            arguments = [argument.replace(name, value) for argument in arguments]
        ended = subprocess.run(
            [sys.executable, "-m", "sample_launcher", "--data-dir", str(tmp_path / "data"), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "RECOVERY_ENABLED": "false"},
        )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
