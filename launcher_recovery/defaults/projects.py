"""Built-in extension: creates projects, from imports in the format of the launcher's hook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher_recovery import plans
from launcher_recovery.defaults import git
from launcher_recovery.defaults.paths import confined, resolved
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, Launcher, OperationKind, Sources
from launcher_recovery.operation import Operation
from launcher_recovery.plans import Plan
from launcher_recovery.records import RecoveryData


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kinds "create_project", and "make_environment" and "install_comfyui", which are parts of it."""
    (node,) = git.recovery_operations()
    return [
        OperationKind(
            name="create_project",
            hook="launcher_create_project",
            key=lambda arguments: f"create_project:{arguments['project_id']}",
            title=lambda arguments: str(arguments.get("name") or arguments["project_id"]),
            compose=_create,
            stopped=_stopped,
        ),
        OperationKind(
            name="make_environment",
            hook="make_environment",
            key=lambda arguments: f"make_environment:{resolved(arguments['folder'])}",
            title=lambda arguments: "Python environment",
            handler=_make_environment,
            check=_check_folder,
            still_there=lambda data: Path(data.result).exists(),
        ),
        replace(
            node,
            name="install_comfyui",
            hook="install_comfyui",
            title=lambda arguments: "ComfyUI",
            handler=_install_comfyui,
            still_there=_is_comfyui_there,
        ),
    ]


@hookimpl
def recovery_read_import(import_json: Any) -> Plan | None:
    """Reads the format of the launcher's hook; see `launcher_recovery.plans.read`."""
    return plans.read(import_json)


def _check_folder(arguments: Arguments, roots: tuple[str, ...]) -> None:
    confined(str(arguments["folder"]), roots)


def _create(operation: Operation, arguments: Arguments, launcher: Launcher) -> Any:
    from launcher_recovery.projects.creating import create  # loaded only by those who create one

    return create(operation, arguments, launcher)


def _stopped(data: RecoveryData, launcher: Launcher) -> None:
    from launcher_recovery.projects.telling import tell_stopped

    tell_stopped(data, launcher)


def _install_comfyui(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    from launcher_recovery.nodes.comfyui import install_comfyui

    return install_comfyui(operation, arguments)


def _is_comfyui_there(data: RecoveryData) -> bool:
    from launcher_recovery.nodes.comfyui import is_as_wanted

    return is_as_wanted(data)


def _make_environment(operation: Operation, arguments: Arguments, sources: Sources) -> str:
    from launcher_recovery.projects.environment import make_environment

    return make_environment(operation, Path(arguments["folder"]), with_pip=bool(arguments["with_pip"]))
