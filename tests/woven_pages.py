"""The stand-in for launchers without plugins, woven by an extension of the tests: its pages and one of its views."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher_recovery import owners
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor
from tests.standin import StandIn
from tests.support import let_go
from tests.woven import environment

RUN = (sys.executable, "-m", "launcher_recovery", "run", "--")
NAME = "ComfyUI Launcher"
"""In place of the package's own host, which has the same neighbours, and knows the functions of the real one."""
_EXTENSION = """
import os

from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.joinpoints import Host, JoinPoint


def told(call):
    print("asked to delete", call.kwargs["id"], flush=True)
    return call.proceed()


@hookimpl
def recovery_join_points():
    points = (
        JoinPoint("server", "delete_project", "delete_project", advice=told, tolerant=True, view=True),
        JoinPoint("tasks", "create_comfyui_project", "create_project", tolerant=True, task=True),
    )
    return [Host("{name}", points, ("server.py", "tasks.py", "{mark}"), pages=True, roots=lambda: [os.getcwd()])]
"""


def _install(folder: Path, mark: str) -> None:
    """Put the extension into a folder, as pip would."""
    info = folder / "wv_pages-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (folder / "wv_pages.py").write_text(_EXTENSION.format(name=NAME, mark=mark))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wv_pages\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[launcher_recovery]\nwv = wv_pages\n")


class WovenHost:
    """The stand-in over a folder, of which each process is started as it is, or woven.

    Args:
        folder: for the copy of it, and for what recovery keeps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = f"mark_{folder.parent.name}_{folder.name}"
        _install(folder / "site", self._mark)
        self.page = folder / "host" / "launcher" / "web" / "dist" / "index.html"
        self.made("made")  # so that its files are there

    def made(self, how: str, **settings: str) -> StandIn:
        """A way to start its processes: "plain", or "woven". Only one web process at a time."""
        # Its answers tell the ports, and names in the order of a set.
        same = {"PROJECT_MIN_PORT": "4100", "PROJECT_MAX_PORT": "4200", "PYTHONHASHSEED": "1"}
        given: Mapping[str, str] = {**environment(self.folder, self.folder / "site"), **same, **settings}
        kept = {name: given[name] for name in ("PYTHONPATH", *same, *settings)}
        own = {"RECOVERY_PERSISTENCE_PATH": given["RECOVERY_PERSISTENCE_PATH"]} if how == "woven" else {}
        host = StandIn(self.folder / "host", {**kept, **own}, prefix=RUN if how == "woven" else (), is_quick=True)
        (self.folder / "host" / "launcher" / "server" / self._mark).touch()
        return host


class Records:
    """What recovery keeps of the host, written by this process; a context manager. In the end nothing goes on."""

    def __init__(self, host: WovenHost) -> None:
        self.store = SQLitePersistence(host.folder / "recovery.db")
        self.lifecycle = Lifecycle(self.store)

    def __enter__(self) -> Records:
        owners.keep_alive(self.store)  # else others would take over what runs here
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        let_go(self.store)
        self.store.close()

    def end(self) -> None:
        """Nothing of it goes on, or needs a person."""
        for data in self.store.find(limit=-1):
            if data.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED):
                self.lifecycle.retry(data.operation_id)
            if data.state not in (RecoveryState.SUCCESS, RecoveryState.CANCELLED):
                self.lifecycle.cancel(data.operation_id)

    def begun(self, project: str, title: str, kind: str = "create_project", **more: Any) -> Operation:
        """An operation in its first attempt."""
        data = self.lifecycle.open("work", (), {}, kind=kind, project=project, title=title, **more)
        return self.attempt(data)

    def attempt(self, data: RecoveryData) -> Operation:
        """Begin the next attempt of an operation."""
        return Operation(self.lifecycle.begin_attempt(data.operation_id, 4), self.lifecycle, self.lifecycle.clock)

    def queued(self, project: str, title: str) -> RecoveryData:
        """An import that waits for a worker."""
        draft = self.lifecycle.draft("work", (), {}, kind="create_project", project=project, title=title)
        draft.owner = None  # whoever takes it from the queue
        draft.metadata["queued"] = {"task_id": "t", "at": draft.created_at.timestamp()}
        return self.lifecycle.enter(draft)

    def fail(self, live: Operation, explanation: str, delay: float | None = None) -> None:
        """End an attempt; with a delay it waits for so many seconds, without one a person is needed."""
        self.lifecycle.end_attempt(
            live,
            RecoveryState.FAILED if delay is None else RecoveryState.RECOVERING,
            ConnectionResetError("broken"),
            category="network",
            explanation=explanation,
            fix="check_connection",
            fruitless=1,
            limit=4,
            delay=delay,
            waiting_for=None if delay is None else WaitingFor.BACKOFF,
        )
