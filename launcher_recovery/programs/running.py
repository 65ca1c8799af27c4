"""Runs a child program for an operation, and ends its whole process group when it has to be ended."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher_recovery.errors import CommandError
from launcher_recovery.known_secrets import without_known
from launcher_recovery.operation import Operation
from launcher_recovery.programs import guard
from launcher_recovery.programs.output import Output

_LOOK_S = 0.05
_END_S = 2.0
# Between two looks no more than this counts as silence: a launcher that was stopped meanwhile has heard nothing either.
_LONGEST_LOOK_S = 1.0


class CommandSilentError(CommandError, TimeoutError):
    """A child process printed nothing for so long that it was ended; `silent_s` is how long that was, in seconds."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str, silent_s: float) -> None:
        TimeoutError.__init__(self)  # else it would take the three for errno, text and file name
        self.argv, self.returncode, self.output = tuple(argv), returncode, output
        self.args = (self.argv, returncode, output, silent_s)
        self.silent_s = silent_s

    def __str__(self) -> str:
        return f"{' '.join(self.argv[:3])} printed nothing for {self.silent_s:.0f} s and was ended"


@dataclass(frozen=True)
class Silence:
    """What happens while a program prints nothing.

    Args:
        limit: seconds after which it is ended; None: never.
        told_after: seconds after which `tell` is called, and from then on at every look.
        tell: called with the seconds since the last line (or the beginning).
        monotonic: the clock, in seconds.
    """

    limit: float | None = None
    told_after: float = 3.0
    tell: Callable[[float], object] = lambda seconds: None
    monotonic: Callable[[], float] = time.monotonic


def run_command(
    operation: Operation | None,
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    on_line: Callable[[str], object] = lambda line: None,
    silence: Silence | None = None,
) -> str:
    """Run `argv` and return the end of what it printed on both streams.

    Args:
        operation: asked twenty times a second whether to go on; None: nobody is.
        env: variables that differ from this process's; None: one that the program does not get.
        on_line: called with every line as it comes, without its end; a percentage that is written over and over is a
            line each time.
        silence: what happens while nothing is printed.

    Raises:
        CommandError: it ended with another exit status than 0; `CommandSilentError`: it was ended for its silence.
        OperationInterrupted, RecoveryTimeoutError: from the operation; the process group is ended first.
        FileNotFoundError: there is no such program.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such program", argv[0])
    process = subprocess.Popen(
        # Without the installed packages, of which the guard needs none: to look for them is half of its start.
        [sys.executable, "-IS", guard.__file__, program, *argv[1:]],
        cwd=cwd,
        env=_environment(env or {}),
        stdin=subprocess.PIPE,  # held open as long as this process lives
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output = Output(process)
    try:
        _follow(operation, argv, output, on_line, silence or Silence())
        returncode = process.wait()  # at once: the guard holds the output open until it ends
    except BaseException:
        end_group(process)
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    if returncode != 0:
        raise CommandError(argv, returncode, without_known(output.tail))
    return output.tail


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _follow(
    operation: Operation | None,
    argv: Sequence[str],
    output: Output,
    on_line: Callable[[str], object],
    silence: Silence,
) -> None:
    """Return when the output is over."""
    silent, looked_at = 0.0, silence.monotonic()
    while True:
        try:
            line = output.next(_LOOK_S)
        except queue.Empty:
            now = silence.monotonic()
            silent, looked_at = silent + min(now - looked_at, _LONGEST_LOOK_S), now
            if silent >= silence.told_after:
                silence.tell(silent)
            if silence.limit is not None and silent >= silence.limit:
                raise CommandSilentError(argv, 128 + signal.SIGTERM, without_known(output.tail), silent) from None
        else:
            if line is None:
                return
            silent, looked_at = 0.0, silence.monotonic()
            on_line(line)
        if operation is not None:
            operation.check()


def end_group(process: subprocess.Popen[bytes]) -> None:
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
