"""Runs one command, and ends it as soon as the process that asked for it is gone, kill -9 included.

A git or pip that outlived its server would work on the same folder as the one that the next server starts. Run as a
script by `running.run_command`: the command's words follow, and standard input is a pipe that the server holds open.
An import runs dozens of commands, most of which take less time than it takes to load `subprocess` and `threading`: here
it does with what an interpreter has anyway.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from collections.abc import Callable


def _end_with(kill: Callable[[], object]) -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1024):
        continue
    if hasattr(os, "killpg"):
        # This process leads a group (start_new_session), in which the command and its children are.
        os.killpg(os.getpid(), signal.SIGKILL)
    kill()


def _spawned(argv: list[str]) -> tuple[Callable[[], object], Callable[[], int]]:
    """Begin a command; what kills it, and what waits for its end and gives its exit status, as `subprocess` does."""
    pid = os.posix_spawn(
        argv[0],
        argv,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
    )

    def kill() -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has just ended

    return kill, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _begun(argv: list[str]) -> tuple[Callable[[], object], Callable[[], int]]:
    """The same where nothing can be spawned so, as on Windows."""
    import subprocess

    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    return process.kill, process.wait


def main(argv: list[str]) -> int:
    """Run `argv`; returns its exit status, 128 and more when a signal ended it."""
    kill, wait = _spawned(argv) if hasattr(os, "posix_spawn") else _begun(argv)
    # Whoever ends the group asks the command with the same signal; it may take a moment to listen.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _thread.start_new_thread(_end_with, (kill,))
    status = wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
