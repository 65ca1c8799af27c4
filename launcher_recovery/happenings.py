"""What happened, told from the stream of signals: an operation began, an attempt failed, it recovered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from launcher_recovery import signals
from launcher_recovery.signals import Event

# Operations whose last state is remembered; beyond it the one that was quiet the longest is forgotten.
_REMEMBERED = 10_000


class Happening(str, Enum):
    """One thing that happened to an operation."""

    OPENED = "opened"
    ATTEMPT_STARTED = "attempt_started"
    ATTEMPT_FAILED = "attempt_failed"
    WAITING = "waiting"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"


_H = Happening
_FINAL = {"success": _H.SUCCEEDED, "failed": _H.GAVE_UP, "exhausted": _H.GAVE_UP, "cancelled": _H.CANCELLED}

Listener = Callable[[Happening, Mapping[str, Any]], None]


class Follower:
    """Tells `listener` what happens to the operations of this process.

    A `recovery_update` says how an operation is, many times over while it moves on; this says each change once, as
    `listener(happening, payload)` with the fields of `RecoveryUpdate`, in the thread in which it was made.
    What other processes do to an operation is not seen.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def attach(self) -> None:
        """Listen from now on; does nothing when it does already."""
        signals.recovery_updated.connect(self._on_update)

    def detach(self) -> None:
        """Undo `attach`."""
        signals.recovery_updated.disconnect(self._on_update)

    def _on_update(self, sender: object, event: Event) -> None:
        for happening in self.follow(event.payload):
            self._listener(happening, event.payload)

    def follow(self, payload: Mapping[str, Any]) -> list[Happening]:
        """What happened, given that an operation is now as `payload` says."""
        operation_id, state, attempt = payload["operation_id"], payload["state"], payload["attempt"]
        with self._lock:
            known = self._last.pop(operation_id, None)
            if state not in _FINAL:
                self._last[operation_id] = (state, attempt)
                while len(self._last) > _REMEMBERED:
                    self._last.popitem(last=False)
        before, attempts_before = known or ("", 0)
        is_new = known is None and attempt <= 1 and payload["created_at"] == payload["updated_at"]
        opened = [_H.OPENED] if is_new and attempt == (state == "in_progress") else []
        if state == "pending":
            return opened
        if state == "in_progress":
            return [*opened, _H.ATTEMPT_STARTED] if attempt > attempts_before else []
        ran = [_H.ATTEMPT_FAILED] if before == "in_progress" else []
        if state == "recovering":
            return [*ran, _H.WAITING]
        if state == "paused":
            return [_H.PAUSED] if before != "paused" else []
        ending = _FINAL[state]
        return [*ran, ending] if ending is _H.GAVE_UP else [ending]


def delay_of(payload: Mapping[str, Any]) -> float | None:
    """Seconds from the change to the next attempt; None when there is none to come."""
    due, now = payload["next_attempt_at"], payload["updated_at"]
    if due is None or now is None:
        return None
    wait = datetime.fromisoformat(due) - datetime.fromisoformat(now)
    return max(0.0, round(wait.total_seconds(), 3))
