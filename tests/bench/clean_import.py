"""What an import without any fault costs with recovery woven in: seconds, and the processor's time of all processes.

python -m tests.bench.clean_import [PAIRS [MIB]]     default: 5 pairs, a model of 64 MiB

Each pair is an import by the stand-in as it is and one by the same with recovery, in turns; environments of projects
are real ones. The start of both processes, and the servers that are asked, are not counted. It is for Linux.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench import processor
from tests.standin.processes import WEB, WORKER, StandIn
from tests.standin.trial import MIB, How, Trial
from tests.standin.world import World

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SIZE = (int(sys.argv[2]) if len(sys.argv) > 2 else 64) * MIB
# What is still being done when the processes serve, such as what they tell of themselves.
_SETTLES_S = 2.0


def measure() -> None:
    """Print the medians of both kinds, and of their ratios."""
    processor.adopt_orphans()
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(PAIRS):
        for is_woven in found:
            found[is_woven].append(_import(How(size=SIZE, patience_s=600.0, is_woven=is_woven)))
    _print(found)


def _import(how: How) -> tuple[float, float]:
    """Seconds from the import to its end, and of the processor."""
    with tempfile.TemporaryDirectory() as name, World(Path(name) / "world", how.size) as world:
        host = StandIn(Path(name) / "host", world.environment, is_woven=how.is_woven)
        with host:
            time.sleep(_SETTLES_S)
            running = [pid for process in (WEB, WORKER) for pid in (host.pid(process), *host.children(process))]
            started = processor.seconds_of(running)
            seen = Trial(world, host, how).run()
            assert seen.state == "ready", seen
            # Until here only servers of the world have ended that this process has started.
            servers = processor.seconds_of_ended()
        return seen.seconds, processor.seconds_of_ended() - servers - started


def _print(found: Mapping[bool, list[tuple[float, float]]]) -> None:
    for is_woven, measured in found.items():
        seconds, used = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{'with' if is_woven else 'without'} recovery: {seconds:6.1f} s, {used:6.2f} s of a processor")
    for at, what in enumerate(("seconds", "processor")):
        ratios = [woven[at] / plain[at] for plain, woven in zip(found[False], found[True], strict=True)]
        print(f"{what}: x {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    measure()
