"""The launcher's hooks: what a plugin can take over, stand around, or be told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from flask import Flask
    from flask_socketio import SocketIO

NAMESPACE = "comfyui_launcher"
"""The pluggy project name, and the entry-point group that plugins are loaded from."""

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec(firstresult=True)
def launcher_download(
    url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
) -> str | None:
    """Download a file.

    Arguments: `url` (http or https); `destination`, the file to write; `sha256` (64 hex digits) and `size`
    (bytes) when they are known; `project_id` of the project that needs it. Returns the destination, or None
    to leave it to another handler; raises when the file cannot be had.
    """


@hookspec(firstresult=True)
def launcher_install_node(
    url: str, destination: str, ref: str | None, python: str | None, project_id: str | None
) -> str | None:
    """Install a custom node.

    Arguments: `url` of a git repository; `destination`, the folder to make; `ref`, a branch, tag or commit,
    None for the default branch; `python`, the interpreter to install its requirements with; `project_id` of
    the project it belongs to. Returns the folder, or None to leave it to another handler; raises on failure.
    """


@hookspec(firstresult=True)
def launcher_validate_workflow(
    workflow: dict[str, Any], models_folder: str, nodes_folder: str, project_id: str | None
) -> dict[str, Any] | None:
    """Say what a workflow needs and what of it is missing.

    Arguments: `workflow` in ComfyUI's UI or API format; `models_folder` and `nodes_folder`, where to look.
    Returns {"valid": bool, "node_types": [str], "models": [str], "problems": [{"code", "message", ...}]}, or
    None to leave it to another handler. Raises ValueError when the workflow is none.
    """


@hookspec(firstresult=True)
def launcher_create_project(
    project_id: str,
    name: str,
    import_json: dict[str, Any] | None,
    project_folder: str,
    models_folder: str,
) -> dict[str, Any] | None:
    """Set a project up; calling it again over a half-made folder goes on where that stopped.

    Arguments: `project_id` and `name` of the project; `import_json`, what to install (see `imports`), None
    for an empty project; `project_folder` to work in; `models_folder`, shared by all projects. Returns the
    project's state, or None to leave it to another handler; raises on failure.
    """


@hookspec
def launcher_project_changed(
    project_id: str, project_folder: str, state: str, status_message: str, details: dict[str, Any]
) -> None:
    """A project that a plugin sets up itself is further now; the launcher keeps and shows it.

    For plugins that answer `launcher_create_project` themselves, also when they go on after a restart, of which the
    launcher knows nothing else. Arguments: `project_id`; `project_folder`, which was given with it; `state`,
    "setting_up", "ready" or "failed"; `status_message`, one sentence for people; `details`, JSON values, all of them
    optional: {"progress": percent from 0 to 100, "parts": [{"what": "environment" | "comfyui" | "node" | "model" |
    "workflow", "name", "state": "waiting" | "running" | "done" | "left_out" | "failed" | "blocked", "reason"?}],
    "missing": [{"what", "name", "reason"}]}. Until it says "ready" or "failed", the project counts as being set up.
    Raises ValueError when the state is another one.
    """


@hookspec
def launcher_startup(app: Flask, socketio: SocketIO, plugin_manager: pluggy.PluginManager) -> None:
    """The launcher is about to serve: every plugin is registered, and all of the launcher's routes exist.

    Called once for every plugin. Arguments: the Flask `app`, the Flask-SocketIO server `socketio`, and the
    `plugin_manager` to call other hooks with.
    """
