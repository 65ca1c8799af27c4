"""Runs the `install.py` that a node may bring, with the Python of its project."""

from __future__ import annotations

import os
from pathlib import Path

from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.requirements import Speaker
from launcher_recovery.nodes.telling import Telling

# Such a script may download a model without a word.
SILENT_LIMIT_S = 7200.0
_LONGEST = 120
# Among the metadata of an operation: the commit whose script was begun, and did not end well yet.
BEGUN = "install_script_begun"


def has_script(folder: Path) -> bool:
    """Whether the node brings a script."""
    return (folder / "install.py").is_file()


def run_script(telling: Telling, interpreter: Interpreter, folder: Path, destination: Path) -> None:
    """Run the script in the folder of the node, as ComfyUI-Manager does.

    Raises:
        CommandError: it failed.
    """
    env = {"LAUNCHER_RECOVERY_DESTINATION": str(destination)}
    if destination.parent.name == "custom_nodes":
        env["COMFYUI_PATH"] = os.fspath(destination.parent.parent)
    speaker = Speaker(telling.say)

    def take(line: str) -> None:
        telling.say(f"install.py: {line.strip()[:_LONGEST]}")
        speaker(line)

    interpreter.run(["-s", "install.py"], take, limit=SILENT_LIMIT_S, cwd=folder, **env)
    for line in speaker.incompatible:
        telling.warn("incompatible", line)
