"""What weaving adds to the start of a launcher: its first import, with and without a host that is woven, and a whole
launcher, until its web process serves and its worker listens.

python -m tests.bench.weaving [STARTS]     default: 15 of each kind, in turns

The processor's time of each process is counted, for the import until the join point is live, apart from what the
process tells of itself in the background; the peer is the same program without anything of ours, and the same under
`run` switched off. The launcher is the stand-in, on Linux; of its processes the main thread is told as well. Peewee
loads psycopg where that is installed, which most launchers do not have: it is hidden.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from launcher_recovery.weave.fingerprints import fingerprint_of
from tests.bench import processor
from tests.standin.processes import WEB, WORKER, StandIn
from tests.woven import FETCH, environment

STARTS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
# As an extension would, but without one, so that nothing is loaded that calls hooks.
WEAVE = """
from launcher_recovery.joinpoints import Fingerprint, Host, JoinPoint
from launcher_recovery.weave import presence, weave
presence.Presence.tell = lambda self: None
known = Fingerprint(("url", "*", "retries"), "{code}")
weave([Host("mine", (JoinPoint("wv_utils", "fetch", "download", fingerprints=(known,)),))], default=True)
"""
END = "import wv_utils, time; print(time.process_time())"


def measure() -> None:
    """Print the milliseconds of each kind."""
    code = fingerprint_of(FETCH, "fetch").code
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wv_utils.py").write_text(FETCH)
        environ = environment(folder, folder)
        (folder / "plain.py").write_text(END)
        (folder / "woven.py").write_text(WEAVE.format(code=code) + END)
        run = [sys.executable, "-m", "launcher_recovery", "run", "--", sys.executable]
        kinds = {
            "plain": ([sys.executable, "plain.py"], environ),
            "run, switched off": ([*run, "plain.py"], {**environ, "RECOVERY_ENABLED": "false"}),
            "woven": ([sys.executable, "woven.py"], environ),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(STARTS):
            for kind, (command, given) in kinds.items():
                done = subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, check=True)
                times[kind].append(float(done.stdout.split()[-1]) * 1000)
    _print(times, "plain")


def measure_launcher() -> None:
    """Print the milliseconds of both processes of a launcher."""
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(STARTS):
        for kind in ("plain", "woven"):
            for what, milliseconds in _started(is_woven=kind == "woven").items():
                times.setdefault(what, {}).setdefault(kind, []).append(milliseconds)
    for what, found in times.items():
        print(what)
        _print(found, "plain")


def _started(*, is_woven: bool) -> dict[str, float]:
    """Start the stand-in; milliseconds of each process until it works, and of its main thread."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        hiding = Path(name, "hiding")
        hiding.mkdir()
        (hiding / "psycopg.py").write_text("raise ImportError")
        path = [str(hiding), *([str(Path(name, "host", "site"))] if is_woven else [])]
        host = StandIn(Path(name, "host"), {"PYTHONPATH": os.pathsep.join(path)}, is_woven=is_woven)
        try:
            for process in (WORKER, WEB):
                host.start(process)
                found[process] = processor.seconds_of([host.pid(process)]) * 1000
                found[f"{process}, main thread"] = processor.foreground_of(host.pid(process)) * 1000
        finally:
            host.kill()
    return found


def _print(times: dict[str, list[float]], peer: str) -> None:
    base = statistics.median(times[peer])
    for kind, found in times.items():
        middle = statistics.median(found)
        print(f"{kind:20} {middle:6.0f} ms  (+{middle - base:.0f} ms; {min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    measure()
    measure_launcher()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
