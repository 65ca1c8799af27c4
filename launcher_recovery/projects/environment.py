"""Makes the Python environment of a project; a half-made one is made anew."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher_recovery.errors import CommandError, NoSpaceError, OperationPaused
from launcher_recovery.operation import Operation
from launcher_recovery.programs.running import Silence, run_command
from launcher_recovery.room import free_bytes

# Among the metadata of an operation: the folder is made by it, and not whole yet.
MAKING = "making_environment"
_SILENT_LIMIT_S = 900.0
_LOOK_LIMIT_S = 120.0
# Bytes: what is as good as nothing, and what an environment takes of Python 3.11, with some room.
_FULL = 2 << 20
_WITH_PIP, _WITHOUT_PIP = 40 << 20, 1 << 20


def interpreter_of(folder: Path) -> Path:
    """The interpreter of the environment in `folder`."""
    return folder.joinpath(*(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def make_environment(
    operation: Operation,
    folder: Path,
    *,
    with_pip: bool,
    base: str = sys.executable,
    on_line: Callable[[str], object] = lambda line: None,
) -> str:
    """Have a virtual environment in `folder`, and return its interpreter; one that works is left as it is.

    One that was made half, by an earlier attempt or process, is removed and made anew; one that was there before and
    does not work is completed. A failure and a cancel leave nothing of what this operation made.

    Args:
        base: the interpreter that makes it.
        on_line: called with every line that is printed.

    Raises:
        CommandError: it could not be made, such as for want of `ensurepip`.
        NoSpaceError: the disk is full.
        OSError: the disk failed.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
    """
    python, metadata = interpreter_of(folder), operation.metadata

    def say(message: str) -> None:
        operation.progress(0, 1, "steps", message)

    def run(argv: list[str], limit: float) -> None:
        silence = Silence(limit, tell=lambda seconds: say(f"making it, for {seconds:.0f} s without a word"))
        # Modules of another Python are none of its own.
        run_command(operation, argv, env={"PYTHONHOME": None, "PYTHONPATH": None}, on_line=on_line, silence=silence)

    say("making it")
    if metadata.get(MAKING):
        _remove(folder)
    elif _works(python, with_pip, run):
        operation.progress(1, 1, "steps", None)
        return str(python)
    python.unlink(missing_ok=True)  # venv leaves one as it is that does not work
    if not folder.exists():
        metadata[MAKING] = True
        operation.save_metadata()
    try:
        run([base, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(folder)], _SILENT_LIMIT_S)
        run(_look(python, with_pip), _LOOK_LIMIT_S)
    except OperationPaused:
        raise
    except Exception as error:
        is_full = isinstance(error, CommandError) and free_bytes(folder) < _FULL
        if metadata.get(MAKING):
            with suppress(OSError):  # the next attempt does it
                _remove(folder)
        if is_full:  # which venv does not say: it keeps to itself what its pip printed
            needed = _WITH_PIP if with_pip else _WITHOUT_PIP
            raise NoSpaceError(str(folder.parent), needed, free_bytes(folder)) from error
        raise
    if metadata.pop(MAKING, False):
        operation.save_metadata()
    operation.progress(1, 1, "steps", None)
    return str(python)


def _works(python: Path, with_pip: bool, run: Callable[[list[str], float], None]) -> bool:
    if not python.is_file():
        return False
    try:
        run(_look(python, with_pip), _LOOK_LIMIT_S)
    except (CommandError, OSError):
        return False
    return True


def _look(python: Path, with_pip: bool) -> list[str]:
    return [str(python), "-c", "import pip" if with_pip else ""]


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
