"""Has every Python program that a command starts weave itself, also those that start themselves anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

FOLDER = Path(__file__).parent / "inject"
PREFIX_VARIABLE = "LAUNCHER_RECOVERY_PREFIX"
"""Names the interpreter that is woven; all others are left alone."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the command: a folder is in front of PYTHONPATH, and the interpreter that counts is named."""
    rest = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != str(FOLDER)]
    path = os.pathsep.join([str(FOLDER), *rest])
    return {**environ, "PYTHONPATH": path, PREFIX_VARIABLE: sys.prefix}


def replace_process(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become the command: same process id, where the system has that.

    Raises:
        OSError: it cannot be run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":  # there exec gives the command another process id, and returns to the shell at once
        sys.exit(subprocess.call(list(command), env=dict(environ)))
    os.execvpe(command[0], list(command), dict(environ))
