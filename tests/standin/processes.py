"""The web process and the worker of a host that is woven from outside, each started and ended by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.standin import plugin, words
from tests.support import patient_get, wait_for

HOST = Path(__file__).parent / "host"
WEB, WORKER = "web", "worker"
PROJECT_STATES = ("download_comfyui", "install_comfyui", "install_custom_nodes", "download_files", "ready")
"""Those that a project goes through while it is set up, in order."""

PATIENCE_S = 90.0
"""How long anything here may take on a machine that is busy with other things."""

_ANSWER_S = 30.0
_LOOK_S = 0.05
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".celery", "control", "projects", "models", "test-workflows")


class StandIn:
    """A host over a folder, in two processes. A context manager: both are started, and in the end killed.

    Args:
        folder: for the copy of the host that runs, its projects and models.
        environment: variables beside those of this process, of which it gets none that is about recovery, git or pip.
        host: what is copied: the stand-in, or a checkout of the real one, of which only `server` and `web/dist` are.
            That listens at all addresses of the machine.
        python: the interpreter that has what the host needs, with `celery` beside it.
        prefix: words before each of both commands.
        is_woven: both are started through `launcher-recovery run --`; the program is beside `python`.
        is_quick: environments of projects are made of links to the pip of the tests, instead of by `venv`.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        host: Path = HOST,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
        is_woven: bool = False,
        is_quick: bool = False,
    ) -> None:
        self.folder, self.is_woven = folder, is_woven
        self.projects, self.models = folder / "projects", folder / "models"
        self.port, self.first_project_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._python = Path(python)
        self._prefix = (*prefix, *(plugin.prefix(self._python) if is_woven else ()))
        self._server = folder / "launcher" / "server"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._left_groups: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)
        if not self._server.exists():
            shutil.copytree(host / "server", self._server, ignore=_LEFT_OUT)
            shutil.copytree(host / "web" / "dist", folder / "launcher" / "web" / "dist")
        words.write(folder / "bin", self._python, is_quick)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not re.match("RECOVERY_|GIT_|PIP_", name)},
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "PYTHONUNBUFFERED": "1",
            "PROJECTS_DIR": str(self.projects),
            "MODELS_DIR": str(self.models),
            "CELERY_DIR": str(folder / "celery"),
            "SERVER_PORT": str(self.port),
            "PROJECT_MIN_PORT": str(self.first_project_port),
            "PROJECT_MAX_PORT": str(self.first_project_port),
            **(plugin.environment(folder, is_stand_in=host == HOST) if is_woven else {}),
            **environment,
        }

    # -- the processes ------------------------------------------------------------------------------

    def start(self, *names: str) -> StandIn:
        """Start both, or one of them, and wait until it works."""
        names = names or (WORKER, WEB)
        for name in names:
            self._start(name)
        for name in names:
            wait_for(self._serves if name == WEB else self._listens, PATIENCE_S, _LOOK_S)
        return self

    def _start(self, name: str) -> None:
        assert name not in self._processes, f"{name} runs already"
        worker = [str(self._python.with_name("celery")), "-A", "server.celery_app", "--workdir=.", "worker"]
        web = [str(self._python), "server.py"]
        argv = [*self._prefix, *(web if name == WEB else [*worker, "--loglevel=INFO"])]
        self._log(name).write_bytes(b"")
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                argv,
                cwd=self._server,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, which can be killed as one
            )

    def _serves(self) -> bool:
        self._assert_runs(WEB)
        try:
            return requests.get(f"{self.url}/api/settings", timeout=_ANSWER_S).ok
        except requests.ConnectionError:
            return False

    def _listens(self) -> bool:
        self._assert_runs(WORKER)
        return re.search(r"^.*celery@.* ready\.$", self.log(WORKER), re.MULTILINE) is not None

    def _assert_runs(self, name: str) -> None:
        assert self._processes[name].poll() is None, self.log(name)

    def kill(self, *names: str) -> None:
        """End both, or one of them, with all that they started, as the end of a container does: by SIGKILL."""
        for name in names or tuple(self._processes):
            process = self._processes.pop(name)
            _kill_group(process.pid)
            process.wait(PATIENCE_S)

    def kill_alone(self, name: str) -> None:
        """End the process itself by SIGKILL, and nothing of what it started, until all ends."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(PATIENCE_S)
        self._left_groups.append(process.pid)

    def terminate(self, name: str) -> int:
        """Ask one to end, and return its exit status."""
        self._processes[name].terminate()
        return self.wait(name)

    def wait(self, name: str) -> int:
        """Wait for the end of one that will end, and return its exit status; what it started ends with it."""
        status = self._processes[name].wait(PATIENCE_S)
        self.kill(name)
        return status

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def children(self, name: str) -> list[int]:
        """The processes that one has started itself and that have not ended."""
        # Each thread has its own: the first were started by the main one, later ones by one that watches over them.
        lists = Path(f"/proc/{self.pid(name)}/task").glob("*/children")
        return [int(child) for path in lists for child in path.read_text().split()]

    def __enter__(self) -> StandIn:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()
        for group in self._left_groups:
            _kill_group(group)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        """What this run of a process, and what it started, has printed."""
        return self._log(name).read_text(encoding="utf-8", errors="replace")

    def run_python(self, code: str) -> str:
        """Run code where the modules of the host can be imported; what it prints. Raises CalledProcessError."""
        return self._run([str(self._python), "-c", code], subprocess.STDOUT)

    def recovery(self, *arguments: str) -> Any:
        """What a command of `launcher-recovery` tells as JSON, run beside the processes. Raises CalledProcessError."""
        return json.loads(self._run([str(self._python), "-m", "launcher_recovery", *arguments, "--json"]))

    def _run(self, command: list[str], stderr: int | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=self._server,
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        return done.stdout

    # -- what it is asked ---------------------------------------------------------------------------

    def get(self, path: str) -> requests.Response:
        return patient_get(self.url + path)

    def post(self, path: str, body: Any = None) -> requests.Response:
        """Long enough for a project that is started."""
        return requests.post(self.url + path, json=body or {}, timeout=PATIENCE_S)

    def import_project(self, name: str, launcher_json: Mapping[str, Any], port: int | None = None) -> str:
        """Begin an import; the project's id."""
        asked = {"import_json": launcher_json, "resolved_missing_models": [], "skipping_model_validation": False}
        answer = self.post("/api/import_project", {"name": name, "port": port, **asked})
        assert answer.ok, answer.text
        assert answer.json()["success"], answer.text
        return str(answer.json()["id"])

    def project(self, project_id: str) -> dict[str, Any] | None:
        """What the host's list shows of a project; None: it is not in it.

        The host writes the state while others read it; then its answer is an error, and it is asked again.
        """
        answer = wait_for(lambda: (got := self.get("/api/projects")).ok and got, PATIENCE_S, _LOOK_S)
        assert isinstance(answer, requests.Response)
        return next((one for one in answer.json() if one["id"] == project_id), None)

    def operations(self, project_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        """What recovery's API tells of a project's operations, the latest first; nothing of one that is not woven."""
        if not self.is_woven:
            return []
        asked = {"project": project_id, "limit": "100", **({} if kind is None else {"kind": kind})}
        answer = patient_get(f"{self.url}/api/recovery/operations", params=asked)
        assert answer.ok, answer.text
        return list(answer.json()["operations"])

    def follow(
        self,
        project_id: str,
        idle_s: float = PATIENCE_S,
        moves: Callable[[], object] = lambda: None,
        until: Callable[[], bool] = lambda: False,
    ) -> list[dict[str, Any]]:
        """All states of a project that were seen, up to one in which it stays.

        Args:
            idle_s: seconds without a change, after which it is taken to be stuck.
            moves: what changes as long as something goes on.
            until: asked again and again; true: that is enough.

        Returns:
            The state as the host keeps it, each as often as it changed; an empty one at the end: the project is gone.
        """
        seen: list[dict[str, Any]] = []
        moved, last = moves(), time.monotonic()
        while time.monotonic() - last < idle_s and not until():
            project = self.project(project_id)
            state = {} if project is None else project["state"]
            if not seen or state != seen[-1]:
                seen.append(state)
                last = time.monotonic()
            if (now := moves()) != moved:
                moved, last = now, time.monotonic()
            if state.get("state") in (None, "ready", "running", "failed"):
                break
            time.sleep(_LOOK_S)
        return seen


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of it has ended
