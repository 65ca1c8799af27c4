"""Runs a command and says what it took: seconds, CPU seconds and memory of it and of its children.

The command is started by an interpreter that has nothing loaded: a process counts the memory of the one that it was
forked from as its own, until it is larger itself. So no number of memory is below that of `floor()`.
"""

from __future__ import annotations

import compileall
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 900.0
"""Seconds after which a command is ended."""

_SPAWN = """
import os, sys, time
begun = time.monotonic()
pid = os.fork()
if pid == 0:
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
status, used = os.wait4(pid, 0)[1:]
took = time.monotonic() - begun
report = f"{os.waitstatus_to_exitcode(status)} {took} {used.ru_utime + used.ru_stime} {used.ru_maxrss}"
os.write(int(sys.argv[1]), report.encode())
"""


@dataclass(frozen=True)
class Usage:
    """What one run of a command took.

    `seconds` is the time from its start to its end, `inside` the time that the command itself gave for its work (None:
    it gave none), `cpu_s` the CPU time of it and of its children, `peak_rss` the bytes of the largest of them.
    """

    seconds: float
    cpu_s: float
    peak_rss: int
    inside: float | None = None


class CommandFailedError(Exception):
    """A command ended badly; the message is the end of what it said."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a run: no proxies and no settings of somebody's own, and `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RECOVERY_") and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def run(argv: Sequence[str], environ: Mapping[str, str]) -> Usage:
    """Run a command to its end.

    Raises:
        CommandFailedError: it ended with another status than 0, or took longer than `LIMIT_S`.
    """
    reader, writer = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _SPAWN, str(writer), *argv]
    with os.fdopen(reader, "rb") as reports:
        process = subprocess.Popen(
            command,
            env=environ,
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.close(writer)
        try:
            printed, said = process.communicate(timeout=LIMIT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailedError(f"took longer than {LIMIT_S:g} s") from None
            raise
        report = reports.read().split()
    if len(report) != 4 or report[0] != b"0":
        status = report[0].decode() if report else "?"
        raise CommandFailedError(f"exit status {status}: {' '.join((said or printed).split())[-300:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of macOS has bytes, of others KiB
    return Usage(float(report[1]), float(report[2]), int(report[3]) * unit, _inside(printed))


def _inside(printed: str) -> float | None:
    """The seconds that one of `tests.bench.children` prints for its work."""
    lines = printed.splitlines()
    if not lines or not lines[-1].startswith("{"):
        return None
    found: float = json.loads(lines[-1])["seconds"]
    return found


def compile_package() -> None:
    """Compile our modules, as pip does when it installs them; those of the others are compiled."""
    compileall.compile_dir(ROOT / "launcher_recovery", quiet=2)


def floor() -> int:
    """The least `peak_rss` that can be measured, in bytes."""
    return run(["true"], environment()).peak_rss


def settle(seconds: float = 0.2) -> None:
    """Let the disk finish what runs before have left to it."""
    os.sync()
    time.sleep(seconds)
