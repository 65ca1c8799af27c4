"""The command line `launcher-recovery`."""

from launcher_recovery.cli.program import main

__all__ = ["main"]
