"""The launcher's own handlers, as naive as launchers are; a plugin may take over or stand around them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pluggy
import requests

from . import nodes, workflows
from .commands import run
from .hookspecs import hookimpl
from .projects import FAILED, READY, SETTING_UP, read_state, write_state
from .text import one_line

COMFYUI = "comfyui"
"""The folder of a project's own ComfyUI."""

LAUNCHER_JSON = "comfyui_launcher"
"""The format of another launcher's imports, which only a plugin can read."""

_CHUNK = 1 << 20


class NativeHandlers:
    """The handlers that answer when no plugin does.

    `manager` is what they call each other through; `changed` is told the id of a project whose state changed;
    `busy` is entered with the id of the project that is being set up.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        changed: Callable[[str], None],
        busy: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._manager = manager
        self._changed = changed
        self._busy = busy

    @hookimpl(trylast=True)
    def launcher_download(self, url: str, destination: str) -> str:
        """Fetch `url` in one go; a connection that breaks loses everything fetched so far."""
        if os.path.exists(destination):
            return destination
        os.makedirs(os.path.dirname(destination) or ".", exist_ok=True)
        try:
            with requests.get(url, stream=True) as response:
                response.raise_for_status()
                with open(destination, "wb") as file:
                    for chunk in response.iter_content(_CHUNK):
                        file.write(chunk)
                expected = response.headers.get("Content-Length", "")
                if expected.isdigit() and response.raw.tell() != int(expected):
                    raise OSError(f"{url} sent {response.raw.tell()} of {expected} bytes.")
        except BaseException:
            if os.path.exists(destination):
                os.remove(destination)
            raise
        return destination

    @hookimpl(trylast=True)
    def launcher_install_node(self, url: str, destination: str, ref: str | None, python: str | None) -> str:
        """Clone the node and install its requirements."""
        nodes.install(url, Path(destination), ref, python)
        return destination

    @hookimpl(trylast=True)
    def launcher_validate_workflow(
        self, workflow: dict[str, Any], models_folder: str, nodes_folder: str
    ) -> dict[str, Any]:
        """Compare what the workflow names with what is in the two folders."""
        return workflows.validate(workflow, Path(models_folder), Path(nodes_folder))

    @hookimpl(trylast=True)
    def launcher_create_project(
        self,
        project_id: str,
        name: str,
        import_json: dict[str, Any] | None,
        project_folder: str,
        models_folder: str,
    ) -> dict[str, Any]:
        """Make the folder, its virtual environment, ComfyUI, nodes, models and workflow, one after the other."""
        # A plugin that goes on with a project after a restart calls this without the API's knowledge.
        with self._busy(project_id):
            return self._create(project_id, name, import_json, Path(project_folder), Path(models_folder))

    def _create(
        self, project_id: str, name: str, import_json: dict[str, Any] | None, folder: Path, models: Path
    ) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)

        def tell(message: str, state: str = SETTING_UP, **more: Any) -> dict[str, Any]:
            written = write_state(folder, id=project_id, name=name, state=state, status_message=message, **more)
            self._changed(project_id)
            return written

        try:
            if (import_json or {}).get("format") == LAUNCHER_JSON:
                raise ValueError("The launcher itself cannot read a launcher.json; start it with recovery.")
            if "details" in (read_state(folder) or {}):
                # What a plugin told of an earlier attempt, when there was one.
                tell("Waiting to start", details=None)
            # Only what ComfyUI and nodes need is ever installed, and an environment with pip takes seconds to make.
            needs_pip = any((import_json or {}).get(part) for part in ("comfyui", "nodes"))
            python = _environment(folder, tell, with_pip=needs_pip)
            if import_json is not None:
                _comfyui(folder, import_json, python, tell)
                left_out = self._nodes(project_id, folder, import_json, python, tell)
                self._models(project_id, models, import_json, tell)
                problems = self._workflow(project_id, folder, models, import_json, tell)
                if problems:
                    return tell("Failed: " + " ".join(problems), FAILED)
                if left_out:
                    return tell(f"Ready without {', '.join(left_out)}, left out as you asked", READY)
            return tell("Ready", READY)
        except Exception as problem:
            tell(f"Failed: {one_line(problem)}", FAILED)
            raise

    def _nodes(
        self,
        project_id: str,
        folder: Path,
        import_json: dict[str, Any],
        python: str,
        tell: Callable[..., dict[str, Any]],
    ) -> list[str]:
        """Install them; the names of those that were left out."""
        wanted = import_json.get("nodes") or []
        left_out: list[str] = []
        done: list[str] = list((read_state(folder) or {}).get("installed_nodes") or [])
        for number, node in enumerate(wanted, start=1):
            name = node.get("name") or default_node_name(node["url"])
            destination = nodes_folder(folder, import_json) / name
            # The folder alone says little: its requirements may never have been installed.
            if name in done and destination.is_dir():
                continue
            tell(f"Installing custom node {number} of {len(wanted)}: {name}")
            self._manager.hook.launcher_install_node(
                url=node["url"],
                destination=str(destination),
                ref=node.get("ref"),
                python=python,
                project_id=project_id,
            )
            if not destination.is_dir():
                # A person has said that the import goes on without it.
                left_out.append(name)
                tell(f"Left out custom node {number} of {len(wanted)}: {name}")
                continue
            done.append(name)
            tell(f"Installed custom node {number} of {len(wanted)}: {name}", installed_nodes=done)
        return left_out

    def _models(
        self,
        project_id: str,
        models: Path,
        import_json: dict[str, Any],
        tell: Callable[..., dict[str, Any]],
    ) -> None:
        wanted = import_json.get("models") or []
        for number, model in enumerate(wanted, start=1):
            tell(f"Downloading model {number} of {len(wanted)}: {PurePosixPath(model['path']).name}")
            self._manager.hook.launcher_download(
                url=model["url"],
                destination=str(models / model["path"]),
                sha256=model.get("sha256"),
                size=model.get("size"),
                project_id=project_id,
            )

    def _workflow(
        self,
        project_id: str,
        folder: Path,
        models: Path,
        import_json: dict[str, Any],
        tell: Callable[..., dict[str, Any]],
    ) -> list[str]:
        tell("Checking the workflow")
        workflow = import_json.get("workflow") or {}
        (folder / "workflow.json").write_text(json.dumps(workflow, indent=1), encoding="utf-8")
        found = self._manager.hook.launcher_validate_workflow(
            workflow=workflow,
            models_folder=str(models),
            nodes_folder=str(nodes_folder(folder, import_json)),
            project_id=project_id,
        )
        return [problem["message"] for problem in found["problems"]]


def default_node_name(url: str) -> str:
    """The folder's name for a repository that was given none: the end of its URL, without .git."""
    return PurePosixPath(urlsplit(url).path).name.removesuffix(".git")


def nodes_folder(folder: Path, import_json: dict[str, Any]) -> Path:
    """Where the nodes of a project are: in its ComfyUI, where it has one of its own."""
    return folder / COMFYUI / "custom_nodes" if import_json.get("comfyui") else folder / "custom_nodes"


def _comfyui(folder: Path, import_json: dict[str, Any], python: str, tell: Callable[..., dict[str, Any]]) -> None:
    """Clone the project's ComfyUI and install what it requires, unless that was done or there is to be none."""
    wanted = import_json.get("comfyui")
    if not wanted or (read_state(folder) or {}).get("comfyui_installed"):
        return
    tell("Installing ComfyUI")
    nodes.install(wanted["url"], folder / COMFYUI, wanted.get("ref"), python)
    tell("Installed ComfyUI", comfyui_installed=True)


def _environment(folder: Path, tell: Callable[..., dict[str, Any]], *, with_pip: bool) -> str:
    """Make the project's virtual environment unless that was done; the path of its interpreter."""
    where = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = folder.joinpath("venv", *where)
    # An interpreter alone says little: one that was cut off may have no pip. Making it again mends that.
    if not (python.exists() and (read_state(folder) or {}).get("environment_made")):
        tell("Making the Python environment")
        run([sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(folder / "venv")])
        tell("Made the Python environment", environment_made=True)
    return str(python)
