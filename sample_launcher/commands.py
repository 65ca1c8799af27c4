"""Running git and pip: no shell, output kept for the error, and ended together with the launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from . import guard

TAIL = 2_000
"""Characters of a failed command's output that its error carries."""

_ending = threading.Event()


class CommandFailedError(RuntimeError):
    """A command ended with another code than 0; the message has the end of what it printed."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        super().__init__(f"{' '.join(argv[:3])} ended with code {returncode}: {output.strip()[-TAIL:] or 'no output'}")
        self.argv = list(argv)
        self.returncode = returncode
        self.output = output


def run(argv: Sequence[str], folder: Path | None = None) -> str:
    """Run a command and return what it printed, standard error included.

    Raises CommandFailedError when it cannot be started or ends with another code than 0.
    """
    process = subprocess.Popen(
        [sys.executable, "-IS", guard.__file__, *argv],
        cwd=folder,
        # Neither git nor pip may wait for a person.
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "PIP_NO_INPUT": "1"},
        # Held open for as long as this process lives; see guard.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        output = process.stdout.read() if process.stdout else ""
        returncode = process.wait()
    if _ending.is_set():
        # It was ended because the launcher ends: no failure of the command to report or clean up after.
        threading.Event().wait()
    if returncode:
        raise CommandFailedError(argv, returncode, output)
    return output


def launcher_ends() -> None:
    """Tell that the launcher is ending: what is running ends with it, and is not reported as failed."""
    _ending.set()
