"""Runs one command, and ends it as soon as the process that asked for it is gone, kill -9 included.

A git or pip that outlived its server would work on the same folder as the one that the next server starts. Run as a
script by `running.run_command`: the command's words follow, and standard input is a pipe that the server holds open.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _end_with(process: subprocess.Popen[bytes]) -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1024):
        continue
    if hasattr(os, "killpg"):
        # This process leads a group (start_new_session), in which the command and its children are.
        os.killpg(os.getpid(), signal.SIGKILL)
    process.kill()


def main(argv: list[str]) -> int:
    """Run `argv`; returns its exit status, 128 and more when a signal ended it."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    # Whoever ends the group asks the command with the same signal; it may take a moment to listen.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(process,), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
