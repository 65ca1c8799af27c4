"""ComfyUI Launcher of ComfyWorkflows: where recovery stands in it.

What is done there is in `launcher_recovery.weave.advice`, and is imported with the first call. The fingerprints are
those of its last version (2024-03-16).
"""

from __future__ import annotations

import importlib
from typing import Any

from launcher_recovery.joinpoints import Fingerprint, Host, JoinPoint, LazyAdvice

NAME = "ComfyUI Launcher"

_ADVICE = "launcher_recovery.weave.advice"
_PROJECT = "create_project"


def _advice(module: str, name: str) -> LazyAdvice:
    return LazyAdvice(f"{_ADVICE}.{module}", name)


def _plugin() -> Any:
    return importlib.import_module(f"{_ADVICE}.launcher")


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
    neighbours=("server.py", "tasks.py", "utils.py", "settings.py"),
    plugin=_plugin,
    pages=True,
)
