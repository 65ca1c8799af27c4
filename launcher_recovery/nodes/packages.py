"""Installs the packages that an import asks for by itself, beside those that its nodes require."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from launcher_recovery.kinds import Arguments
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.recording import TOUCHED, Recording
from launcher_recovery.nodes.requirements import Requirements
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData

FILE_NAME = "requirements.txt"
STEPS = ("environment", "requirements")
# As people are told who asks for a package; no node can be named so.
_WHO = "This import"
# No node has that folder: beside it are all of them.
_NO_NODE = ".import.disabled"


def install_requirements(operation: Operation, arguments: Arguments) -> str:
    """Have the packages in the environment, and return the file that lists them.

    Args:
        arguments: {"destination", "lines", "nodes_folder", "python"}: the file to write, its lines, the folder of the
            nodes (of which it is told when their packages are changed), and the interpreter of the environment.

    Raises:
        CommandError: pip failed; the environment is as it was before, as far as it could be put back.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
        OSError: the disk failed.
    """
    file, content = Path(arguments["destination"]), digest(arguments["lines"])
    telling = Telling(operation, _WHO, STEPS)
    interpreter = Interpreter(operation, arguments["python"], telling.say)
    recording = Recording(operation, telling, interpreter, content)
    _write(file, arguments["lines"])
    requirements = Requirements(telling, interpreter, Path(arguments["nodes_folder"], _NO_NODE), file.parent)
    before = recording.before(requirements)
    key = {"content": content, "python": interpreter.python}
    recording.install(requirements, before, key, "installing the packages")
    telling.is_over()
    return str(file)


def are_there(data: RecoveryData) -> bool:
    """Whether what an earlier install brought is still there, as far as can be seen without running anything."""
    # It is not touched any more when the environment was put back.
    is_there = os.path.exists(data.kwargs["python"]) and os.path.isfile(data.kwargs["destination"])
    return is_there and bool(data.metadata.get(TOUCHED))


def digest(lines: Sequence[str]) -> str:
    """What tells lists of packages apart."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(file: Path, lines: Sequence[str]) -> None:
    """Write the file, whole or not at all, unless it is so already."""
    text = "".join(f"{line}\n" for line in lines)
    if file.is_file() and file.read_text(encoding="utf-8", errors="replace") == text:
        return
    fresh = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
