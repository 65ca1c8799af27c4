"""Runs a child program for an operation: output as progress, its whole process group ended when it has to be."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
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
        returncode = process.wait()
    except BaseException:
        end_group(process)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    output = "".join(tail)
    if returncode != 0:
        raise CommandError(argv, returncode, output)
    return output


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line)
    except ValueError:
        pass  # closed while reading, because the command was ended
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
