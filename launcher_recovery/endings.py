"""How an operation that is over shows itself to its callers, and to operations around it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from launcher_recovery.classification.facts import chain_of
from launcher_recovery.effects import Raise
from launcher_recovery.errors import OperationCancelled, RecoveryExhaustedError, text_of
from launcher_recovery.records import AttemptRecord, RecoveryData, RecoveryState

_GAVE_UP = "__recovery_gave_up__"
# Orders the beginnings of attempts and the moments of giving up in this process, whatever the clock does.
_moments = itertools.count(1)
_noting = threading.Lock()
# Less is not worth a word.
_SHORTEST_WAIT_S = 0.01


def moment() -> int:
    """A number for this moment, larger than all that were given."""
    return next(_moments)


def has_failed(data: RecoveryData) -> bool:
    """Whether the operation ended with an error."""
    return data.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED)


def outcome(data: RecoveryData) -> Any:
    """What a call gets that finds its operation ended by somebody else, not with an error."""
    if data.state is RecoveryState.SUCCESS:
        return data.result
    return Raise(OperationCancelled(f"{data.title} was cancelled"))


def failure(data: RecoveryData, error: Exception, history: Iterable[AttemptRecord], raise_original: bool) -> Raise:
    """What a call gets, first or joined, whose operation failed with `error`."""
    history = list(history)
    mark_given_up(error, data, history)
    if raise_original:
        return Raise(error)
    exhausted = RecoveryExhaustedError(f"{data.title} failed after {attempts_of(data)}: {text_of(error)}")
    mark_given_up(exhausted, data, history)
    return Raise(exhausted, error)


def attempts_of(data: RecoveryData) -> str:
    """How many attempts there were, in words."""
    return "1 attempt" if data.attempt == 1 else f"{data.attempt} attempts"


def mark_given_up(error: Exception, data: RecoveryData, history: Iterable[AttemptRecord]) -> None:
    """Note on the error what was tried, once, and mark it for operations around this one."""
    attempts = attempts_of(data)
    waited = _waited(data, list(history))
    digits = f"{waited:.0f}" if waited >= 100 else f"{waited:.3g}"
    waits = f" and {digits} s of waiting" if waited >= _SHORTEST_WAIT_S else ""
    note = f"launcher-recovery: gave up after {attempts}{waits} (operation {data.operation_id})"
    try:
        setattr(error, _GAVE_UP, moment())
        with _noting:  # all calls that have joined get the same error
            notes = getattr(error, "__notes__", ())
            if note not in notes:
                # What `add_note` does from Python 3.11 on.
                setattr(error, "__notes__", [*notes, note])
    except AttributeError:
        pass  # an exception class with __slots__; it is still raised, without the note


def _waited(data: RecoveryData, history: Sequence[AttemptRecord]) -> float:
    """Seconds of waiting after attempts; a wait may have been ended early, or gone on with other settings."""
    waited = 0.0
    for number, attempt in enumerate(history, 1):
        # A wait that was cut off by a deadline is over when the operation is.
        over = history[number].started_at if number < len(history) else data.completed_at
        if attempt.ended_at is not None and attempt.delay_s is not None and over is not None:
            waited += max(0.0, (over - attempt.ended_at).total_seconds())
    return waited


def inner_gave_up(error: Exception, began: int) -> bool:
    """Whether an operation inside this one had its own attempts at this error and gave up.

    `began` is when this attempt did; the same exception object may have been given up on before, by another call.
    """
    return any(getattr(item, _GAVE_UP, 0) > began for item in chain_of(error))


def inner_was_cancelled(error: Exception) -> bool:
    """Whether the attempt ended because an operation inside it was cancelled, as the error itself or its cause."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:  # one may be raised from itself
        seen.append(cause)
        cause = cause.__cause__
    return any(isinstance(item, OperationCancelled) for item in seen)
