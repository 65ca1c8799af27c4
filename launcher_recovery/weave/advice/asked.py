"""What the task of ComfyUI Launcher is asked for, and the same as arguments of the hook `launcher_create_project`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from launcher_recovery.errors import RecoveryError

FORMAT = "comfyui_launcher_task"
"""What `import_json` of these projects has as its "format"."""


class ListedAddressError(RecoveryError):
    """An address of those that the launcher's site gives for a file is not valid any more."""


def normal(relative: str) -> str:
    """A path of an import, as it is in the plan that is made of it."""
    return PurePosixPath(relative.replace("\\", "/")).as_posix()


@dataclass(frozen=True)
class Asked:
    """One import.

    Args:
        project_id, name: of the project.
        folder, models: of the project, and that of models which all projects share; absolute.
        launcher_json: what is imported; None: ComfyUI alone.
        port: the project's; None: a free one.
    """

    project_id: str
    name: str
    folder: Path
    models: Path
    launcher_json: Mapping[str, Any] | None
    port: int | None

    @classmethod
    def of_task(cls, arguments: Mapping[str, Any]) -> Asked:
        """From the arguments of the task, by name."""
        return cls(
            arguments["id"],
            arguments["name"],
            Path(os.path.abspath(arguments["project_folder_path"])),
            Path(os.path.abspath(arguments["models_folder_path"])),
            arguments.get("launcher_json"),
            arguments.get("port"),
        )

    @classmethod
    def of_hook(cls, arguments: Mapping[str, Any]) -> Asked:
        """From the arguments of the hook."""
        told = arguments["import_json"]
        return cls(
            arguments["project_id"],
            arguments["name"],
            Path(arguments["project_folder"]),
            Path(arguments["models_folder"]),
            told["launcher_json"],
            told["port"],
        )

    @property
    def hook_arguments(self) -> dict[str, Any]:
        """Arguments of the hook."""
        return {
            "project_id": self.project_id,
            "name": self.name,
            "import_json": {"format": FORMAT, "launcher_json": self.launcher_json, "port": self.port},
            "project_folder": str(self.folder),
            "models_folder": str(self.models),
        }

    @property
    def task_arguments(self) -> dict[str, Any]:
        """Arguments of the task, for a project whose folder is there."""
        return {
            "project_folder_path": str(self.folder),
            "models_folder_path": str(self.models),
            "id": self.project_id,
            "name": self.name,
            "launcher_json": self.launcher_json,
            "port": self.port,
            "create_project_folder": False,
        }
