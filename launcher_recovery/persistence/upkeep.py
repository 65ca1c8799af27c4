"""Upkeep of a store in a database: totals, owners, and forgetting what is old."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime

from launcher_recovery.persistence import shared
from launcher_recovery.persistence.access import IS_FINISHED, IS_UNFINISHED, DatabaseAccess
from launcher_recovery.persistence.base import Owner, OwnerRow
from launcher_recovery.persistence.models import AttemptRow, EventRow, OperationRow, OwnerTableRow, StepRow
from launcher_recovery.records import Activity, RecoveryState

_BATCH = 200
# Of the two halves apart, each of which has an index with all of this.
_TOTALS = (
    "SELECT state, count(*), sum(CASE WHEN attempt > 1 THEN attempt - 1 END), sum(CASE WHEN attempt > 1 THEN 1 END),"
    " sum(CASE WHEN attempt > 1 THEN completed_at - created_at END) FROM recovery_data WHERE {} GROUP BY state"
)


class Upkeep(DatabaseAccess):
    """Totals, owners, and forgetting."""

    @abc.abstractmethod
    def _used_bytes(self) -> int:
        """How much of the disk is in use."""

    def _uses_more_than(self, max_bytes: int) -> bool:
        return self._used_bytes() > max_bytes

    def activity(self, since: float, span: int) -> list[Activity]:
        rows = self._fetch(
            "SELECT CAST(ended_at AS BIGINT) / ? AS number, coalesce(outcome, ''), count(*), coalesce(sum(resumed), 0)"
            " FROM recovery_attempts WHERE ended_at >= ? GROUP BY 1, 2 ORDER BY 1, 2",
            (span, since),
        )
        found: list[Activity] = []
        for number, of_number in itertools.groupby(rows, key=lambda row: int(row[0])):
            outcomes = [*of_number]
            resumed = sum(float(row[3]) for row in outcomes)
            found.append(Activity(float(number * span), {row[1]: int(row[2]) for row in outcomes}, resumed))
        return found

    def counts(self) -> Mapping[str, float]:
        totals: dict[str, float] = {state.value: 0 for state in RecoveryState}
        totals.update(recovered=0, recovery_seconds=0.0, attempts=0)
        with self._connections.reading:
            rows = [row for part in (IS_FINISHED, IS_UNFINISHED) for row in self._fetch(_TOTALS.format(part.sql))]
        for state, count, attempts, recovered, seconds in rows:
            totals[state] = int(count)
            totals["attempts"] += int(attempts or 0)
            if state == RecoveryState.SUCCESS.value:
                totals.update(recovered=int(recovered or 0), recovery_seconds=float(seconds or 0))
        return totals

    def heartbeat(self, owner: Owner, at: float) -> None:
        columns = {"heartbeat_at": at, **asdict(owner)}
        self._write(lambda: self._upsert(OwnerTableRow, (OwnerTableRow.owner_id,), columns), durable=False)

    def owners(self) -> list[OwnerRow]:
        return [
            OwnerRow(Owner(row["owner_id"], row["host"], row["pid"], row["started"], row["about"]), row["heartbeat_at"])
            for row in self._rows(OwnerTableRow.select())
        ]

    def forget_owner(self, owner_id: str) -> None:
        query = OwnerTableRow.delete().where(OwnerTableRow.owner_id == owner_id)
        self._write(lambda: query.execute(self._connections.writer), durable=False)

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        self._write(lambda: shared.forget(self._connections.execute, older_than.timestamp()), durable=False)
        total = 0
        while count := self._forget_oldest(_BATCH, older_than.timestamp()):
            total += count
        if keep is not None:
            ((finished,),) = self._fetch(f"SELECT count(*) FROM recovery_data WHERE {IS_FINISHED.sql}")
            while finished > keep and (count := self._forget_oldest(min(_BATCH, finished - keep))):
                finished -= count
                total += count
        while max_bytes is not None and self._uses_more_than(max_bytes):
            count = self._forget_oldest(_BATCH)
            total += count
            if not count:
                break
        return total

    def _forget_oldest(self, limit: int, before: float | None = None) -> int:
        """Forget up to `limit` finished operations last touched before that time (in seconds); returns how many."""
        unfinished = OperationRow.select(OperationRow.operation_id).where(IS_UNFINISHED)
        is_free = OperationRow.parent_id.is_null() | OperationRow.parent_id.not_in(unfinished)
        chosen = OperationRow.select(OperationRow.operation_id).where(IS_FINISHED & is_free)
        if before is not None:
            chosen = chosen.where(OperationRow.updated_at < before)
        chosen = chosen.order_by(OperationRow.updated_at).limit(limit)

        def work() -> int:
            old = [row["operation_id"] for row in chosen.clone().dicts().execute(self._connections.writer)]
            self._forget(old)
            return len(old)

        return self._write(work, durable=False)

    def _forget(self, operation_ids: Collection[str]) -> None:
        for model in (StepRow, AttemptRow, EventRow, OperationRow):
            model.delete().where(model.operation_id.in_(operation_ids)).execute(self._connections.writer)

    def check(self) -> None:
        # A write that changes nothing, yet fails where a write would.
        self.forget_owner("")

    def close(self) -> None:
        self._is_closed = True
        self._connections.close()
