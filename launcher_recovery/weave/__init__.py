"""Weaves recovery into a launcher that has no plugin system, from outside."""

from launcher_recovery.weave.process import standings, unweave, weave
from launcher_recovery.weave.standing import Standing

__all__ = ["Standing", "standings", "unweave", "weave"]
