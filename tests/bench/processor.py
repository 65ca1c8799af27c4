"""How much of a processor's time other processes have used, on Linux."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def seconds_of(pids: Iterable[int]) -> float:
    """What running processes have used, each with all its threads, also those that have ended; not their children."""
    # How Linux names the clock of another process (include/linux/posix-timers.h: CPUCLOCK_SCHED).
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def foreground_of(pid: int) -> float:
    """What the main thread of a running process has used."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def adopt_orphans() -> None:
    """Become the parent of those whose own parent is killed, so that `seconds_of_ended` counts them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def seconds_of_ended() -> float:
    """What all children have used that have ended, with their own."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
