"""The sample launcher as a process that can be killed, and a small project to import into it."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from sample_launcher.hub import Hub
from tests.support import LOOK_S, patient_get, wait_for

ROOT = Path(__file__).parents[1]
MODEL = "model.safetensors"
PATIENCE_S = 90.0
"""How long anything here may take on a machine that is busy with other things."""

# Retries come soon, so that tests do not wait; everything else is as people have it.
NEAR = {"RECOVERY_ALLOW_PRIVATE_ADDRESSES": "true"}
"""The servers of tests are on this machine."""

QUICK = {"RECOVERY_INITIAL_DELAY": "0.05", "RECOVERY_MAX_DELAY": "0.2"}


class Launcher:
    """A launcher over one data folder, started and ended as often as one likes; on a free port, then kept.

    Args:
        data: its data folder.
        arguments: of its command line.
        environment: variables, in place of the quick retries that are set otherwise.
    """

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self.data = data
        self.port = 0
        self.url = ""
        self._arguments = arguments
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_")}
        self._environment = {**inherited, **NEAR, **(environment or QUICK), "PYTHONUNBUFFERED": "1"}
        self._log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    # -- the process --------------------------------------------------------------------------------

    def start(self) -> Launcher:
        """Start it, and wait until it serves."""
        assert self._process is None, "it runs already"
        self._log.write_bytes(b"")
        argv = [sys.executable, "-m", "sample_launcher", "--no-hub", "--data-dir", str(self.data)]
        argv += ["--port", str(self.port), *self._arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        found = wait_for(self._announced, PATIENCE_S)
        self.url = found.group(1)
        self.port = int(self.url.rpartition(":")[2])
        return self

    def _announced(self) -> re.Match[str] | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return re.search(r"^Launcher at (http://\S+?)/\n(?:.*\n)*  3\.", self.log, re.MULTILINE)

    def kill(self) -> None:
        """End it with SIGKILL: nothing in it gets to run any more."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to end, and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        status = self._process.wait(PATIENCE_S)
        self._process = None
        return status

    def ends_by_itself_within(self, seconds: float) -> bool:
        """Let it run for `seconds`; whether it ended meanwhile."""
        assert self._process is not None, "it does not run"
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Launcher:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def log(self) -> str:
        """What this run of it has printed."""
        return self._log.read_text(encoding="utf-8")

    # -- what it is asked ---------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = patient_get(self.url + path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        answer = requests.post(self.url + path, json=body or {}, headers={"X-Launcher-Recovery": "1"}, timeout=30)
        assert answer.status_code in (200, 202), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def control(self, operation: dict[str, Any], action: str) -> dict[str, Any]:
        """Press a button of an operation; the answer."""
        return self.post(f"/api/recovery/operations/{operation['operation_id']}/{action}")

    def import_project(self, name: str, import_json: dict[str, Any]) -> str:
        """Begin an import; returns the project's id."""
        return str(self.post("/api/projects/import", {"name": name, "import_json": import_json})["id"])

    def project(self, project_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/projects/{project_id}")["project"]
        return found

    def settled(self, project_id: str) -> dict[str, Any]:
        """The project once nothing works on it any more."""

        def look() -> dict[str, Any] | None:
            project = self.project(project_id)
            return None if project["busy"] or project["state"] == "setting_up" else project

        return wait_for(look, PATIENCE_S, pause_s=0.05)

    def operations(self, **query: Any) -> list[dict[str, Any]]:
        """Operations, newest first."""
        found: list[dict[str, Any]] = self.get("/api/recovery/operations", **query)["operations"]
        return found

    def operation(self, kind: str, project: str) -> dict[str, Any]:
        """The only operation of a kind in a project, with its attempts and steps; waited for."""
        (found,) = wait_for(lambda: self.operations(kind=kind, project=project), PATIENCE_S, LOOK_S)
        return self.detail(found["operation_id"])

    def detail(self, operation_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/recovery/operations/{operation_id}")["operation"]
        return found

    def operation_in(self, kind: str, project: str, *states: str) -> dict[str, Any]:
        """The same once it is in one of `states`."""

        def look() -> dict[str, Any] | None:
            found = self.operation(kind, project)
            return found if found["state"] in states else None

        return wait_for(look, PATIENCE_S, LOOK_S)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/recovery/status")["recovery"]
        return found

    def model(self, name: str = MODEL) -> Path:
        """Where a model of `wanted` is to be in the end."""
        return self.data / "models" / "checkpoints" / name


def wanted(hub: Hub, name: str = MODEL, *, node: bool = False, comfyui: bool = False) -> dict[str, Any]:
    """An import file for a model that is on offer, checked by size and SHA-256; with the demo's node and ComfyUI, or
    without."""
    size = next(model.size for model in hub.shelf.models() if model.name == name)
    model = {"url": hub.model_url(name), "path": f"checkpoints/{name}", "sha256": hub.sha256(name), "size": size}
    nodes = [{"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": [name]}]
    if node:
        nodes.append({"id": 2, "type": "DemoNode", "widgets_values": ["world"]})
    return {
        "format": "sample_launcher",
        **({"comfyui": {"url": hub.comfyui_url}} if comfyui else {}),
        "nodes": [{"url": hub.node_url}] if node else [],
        "models": [model],
        "workflow": {"nodes": nodes, "links": [], "version": 0.4},
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sent(hub: Hub, name: str = MODEL) -> int:
    """Bytes of a model that the hub has sent so far."""
    return int(hub.stats(name)["bytes_sent"])


def clones(hub: Hub) -> int:
    """How often the demo node was cloned: of each of its objects there is one request then."""
    paths = hub.all_stats()["paths"].items()
    return max((len(seen["requests"]) for path, seen in paths if "/objects/" in path and seen["bytes_sent"]), default=0)
