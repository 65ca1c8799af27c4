"""Turns errors into verdicts: what went wrong, whether to retry, what fixes it."""

from launcher_recovery.classification.classifier import ErrorClassifier
from launcher_recovery.classification.rules import RULES, Rule
from launcher_recovery.classification.verdict import ErrorCategory, Retry, Verdict

__all__ = ["RULES", "ErrorCategory", "ErrorClassifier", "Retry", "Rule", "Verdict"]
