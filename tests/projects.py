"""A launcher that creates projects with recovery attached, whose other handlers do what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher_recovery.hookspecs import hookimpl as extension_hookimpl
from launcher_recovery.kinds import OperationKind
from launcher_recovery.plans import Plan, read
from launcher_recovery.records import RecoveryData
from sample_launcher.hookspecs import hookimpl
from tests.nodes import make_environment
from tests.support import Host, wait_for

Doing = Callable[[dict[str, Any]], object]


class Creator:
    """One launcher with a project "p"; everything of it is below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.models = folder / "models"
        self.told: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.doing: dict[str, Doing] = {}
        """By the name of a file or node: called when it is to be had, in place of making it."""
        self.problems: list[dict[str, str]] = []
        self.host = Host(folder)
        self.host.manager.register(self)
        self.host.attach()

    def close(self) -> None:
        self.host.detach()

    # -- the launcher's other handlers --------------------------------------------------------------

    @hookimpl
    def launcher_project_changed(
        self, project_id: str, project_folder: str, state: str, status_message: str, details: dict[str, Any]
    ) -> None:
        assert (project_id, project_folder) == ("p", str(self.folder))
        self.told.append({"state": state, "message": status_message, **json.loads(json.dumps(details))})

    @hookimpl
    def launcher_download(self, url: str, destination: str) -> str | None:
        if not url:
            return None
        self._do(url, Path(destination), lambda place: place.write_text(url))
        return destination

    @hookimpl
    def launcher_install_node(self, url: str, destination: str, ref: str | None, python: str | None) -> str:
        assert python == str(self.folder / "venv" / "bin" / "python")
        self._do(url, Path(destination), lambda place: place.mkdir())
        return destination

    @hookimpl
    def launcher_validate_workflow(
        self, workflow: dict[str, Any], models_folder: str, nodes_folder: str
    ) -> dict[str, Any]:
        assert models_folder == str(self.models)
        self.calls.append("workflow")
        if "workflow" in self.doing:
            self.doing["workflow"]({"nodes_folder": nodes_folder})
        return {"valid": not self.problems, "node_types": [], "models": [], "problems": self.problems}

    def _do(self, url: str, place: Path, make: Callable[[Path], object]) -> None:
        name = url.rpartition("/")[2]
        self.calls.append(name)
        if name in self.doing:
            self.doing[name]({"url": url})
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            make(place)

    # -- what tests do ------------------------------------------------------------------------------

    def extend(self, *kinds: OperationKind, **closing: str) -> None:
        """Have further kinds of operations; `closing="name"`: imports end with that one."""
        integrator = self.host.integrator
        integrator.extensions.register(_Extension(kinds, **closing), "test")
        integrator.kinds = {kind.name: kind for kind in integrator.extensions.operations()}

    def create(self, **wanted: Any) -> Any:
        """Have the project created; an import of nothing else than what is given."""
        import_json = {"nodes": [], "models": [], **wanted}
        return self.host.manager.hook.launcher_create_project(
            project_id="p",
            name="P",
            import_json=import_json,
            project_folder=str(self.folder),
            models_folder=str(self.models),
        )

    def begin(self, **wanted: Any) -> threading.Thread:
        """`create` in a thread, whatever comes of it."""

        def run() -> None:
            try:
                self.create(**wanted)
            except Exception as error:
                self.told.append({"state": "raised", "message": str(error)})

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def has_environment(self) -> None:
        """The environment was made before, which takes a while with pip."""
        self.folder.mkdir()
        make_environment(self.folder / "venv")

    @property
    def whole(self) -> RecoveryData:
        """The operation that is the whole."""
        (found,) = self.host.operations("create_project")
        return found

    def part(self, kind: str, name: str) -> RecoveryData:
        """The operation that is a part of it; waited for."""

        def look() -> RecoveryData | None:
            return next((one for one in self.host.operations(kind) if one.title == name), None)

        return wait_for(look)

    def stages(self) -> dict[str, str]:
        """By name, the parts as they are kept."""
        return {part["name"]: part["state"] for part in self.whole.metadata["parts"]}


class _Extension:
    """What `Creator.extend` registers."""

    def __init__(self, kinds: Sequence[OperationKind], closing: str | None = None) -> None:
        self._kinds = kinds
        self._closing = closing

    @extension_hookimpl
    def recovery_operations(self) -> Sequence[OperationKind]:
        return self._kinds

    @extension_hookimpl
    def recovery_read_import(self, import_json: Any) -> Plan | None:
        plan = read(import_json)
        return None if plan is None or self._closing is None else replace(plan, closing=self._closing)


def model(end: str, **more: Any) -> dict[str, Any]:
    """A model of an import."""
    return {"url": f"http://127.0.0.1:9/{end}", "path": f"loras/{end}", **more}


def node(end: str, **more: Any) -> dict[str, Any]:
    """A node of an import."""
    return {"url": f"https://127.0.0.1:9/{end}", **more}


WORKFLOW = {"3": {"class_type": "KSampler", "inputs": {}}}
