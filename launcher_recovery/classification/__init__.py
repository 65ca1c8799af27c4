"""Turns errors into verdicts: what went wrong, whether to retry, what fixes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher_recovery.lazily import front

if TYPE_CHECKING:
    from launcher_recovery.classification.classifier import ErrorClassifier
    from launcher_recovery.classification.rule import Rule
    from launcher_recovery.classification.rules import RULES
    from launcher_recovery.classification.verdict import NO_FIX, UNKNOWN_RULE, ErrorCategory, Retry, Verdict

_HOMES = {
    "NO_FIX": "verdict",
    "RULES": "rules",
    "UNKNOWN_RULE": "verdict",
    "ErrorCategory": "verdict",
    "ErrorClassifier": "classifier",
    "Retry": "verdict",
    "Rule": "rule",
    "Verdict": "verdict",
}

__all__ = ["NO_FIX", "RULES", "UNKNOWN_RULE", "ErrorCategory", "ErrorClassifier", "Retry", "Rule", "Verdict"]

__getattr__, __dir__ = front(__name__, _HOMES)
