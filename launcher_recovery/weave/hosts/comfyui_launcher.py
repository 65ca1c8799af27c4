"""ComfyUI Launcher of ComfyWorkflows: where recovery stands in it.

What is done there is in `launcher_recovery.weave.advice`, and is imported with the first call. The fingerprints are
those of its last version (2024-03-16).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from launcher_recovery.joinpoints import Fingerprint, Host, JoinPoint, LazyAdvice
from launcher_recovery.weave.places import missing_in

NAME = "ComfyUI Launcher"

_ADVICE = "launcher_recovery.weave.advice"
_PROJECT = "create_project"
_NEIGHBOURS = ("server.py", "tasks.py", "utils.py", "settings.py")


def _advice(module: str, name: str) -> LazyAdvice:
    return LazyAdvice(f"{_ADVICE}.{module}", name)


def _plugin() -> Any:
    return importlib.import_module(f"{_ADVICE}.launcher")


def _roots() -> tuple[str, ...]:
    """Where its settings have the projects and the models, and the folder beside these in which it clones ComfyUI when
    there are no models yet; none when this process has no settings of it.

    A project's `comfyui/models` is a link to the models, which is so the one link out of a project that is followed.
    """
    settings = sys.modules.get("settings")
    file = getattr(settings, "__file__", None)
    if file is None or missing_in(Path(file).absolute().parent, _NEIGHBOURS):
        return ()
    projects, models = (os.path.abspath(getattr(settings, name)) for name in ("PROJECTS_DIR", "MODELS_DIR"))
    return projects, models, os.path.join(os.path.dirname(models), "tmp_comfyui")


HOST = Host(
    NAME,
    (
        JoinPoint(
            "tasks",
            "create_comfyui_project",
            _PROJECT,
            _advice("importing", "set_up_project"),
            fingerprints=(
                Fingerprint(
                    (
                        "project_folder_path",
                        "models_folder_path",
                        "id",
                        "name",
                        "launcher_json",
                        "port",
                        "create_project_folder",
                    ),
                    "6c1b10bb3e9c7ef4f98e0b0963b6bbfd",
                ),
            ),
            task=True,
            queued=_advice("queueing", "queue_import"),
        ),
        JoinPoint(
            "utils",
            "run_command",
            "command",
            _advice("commands", "run_command"),
            fingerprints=(Fingerprint(("cmd", "cwd", "bg"), "82d846d814d01e915ac4ec361934614c"),),
        ),
        JoinPoint(
            "utils",
            "compute_sha256_checksum",
            "checksum",
            _advice("commands", "checksum"),
            fingerprints=(Fingerprint(("file_path",), "c45fb4c28fad38f5b2a4d07ad60b551a"),),
        ),
        JoinPoint(
            "utils",
            "setup_files_from_launcher_json",
            "download",
            _advice("files", "set_up_files"),
            fingerprints=(Fingerprint(("project_folder_path", "launcher_json"), "0d8eed238b3ffdb79048d0b659efcb84"),),
        ),
        JoinPoint(
            "utils",
            "set_launcher_state_data",
            _PROJECT,
            _advice("status", "keep_state"),
            fingerprints=(Fingerprint(("project_folder_path", "data"), "08d2981effdb6acf1922241e9f2b034e"),),
        ),
        JoinPoint(
            "server",
            "delete_project",
            _PROJECT,
            _advice("deleting", "delete_project"),
            fingerprints=(Fingerprint(("id",), "149e3bae7fa1b82373b16829f2bded1a"),),
            view=True,
        ),
    ),
    neighbours=_NEIGHBOURS,
    plugin=_plugin,
    pages=True,
    roots=_roots,
)
