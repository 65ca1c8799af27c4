"""Finds processes of known launchers that run on this machine, whether they are woven or not."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher_recovery.joinpoints import Host


@dataclass(frozen=True)
class Running:
    """A process of a launcher: of which, its id and its parent's, its command line, and the launcher's folder."""

    host: str
    pid: int
    parent: int
    argv: tuple[str, ...]
    folder: Path


def running(hosts: Iterable[Host], proc: Path = Path("/proc")) -> list[Running]:
    """The processes of the hosts that can be told by their neighbours; none where there is no /proc."""
    known = [host for host in hosts if host.neighbours]
    if not known or not sys.platform.startswith("linux") or not proc.is_dir():
        return []
    return [found for pid in _ids(proc) if pid != os.getpid() for found in _of(known, proc / str(pid), pid)]


def unwoven(found: Iterable[Running], woven: Collection[int]) -> list[Running]:
    """Those that are not among the woven ones, without those that another of them has forked."""
    processes = list(found)
    known = {*woven, *(process.pid for process in processes)}
    return [process for process in processes if process.pid not in woven and process.parent not in known]


def _ids(proc: Path) -> Iterator[int]:
    for entry in sorted(proc.iterdir()):
        if entry.name.isdecimal():
            yield int(entry.name)


def _of(hosts: list[Host], entry: Path, pid: int) -> Iterator[Running]:
    try:
        argv = os.fsdecode((entry / "cmdline").read_bytes()).rstrip("\0").split("\0")
        folder = Path(os.readlink(entry / "cwd"))
        parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return  # it has ended, or is somebody else's
    if "python" not in os.path.basename(argv[0]):
        return
    for place in _folders(argv, folder):
        for host in hosts:
            if all((place / name).exists() for name in host.neighbours):
                yield Running(host.name, pid, parent, tuple(argv), place)
                return


def _folders(argv: list[str], current: Path) -> Iterator[Path]:
    """Where the launcher may be that a process with this command line is of."""
    if any(os.path.basename(argument) == "celery" for argument in argv[1:4]) and "worker" in argv:
        yield current
    script = next((argument for argument in argv[1:] if not argument.startswith("-")), "")
    if script.endswith(".py"):
        yield (current / script).parent
