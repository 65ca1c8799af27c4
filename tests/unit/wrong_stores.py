"""Stores that break one rule each, with the suite for stores: run by `test_conformance.py`, where each must fail.

The class of a store names in `breaks` the test of the suite that has to find it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.persistence.base import Change, Changed
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
from launcher_recovery.testing.conformance import StoreConformance

S = RecoveryState


class WrongStore(MemoryPersistence):
    breaks = ""

    def reopened(self) -> WrongStore:
        return self

    def another(self) -> WrongStore | None:
        return None


# -- the five methods ---------------------------------------------------------------------------------


class LosesAField(WrongStore):
    breaks = "test_a_record_comes_back_whole"

    async def load(self, operation_id: str) -> RecoveryData | None:
        data = self.get(operation_id)
        return None if data is None else replace(data, begun_at=None)


class KeepsPlainJson(WrongStore):
    breaks = "test_values_keep_their_type[tuples]"

    async def save(self, recovery_data: RecoveryData) -> None:
        kept = {name: json.loads(json.dumps(getattr(recovery_data, name))) for name in ("kwargs", "metadata", "result")}
        await super().save(replace(recovery_data, **kept))


class KeepsErrorsAsText(WrongStore):
    breaks = "test_errors_keep_what_they_say"

    async def save(self, recovery_data: RecoveryData) -> None:
        error = recovery_data.error and RuntimeError(str(recovery_data.error))
        await super().save(replace(recovery_data, error=error))


class KeepsTheFirst(WrongStore):
    breaks = "test_save_replaces"

    async def save(self, recovery_data: RecoveryData) -> None:
        if self.get(recovery_data.operation_id) is None:
            await super().save(recovery_data)


class KeepsTheObject(WrongStore):
    breaks = "test_what_is_kept_is_a_copy"

    async def save(self, recovery_data: RecoveryData) -> None:
        self._operations[recovery_data.operation_id] = recovery_data


class GivesTheObject(WrongStore):
    breaks = "test_what_is_kept_is_a_copy"

    async def load(self, operation_id: str) -> RecoveryData | None:
        return self._operations.get(operation_id)


class CopiesNotDeeply(WrongStore):
    breaks = "test_what_is_kept_is_a_copy"

    async def load(self, operation_id: str) -> RecoveryData | None:
        return copy(self._operations.get(operation_id))


class RaisesForUnknown(WrongStore):
    breaks = "test_unknown_operations"

    async def load(self, operation_id: str) -> RecoveryData | None:
        return self._operations[operation_id]


class RaisesWhenDeletingUnknown(WrongStore):
    breaks = "test_delete"

    async def delete(self, operation_id: str) -> None:
        del self._operations[operation_id]


class DeletesAll(WrongStore):
    breaks = "test_delete"

    async def delete(self, operation_id: str) -> None:
        self._operations.clear()


class ListsNewestFirst(WrongStore):
    breaks = "test_list_by_state"

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return self.find(states=[state], limit=-1)


class ListsOnePage(WrongStore):
    breaks = "test_list_by_state"

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return self.find(states=[state])[::-1]


class CleansUpByCreation(WrongStore):
    breaks = "test_cleanup_by_age"

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        old = [data.operation_id for data in self.find(states=FINAL, limit=-1) if data.created_at < older_than]
        self._forget(old)
        return len(old)


class CleansUpTheUnfinished(WrongStore):
    breaks = "test_cleanup_keeps_the_unfinished"

    async def cleanup_old(self, days: int = 7) -> int:
        gone = len(self._operations)
        self._operations.clear()
        return gone


class CleansUpSuccessesOnly(WrongStore):
    breaks = "test_cleanup_keeps_the_unfinished"

    async def cleanup_old(self, days: int = 7) -> int:
        self._forget([data.operation_id for data in self.find(states=[S.SUCCESS])])
        return 1


class LosesOverlappingSaves(WrongStore):
    breaks = "test_many_calls_in_one_loop"

    async def save(self, recovery_data: RecoveryData) -> None:
        read = dict(self._operations)
        await _turn()
        self._operations.clear()
        self._operations.update(read, **{recovery_data.operation_id: recovery_data})


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0)


class BelongsToOneThread(WrongStore):
    breaks = "test_many_threads"

    async def save(self, recovery_data: RecoveryData) -> None:
        if threading.current_thread() is threading.main_thread():
            await super().save(recovery_data)


class ForgetsWithItsProcess(WrongStore):
    breaks = "test_reopening_keeps_everything"

    def reopened(self) -> WrongStore:
        return ForgetsWithItsProcess()


class KeepsToItself(WrongStore):
    breaks = "test_another_object_sees_everything"

    def another(self) -> WrongStore:
        return KeepsToItself()


class LosesTheResult(WrongStore):
    breaks = "test_engine_keeps_a_success"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        fields = {name: value for name, value in change.fields.items() if name != "result"}
        return super().change(operation_id, replace(change, fields=fields))


class LosesTheError(WrongStore):
    breaks = "test_engine_keeps_a_failure"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        error = StoreError("something") if change.fields.get("error") else None
        return super().change(operation_id, replace(change, fields={**change.fields, "error": error}))


class LosesTheKey(WrongStore):
    breaks = "test_engine_goes_on_after_a_restart"

    async def save(self, recovery_data: RecoveryData) -> None:
        await super().save(replace(recovery_data, key=None))


class FindsNoFinishedKeys(WrongStore):
    breaks = "test_engine_finds_a_result_after_a_restart"

    def latest_with_key(self, key: str) -> RecoveryData | None:
        data = super().latest_with_key(key)
        return data if data is not None and data.state in UNFINISHED else None


# -- changes ------------------------------------------------------------------------------------------


class InsertsTwice(WrongStore):
    breaks = "test_insert"

    def insert(self, data: RecoveryData) -> Changed | None:
        if not self._is_key_taken(data):
            self._operations.pop(data.operation_id, None)
        return super().insert(data)


class KeysAreNotUnique(WrongStore):
    breaks = "test_key_belongs_to_one_unfinished_operation"

    def _is_key_taken(self, data: RecoveryData) -> bool:
        return False


class KeysAreTakenForever(WrongStore):
    breaks = "test_key_belongs_to_one_unfinished_operation"

    def insert(self, data: RecoveryData) -> Changed | None:
        return None if data.key is not None and self.latest_with_key(data.key) else super().insert(data)


class SavesWithoutALookAtTheKey(WrongStore):
    breaks = "test_save_respects_the_key"

    async def save(self, recovery_data: RecoveryData) -> None:
        self._operations[recovery_data.operation_id] = recovery_data


class LooksThenInserts(WrongStore):
    breaks = "test_key_is_won_by_one_of_many"

    def insert(self, data: RecoveryData) -> Changed | None:
        if self._is_key_taken(data):
            return None
        time.sleep(0.01)
        self._operations[data.operation_id] = data
        return Changed(data, self._store_events(data))


class IgnoresTheState(WrongStore):
    breaks = "test_change_compares_the_state"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        return super().change(operation_id, replace(change, expected=set(S)))


class LosesAChangedField(WrongStore):
    breaks = "test_change_keeps_every_field"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        fields = {name: value for name, value in change.fields.items() if name != "waiting_for"}
        return super().change(operation_id, replace(change, fields=fields))


class IgnoresTheFence(WrongStore):
    breaks = "test_change_compares_the_fence"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        return super().change(operation_id, replace(change, fence=None))


class ReplacesTheMetadata(WrongStore):
    breaks = "test_change_sets_metadata_beside_the_rest"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        fields = {**change.fields, "metadata": change.metadata or {}}
        return super().change(operation_id, replace(change, fields=fields, metadata=None))


class TellsOfOwners(WrongStore):
    breaks = "test_change_of_the_owner_alone_is_no_news"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        return super().change(operation_id, replace(change, attempt=change.attempt or {}))


class TakesTheKeyOfAnother(WrongStore):
    breaks = "test_change_needs_the_key"
    is_changing = False

    def change(self, operation_id: str, change: Change) -> Changed | None:
        self.is_changing = True
        return super().change(operation_id, change)

    def _is_key_taken(self, data: RecoveryData) -> bool:
        return not self.is_changing and super()._is_key_taken(data)


class LooksThenChanges(WrongStore):
    breaks = "test_claim_is_won_by_one_of_many"

    def change(self, operation_id: str, change: Change) -> Changed | None:
        data = self.get(operation_id)
        if data is None or data.state not in change.expected:
            return None
        time.sleep(0.01)
        return super().change(operation_id, replace(change, expected=set(S)))


class GivesOutWhatItHas(WrongStore):
    breaks = "test_what_is_given_out_is_a_copy"

    def get(self, operation_id: str) -> RecoveryData | None:
        return self._operations.get(operation_id)


class GivesNewestAttemptsFirst(WrongStore):
    breaks = "test_attempts"

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        return super().attempts(operation_id)[::-1]


class IgnoresTheClaim(WrongStore):
    breaks = "test_what_belongs_to_a_claim"

    def _claimed(self, operation_id: str, fence: int) -> RecoveryData | None:
        return self._operations.get(operation_id)


class LosesMetadata(WrongStore):
    breaks = "test_metadata"

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        return super().update_metadata(operation_id, fence, {})


class MergesMetadata(WrongStore):
    breaks = "test_metadata"

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        return super().update_metadata(operation_id, fence, self._operations[operation_id].metadata | dict(metadata))


class LosesTheWatermark(WrongStore):
    breaks = "test_progress"

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        return super().save_progress(operation_id, fence, progress, 0.0, at)


class SortsSteps(WrongStore):
    breaks = "test_steps"

    def steps(self, operation_id: str) -> list[StepRecord]:
        return sorted(super().steps(operation_id), key=lambda step: step.name)


class ForgetsAttemptsWithItsProcess(WrongStore):
    breaks = "test_reopening_keeps_all_that_belongs"

    def reopened(self) -> WrongStore:
        again = ForgetsAttemptsWithItsProcess()
        again._operations.update(self._operations)
        return again


# -- queries ------------------------------------------------------------------------------------------


class GivesTheNewestOfAKey(WrongStore):
    breaks = "test_latest_with_key"

    def latest_with_key(self, key: str) -> RecoveryData | None:
        found = [data for data in self._operations.values() if data.key == key]
        return max(reversed(found), key=lambda data: data.created_at, default=None)


class FindsOtherKinds(WrongStore):
    breaks = "test_find"

    def find(self, *, kind: str | None = None, **given: Any) -> list[RecoveryData]:
        return super().find(**given)


class PagesByTimeAlone(WrongStore):
    breaks = "test_find_in_pages"

    def find(self, *, before: tuple[float, str] | None = None, **given: Any) -> list[RecoveryData]:
        return super().find(before=None if before is None else (before[0], ""), **given)


class TellsWhatIsLongAgo(WrongStore):
    breaks = "test_activity"

    def activity(self, since: float, span: int) -> list[Activity]:
        return super().activity(0, span)


class CountsFirstAttempts(WrongStore):
    breaks = "test_counts"

    def counts(self) -> Mapping[str, float]:
        return {**super().counts(), "attempts": sum(data.attempt for data in self._operations.values())}


# -- events -------------------------------------------------------------------------------------------


class TellsNoEnd(WrongStore):
    breaks = "test_events_of_a_whole_operation"

    def _store_events(self, data: RecoveryData) -> tuple[Event, ...]:
        return super()._store_events(data if data.state in UNFINISHED else replace(data, state=S.PENDING))


class GivesAnEventAgain(WrongStore):
    breaks = "test_events_since"

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        return super().events_since(seq - 1, limit)


class GivesTheFirstEvents(WrongStore):
    breaks = "test_events_of_operation"

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        return super().events_of_operation(operation_id)[:limit]


class KeepsAllProgress(WrongStore):
    breaks = "test_progress_replaces_progress"

    def _store_events(self, data: RecoveryData) -> tuple[Event, ...]:
        self._transient.clear()
        events = super()._store_events(data)
        self._transient.pop(data.operation_id, None)
        return events

    def save_progress(self, operation_id: str, *given: Any) -> Changed | None:
        self._transient.clear()
        return super().save_progress(operation_id, *given)


class GivesNumbersAgain(WrongStore):
    breaks = "test_deleting_takes_all_that_belongs"

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        self._seq = self._events[-1].seq if self._events else 0
        return super().append_event(name, payload)


class NumbersThenStores(WrongStore):
    """As a database does whose numbers are given before the commit."""

    breaks = "test_numbers_of_many_threads"

    def insert(self, data: RecoveryData) -> Changed | None:
        with self._changed:
            self._seq += 1
            event = Event(self._seq, "recovery_update", {})
        time.sleep(0.01 if event.seq % 2 else 0)
        with self._changed:
            self._operations[data.operation_id] = data
            self._events.append(event)
        return Changed(data, (event,))

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        return sorted(super().events_since(seq, limit), key=lambda event: event.seq)


class WaitsForNothing(WrongStore):
    breaks = "test_wait_for_events"

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        return True


class NumbersForItself(WrongStore):
    breaks = "test_another_object_gets_the_events"

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        return True

    def another(self) -> WrongStore:
        return NumbersForItself()


# -- upkeep -------------------------------------------------------------------------------------------


class KeepsTheFirstHeartbeat(WrongStore):
    breaks = "test_owners"

    def heartbeat(self, owner: Any, at: float) -> None:
        if owner.owner_id not in self._owners:
            super().heartbeat(owner, at)


class ReleasesTheDeadOnly(WrongStore):
    breaks = "test_orphans_are_released"

    def release_orphans(self, dead: Collection[str], at: datetime) -> list[Changed]:
        unknown = [data for data in self._operations.values() if data.owner == "unknown"]
        for data in unknown:
            data.owner = None
        return super().release_orphans(dead, at)


class LeavesAttemptsOpen(WrongStore):
    breaks = "test_orphans_lose_their_attempt"

    def _apply(self, data: RecoveryData, change: Change) -> Changed:
        return super()._apply(data, replace(change, attempt=None))


class LooksThenReleases(WrongStore):
    breaks = "test_orphans_are_released_by_one_of_many"

    def release_orphans(self, dead: Collection[str], at: datetime) -> list[Changed]:
        found = [data for data in self.find(limit=-1) if data.owner == "gone"]
        time.sleep(0.01)
        return [Changed(replace(data, owner=None, state=S.PENDING), ()) for data in found]


class LeavesEventsOfTheForgotten(WrongStore):
    breaks = "test_cleanup_forgets_by_age"

    def _forget(self, operation_ids: Collection[str]) -> None:
        for operation_id in operation_ids:
            self.forget(operation_id)


class ForgetsTheNewest(WrongStore):
    breaks = "test_cleanup_forgets_by_count"

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        finished = self.find(states=FINAL, limit=-1)[::-1]
        gone = sorted(finished, key=lambda data: data.updated_at)[keep or 0 :]
        self._forget([data.operation_id for data in gone])
        return len(gone)


class ForgetsParts(WrongStore):
    breaks = "test_cleanup_keeps_parts_of_the_living"

    def _is_part(self, data: RecoveryData) -> bool:
        return False


class ChecksByWriting(WrongStore):
    breaks = "test_check_changes_nothing"

    def check(self) -> None:
        self.append_event("circuit_breaker_update", {})


# -- transfers ----------------------------------------------------------------------------------------


class LosesTheSize(WrongStore):
    breaks = "test_transfers_come_back_whole"

    def transfer(self, destination: str) -> Transfer | None:
        found = super().transfer(destination)
        return None if found is None else replace(found, size=None)


class TakesTextOnly(WrongStore):
    breaks = "test_transfers_come_back_whole"

    def transfer(self, destination: str) -> Transfer | None:
        return super().transfer(destination.encode("utf-8", "replace").decode())


class LacksAMethod(WrongStore):
    breaks = "test_transfers_come_back_whole"
    published: Any = None


class KeepsTheFirstTransfer(WrongStore):
    breaks = "test_transfers_are_replaced"

    def keep_transfer(self, transfer: Transfer, *claim: Any) -> bool:
        return transfer.destination in self._transfers or super().keep_transfer(transfer, *claim)


class KeepsTheJournalItself(WrongStore):
    breaks = "test_transfers_are_copies"

    def keep_transfer(self, transfer: Transfer, *claim: Any) -> bool:
        self._transfers[transfer.destination] = transfer
        return True


class GivesTheJournalItself(WrongStore):
    breaks = "test_transfers_are_copies"

    def partials(self) -> list[Transfer]:
        return list(self._transfers.values())


class KeepsTransfersOfAnybody(WrongStore):
    breaks = "test_transfers_belong_to_a_claim"

    def keep_transfer(self, transfer: Transfer, *claim: Any) -> bool:
        return super().keep_transfer(transfer)


class RefusesAndKeeps(WrongStore):
    breaks = "test_transfers_belong_to_a_claim"

    def keep_transfer(self, transfer: Transfer, *claim: Any) -> bool:
        is_kept = super().keep_transfer(transfer, *claim)
        return super().keep_transfer(transfer) and is_kept


class RaisesWhenForgettingUnknown(WrongStore):
    breaks = "test_transfers_are_forgotten"

    def forget_transfer(self, destination: str) -> None:
        del self._transfers[destination]


class ForgetsAllTransfers(WrongStore):
    breaks = "test_transfers_are_forgotten"

    def forget_transfer(self, destination: str) -> None:
        self._transfers.clear()


class GivesPartialsAsFiles(WrongStore):
    breaks = "test_transfers_of_a_content"

    def transfers_of(self, content: str) -> list[Transfer]:
        partials = [transfer for transfer in self.partials() if transfer.content == content]
        return partials + super().transfers_of(content)


class GivesTheOldestFile(WrongStore):
    breaks = "test_transfers_of_a_content"

    def transfers_of(self, content: str) -> list[Transfer]:
        return super().transfers_of(content)[::-1]


class GivesTheNewestPartial(WrongStore):
    breaks = "test_partials"

    def partials(self) -> list[Transfer]:
        return super().partials()[::-1]


class ListsEveryTransfer(WrongStore):
    breaks = "test_published"

    def published(self, older_than: datetime) -> list[str]:
        return [transfer.destination for transfer in self._transfers.values() if transfer.updated_at < older_than]


class ListsWhatIsNew(WrongStore):
    breaks = "test_published"

    def published(self, older_than: datetime) -> list[str]:
        return super().published(datetime.max.replace(tzinfo=older_than.tzinfo))


class ForgetsTransfersWithOperations(WrongStore):
    breaks = "test_transfers_outlive_operations"

    def _forget(self, operation_ids: Collection[str]) -> None:
        super()._forget(operation_ids)
        self._transfers.clear()


class ForgetsTransfersWithItsProcess(WrongStore):
    breaks = "test_reopening_keeps_transfers"

    def reopened(self) -> WrongStore:
        again = ForgetsTransfersWithItsProcess()
        again._operations.update(self._operations)
        return again


class KeepsTransfersToItself(WrongStore):
    breaks = "test_another_object_sees_transfers"

    def another(self) -> WrongStore:
        other = KeepsTransfersToItself()
        other._operations = self._operations
        return other


# -- rows that are shared -----------------------------------------------------------------------------


class KeepsTheFirstRow(WrongStore):
    breaks = "test_shared_rows_are_kept[settings]"

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        return super().share(table, key, lambda row: change(row) if row is None else None)


class ChangesRowsInTwoGoes(WrongStore):
    breaks = "test_shared_rows_are_changed_in_one_go"

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        changed = change(next(iter(self.shared(table, key)), None))
        time.sleep(0.01)
        return super().share(table, key, lambda row: changed)


class ForgetsSettings(WrongStore):
    breaks = "test_cleanup_forgets_shared_rows"

    def _forget_shared(self, before: float) -> None:
        super()._forget_shared(before)
        self._shared = {where: row for where, row in self._shared.items() if where[0] != "settings"}


class ForgetsRowsWithItsProcess(WrongStore):
    breaks = "test_reopening_keeps_shared_rows"

    def reopened(self) -> WrongStore:
        return ForgetsRowsWithItsProcess()


class KeepsRowsToItself(WrongStore):
    breaks = "test_another_object_sees_shared_rows"

    def another(self) -> WrongStore:
        return KeepsRowsToItself()


WRONG: tuple[type[WrongStore], ...] = tuple(WrongStore.__subclasses__())


def _suite_for(kind: type[WrongStore]) -> type[StoreConformance]:
    class Suite(StoreConformance):
        @pytest.fixture
        def persistence(self) -> WrongStore:
            return kind()

        def reopen(self, persistence: Any) -> Any:
            return persistence.reopened()

        def another(self, persistence: Any) -> Any:
            return persistence.another()

    return Suite


for _kind in WRONG:
    vars()[f"Test{_kind.__name__}"] = _suite_for(_kind)
