"""The command line `launcher-recovery`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; see `program.main`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:  # it becomes the launcher's process, into which nothing else is to be loaded
        from launcher_recovery.cli import run

        return run.main(given[1:])
    from launcher_recovery.cli import program

    return program.main(given)
