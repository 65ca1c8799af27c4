"""launcher-recovery extensions: what extends recovery here, by whom, and with which hooks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from launcher_recovery.cli.command import Command
from launcher_recovery.cli.words import printable

if TYPE_CHECKING:
    from launcher_recovery.manager import Extension


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.config import load_config
    from launcher_recovery.defaults import builtin_extensions
    from launcher_recovery.manager import Extensions

    extensions = Extensions(load_config(), builtin_extensions())
    extensions.load_entry_points()
    known = extensions.known()
    if options.json:
        print(json.dumps([asdict(one) for one in known]), flush=True)
        return
    for one in known:
        for line in lines(one):
            print(printable(line), flush=True)


def lines(one: Extension) -> Iterator[str]:
    """An extension for a person: its name and where it comes from, and below that its hooks, or why it has none."""
    origin = " ".join(filter(None, (one.package, one.version)))
    yield f"{one.name}{f' ({origin})' if origin else ''}: {_STATES[one.state]}"
    if one.problem is not None:
        yield f"  {one.problem}"
    for hook in one.hooks:
        yield f"  {hook}"


_STATES = {
    "loaded": "loaded",
    "disabled": "switched off by RECOVERY_DISABLED_EXTENSIONS",
    "failed": "left out, since it cannot be used",
}


COMMAND = Command("extensions", "List what extends recovery here, by whom, and with which hooks.", _add_arguments, _run)
