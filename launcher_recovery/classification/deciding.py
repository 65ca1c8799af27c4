"""How a rule is found for an error, and what follows from it; with the rules, which are loaded with the first error."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from launcher_recovery.classification import facts as _facts
from launcher_recovery.classification.rule import Rule, first_match
from launcher_recovery.classification.rules import RULES
from launcher_recovery.classification.verdict import UNKNOWN_RULE, ErrorCategory, Retry, Verdict
from launcher_recovery.errors import CircuitBreakerOpenError
from launcher_recovery.records import WaitingFor
from launcher_recovery.room import Awaited, FileFree, FolderThere, QuotaThere, RoomThere

_UNKNOWN = Rule(
    UNKNOWN_RULE,
    ErrorCategory.UNKNOWN,
    Retry.ONCE,
    "Something went wrong that is not known yet.",
    "no rule matched",
)

_QUOTAS = ("quota", "pip-quota")

# What a classifier that overrides only `classify_error` gets for its category.
_DEFAULT_RETRY = {
    ErrorCategory.NETWORK: Retry.YES,
    ErrorCategory.TIMEOUT: Retry.YES,
    ErrorCategory.RATE_LIMIT: Retry.YES,
    ErrorCategory.RESOURCE: Retry.YES,
    ErrorCategory.UNKNOWN: Retry.YES,
    ErrorCategory.INTEGRITY: Retry.ONCE,
}


def verdict_on(
    error: BaseException,
    own: Sequence[Rule],
    now: float,
    operation: Any,
    categorize: Callable[[Exception], ErrorCategory] | None,
) -> Verdict:
    """The verdict on an error.

    Args:
        own: rules that go before the built-in ones.
        now: seconds since the epoch.
        operation: the record of the operation in which it happened, if any.
        categorize: gives the category of an error; None: that of the rule counts.
    """
    seen = _facts.read(error, now)
    rule, went_by = _decide(own, seen)
    category, retry = rule.category, rule.retry
    if categorize is not None and isinstance(error, Exception):
        category = categorize(error)
        if category is not rule.category:
            retry = _DEFAULT_RETRY.get(category, Retry.NO)
    wait_s = seen.retry_after_s
    if isinstance(error, CircuitBreakerOpenError):
        wait_s = error.timeout_remaining
    explanation = rule.explanation.format(
        host=seen.host or "the other side", status=went_by.status, told=rule.told(went_by)
    )
    if seen.host is None:
        explanation = explanation[:1].upper() + explanation[1:]
    until = None if category is not rule.category else _awaited(rule, seen, operation)
    if until is not None:
        explanation = until.told
    return Verdict(
        category=category,
        retry=retry,
        rule=rule.id,
        explanation=explanation,
        wait_s=wait_s,
        fix=rule.fix,
        scope=seen.host,
        waiting_for=None if until is None else rule.waits,
        until=until,
        evidence=rule.evidence(went_by) or (),
        source=rule.source,
    )


def category_of(error: Exception, own: Sequence[Rule], now: float) -> ErrorCategory:
    """The category of an error; see `verdict_on`."""
    return _decide(own, _facts.read(error, now))[0].category


def _decide(own: Sequence[Rule], seen: _facts.Facts) -> tuple[Rule, _facts.Facts]:
    """The rule that decides, and the facts that it went by.

    What an output tells of counts after what is known about the program itself: a traceback may be that of a part
    which was gone without.
    """
    for rules in (own, RULES):
        for facts in (seen, seen.told):
            rule = None if facts is None else first_match(rules, facts)
            if facts is not None and rule is not None:
                return rule, facts
    return _UNKNOWN, seen


def _awaited(rule: Rule, seen: _facts.Facts, operation: Any) -> Awaited | None:
    """What can be waited for; None: nothing, or it is not known where."""
    if rule.waits is None:
        return None
    if rule.waits is WaitingFor.PROGRAM:
        return None if seen.in_use is None else FileFree(seen.in_use)
    # Writing to an open file raises an error without a name; then it is the file that the operation is about.
    folder = seen.folder or _folder_of(operation)
    if folder is None:
        return None
    if rule.waits is WaitingFor.DISK:
        return FolderThere(folder)
    told = seen.no_space
    needed, free, look = (None, None, None) if told is None else (told.needed, told.free, told.look)
    return QuotaThere(folder, needed) if rule.id in _QUOTAS else RoomThere(folder, needed, free, look)


def _folder_of(operation: Any) -> str | None:
    """The folder that an operation writes to, by the arguments that the launcher's hooks have."""
    given = getattr(operation, "kwargs", {})
    path = given.get("destination", given.get("project_folder"))
    if not isinstance(path, (str, os.PathLike)) or not os.path.isabs(path):
        return None
    return os.path.dirname(os.fspath(path))
