"""Guided repairs: an explanation, typed parameters, a preview, applying and undoing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher_recovery.lazily import front

if TYPE_CHECKING:
    from launcher_recovery.fixes.action import Function, Hands
    from launcher_recovery.fixes.actions import Call
    from launcher_recovery.fixes.fix import (
        Case,
        Fix,
        FixConflictError,
        FixRefusedError,
        Kind,
        Parameter,
        Plan,
        Say,
    )
    from launcher_recovery.fixes.offers import Advice, Applied, Asked, Offer, Preview
    from launcher_recovery.fixes.service import Fixes
    from launcher_recovery.fixes.tools import Environments, Restoring, Tools

_HOMES = {
    "action": ("Function", "Hands"),
    "actions": ("Call",),
    "fix": ("Case", "Fix", "FixConflictError", "FixRefusedError", "Kind", "Parameter", "Plan", "Say"),
    "offers": ("Advice", "Applied", "Asked", "Offer", "Preview"),
    "service": ("Fixes",),
    "tools": ("Environments", "Restoring", "Tools"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Advice",
    "Applied",
    "Asked",
    "Call",
    "Case",
    "Environments",
    "Fix",
    "FixConflictError",
    "FixRefusedError",
    "Fixes",
    "Function",
    "Hands",
    "Kind",
    "Offer",
    "Parameter",
    "Plan",
    "Preview",
    "Restoring",
    "Say",
    "Tools",
]

__getattr__, __dir__ = front(__name__, _HOME_OF)
