"""From an exception to a verdict. The rules are loaded with the first error: most processes never have one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from launcher_recovery.classification.verdict import ErrorCategory, Retry, Verdict

if TYPE_CHECKING:
    from launcher_recovery.classification.rule import Rule


class ErrorClassifier:
    """Classifies errors by rules; the first that matches decides.

    Args:
        rules: rules that go before the built-in ones.
        now: the clock, in seconds since the epoch (for Retry-After dates).

    Subclasses may override `classify_error` alone: the category is then obeyed with its default policy.
    """

    def __init__(self, rules: Sequence[Rule] = (), *, now: Callable[[], float] = time.time) -> None:
        self._own = tuple(rules)
        self._now = now

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules, in the order in which they are tried."""
        from launcher_recovery.classification.rules import RULES

        return (*self._own, *RULES)

    def classify(self, error: BaseException, *, operation: Any = None) -> Verdict:
        """The verdict on `error`; `operation` is the record of the operation in which it happened, if any."""
        from launcher_recovery.classification import deciding

        is_own = type(self).classify_error is not ErrorClassifier.classify_error
        categorize = self.classify_error if is_own else None
        return deciding.verdict_on(error, self._own, self._now(), operation, categorize)

    def explain(self, error: BaseException, *, operation: Any = None) -> str:
        """One line that says which rule decides over `error`, by which facts, and what follows, without secrets."""
        return self.classify(error, operation=operation).explain()

    def classify_error(self, error: Exception) -> ErrorCategory:
        """The category of `error`."""
        from launcher_recovery.classification import deciding

        return deciding.category_of(error, self._own, self._now())

    def should_retry(self, error: Exception) -> bool:
        """Whether an automatic retry of `error` makes sense."""
        return self.classify(error).retry in (Retry.YES, Retry.ONCE)
