"""Who may run an operation: one process at a time, and in it one call at a time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection
from typing import Any

from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.operation import Operation
from launcher_recovery.owners import OWNER, dead_owners, keep_alive
from launcher_recovery.records import FINAL, RecoveryData, RecoveryState
from launcher_recovery.transitions import Transitions

logger = logging.getLogger("launcher_recovery")


class Ownership(Transitions):
    """Sees to it that no two copies of an operation's code are ever alive, in one process or in several.

    Over processes: an operation that has an owner is left to that process for as long as it lives. Who may be
    the owner depends on the state:

    | state | owner |
    | --- | --- |
    | pending | the process that entered it, or that ran it before a pause or a retry; None: whoever is first |
    | in_progress, recovering | the process that claimed it |
    | paused | as before the pause, since its code may not have noticed yet |
    | cancelled | as before, until its code has noticed; a retry leaves it as it is |
    | success, failed, exhausted | None, written with the end |

    The owner gives the operation up when its last call about it is over, however that ended: `leave` takes the owner
    out, and what had still to be done is pending then. When the owner is dead, others take it out
    (`release_orphans`): a call with a key when it begins, a resumer, and every call that waits for an operation of
    another process (`look_for_the_dead`). A claim is bound to the fence that was looked at, so that of several that
    find an operation free one gets it.

    In a process: a call takes the turn (`Handles.take_turn`) before it claims, and has it until its code has stopped
    and what became of the attempt is written, also when its time was over long ago, or a person has paused or
    cancelled it meanwhile: plain code is not ended before it looks. The others wait, and are woken.
    """

    def may_run(self, data: RecoveryData) -> bool:
        """Whether this process may begin an attempt, as far as other processes are concerned."""
        return data.owner in (None, self.owner_id)

    def take_turn(self, live: Operation) -> bool:
        """Keep other calls of this process from running the operation; False when one of them does."""
        return self._handles.take_turn(live)

    def has_to_wait(self, live: Operation) -> bool:
        """Whether the code of another call of this process has not stopped yet."""
        return self._handles.has_to_wait(live)

    def end_turn(self, live: Operation) -> None:
        """Undo `take_turn`, and wake those who wait for it."""
        self._handles.end_turn(live)

    # -- giving up ----------------------------------------------------------------------------------

    def leave(self, live: Operation, error: BaseException | None = None) -> None:
        """The call is over, with `error`: end what is left of its attempt, and of this process's ownership.

        While the store fails, that is tried again with every heartbeat of this process.
        """
        is_done = True
        try:
            if self._handles.has_turn(live) and live.data.state not in FINAL:
                self._end_claim(live, error)
        except StoreError:
            is_done = False
        finally:
            is_last = self.detach(live)
        if is_last and (live.data.state not in FINAL or live.data.owner is not None):
            try:
                self._disown(live.operation_id)
            except StoreError:
                is_done = False
        if not is_done:
            logger.warning("%s could not be given up by this process yet, because the store fails", live.data.title)
            self._handles.do_later(functools.partial(self._leave_again, live, error))

    def _leave_again(self, live: Operation, error: BaseException | None) -> None:
        if self.take_turn(live):  # then whatever is in progress here has lost its call
            try:
                self._end_claim(live, error)
            finally:
                self.end_turn(live)
        self._disown(live.operation_id)

    def _end_claim(self, live: Operation, error: BaseException | None) -> None:
        stored = self.store.get(live.operation_id)
        if stored is None or stored.state is not RecoveryState.IN_PROGRESS or stored.owner != self.owner_id:
            return
        live.data = stored  # the claim may have been made when nobody waited for it any more
        try:
            if live.unrecorded is not None:
                live.unrecorded()
            elif isinstance(error, Exception):
                self._break_off(live, error)
            else:
                self.give_back(live)
        except RecoveryStateError as problem:
            logger.debug("the attempt ended in another way: %s", problem)

    def _disown(self, operation_id: str) -> RecoveryData | None:
        """Take this process out as the owner, unless one of its calls is about the operation; gives the record."""
        while True:
            data = self.store.get(operation_id)
            if data is None or data.owner != self.owner_id or data.state is RecoveryState.IN_PROGRESS:
                return data
            if self.is_live(operation_id):
                return data
            fields: dict[str, Any] = {"owner": None}
            if data.state is RecoveryState.RECOVERING:
                fields["state"] = RecoveryState.PENDING
            try:
                return self._change(operation_id, {data.state}, fields, fence=data.fence)
            except RecoveryStateError:
                continue  # it changed meanwhile

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

    def _break_off(self, live: Operation, error: Exception) -> RecoveryData:
        """An error of recovery itself, not of the code, ended the call: the operation has failed."""
        self.keep_error(live, error)
        kept = self._kept_error(error)
        told = {"category": "unknown", "error": str(kept), "error_type": kept.type_name, "traceback": kept.traceback}
        fields = {
            "state": RecoveryState.FAILED,
            "error": kept,
            "category": "unknown",
            "explanation": "It could not go on, because something went wrong in recovery itself.",
            "completed_at": to_datetime(self.clock.time()),
            "owner": None,
        }
        return self._change(
            live.operation_id,
            {RecoveryState.IN_PROGRESS},
            fields,
            fence=live.data.fence,
            attempt={"outcome": "failed", **told},
        )

    # -- taking over --------------------------------------------------------------------------------

    def release_orphans(self, dead: Collection[str], limit: int | None = None) -> list[RecoveryData]:
        """Make operations whose process is gone pending again, for anybody to claim; at most `limit` of them."""
        changes = self.store.release_orphans(dead, to_datetime(self.clock.time()), limit)
        for changed in changes:
            self._announce(changed)
        return [changed.data for changed in changes]

    def look_for_the_dead(self) -> None:
        """Release what dead processes left; at most once a second in this process and for this store."""
        if not self._handles.is_time_to_look(self.clock.monotonic()):
            return
        try:
            rows = self.store.owners()
            if all(row.owner.owner_id != self.owner_id for row in rows) and self.owner_id == OWNER.owner_id:
                # Whoever is not entered is as good as dead to others, and to itself.
                if self.sees_others:
                    keep_alive(self.store)
                else:
                    self.store.heartbeat(OWNER, self.clock.time())
            self.release_orphans(dead_owners(rows, self.clock.time()))
        except StoreError as error:
            logger.debug("interrupted operations cannot be looked for at the moment: %s", error)
