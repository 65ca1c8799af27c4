"""The state of a project as ComfyUI Launcher keeps and shows it: `.launcher/state.json` in its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher_recovery.joinpoints import Call
from launcher_recovery.operation import current_operation
from launcher_recovery.weave.advice.setup import current_setup

READY, FAILED = "ready", "failed"
_STATE = Path(".launcher", "state.json")
# Of the parts of a project, the launcher's own words for what is being done.
_STATE_OF = {
    "environment": "download_comfyui",
    "comfyui": "install_comfyui",
    "node": "install_custom_nodes",
    "requirements": "install_custom_nodes",
    "model": "download_files",
    "file": "download_files",
    "closing": "download_files",
}
_IN_ORDER = ("download_comfyui", "install_comfyui", "install_custom_nodes", "download_files")
_ITS_OWN = frozenset({"id", "name", "status_message", "state"})


def keep_state(call: Call) -> Any:
    """Advice around `set_launcher_state_data`.

    While the launcher goes over a project that is whole already, its own states are steps of that, and what people see
    does not go back to the beginning.
    """
    setup, operation = current_setup.get(), current_operation()
    if setup is None or operation is None:
        return call.proceed()
    data: Mapping[str, Any] = call.arguments["data"]
    state, message = data.get("state"), data.get("status_message")
    if isinstance(state, str):
        operation.finish_step(state, message, is_again=True)
    if state == READY or not set(data) <= _ITS_OWN:
        return call.proceed()
    return None


def write_state(folder: Path, state: str, message: str) -> None:
    """Have the launcher show a project so; silent where the project is not there any more.

    Nothing is created, since the project may be being deleted at this very moment; and the file is written at one
    stroke, since others read it meanwhile.
    """
    try:
        file = os.open(folder / _STATE, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return
    try:
        before = os.read(file, os.fstat(file).st_size)
        try:
            kept = json.loads(before)
        except ValueError:
            return  # the launcher is writing it itself
        if not isinstance(kept, dict) or (kept.get("state"), kept.get("status_message")) == (state, message):
            return
        text = json.dumps({**kept, "state": state, "status_message": message}).encode()
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, text.ljust(len(before)))
        os.ftruncate(file, len(text))
    finally:
        os.close(file)


def state_of(parts: Sequence[Mapping[str, Any]]) -> str:
    """The launcher's own word for how far a project is: of what runs, that which comes first there."""
    running = {_STATE_OF.get(part["what"]) for part in parts if part["state"] == "running"}
    return next((state for state in _IN_ORDER if state in running), _IN_ORDER[0])
