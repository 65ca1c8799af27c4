"""What happens to an import under every fault: how it ends, how much was sent, how long it took, what the person sees.

    python -m tests.standin.table [--plugin] [--prefix "WORDS"] [--set NAME=VALUE]... [--host FOLDER --python PYTHON]
                                  [--patience SECONDS] [--size MIB] [--quick] [--row TEXT]...

Each row is one import of a project with a model of 64 MiB by a host that has just been started, from servers on this
machine that fail. It prints Markdown. Without options the host is the stand-in as it is; with `--plugin` both of its
processes are started through `launcher-recovery run --`, but for a row without a fault that is there to compare with.
`--host` names a checkout of the real one, and `--python` an interpreter with what that needs, and with what the plugin
needs where that takes part.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.standin.faults import ROWS
from tests.standin.processes import HOST
from tests.standin.trial import MIB, How, Seen, trial
from tests.standin.world import MODEL

__all__ = ["ROWS", "How", "Seen", "as_markdown", "main", "observe"]

CLEAN = "none"
"""The row without a fault."""

_COLUMNS = ("fault", "end state", "body bytes sent / needed", "seconds", "what the person sees", "models folder")


def observe(name: str, how: How) -> Seen:
    """Run a row."""
    with tempfile.TemporaryDirectory(prefix="launcher-recovery-") as folder, trial(Path(folder), how) as at:
        return ROWS[name](at)


def as_markdown(name: str, seen: Seen) -> str:
    """A row of the table."""
    model = seen.models.get(MODEL, "missing")
    if not seen.state:
        end, said = "**project deleted**", f"“{seen.message}”, then no such project"
    else:
        end = f"{'**stuck** in ' if seen.is_stuck else ''}{seen.state}, model {'there' if model == 'whole' else model}"
        said = f"“{seen.message}”"
    if seen.explanation:
        said += f"; recovery: “{seen.explanation}”"
    seconds = f"{seen.seconds:.1f}{', then no end' if seen.is_stuck else ''}"
    models = ", ".join(f"{path}: {what}" for path, what in seen.models.items()) or "empty"
    return f"| {name} | {end} | {seen.sent / seen.needed:.2f} | {seconds} | {said} | {models} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin.table", description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", action="store_true", help="start the processes through launcher-recovery run --")
    parser.add_argument("--prefix", type=shlex.split, default=[], help="words before the commands of both processes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="variables of both processes")
    parser.add_argument("--host", type=Path, default=HOST, help="a checkout of the real host")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with what the host needs")
    parser.add_argument("--patience", type=float, help="seconds without a change after which a project is stuck")
    parser.add_argument("--size", type=int, default=64, help="of the model, in MiB")
    parser.add_argument("--row", action="append", default=[], help="only rows with this text; more than once: with any")
    parser.add_argument("--quick", action="store_true", help="environments of projects are of links, made in no time")
    asked = parser.parse_args(arguments)
    environment = dict(one.split("=", 1) for one in asked.set)
    # With the plugin a project that nothing happens to for minutes may wait for its next attempt.
    patience = asked.patience or (600.0 if asked.plugin or asked.prefix else 45.0)
    how = How(
        size=asked.size * MIB,
        patience_s=patience,
        environment=environment,
        host=asked.host.resolve(),
        python=asked.python,
        prefix=tuple(asked.prefix),
        is_woven=asked.plugin,
        is_quick=asked.quick,
    )
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for name in ROWS:
        if asked.row and not any(text in name for text in asked.row):
            continue
        if asked.plugin and name == CLEAN:
            print(as_markdown(f"{name}, without the plugin", observe(name, replace(how, is_woven=False))), flush=True)
        print(as_markdown(name, observe(name, how)), flush=True)


if __name__ == "__main__":
    # What was started is ended then as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main()
