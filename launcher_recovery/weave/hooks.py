"""The hooks of a woven launcher, which has none itself: those of the launchers with plugins that recovery needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

from launcher_recovery.observing import NAMESPACE

hookspec = pluggy.HookspecMarker(NAMESPACE)


@hookspec(firstresult=True)
def launcher_download(
    url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
) -> str | None:
    """Download a file; the destination, or None to leave it to the resumable download."""


@hookspec(firstresult=True)
def launcher_install_node(
    url: str, destination: str, ref: str | None, python: str | None, project_id: str | None
) -> str | None:
    """Install a custom node; its folder, or None to leave it to the install in steps."""


@hookspec(firstresult=True)
def launcher_validate_workflow(
    workflow: dict[str, Any], models_folder: str, nodes_folder: str, project_id: str | None
) -> dict[str, Any] | None:
    """Say what a workflow needs and what of it is missing; None: leave it to the check of the package."""


@hookspec(firstresult=True)
def launcher_create_project(
    project_id: str, name: str, import_json: Any, project_folder: str, models_folder: str
) -> dict[str, Any] | None:
    """Set a project up as the launcher itself does, where recovery leaves that to it."""


@hookspec
def launcher_project_changed(
    project_id: str, project_folder: str, state: str, status_message: str, details: dict[str, Any]
) -> None:
    """A project is further now; see the launcher's hook of that name."""


@hookspec(firstresult=True)
def launcher_run_again(operation_id: str, kind: str, arguments: Mapping[str, Any]) -> bool | None:
    """An operation that nobody runs is to be run again, after a crash or because a person retries.

    Called from time to time, as long as nobody runs it, in every process that resumes. True: the launcher sees to it
    itself, such as by a queue. None: it is run in this process, from its record.
    """
