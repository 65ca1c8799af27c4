"""Runs a child program for an operation, and ends its whole process group when it has to be ended."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher_recovery.defaults import guard
from launcher_recovery.errors import CommandError
from launcher_recovery.operation import Operation

_TAIL_LINES = 60
_LOOK_S = 0.05
_END_S = 2.0


def run_command(
    operation: Operation,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `argv` and return the end of what it printed on both streams.

    Args:
        operation: asked twenty times a second whether to go on.
        env: variables that differ from this process's.

    Raises:
        CommandError: it ended with another exit status than 0.
        OperationInterrupted, RecoveryTimeoutError: from the operation; the process group is ended first.
        FileNotFoundError: there is no such program.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such program", argv[0])
    process = subprocess.Popen(
        [sys.executable, "-I", guard.__file__, program, *argv[1:]],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,  # held open as long as this process lives
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        while True:
            try:
                line = lines.get(timeout=_LOOK_S)
            except queue.Empty:
                operation.check()
                continue
            if line is None:
                break
            tail.append(line)
            operation.check()
        returncode = process.wait()  # at once: the guard holds the output open until it ends
    except BaseException:
        end_group(process)
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    output = "".join(tail)
    if returncode != 0:
        raise CommandError(argv, returncode, output)
    return output


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    # Closed here and not by the caller, who would have to wait for a grandchild that left the group and kept it open.
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def end_group(process: subprocess.Popen[str]) -> None:
    """End the process and its children: asked first, killed when they do not listen."""
    if os.name == "nt":
        process.kill()
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
