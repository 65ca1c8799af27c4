"""What several tests need: waiting for something, and a launcher's plugin manager with recovery attached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import pluggy
import requests

from launcher_recovery import handles, owners
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.plugin import LauncherPlugin
from launcher_recovery.records import RecoveryData
from launcher_recovery.testing import VirtualClock
from sample_launcher import hookspecs

T = TypeVar("T")

_earlier: set[threading.Thread] = set()


def forget_threads() -> None:
    """Threads of tests before this one are not to be counted by `recovery_threads`."""
    _earlier.clear()
    _earlier.update(threading.enumerate())


def recovery_threads() -> list[str]:
    """Names of recovery's threads that were begun since `forget_threads`."""
    begun = [thread for thread in threading.enumerate() if thread not in _earlier]
    return sorted(thread.name for thread in begun if thread.name.startswith("recovery-"))


def but_for(module: ModuleType, **replaced: object) -> SimpleNamespace:
    """What stands for `module` in one module under test: replaced there alone, not for other threads."""
    return SimpleNamespace(**{**vars(module), **replaced})


def watched_operations() -> set[Operation]:
    """Handles of operations for whose sake a thread looks for what other processes change, on any store."""
    return {live for handles in list(handles._of_store.values()) for live in list(handles._watched)}


def let_go(store: Store) -> None:
    """End what goes on for `store` where a test works with bare handles of operations, which an engine would end."""
    owners.let_go(store)
    of_store = handles.handles_of(store)
    for live in list(of_store._watched):
        of_store.detach(live)


def wait_for(look: Callable[[], T], seconds: float = 30.0, pause_s: float = 0.005) -> T:
    """What `look` returns as soon as that is true."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"did not happen within {seconds:g} s"
        time.sleep(pause_s)
    return found


# Between two looks at an API that counts the requests of each peer; a page in a browser may ask as well meanwhile.
LOOK_S = 0.15


def patient_get(url: str, **options: Any) -> requests.Response:
    """The answer to a GET, asked again when it is time, where there were too many requests."""
    while True:
        answer = requests.get(url, timeout=30, **options)
        if answer.status_code != 429:
            return answer
        time.sleep(int(answer.headers["Retry-After"]))


class Ticking(VirtualClock):
    """A clock that does not wait, and on which no two moments are the same."""

    def time(self) -> float:
        self.advance(0.001)
        return super().time()


class Host:
    """A launcher's plugin manager, with recovery on a clock that does not wait once it is attached."""

    def __init__(self, folder: Path, store: Store | None = None, **settings: Any) -> None:
        self.folder = folder
        self.manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self.manager.add_hookspecs(hookspecs)
        self.store = store or MemoryPersistence()
        config = RecoveryConfig(**{"enabled": True, "max_retries": 2, "allow_private_addresses": True, **settings})
        self.integrator = RecoveryIntegrator(config, persistence=self.store, clock=Ticking())
        self.plugin = LauncherPlugin(self.integrator, self.manager)

    def attach(self) -> None:
        self.plugin.attach()

    def detach(self) -> None:
        self.plugin.detach()

    def download(self, name: str = "m.pt", url: str = "http://127.0.0.1:9/m.pt", **more: Any) -> Any:
        arguments = {"destination": str(self.folder / name), "sha256": None, "size": None, "project_id": "p"}
        return self.manager.hook.launcher_download(**{"url": url, **arguments, **more})

    def install(self, name: str = "node", url: str = "https://127.0.0.1:9/node.git", **more: Any) -> Any:
        arguments = {"destination": str(self.folder / name), "ref": None, "python": None, "project_id": "p"}
        return self.manager.hook.launcher_install_node(**{"url": url, **arguments, **more})

    def validate(self, workflow: Any = None, project_id: str = "p") -> Any:
        return self.manager.hook.launcher_validate_workflow(
            workflow={} if workflow is None else workflow,
            models_folder=str(self.folder),
            nodes_folder=str(self.folder),
            project_id=project_id,
        )

    def create(self, project_id: str = "p") -> Any:
        return self.manager.hook.launcher_create_project(
            project_id=project_id,
            name=f"Project {project_id}",
            import_json={"format": "one that only the launcher knows"},
            project_folder=str(self.folder),
            models_folder=str(self.folder),
        )

    def operations(self, kind: str | None = None) -> list[RecoveryData]:
        """What is recorded, oldest first."""
        return self.store.find(kind=kind, limit=-1)[::-1]
