"""What classification says of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from launcher_recovery.records import WaitingFor
from launcher_recovery.redaction import Redactor


class ErrorCategory(str, Enum):
    """The root cause of an error, as far as the error itself shows it."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    VALIDATION = "validation"
    PERMISSION = "permission"
    RESOURCE = "resource"
    UNKNOWN = "unknown"
    RATE_LIMIT = "rate_limit"
    NOT_FOUND = "not_found"
    DEPENDENCY = "dependency"
    INTEGRITY = "integrity"
    CANCELLED = "cancelled"
    INTERNAL = "internal"

    @property
    def broad(self) -> ErrorCategory:
        """The one of the six original categories that this one refines (itself when it is one of them)."""
        return _BROAD.get(self, self)


_BROAD: Mapping[ErrorCategory, ErrorCategory] = {
    ErrorCategory.RATE_LIMIT: ErrorCategory.RESOURCE,
    ErrorCategory.NOT_FOUND: ErrorCategory.VALIDATION,
    ErrorCategory.DEPENDENCY: ErrorCategory.VALIDATION,
    ErrorCategory.INTEGRITY: ErrorCategory.VALIDATION,
    ErrorCategory.CANCELLED: ErrorCategory.UNKNOWN,
    ErrorCategory.INTERNAL: ErrorCategory.UNKNOWN,
}


class Retry(str, Enum):
    """Whether another attempt makes sense: automatically, once after clean-up, after a person did something, never."""

    YES = "yes"
    ONCE = "once"
    AFTER_FIX = "after_fix"
    NO = "no"


UNKNOWN_RULE = "unknown"
"""The id in the verdict on an error that no rule knows."""

NO_FIX = "none"
"""The id of a fix where there is nothing that a person could do."""


@dataclass(frozen=True)
class Verdict:
    """What is known about an error.

    `wait_s` is a lower bound in seconds for the next attempt (from Retry-After), `fix` the id of a guided fix,
    `rule` the id of the rule that decided, `explanation` one sentence for people, `scope` the host concerned;
    `evidence` says which facts that rule went by, `source` where its meaning is known from.

    With `until` the operation may wait for what is missing here, such as room on the disk, instead of failing: it is
    called every few seconds, and gives None when the next attempt may begin, else a sentence for people that says what
    is missing now; `waiting_for` says what that is. Where no such waits are wanted, `retry` decides.
    """

    category: ErrorCategory
    retry: Retry
    rule: str
    explanation: str
    wait_s: float | None = None
    fix: str | None = None
    scope: str | None = None
    waiting_for: WaitingFor | None = None
    until: Callable[[], str | None] | None = field(default=None, compare=False)
    evidence: tuple[str, ...] = ()
    source: str = ""

    @property
    def about_far_end(self) -> bool:
        """Whether the failure says something about the other side, so that a circuit breaker counts it."""
        return self.category in (ErrorCategory.NETWORK, ErrorCategory.TIMEOUT, ErrorCategory.RATE_LIMIT)

    @property
    def offered_fix(self) -> str | None:
        """The id of the guided fix; None when there is nothing to offer."""
        return None if self.fix == NO_FIX else self.fix

    def explain(self) -> str:
        """One line that says which rule decided, by which facts, and what follows, without secrets."""
        known = f" ({self.source})" if self.source else ""
        because = f" because of {'; '.join(self.evidence)}" if self.evidence else ""
        wait = "" if self.wait_s is None else f", wait {self.wait_s:g} s"
        fix = "" if self.offered_fix is None else f", fix {self.offered_fix}"
        said = f"rule {self.rule}{known}{because}: {self.category.value}, retry {self.retry.value}{wait}{fix}"
        return Redactor().text(said)
