"""The state of a project as ComfyUI Launcher keeps and shows it: `.launcher/state.json` in its folder."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher_recovery.joinpoints import Call
from launcher_recovery.operation import current_operation
from launcher_recovery.weave.advice.setup import current_setup

READY, FAILED = "ready", "failed"
_BEHIND = 1 << 30
_WAIT_S, _MOST_WAITS = 0.02, 50
_WHOLE = frozenset({READY, "running"})
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

    Raises:
        OperationInterrupted: a person paused or cancelled that, so that the launcher's function is to end.
    """
    setup, operation = current_setup.get(), current_operation()
    if setup is None or operation is None:
        return call.proceed()
    operation.check()
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
        with _alone_in(file):
            os.lseek(file, 0, os.SEEK_SET)
            before = os.read(file, os.fstat(file).st_size)
            kept = _read(before)
            if kept is None or (kept.get("state"), kept.get("status_message")) == (state, message):
                return
            if kept.get("state") in _WHOLE and state != READY:
                return  # it was set up all the same; what ends now is what was kept of it
            _write_over(file, before, json.dumps({**kept, "state": state, "status_message": message}).encode())
    finally:
        os.close(file)


def is_ready(folder: Path) -> bool:
    """Whether the launcher has a project as whole."""
    try:
        kept = _read((folder / _STATE).read_bytes())
    except OSError:
        return False
    return kept is not None and kept.get("state") in _WHOLE


def _read(text: bytes) -> dict[str, Any] | None:
    """What is kept; None: the launcher is writing it itself."""
    try:
        kept = json.loads(text)
    except ValueError:
        return None
    return kept if isinstance(kept, dict) else None


def _write_over(file: int, before: bytes, text: bytes) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        if os.write(file, text.ljust(len(before))) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        # One that cannot be read ends the launcher's list of all projects.
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, before)
        os.ftruncate(file, len(before))
        raise
    os.ftruncate(file, len(text))


@contextmanager
def _alone_in(file: int) -> Iterator[None]:
    """While it is entered, no other process of ours writes there: each of them is told of what becomes of a project.

    It is waited for a moment only: a process that was forked meanwhile, and knows nothing of it, may have the lock; and
    there are file systems without any.
    """
    is_locked = _lock(file, True)
    for _ in range(0 if is_locked else _MOST_WAITS):
        time.sleep(_WAIT_S)
        is_locked = _lock(file, True)
        if is_locked:
            break
    try:
        yield
    finally:
        if is_locked:
            _lock(file, False)


def _lock(file: int, take: bool) -> bool:
    """Take the lock of an open file, or give it back; whether that worked."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _BEHIND, os.SEEK_SET)  # what is locked there nobody can read
            msvcrt.locking(file, msvcrt.LK_NBLCK if take else msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if take else fcntl.LOCK_UN)
    except OSError:
        return False
    return True


def state_of(parts: Sequence[Mapping[str, Any]]) -> str:
    """The launcher's own word for how far a project is: of what runs, that which comes first there."""
    running = {_STATE_OF.get(part["what"]) for part in parts if part["state"] == "running"}
    return next((state for state in _IN_ORDER if state in running), _IN_ORDER[0])
