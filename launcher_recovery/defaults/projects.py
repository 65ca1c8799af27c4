"""Built-in extension: creates projects, from imports in the format of the launcher's hook."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher_recovery import plans, requirement_lines
from launcher_recovery.defaults import git
from launcher_recovery.defaults.paths import confined, resolved
from launcher_recovery.errors import RefusedError
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, Launcher, OperationKind, Sources
from launcher_recovery.operation import Operation
from launcher_recovery.plans import Plan
from launcher_recovery.records import RecoveryData

LAUNCHER_JSON = "comfyui_launcher"


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kinds "create_project", and those that are parts of it: "make_environment", "install_comfyui" and
    "install_requirements"."""
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
        replace(
            node,
            name="install_requirements",
            hook="install_requirements",
            key=_key_of_requirements,
            title=lambda arguments: "Packages of the import",
            handler=_install_requirements,
            scope=lambda arguments: None,
            check=_check_requirements,
            still_there=_are_requirements_there,
        ),
    ]


@hookimpl
def recovery_read_import(import_json: Any) -> Plan | None:
    """Reads the format of the launcher's hook, and launcher.json; see `plans.read` and `projects.launcher_json`.

    Raises:
        RefusedError: a launcher.json is wrong, or asks for two different files at one place.
    """
    if isinstance(import_json, Mapping) and import_json.get("format") == LAUNCHER_JSON:
        from launcher_recovery.projects.launcher_json import left_of, read_launcher_json

        for file in left_of(import_json):
            raise RefusedError(
                f"two different files of the launcher.json are to be at {file.path!r:.100}; give one another path"
            )
        return read_launcher_json(import_json)
    return plans.read(import_json)


def _check_folder(arguments: Arguments, roots: tuple[str, ...]) -> None:
    confined(str(arguments["folder"]), roots)


def _create(operation: Operation, arguments: Arguments, launcher: Launcher) -> Any:
    from launcher_recovery.projects.creating import create  # loaded only by those who create one

    return create(operation, arguments, launcher)


def _stopped(data: RecoveryData, launcher: Launcher) -> None:
    from launcher_recovery.projects.telling import tell_stopped

    tell_stopped(data, launcher)


def _key_of_requirements(arguments: Arguments) -> str:
    from launcher_recovery.nodes.packages import digest

    return f"install_requirements:{os.path.abspath(arguments['python'])}:{digest(arguments['lines'])}"


def _check_requirements(arguments: Arguments, roots: tuple[str, ...]) -> None:
    for line in arguments["lines"]:
        requirement_lines.check(line)
    confined(str(arguments["destination"]), roots)


def _install_requirements(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    from launcher_recovery.nodes.packages import install_requirements

    return install_requirements(operation, arguments)


def _are_requirements_there(data: RecoveryData) -> bool:
    from launcher_recovery.nodes.packages import are_there

    return are_there(data)


def _install_comfyui(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    from launcher_recovery.nodes.comfyui import install_comfyui

    return install_comfyui(operation, arguments)


def _is_comfyui_there(data: RecoveryData) -> bool:
    from launcher_recovery.nodes.comfyui import is_as_wanted

    return is_as_wanted(data)


def _make_environment(operation: Operation, arguments: Arguments, sources: Sources) -> str:
    from launcher_recovery.projects.environment import make_environment

    return make_environment(operation, Path(arguments["folder"]), with_pip=bool(arguments["with_pip"]))
