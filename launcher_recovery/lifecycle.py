"""The one place where an operation changes: every transition, its events, and who is woken by it."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

from launcher_recovery import signals
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.errors import RecoveryStateError, StoredError, StoreError, text_of
from launcher_recovery.handles import handles_of
from launcher_recovery.meter import Meter
from launcher_recovery.operation import (
    FINAL,
    RUNNABLE,
    UNFINISHED,
    AttemptRecord,
    Operation,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
    WaitingFor,
    sources_of,
)
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.base import Change, Changed, Store
from launcher_recovery.persistence.encryption import UnreadableError
from launcher_recovery.redaction import Redactor

logger = logging.getLogger("launcher_recovery")

_MAX_ERROR_TEXT = 4000
RESULT_IS_PARTIAL = "recovery_result_is_partial"
"""Among the metadata of a finished operation: its result could not be kept, or not without a change."""
_IN_WORDS = {
    RecoveryState.PENDING: "started again",
    RecoveryState.IN_PROGRESS: "begun",
    RecoveryState.RECOVERING: "tried again",
    RecoveryState.PAUSED: "paused",
    RecoveryState.CANCELLED: "cancelled",
    RecoveryState.SUCCESS: "finished",
    RecoveryState.FAILED: "given up",
    RecoveryState.EXHAUSTED: "given up",
}


class Lifecycle:
    """Makes state changes through a store, sends the signals, and wakes whoever waits for them.

    Args:
        store: where records are kept.
        owner_id: this process, as entered in the store's owners.
        clock: source of time.
        redactor: takes secrets out of everything that is kept.
    """

    def __init__(
        self, store: Store, *, owner_id: str, clock: Clock | None = None, redactor: Redactor | None = None
    ) -> None:
        self.store = store
        self.owner_id = owner_id
        self.clock = clock or Clock()
        self.redactor = redactor or Redactor()
        self._handles = handles_of(store)
        self._meters: dict[str, Meter] = {}

    # -- beginning ----------------------------------------------------------------------------------

    def open(
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
        revive: bool = False,
        created_at: datetime | None = None,
    ) -> RecoveryData:
        """The record of a call: a new one, or the unfinished one that has the same key (the call joins it).

        Args:
            function_name, args, kwargs: what is called; kept redacted (whole where the store is encrypted), and only
                if of storable types. If anything had to be left out, the operation is not resumable after a restart.
            limit: attempts in a row without progress after which it gives up.
            revive: continue the latest operation of that key if it failed, instead of beginning a new one.
            created_at: when the call was made; default: now.
        """
        kept_args, kept_kwargs, resumable = self._storable(args, kwargs)
        key = None if key is None else self._kept_key(key)
        now = created_at or to_datetime(self.clock.time())
        while True:
            if key is not None and revive:
                revived = self._revive(key, kept_args, kept_kwargs, resumable, limit)
                if revived is not None:
                    return revived
            data = RecoveryData(
                operation_id=uuid.uuid4().hex,
                function_name=function_name,
                args=kept_args,
                kwargs=kept_kwargs,
                created_at=now,
                updated_at=now,
                kind=kind,
                key=key,
                project=project,
                parent_id=parent_id,
                title=self._text(title) or function_name,
                max_attempts=limit,
                owner=self.owner_id,
                resumable=resumable,
            )
            changed = self.store.insert(data)
            if changed is not None:
                self._announce(changed)
                return changed.data
            assert key is not None
            existing = self.store.latest_with_key(key)
            if existing is not None and existing.state in UNFINISHED:
                return existing

    def _revive(
        self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], resumable: bool, limit: int | None
    ) -> RecoveryData | None:
        latest = self.store.latest_with_key(key)
        if latest is None or latest.state not in FINAL or latest.state is RecoveryState.SUCCESS:
            return None
        again = {"args": args, "kwargs": kwargs, "resumable": resumable, "owner": self.owner_id}
        try:
            return self.retry(latest.operation_id, limit=limit, **again)
        except RecoveryStateError:
            return None  # somebody else was faster; then there is an unfinished one to join

    def _kept_key(self, key: str) -> str:
        """The key without secrets, and still another one for another secret."""
        kept = self._text(key)
        return key if kept == key else f"{kept}#{hashlib.sha256(_encodable(key).encode()).hexdigest()[:16]}"

    def _text(self, text: str) -> str:
        return self.redactor.text(_encodable(text))

    def _storable(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
        given = [list(args), dict(kwargs)]
        try:
            text = codec.dumps(given)
        except TypeError:
            return (), {}, False
        if getattr(self.store, "is_encrypted", False):
            whole = codec.loads(text)
            return tuple(whole[0]), whole[1], True
        redacted = self.redactor.value(given)
        return tuple(redacted[0]), redacted[1], redacted == given

    # -- attempts -----------------------------------------------------------------------------------

    def begin_attempt(self, operation_id: str, limit: int) -> RecoveryData:
        """Claim the operation for this process and begin its next attempt.

        Raises:
            RecoveryStateError: somebody else claimed, paused or ended it first.
        """
        stored = self.store.get(operation_id)
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
        return self._change(operation_id, RUNNABLE, fields, claim=True)

    def current(self, operation_id: str) -> RecoveryData | None:
        """The record as the store has it now."""
        return self.store.get(operation_id)

    def finished(self, key: str) -> RecoveryData | None:
        """The newest operation of that key, if it ended well."""
        found = self.store.latest_with_key(self._kept_key(key))
        return found if found is not None and found.state is RecoveryState.SUCCESS else None

    def history(self, operation_id: str) -> list[AttemptRecord]:
        """The attempts so far, oldest first."""
        return self.store.attempts(operation_id)

    def is_claimed(self, live: Operation) -> bool:
        """Whether the operation is still in progress under the claim of `live`."""
        stored = self.store.get(live.operation_id)
        return stored is not None and stored.state is RecoveryState.IN_PROGRESS and stored.fence == live.data.fence

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
    ) -> RecoveryData:
        """The running attempt failed: `recovering` with a due time, or `failed` or `exhausted`.

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
            "next_attempt_at": None if delay is None else to_datetime(now + delay),
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

    def succeed(self, live: Operation, result: Any) -> RecoveryData:
        """The running attempt returned `result`, which is kept when it can be.

        Raises:
            RecoveryStateError: the operation was paused, cancelled or taken over meanwhile; the result is void.
        """
        is_storable = _is_storable(result)
        kept = self.redactor.value(result) if is_storable else None
        fields: dict[str, Any] = {
            "state": RecoveryState.SUCCESS,
            "result": kept,
            "completed_at": to_datetime(self.clock.time()),
            "owner": None,
            "watermark": live.data.watermark,
        }
        if not is_storable or kept != result:
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
            attempt={"outcome": "success"},
        )

    # -- a person's controls ------------------------------------------------------------------------

    def pause(self, operation_id: str) -> RecoveryData:
        """Stop until `resume`. Pausing what is paused is fine.

        Raises:
            RecoveryStateError: it is unknown, or already over.
        """
        return self._control(operation_id, RecoveryState.PAUSED, {"waiting_for": None, "next_attempt_at": None})

    def resume(self, operation_id: str) -> RecoveryData:
        """Go on after `pause`; resuming what is not paused but unfinished is fine.

        Raises:
            RecoveryStateError: it is unknown, or already over.
        """
        try:
            return self._change(operation_id, {RecoveryState.PAUSED}, {"state": RecoveryState.PENDING})
        except RecoveryStateError as error:
            if error.state is not None and RecoveryState(error.state) in UNFINISHED:
                return self._known(operation_id)
            raise

    def cancel(self, operation_id: str) -> RecoveryData:
        """End it; what was done so far stays on the disk. Cancelling twice is fine.

        Raises:
            RecoveryStateError: it is unknown, or ended in another way.
        """
        now = to_datetime(self.clock.time())
        fields = {"waiting_for": None, "next_attempt_at": None, "owner": None, "completed_at": now}
        return self._control(operation_id, RecoveryState.CANCELLED, fields)

    def retry(self, operation_id: str, *, limit: int | None = None, **fields: Any) -> RecoveryData:
        """Begin again what failed, gave up or was cancelled; end the wait of what is waiting.

        Raises:
            RecoveryStateError: it is unknown, running, paused, finished well, or cannot be run again because
                its arguments could not be kept.
        """
        data = self._known(operation_id)
        if data.state in RUNNABLE:
            return self._change(operation_id, RUNNABLE, {"next_attempt_at": to_datetime(self.clock.time())})
        if not data.resumable and "kwargs" not in fields:
            if isinstance(data.error, UnreadableError):
                raise RecoveryStateError(
                    f"{data.title} cannot be started again from here. {data.error}", state=data.state.value
                )
            raise RecoveryStateError(
                f"{data.title} cannot be started again from here, because what it was called with could not be kept "
                "(it may have held a password or a signed address): start it again where it was started first.",
                state=data.state.value,
            )
        return self._change(
            operation_id,
            sources_of(RecoveryState.PENDING) & FINAL,
            {
                "owner": None,
                "fruitless": 0,
                "watermark": 0.0,
                "max_attempts": None if limit is None else data.attempt + limit,
                "next_attempt_at": None,
                "waiting_for": None,
                "completed_at": None,
                "begun_at": to_datetime(self.clock.time()),
                **fields,
                "state": RecoveryState.PENDING,
            },
        )

    def _control(self, operation_id: str, target: RecoveryState, fields: Mapping[str, Any]) -> RecoveryData:
        try:
            return self._change(
                operation_id,
                sources_of(target),
                {**fields, "state": target},
                attempt={"outcome": target.value},
            )
        except RecoveryStateError as error:
            if error.state == target.value:
                return self._known(operation_id)
            raise

    def _known(self, operation_id: str) -> RecoveryData:
        data = self.store.get(operation_id)
        if data is None:
            raise RecoveryStateError(f"there is no operation {operation_id}")
        return data

    # -- progress, metadata, steps ------------------------------------------------------------------

    def begin_progress(self, live: Operation, done: float, total: float | None, unit: str) -> None:
        """Set the point from which an attempt goes on."""
        meter = self._meters[live.operation_id] = Meter(resumed=done)
        meter.latest = Progress(done, total, unit, resumed=done)
        self._keep_progress(live, meter.latest)

    def report_progress(
        self, live: Operation, done: float, total: float | None, unit: str, message: str | None
    ) -> None:
        """Keep and announce progress, at most five times a second for each operation."""
        meter = self._meters.get(live.operation_id)
        if meter is None:
            meter = self._meters[live.operation_id] = Meter()
        now = self.clock.monotonic()
        progress = meter.report(done, total, unit, None if message is None else self._text(message), now)
        if meter.is_due(now):
            self._keep_progress(live, progress)

    def _keep_progress(self, live: Operation, progress: Progress) -> None:
        at = to_datetime(self.clock.time())
        live.data.progress = progress
        try:
            metadata = self._with_snapshot(live)
            if metadata is not None:
                self.store.update_metadata(live.operation_id, live.data.fence, metadata)
            changed = self.store.save_progress(live.operation_id, live.data.fence, progress, live.data.watermark, at)
        except StoreError as error:
            logger.warning("progress of %s could not be kept: %s", live.data.title, error)
            return
        if changed is None:
            live.wake.set()  # the claim is gone; the next check finds out why
        else:
            self._announce(changed, wake=False)

    def _with_snapshot(self, live: Operation) -> dict[str, Any] | None:
        """The metadata with the state of the call; None when there is no state, or none that can be kept."""
        snapshot = None if live.snapshot is None else live.snapshot()
        if not snapshot:
            return None
        try:
            codec.dumps(snapshot)
        except TypeError as error:
            logger.debug("the state of %s is not kept: %s", live.data.title, error)
            return None
        if self.redactor.value(snapshot) != snapshot:
            return None  # without its secrets it would be another state
        live.data.metadata.update(deepcopy(snapshot))
        return self._kept_metadata(live)

    def _kept_metadata(self, live: Operation) -> dict[str, Any]:
        """What of the metadata can be kept, without secrets."""
        return {name: self.redactor.value(value) for name, value in live.data.metadata.items() if _is_storable(value)}

    def _final_progress(self, live: Operation) -> Progress | None:
        meter = self._meters.pop(live.operation_id, None)
        if meter is None or meter.latest is None:
            return live.data.progress
        return replace(meter.latest, rate=None, eta_s=None)

    def save_metadata(self, live: Operation) -> None:
        """Keep the metadata of a running operation, without secrets.

        Raises:
            TypeError: it holds something that cannot be kept.
        """
        self.store.update_metadata(live.operation_id, live.data.fence, self.redactor.value(live.data.metadata))

    def kept_step(self, operation_id: str, name: str) -> StepRecord | None:
        """The step, if it has finished in an earlier attempt or process."""
        return self.store.load_step(operation_id, name)

    def finish_step(self, live: Operation, name: str, result: Any) -> None:
        """Keep that a step is done.

        Raises:
            RecoveryStateError: the operation no longer belongs to this call.
            TypeError: the result cannot be kept.
        """
        step = StepRecord(name, to_datetime(self.clock.time()), result)
        if not self.store.finish_step(live.operation_id, live.data.fence, step):
            raise RecoveryStateError(f"step {name} of {live.data.title} ended after the operation was taken away")

    # -- taking over --------------------------------------------------------------------------------

    def give_back(self, live: Operation) -> RecoveryData:
        """The process ends in the middle of the attempt: make the operation pending, for anybody to claim.

        Raises:
            RecoveryStateError: it does not run under this call's claim.
        """
        fields = {"state": RecoveryState.PENDING, "owner": None}
        ended = {"outcome": "interrupted"}
        return self._change(
            live.operation_id, {RecoveryState.IN_PROGRESS}, fields, fence=live.data.fence, attempt=ended
        )

    def release_orphans(self, dead: Collection[str]) -> list[RecoveryData]:
        """Make operations whose process is gone pending again, for anybody to claim."""
        changes = self.store.release_orphans(dead, to_datetime(self.clock.time()))
        for changed in changes:
            self._announce(changed)
        return [changed.data for changed in changes]

    # -- who is woken -------------------------------------------------------------------------------

    def attach(self, live: Operation) -> None:
        """From now on changes of the operation wake `live`."""
        self._handles.attach(live)

    def detach(self, live: Operation) -> None:
        """Undo `attach`."""
        if self._handles.detach(live):
            self._meters.pop(live.operation_id, None)

    def is_shared(self, live: Operation) -> bool:
        """Whether others run or wait for the operation of this call as well."""
        if self._handles.count(live.operation_id) > 1:
            return True
        stored = self.store.get(live.operation_id)
        return stored is not None and stored.owner not in (None, self.owner_id)

    def is_live(self, operation_id: str) -> bool:
        """Whether a call in this process runs, waits for or has joined the operation."""
        return operation_id in self._handles

    def notify(self, operation_id: str) -> None:
        """Wake this process's calls that are about the operation; it changed elsewhere."""
        self._handles.notify(operation_id)

    def announce_event(self, name: str, payload: Mapping[str, Any]) -> None:
        """Store and send an event that belongs to no operation."""
        signals.send(self.store.append_event(name, payload), self)

    # -- inside -------------------------------------------------------------------------------------

    def _kept_error(self, error: Exception) -> StoredError:
        try:
            stored = codec.error_to_stored(error)
        except Exception:  # its __str__ raised
            stored = StoredError(type(error).__qualname__, text_of(error))
        text = self._text
        return type(stored)(
            stored.type_name, text(stored.message)[:_MAX_ERROR_TEXT], text(stored.traceback)[:_MAX_ERROR_TEXT]
        )

    def _change(
        self,
        operation_id: str,
        expected: Collection[RecoveryState],
        fields: Mapping[str, Any],
        *,
        fence: int | None = None,
        claim: bool = False,
        attempt: Mapping[str, Any] | None = None,
    ) -> RecoveryData:
        target = fields.get("state")
        if target is not None:
            expected = frozenset(expected) & sources_of(target)
        at = to_datetime(self.clock.time())
        changed = self.store.change(operation_id, Change(expected, fields, at, fence, claim, attempt))
        if changed is None:
            raise self._lost(operation_id, target)
        self._announce(changed)
        return changed.data

    def _lost(self, operation_id: str, target: RecoveryState | None) -> RecoveryStateError:
        data = self.store.get(operation_id)
        if data is None:
            return RecoveryStateError(f"there is no operation {operation_id}")
        wanted = "changed" if target is None else _IN_WORDS[target]
        if data.key is not None and data.state in FINAL and target is RecoveryState.PENDING:
            other = self.store.latest_with_key(data.key)
            if other is not None and other.state in UNFINISHED:
                return RecoveryStateError(
                    f"{data.title} cannot be started again now, because the same is under way in "
                    f"operation {other.operation_id}",
                    state=data.state.value,
                )
        return RecoveryStateError(
            f"{data.title} cannot be {wanted} now: its state is {data.state}", state=data.state.value
        )

    def _announce(self, changed: Changed, wake: bool = True) -> None:
        if wake:
            self.notify(changed.data.operation_id)
        for event in changed.events:
            signals.send(event, self)


def _is_storable(value: Any) -> bool:
    try:
        codec.dumps(value)
    except TypeError:
        return False
    return True


def _encodable(text: str) -> str:
    """`text` as every database takes it: file names that are not UTF-8 come with lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
