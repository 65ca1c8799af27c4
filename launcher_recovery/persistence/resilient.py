"""A store that fails never fails the operation: what is live goes on in memory, and is written back when it can be."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import StoreError
from launcher_recovery.persistence.base import (
    Change,
    Changed,
    Owner,
    OwnerRow,
    StatePersistence,
)
from launcher_recovery.persistence.fallback import RETRY_S, Fallback
from launcher_recovery.persistence.memory_transfers import newest_first, oldest_first
from launcher_recovery.records import (
    FINAL,
    UNFINISHED,
    Activity,
    AttemptRecord,
    Progress,
    RecoveryData,
    RecoveryState,
    StepRecord,
    Transfer,
)
from launcher_recovery.rows import Row, Transition
from launcher_recovery.signals import Event


class ResilientPersistence(Fallback, StatePersistence):
    """Stands before another store, and keeps a copy in memory of what is live in this process.

    While the other store fails, everything goes on with the copy; every 5 seconds, when it is used, the other one is
    tried again, and is given what happened meanwhile.

    Args:
        store: the other one.
        clock: source of time.
    """

    # -- writing ------------------------------------------------------------------------------------

    def insert(self, data: RecoveryData) -> Changed | None:
        return self._either(lambda: self._remember_new(self.store.insert(data)), lambda: self._insert_remembered(data))

    def _insert_remembered(self, data: RecoveryData) -> Changed | None:
        return None if self._is_key_taken(data) else self._memory.insert(data)

    def _is_key_taken(self, data: RecoveryData) -> bool:
        """Whether another unfinished one has its key: perhaps only on the disk, where others left or run it."""
        latest = None if data.key is None else self._latest_remembered(data.key)
        return latest is not None and latest.state in UNFINISHED and latest.operation_id != data.operation_id

    def change(self, operation_id: str, change: Change) -> Changed | None:
        return self._either(
            lambda: self._remember(self.store.change(operation_id, change), change),
            lambda: self._change_remembered(operation_id, change),
        )

    def _change_remembered(self, operation_id: str, change: Change) -> Changed | None:
        if self._memory.get(operation_id) is None:  # a person retries what is over, or goes on with what others left
            data = self._try(lambda: self.store.get(operation_id), None)
            if data is not None:
                self._stored_at[operation_id] = data.updated_at
                attempts = self._try(lambda: self.store.attempts(operation_id), list[AttemptRecord]())
                self._memory.adopt(
                    data, attempts, self._try(lambda: self.store.steps(operation_id), list[StepRecord]())
                )
        known = self._memory.get(operation_id)
        begins_again = known is not None and known.state in FINAL and change.fields.get("state") in UNFINISHED
        if known is not None and begins_again and self._is_key_taken(known):
            return None
        return self._memory.change(operation_id, change)

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        def stored() -> bool:
            is_kept = self.store.update_metadata(operation_id, fence, metadata)
            with self._lock:
                copy = self._live.get(operation_id)
                if copy is not None:
                    copy.keep_metadata(fence, metadata)
                else:
                    self._memory.update_metadata(operation_id, fence, metadata)
            return is_kept

        return self._either(stored, lambda: self._memory.update_metadata(operation_id, fence, metadata))

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        given = (operation_id, fence, progress, watermark, at)
        return self._either(
            lambda: self._remember(self.store.save_progress(*given)), lambda: self._memory.save_progress(*given)
        )

    def finish_step(self, operation_id: str, fence: int, step: StepRecord) -> bool:
        def stored() -> bool:
            is_kept = self.store.finish_step(operation_id, fence, step)
            with self._lock:
                copy = self._live.get(operation_id)
                if copy is not None:
                    copy.keep_step(fence, step)
                else:
                    self._memory.finish_step(operation_id, fence, step)
            return is_kept

        return self._either(stored, lambda: self._memory.finish_step(operation_id, fence, step))

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        def stored() -> Event:
            event = self.store.append_event(name, payload)
            self._newest = max(self._newest, event.seq)
            return event

        return self._either(stored, lambda: self._memory.append_event(name, payload))

    def heartbeat(self, owner: Owner, at: float) -> None:
        def stored() -> None:
            self.store.heartbeat(owner, at)
            self._memory.heartbeat(owner, at)

        self._either(stored, lambda: self._memory.heartbeat(owner, at))

    def forget_owner(self, owner_id: str) -> None:
        self._memory.forget_owner(owner_id)
        self._either(lambda: self.store.forget_owner(owner_id), lambda: None)

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        def stored() -> list[Changed]:
            released = self.store.release_orphans(dead, at, limit)
            for owner_id in dead:
                self._memory.forget_owner(owner_id)
            for changed in released:
                self._newest = max([self._newest, *(event.seq for event in changed.events)])
                self._forget(changed.data.operation_id)
            return released

        return self._either(stored, list)

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        def stored() -> Row | None:
            row = self.store.share(table, key, change)
            self._memory.share(table, key, lambda known: row)
            return row

        return self._either(stored, lambda: self._memory.share(table, key, change))

    def shared(self, table: str, key: tuple[str, ...] | None = None) -> list[Row]:
        def stored() -> list[Row]:
            rows = self.store.shared(table, key)
            if key is not None and rows:
                self._memory.share(table, key, lambda known: rows[0])
            return rows

        return self._either(stored, lambda: self._memory.shared(table, key))

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        def stored() -> bool:
            is_kept = self.store.keep_transfer(transfer, operation_id, fence)
            with self._lock:
                if is_kept and (operation_id in self._live or self.problem is not None):
                    self._transfers.adopt(transfer, operation_id)
                elif is_kept:
                    self._transfers.forget(transfer.destination)
            return is_kept

        return self._either(stored, lambda: self._transfers.keep(transfer, operation_id, fence))

    def forget_transfer(self, destination: str) -> None:
        def stored() -> None:
            self.store.forget_transfer(destination)
            with self._lock:
                self._transfers.forget(destination)

        at = to_datetime(self._clock.time())
        self._either(stored, lambda: self._transfers.forget(destination, at))

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        return self._either(lambda: self.store.cleanup(older_than, keep=keep, max_bytes=max_bytes), lambda: 0)

    # -- reading ------------------------------------------------------------------------------------

    def get(self, operation_id: str) -> RecoveryData | None:
        def stored() -> RecoveryData | None:
            data = self.store.get(operation_id)
            if operation_id in self._live and (data is None or data.state in FINAL):
                self._forget(operation_id)  # another process ended it
            return data

        return self._either(
            stored,
            lambda: self._memory.get(operation_id) or self._try(lambda: self.store.get(operation_id), None),
        )

    def latest_with_key(self, key: str) -> RecoveryData | None:
        return self._either(lambda: self.store.latest_with_key(key), lambda: self._latest_remembered(key))

    def _latest_remembered(self, key: str) -> RecoveryData | None:
        known = self._memory.latest_with_key(key)
        stored = self._try(lambda: self.store.latest_with_key(key), None)
        if stored is None:
            return known
        if self._memory.get(stored.operation_id) is not None:  # what is live is known better here
            has_ended = known is not None and known.state in FINAL and stored.state in UNFINISHED
            return self._newest_remembered(known) if known is not None and has_ended else known
        if known is None:
            return stored
        return max(known, stored, key=lambda data: (data.state in UNFINISHED, data.created_at))

    def _newest_remembered(self, known: RecoveryData) -> RecoveryData:
        """Of those that are over and have its key, of which only the disk may have a newer one, the newest."""
        before: tuple[float, str] | None = None
        while page := self._try(functools.partial(self.store.find, states=FINAL, before=before), list[RecoveryData]()):
            for data in page:
                if data.created_at <= known.created_at:
                    return known
                if data.key == known.key and self._memory.get(data.operation_id) is None:
                    return data
            before = (page[-1].created_at.timestamp(), page[-1].operation_id)
        return known

    def find(
        self,
        *,
        states: Collection[RecoveryState] | None = None,
        kind: str | None = None,
        project: str | None = None,
        parent_id: str | None = None,
        text: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RecoveryData]:
        wanted: dict[str, Any] = {
            "states": states,
            "kind": kind,
            "project": project,
            "parent_id": parent_id,
            "text": text,
            "before": before,
            "limit": limit,
        }

        def stored() -> list[RecoveryData]:
            return self.store.find(**wanted)

        def remembered() -> list[RecoveryData]:
            found = self._memory.find(**wanted)
            # What is live is known better here, also when it is in another state there.
            found += [
                data for data in self._try(stored, list[RecoveryData]()) if self._memory.get(data.operation_id) is None
            ]
            found.sort(key=lambda data: (data.created_at.timestamp(), data.operation_id), reverse=True)
            return found if limit < 0 else found[:limit]

        return self._either(stored, remembered)

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        return self._either(
            lambda: self.store.attempts(operation_id),
            lambda: self._memory.attempts(operation_id) or self._try(lambda: self.store.attempts(operation_id), []),
        )

    def steps(self, operation_id: str) -> list[StepRecord]:
        return self._either(
            lambda: self.store.steps(operation_id),
            lambda: self._memory.steps(operation_id) or self._try(lambda: self.store.steps(operation_id), []),
        )

    def steps_of_many(self, operation_ids: Collection[str]) -> Mapping[str, list[StepRecord]]:
        def remembered() -> Mapping[str, list[StepRecord]]:
            none: Mapping[str, list[StepRecord]] = {}
            stored = self._try(lambda: self.store.steps_of_many(operation_ids), none)
            return {**stored, **self._memory.steps_of_many(operation_ids)}

        return self._either(lambda: self.store.steps_of_many(operation_ids), remembered)

    def load_step(self, operation_id: str, name: str) -> StepRecord | None:
        return self._either(
            lambda: self.store.load_step(operation_id, name),
            lambda: (
                self._memory.load_step(operation_id, name)
                or self._try(lambda: self.store.load_step(operation_id, name), None)
            ),
        )

    def transfer(self, destination: str) -> Transfer | None:
        def remembered() -> Transfer | None:
            if self._transfers.is_known(destination):
                return self._memory.transfer(destination)
            return self._try(lambda: self.store.transfer(destination), None)

        return self._either(lambda: self.store.transfer(destination), remembered)

    def transfers_of(self, content: str) -> list[Transfer]:
        def remembered() -> list[Transfer]:
            stored = self._try(lambda: self.store.transfers_of(content), list[Transfer]())
            found = self._memory.transfers_of(content) + self._transfers.those_unknown(stored)
            return sorted(found, key=newest_first)

        return self._either(lambda: self.store.transfers_of(content), remembered)

    def partials(self) -> list[Transfer]:
        def remembered() -> list[Transfer]:
            stored = self._try(self.store.partials, list[Transfer]())
            return sorted(self._memory.partials() + self._transfers.those_unknown(stored), key=oldest_first)

        return self._either(self.store.partials, remembered)

    def published(self, older_than: datetime) -> list[str]:
        return self._either(lambda: self.store.published(older_than), lambda: self._memory.published(older_than))

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        def remembered() -> list[Event]:
            earlier = (
                self._try(lambda: self.store.events_since(seq, limit), list[Event]()) if seq < self._newest else []
            )
            known = [event for event in earlier if event.seq <= self._newest]
            return (known + self._memory.events_since(max(seq, self._newest), limit))[:limit]

        return self._either(lambda: self.store.events_since(seq, limit), remembered)

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        def remembered() -> list[Event]:
            earlier = self._try(lambda: self.store.events_of_operation(operation_id, limit), list[Event]())
            known = [event for event in earlier if event.seq <= self._newest]
            return (known + self._memory.events_of_operation(operation_id, limit))[-limit:]

        return self._either(lambda: self.store.events_of_operation(operation_id, limit), remembered)

    def event_range(self) -> tuple[int, int]:
        return self._either(self.store.event_range, self._memory.event_range)

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        if self.problem is None or self._comes_back():
            try:
                return self.store.wait_for_events(seq, timeout)
            except StoreError as error:
                self._fails(error)
        # Without the lock, which those need who make the events.
        return self._memory.wait_for_events(seq, min(timeout, RETRY_S))

    def activity(self, since: float, span: int) -> list[Activity]:
        return self._either(
            lambda: self.store.activity(since, span),
            lambda: self._try(lambda: self.store.activity(since, span), self._memory.activity(since, span)),
        )

    def counts(self) -> Mapping[str, float]:
        return self._either(self.store.counts, lambda: self._try(self.store.counts, self._memory.counts()))

    def owners(self) -> list[OwnerRow]:
        return self._either(self.store.owners, self._memory.owners)

    # -- upkeep -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Return if the disk is written to; raises StoreError. Operations go on in either case."""
        if self.problem is None or self._comes_back():
            try:
                self.store.check()
            except StoreError as error:
                self._fails(error)
                raise
        elif self.problem is not None:
            raise StoreError(self.problem)

    def close(self) -> None:
        self.store.close()

    async def save(self, recovery_data: RecoveryData) -> None:
        if self.problem is None and isinstance(self.store, StatePersistence):
            try:
                await self.store.save(recovery_data)
                return
            except StoreError:
                self._look()
                if self.problem is None:
                    raise  # the store is fine, and refuses this record
        await self._memory.save(recovery_data)

    def _look(self) -> None:
        """Like `check`; a store that fails is noticed, and raises nothing."""
        try:
            self.check()
        except StoreError:
            pass  # `problem` says why

    async def load(self, operation_id: str) -> RecoveryData | None:
        return self.get(operation_id)

    async def delete(self, operation_id: str) -> None:
        self._forget(operation_id)
        try:
            if isinstance(self.store, StatePersistence):
                await self.store.delete(operation_id)
        except StoreError as error:
            self._fails(error)

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return self.find(states=[state], limit=-1)[::-1]

    async def cleanup_old(self, days: int = 7) -> int:
        return self.cleanup(datetime.now(timezone.utc) - timedelta(days=days))
