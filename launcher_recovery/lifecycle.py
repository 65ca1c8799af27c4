"""The life of an operation: how it begins, is claimed, ends, and is given back or taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from launcher_recovery.clock import time_ordered_id, to_datetime
from launcher_recovery.controls import Controls
from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.keeping import Keeping, is_storable
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.base import Changed
from launcher_recovery.records import (
    FINAL,
    RUNNABLE,
    UNFINISHED,
    AttemptRecord,
    Progress,
    RecoveryData,
    RecoveryState,
    WaitingFor,
)

RESULT_IS_PARTIAL = "recovery_result_is_partial"
"""Among the metadata of a finished operation: its result could not be kept, or not without a change."""


class Lifecycle(Controls, Keeping):
    """Begins, claims and ends operations; with a person's controls, and what running ones keep of themselves."""

    # -- beginning ----------------------------------------------------------------------------------

    def draft(
        self,
        function_name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        kind: str = "function",
        key: str | None = None,
        project: str | None = None,
        parent_id: str | None = None,
        title: str = "",
        limit: int | None = None,
        created_at: datetime | None = None,
    ) -> RecoveryData:
        """The record of a call that is not yet entered anywhere.

        Args:
            function_name, args, kwargs: what is called; kept redacted (whole where the store is encrypted), and only
                if of storable types. If anything had to be left out, the operation is not resumable after a restart.
            limit: attempts in a row without progress after which it gives up.
            created_at: when the call was made; default: now.
        """
        kept_args, kept_kwargs, resumable = self._storable(args, kwargs)
        now = created_at or to_datetime(self.clock.time())
        return RecoveryData(
            operation_id=time_ordered_id(now.timestamp()),
            function_name=function_name,
            args=kept_args,
            kwargs=kept_kwargs,
            created_at=now,
            updated_at=now,
            kind=kind,
            key=None if key is None else self.kept_key(key),
            project=None if project is None else self.redactor.text(str(project)),
            parent_id=parent_id,
            title=self._text(title) if title else function_name,
            max_attempts=limit,
            owner=self.owner_id,
            resumable=resumable,
        )

    def open(
        self,
        function_name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        revive: bool = False,
        **about: Any,
    ) -> RecoveryData:
        """`enter` the `draft` of a call."""
        return self.enter(self.draft(function_name, args, kwargs, **about), revive)

    def enter(self, draft: RecoveryData, revive: bool = False) -> RecoveryData:
        """The record of a call: the draft, or the unfinished one that has the same key (the call joins it).

        Args:
            revive: continue the latest operation of that key if it failed, instead of beginning a new one.
        """
        while True:
            revived = self._revive(draft) if revive else None
            if revived is not None:
                return revived
            changed = self.store.insert(draft)
            if changed is not None:
                self._announce(changed)
                return changed.data
            assert draft.key is not None
            existing = self.store.latest_with_key(draft.key)
            if existing is not None and existing.state in UNFINISHED:
                return existing

    def start(self, draft: RecoveryData, revive: bool = False) -> tuple[RecoveryData, Operation | None]:
        """Like `enter`, and with the same write begin the first attempt; gives its handle, attached, as well.

        A call that joins or revives another one has no handle: its attempt, if it is to have one, is begun by
        `begin_attempt`.
        """
        revived = self._revive(draft) if revive else None
        if revived is not None:
            return revived, None
        begun = {**vars(draft), "state": RecoveryState.IN_PROGRESS, "attempt": 1, "fence": 1}
        live = Operation(RecoveryData(**begun), self, self.clock)
        # Before it can be seen by anybody: who cancels it from then on has to reach it.
        self.attach(live)
        self.take_turn(live)
        changed: Changed | None = None
        try:
            changed = self.store.insert(live.data)
        finally:
            if changed is None:
                self.detach(live)
        if changed is None:
            return self.enter(draft, revive), None
        live.data = changed.data
        self._announce(changed, wake=False)
        return live.data, live

    def _revive(self, draft: RecoveryData) -> RecoveryData | None:
        latest = None if draft.key is None else self.store.latest_with_key(draft.key)
        if latest is None or latest.state not in FINAL or latest.state is RecoveryState.SUCCESS:
            return None
        again: dict[str, Any] = {"args": draft.args, "kwargs": draft.kwargs, "resumable": draft.resumable}
        around = {one.operation_id for one in self.around(draft.parent_id)}
        if draft.parent_id is not None and latest.operation_id not in around:
            # From now on it is a part of the one that calls it.
            again.update(parent_id=draft.parent_id, project=draft.project)
        if latest.owner is None:  # else that process still has code to stop
            again["owner"] = draft.owner
        try:
            return self.begin_again(latest.operation_id, limit=draft.max_attempts, **again)
        except RecoveryStateError:
            return None  # somebody else was faster; then there is an unfinished one to join

    def _storable(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
        given = [list(args), dict(kwargs)]
        try:
            text = codec.dumps(given)
        except TypeError:
            return (), {}, False
        if self.keeps_secrets:
            whole = codec.loads(text)
            return tuple(whole[0]), whole[1], True
        redacted = self.redactor.value(given)
        return tuple(redacted[0]), redacted[1], redacted == given

    # -- attempts -----------------------------------------------------------------------------------

    def begin_attempt(self, operation_id: str, limit: int) -> RecoveryData:
        """Claim the operation for this process and begin its next attempt.

        Raises:
            RecoveryStateError: somebody else claimed, paused or ended it first, or another process has it.
        """
        stored = self.store.get(operation_id)
        if stored is not None and not self.may_run(stored):
            raise RecoveryStateError(f"{stored.title} is left to the process that has it", state=stored.state.value)
        used_up = 0 if stored is None else stored.fruitless
        attempt = 0 if stored is None else stored.attempt
        fields = {
            "state": RecoveryState.IN_PROGRESS,
            "owner": self.owner_id,
            "max_attempts": attempt - used_up + limit,
            "next_attempt_at": None,
            "waiting_for": None,
            "error": None,
            "category": None,
            "explanation": None,
            "fix": None,
        }
        fence = None if stored is None else stored.fence
        return self._change(operation_id, RUNNABLE, fields, fence=fence, claim=True)

    def history(self, operation_id: str) -> list[AttemptRecord]:
        """The attempts so far, oldest first."""
        return self.store.attempts(operation_id)

    def as_failed(self, attempt: AttemptRecord, error: Exception, category: str) -> AttemptRecord:
        """The record of an attempt that failed, before what follows it is decided and kept."""
        kept = self._kept_error(error)
        return replace(
            attempt,
            ended_at=to_datetime(self.clock.time()),
            outcome="failed",
            category=category,
            error=str(kept),
            error_type=kept.type_name,
            traceback=kept.traceback,
        )

    def end_attempt(
        self,
        live: Operation,
        target: RecoveryState,
        error: Exception,
        *,
        category: str,
        explanation: str,
        fix: str | None,
        fruitless: int,
        limit: int,
        delay: float | None = None,
        waiting_for: WaitingFor | None = None,
        is_due: bool = True,
    ) -> RecoveryData:
        """The running attempt failed: `recovering`, or `failed` or `exhausted`.

        Args:
            delay: seconds to wait at least; None: there is no other attempt.
            is_due: the next attempt is due after `delay` (True), or it is not known when (False).

        Raises:
            RecoveryStateError: the operation was paused, cancelled or taken over meanwhile.
        """
        kept = self._kept_error(error)
        now = self.clock.time()
        fields: dict[str, Any] = {
            "state": target,
            "error": kept,
            "category": category,
            "explanation": self._text(explanation),
            "fix": fix,
            "fruitless": fruitless,
            "watermark": live.data.watermark,
            "max_attempts": live.data.attempt - fruitless + limit,
            "next_attempt_at": to_datetime(now + delay) if delay is not None and is_due else None,
            "waiting_for": waiting_for,
        }
        if target in FINAL:
            fields.update(completed_at=to_datetime(now), owner=None)
        metadata = self._with_snapshot(live)
        if metadata is not None:
            fields["metadata"] = metadata
        progress = self._final_progress(live)
        if progress is not None:
            fields["progress"] = progress
        attempt = {
            "outcome": target.value if target in FINAL else "failed",
            "category": category,
            "error": str(kept),
            "error_type": kept.type_name,
            "traceback": kept.traceback,
            "delay_s": delay,
            "resumed": _resumed_bytes(progress),
        }
        return self._change(
            live.operation_id, {RecoveryState.IN_PROGRESS}, fields, fence=live.data.fence, attempt=attempt
        )

    def hold(self, operation_id: str, seconds: float | None, waiting_for: WaitingFor, explanation: str) -> RecoveryData:
        """Put off the next attempt of an operation that has not begun it, for `seconds` or (None) until it is woken;
        the state becomes or stays waiting."""
        due = None if seconds is None else to_datetime(self.clock.time() + seconds)
        fields = {"next_attempt_at": due, "waiting_for": waiting_for, "explanation": explanation}
        return self._change(operation_id, RUNNABLE, fields)

    def explain(self, operation_id: str, explanation: str) -> RecoveryData:
        """Tell people why an operation waits, as it is now.

        Nothing else is changed: a person may have ended the wait meanwhile.

        Raises:
            RecoveryStateError: it does not wait any more.
        """
        fields = {"explanation": self._text(explanation)}
        return self._change(operation_id, {RecoveryState.RECOVERING}, fields)

    def run_out(self, operation_id: str) -> RecoveryData:
        """Give up an operation that waits, because there is no time any more.

        Raises:
            RecoveryStateError: it does not wait any more.
        """
        now = to_datetime(self.clock.time())
        fields = {
            "state": RecoveryState.EXHAUSTED,
            "next_attempt_at": None,
            "waiting_for": None,
            "completed_at": now,
            "owner": None,
        }
        return self._change(operation_id, {RecoveryState.RECOVERING}, fields)

    def fail(
        self, operation_id: str, error: Exception, *, category: str, explanation: str, fix: str | None
    ) -> RecoveryData:
        """An operation that waits to be run has failed for good, without its code being called again.

        Raises:
            RecoveryStateError: somebody has begun or ended it.
        """
        live = Operation(self.begin_attempt(operation_id, 1), self, self.clock)
        return self.end_attempt(
            live,
            RecoveryState.FAILED,
            error,
            category=category,
            explanation=explanation,
            fix=fix,
            fruitless=1,
            limit=1,
        )

    def succeed(self, live: Operation, result: Any) -> RecoveryData:
        """The running attempt returned `result`, which is kept when it can be.

        Raises:
            RecoveryStateError: the operation was paused, cancelled or taken over meanwhile; the result is void.
        """
        can_be_kept = is_storable(result)
        kept = self.redactor.value(result) if can_be_kept else None
        fields: dict[str, Any] = {
            "state": RecoveryState.SUCCESS,
            "result": kept,
            "completed_at": to_datetime(self.clock.time()),
            "owner": None,
            "watermark": live.data.watermark,
        }
        if not can_be_kept or kept != result:
            live.data.metadata[RESULT_IS_PARTIAL] = True
            fields["metadata"] = self._kept_metadata(live)
        progress = self._final_progress(live)
        if progress is not None:
            fields["progress"] = progress
        return self._change(
            live.operation_id,
            {RecoveryState.IN_PROGRESS},
            fields,
            fence=live.data.fence,
            attempt={"outcome": "success", "resumed": _resumed_bytes(progress)},
        )


def _resumed_bytes(progress: Progress | None) -> float | None:
    return progress.resumed if progress is not None and progress.unit == "bytes" else None
