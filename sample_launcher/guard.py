"""Runs one command for the launcher, and ends it as soon as the launcher is gone, kill -9 included.

A git or pip that outlived its launcher would work on the same folder as the one that the next launcher
starts. It is run as a script: the command's arguments follow, and standard input is a pipe that the launcher
holds open.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _watch(process: subprocess.Popen[bytes]) -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1024):
        continue
    if hasattr(os, "killpg"):
        # The launcher made this process the leader of a group, which the command is in.
        os.killpg(os.getpid(), signal.SIGKILL)
    process.kill()


def main(argv: list[str]) -> int:
    """Run `argv`; its exit code, 128 and more when a signal ended it, 127 when it cannot be started."""
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    except OSError as problem:
        print(f"{argv[0]} cannot be started: {problem.strerror}", flush=True)
        return 127
    threading.Thread(target=_watch, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
