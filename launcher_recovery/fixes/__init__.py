"""Guided repairs: an explanation, typed parameters, a preview, applying and undoing it."""

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
from launcher_recovery.fixes.offers import Applied, Asked, Offer, Preview
from launcher_recovery.fixes.service import Fixes
from launcher_recovery.fixes.tools import Environments, Restoring, Tools

__all__ = [
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
