"""Every change of an operation: one compare-and-set, its events, and who is woken by it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from launcher_recovery import signals
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.errors import RecoveryStateError, StoredError, raisable, text_of
from launcher_recovery.handles import Shortage, handles_of
from launcher_recovery.operation import Operation
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.base import Change, Changed, Store
from launcher_recovery.records import FINAL, PRIORITY, UNFINISHED, RecoveryData, RecoveryState, sources_of
from launcher_recovery.redaction import Redactor

_MAX_ERROR_TEXT = 4000
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


class Transitions:
    """Makes state changes through a store, sends the signals, and wakes whoever waits for them.

    Args:
        store: where records are kept.
        owner_id: the process that runs operations, as entered in the store's owners; default: this one, also after
            a fork.
        clock: source of time.
        redactor: takes secrets out of everything that is kept.
    """

    def __init__(
        self,
        store: Store,
        *,
        owner_id: str | None = None,
        clock: Clock | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.store = store
        self.clock = clock or Clock()
        self.redactor = redactor or Redactor()
        self._owner_id = owner_id
        self._handles = handles_of(store)

    @property
    def owner_id(self) -> str:
        """The process for which operations are claimed."""
        return self._owner_id or OWNER.owner_id

    def current(self, operation_id: str) -> RecoveryData | None:
        """The record as the store has it now."""
        return self.store.get(operation_id)

    def is_claimed(self, live: Operation) -> bool:
        """Whether the operation is still in progress under the claim of `live`.

        If so, what a person has set meanwhile is taken over, or the next time that it keeps its metadata would undo it.
        """
        stored = self.store.get(live.operation_id)
        if stored is None or stored.state is not RecoveryState.IN_PROGRESS or stored.fence != live.data.fence:
            return False
        if PRIORITY in stored.metadata:
            live.data.metadata[PRIORITY] = stored.metadata[PRIORITY]
        return True

    def around(self, operation_id: str | None) -> Iterator[RecoveryData]:
        """An operation and those around it, from the inside outwards; None, and one that is not known: nothing."""
        while operation_id is not None:
            data = self.store.get(operation_id)
            if data is None:
                return
            yield data
            operation_id = data.parent_id

    def _known(self, operation_id: str) -> RecoveryData:
        data = self.store.get(operation_id)
        if data is None:
            raise RecoveryStateError(f"there is no operation {operation_id}")
        return data

    # -- the one change -----------------------------------------------------------------------------

    def _change(
        self,
        operation_id: str,
        expected: Collection[RecoveryState],
        fields: Mapping[str, Any],
        *,
        fence: int | None = None,
        claim: bool = False,
        attempt: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RecoveryData:
        target = fields.get("state")
        if target is not None:
            expected = frozenset(expected) & sources_of(target)
        at = to_datetime(self.clock.time())
        changed = self.store.change(operation_id, Change(expected, fields, at, fence, claim, attempt, metadata))
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
        self._handles.made_here(changed.events)
        if wake:
            self.notify(changed.data.operation_id)
        for event in changed.events:
            signals.send(event, self)

    # -- who is woken -------------------------------------------------------------------------------

    def attach(self, live: Operation) -> None:
        """From now on changes of the operation wake `live`."""
        self._handles.attach(live)

    def detach(self, live: Operation) -> bool:
        """Undo `attach`; returns whether no call of this process is left for the operation."""
        return self._handles.detach(live)

    @property
    def sees_others(self) -> bool:
        """Whether other processes can change operations of the store."""
        return self._handles.sees_others

    def watch(self, live: Operation) -> None:
        """From now on changes made by other processes wake `live` as well, within 50 ms; so does this call."""
        self._handles.watch(live)

    def is_shared(self, live: Operation) -> bool:
        """Whether others run or wait for the operation of this call as well."""
        if self._handles.count(live.operation_id) > 1:
            return True
        stored = self.store.get(live.operation_id)
        return stored is not None and stored.owner not in (None, self.owner_id)

    def is_live(self, operation_id: str) -> bool:
        """Whether a call in this process runs, waits for or has joined the operation."""
        return operation_id in self._handles

    def keep_error(self, live: Operation, error: Exception) -> None:
        """Keep what the attempt of `live` failed with for the calls of this process that have joined it."""
        self._handles.keep_error(live, error)

    def error_of(self, data: RecoveryData) -> Exception | None:
        """The very error of the latest attempt, if it was made in this process; else that of the record, as one that
        can be raised."""
        kept = self._handles.error_of(data)
        if kept is None and isinstance(data.error, StoredError):
            return raisable(data.error)
        return kept or data.error

    def keep_shortage(self, live: Operation, shortage: Shortage) -> None:
        """Keep what all calls of this process that are about the operation wait for."""
        self._handles.keep_shortage(live, shortage)

    def shortage_of(self, data: RecoveryData) -> Shortage | None:
        """What the operation waits for, if its latest attempt was made in this process and it may not go on yet."""
        return self._handles.shortage_of(data)

    def end_shortage(self, operation_id: str) -> None:
        """The operation may go on."""
        self._handles.end_shortage(operation_id)

    def notify(self, operation_id: str) -> None:
        """Wake this process's calls that are about the operation; it changed elsewhere."""
        self._handles.notify(operation_id)

    def notify_all(self) -> None:
        """Wake all calls of this process, since what they go by has changed."""
        self._handles.notify_all()

    # -- without secrets ----------------------------------------------------------------------------

    def kept_key(self, key: str) -> str:
        """The key as it is kept: without secrets, and still another one for another secret."""
        kept = self._text(key)
        return key if kept == key else f"{kept}#{hashlib.sha256(_encodable(key).encode()).hexdigest()[:16]}"

    @property
    def keeps_secrets(self) -> bool:
        """Whether what the store keeps can be read with a key only, so that there may be secrets in it."""
        return getattr(self.store, "is_encrypted", False)

    def _text(self, text: str) -> str:
        return self.redactor.text(_encodable(text))

    def _kept_error(self, error: Exception) -> StoredError:
        try:
            stored = codec.error_to_stored(error)
        except Exception:  # its __str__ raised
            stored = StoredError(type(error).__qualname__, text_of(error))
        text = self._text
        return type(stored)(
            stored.type_name, text(stored.message)[:_MAX_ERROR_TEXT], text(stored.traceback)[:_MAX_ERROR_TEXT]
        )


def _encodable(text: str) -> str:
    """`text` as every database takes it: file names that are not UTF-8 come with lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
