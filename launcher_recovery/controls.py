"""What a person can do to an operation: pause, resume, cancel, retry, and say how important it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launcher_recovery import checks
from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.ownership import Ownership
from launcher_recovery.persistence.encryption import UnreadableError
from launcher_recovery.records import (
    FINAL,
    GIVEN_ATTEMPTS,
    PRIORITY,
    RUNNABLE,
    UNFINISHED,
    RecoveryData,
    RecoveryState,
    given_attempts_of,
    sources_of,
)


class Controls(Ownership):
    """A person's controls; they reach the unfinished operations inside of the one that they are about as well.

    An operation is told before those inside it: its handler sees one of them end only when it is itself out of the
    race.
    """

    def pause(self, operation_id: str) -> RecoveryData:
        """Stop until `resume`. Pausing what is paused is fine.

        Raises:
            RecoveryStateError: it is unknown, or already over.
        """
        return self._with_parts(operation_id, self._pause)

    def resume(self, operation_id: str) -> RecoveryData:
        """Go on after `pause`; resuming what is not paused but unfinished is fine.

        Raises:
            RecoveryStateError: it is unknown, or already over.
        """
        return self._with_parts(operation_id, self._resume)

    def cancel(self, operation_id: str) -> RecoveryData:
        """End it; what was done so far stays on the disk. Cancelling twice is fine.

        Raises:
            RecoveryStateError: it is unknown, or ended in another way.
        """
        return self._with_parts(operation_id, self._cancel)

    def retry(self, operation_id: str, *, max_attempts: int | None = None) -> RecoveryData:
        """Begin again what failed, gave up or was cancelled; end the wait of what is waiting.

        One that is part of another that ended as well takes that one along.

        Args:
            max_attempts: attempts in a row without progress after which it gives up this time, in place of what the
                settings say; None: as they say.

        Raises:
            RecoveryStateError: it is unknown, running, paused, finished well, or cannot be run again because
                its arguments could not be kept; or `max_attempts` was given for one that is under way.
        """
        data = self._known(operation_id)
        if data.state not in RUNNABLE:
            self._check_can_begin_again(data)
        elif max_attempts is not None:
            text = f"{data.title} is under way: how often it is tried can be said when it begins again, not meanwhile"
            raise RecoveryStateError(text, state=data.state.value)
        given: dict[str, Any] = {}
        if max_attempts is not None or given_attempts_of(data) is not None:
            given = {"limit": max_attempts, "metadata": {GIVEN_ATTEMPTS: max_attempts}}
        taken_along: list[str] = []
        # From the outside inwards: whoever sees one pending leaves it to the one around it, which will call it.
        for outer in reversed(self._ended_around(data)):
            try:
                taken_along.append(self.begin_again(outer.operation_id).operation_id)
            except RecoveryStateError:
                continue  # somebody was faster
        try:
            begun = self.begin_again(operation_id, **given)
        except RecoveryStateError:
            begun = self._known(operation_id)
            if not taken_along or begun.attempt == data.attempt:
                raise  # else the one around it was faster
        if any(self._known(outer).state is RecoveryState.CANCELLED for outer in taken_along):
            return self.cancel(operation_id)  # it is not wanted any more, as whoever runs it has found
        return begun

    def _ended_around(self, data: RecoveryData) -> list[RecoveryData]:
        """The operations around one that have ended as well, the nearest first, up to one that cannot be begun
        again."""
        found: list[RecoveryData] = []
        for parent in self.around(data.parent_id):
            if not parent.resumable or not self._has_ended(parent) or self._is_taken(parent):
                break
            found.append(parent)
        return found

    def set_priority(self, operation_id: str, priority: int) -> RecoveryData:
        """Say how important an unfinished operation is: where it waits for its turn, the higher goes first.

        What runs already is not interrupted for it; the number counts when it has to wait the next time. Downloads that
        share a limit of bandwidth go by it at once.

        Args:
            priority: any whole number; 0 is that of all for which nobody has set one.

        Raises:
            RecoveryStateError: it is unknown, or already over.
            RecoveryConfigError: the priority is no whole number.
        """
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise checks.refused("priority", priority, "a whole number")
        metadata = {PRIORITY: priority}
        return self._with_parts(operation_id, lambda one: self._change(one, UNFINISHED, {}, metadata=metadata))

    def amend(self, operation_id: str, metadata: Mapping[str, Any], *, resumable: bool | None = None) -> RecoveryData:
        """Set some of the metadata of an operation that does not run, which a running one would write over.

        Args:
            metadata: what is set, kept without secrets; the rest stays as it is.
            resumable: whether it can be run again from its record; None: as before.

        Raises:
            RecoveryStateError: it is unknown, or it runs.
        """
        fields = {} if resumable is None else {"resumable": resumable}
        stopped = frozenset(RecoveryState) - {RecoveryState.IN_PROGRESS}
        return self._change(operation_id, stopped, fields, metadata=self.redactor.value(dict(metadata)))

    def begin_again(
        self,
        operation_id: str,
        *,
        limit: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> RecoveryData:
        """Like `retry`, for this operation alone; `fields` of the record, and some of its metadata, are set with it.

        Raises:
            RecoveryStateError: as `retry`.
        """
        data = self._known(operation_id)
        if data.state in RUNNABLE:
            return self._change(operation_id, RUNNABLE, {"next_attempt_at": to_datetime(self.clock.time())})
        if "kwargs" not in fields:
            self._check_can_begin_again(data)
        return self._change(
            operation_id,
            sources_of(RecoveryState.PENDING) & FINAL,
            {
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
            # An owner is set only while nobody else can have become it.
            fence=data.fence if "owner" in fields else None,
            metadata=metadata,
        )

    def _has_ended(self, data: RecoveryData) -> bool:
        """Otherwise than well."""
        return data.state in sources_of(RecoveryState.PENDING) & FINAL

    def _is_taken(self, data: RecoveryData) -> bool:
        """Whether the same is under way in another operation."""
        other = None if data.key is None else self.store.latest_with_key(data.key)
        return other is not None and other.state in UNFINISHED and other.operation_id != data.operation_id

    def _check_can_begin_again(self, data: RecoveryData) -> None:
        if not self._has_ended(data) or self._is_taken(data):
            raise self._lost(data.operation_id, RecoveryState.PENDING)
        if data.resumable:
            return
        if isinstance(data.error, UnreadableError):
            raise RecoveryStateError(
                f"{data.title} cannot be started again from here. {data.error}", state=data.state.value
            )
        raise RecoveryStateError(
            f"{data.title} cannot be started again from here, because what it was called with could not be kept "
            "(it may have held a password or a signed address): start it again where it was started first.",
            state=data.state.value,
        )

    def _pause(self, operation_id: str) -> RecoveryData:
        return self._control(operation_id, RecoveryState.PAUSED, {"waiting_for": None, "next_attempt_at": None})

    def _resume(self, operation_id: str) -> RecoveryData:
        try:
            return self._change(operation_id, {RecoveryState.PAUSED}, {"state": RecoveryState.PENDING})
        except RecoveryStateError as error:
            if error.state is not None and RecoveryState(error.state) in UNFINISHED:
                return self._known(operation_id)
            raise

    def _cancel(self, operation_id: str) -> RecoveryData:
        now = to_datetime(self.clock.time())
        fields = {"waiting_for": None, "next_attempt_at": None, "completed_at": now}
        data = self._control(operation_id, RecoveryState.CANCELLED, fields)
        return data if data.owner != self.owner_id else self._disown(operation_id) or data

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

    def _with_parts(self, operation_id: str, control: Callable[[str], RecoveryData]) -> RecoveryData:
        data = control(operation_id)
        for part in self.store.find(states=UNFINISHED, parent_id=operation_id, limit=-1):
            try:
                self._with_parts(part.operation_id, control)
            except RecoveryStateError:
                continue  # it ended meanwhile
        return data
