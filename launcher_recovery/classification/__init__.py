"""Turns errors into verdicts: what went wrong, whether to retry, what fixes it."""

from launcher_recovery.classification.classifier import ErrorClassifier
from launcher_recovery.classification.rule import Rule
from launcher_recovery.classification.rules import RULES
from launcher_recovery.classification.verdict import NO_FIX, UNKNOWN_RULE, ErrorCategory, Retry, Verdict

__all__ = ["NO_FIX", "RULES", "UNKNOWN_RULE", "ErrorCategory", "ErrorClassifier", "Retry", "Rule", "Verdict"]
