"""What a store of recovery state offers: the five async methods for everybody, and what the engine needs."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from launcher_recovery.records import (
    FINAL,
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

KEYS = {"breakers": ("scope", "operation_type"), "budgets": ("scope",), "settings": ("scope",)}
"""The tables of shared rows, and the columns by which a row is found."""

FORGOTTEN = frozenset({"breakers", "budgets"})
"""Those whose rows are forgotten when they have not been touched for a while."""

LINGERING_S = 86400.0
"""How much longer than others the row of a breaker is kept that is not closed, in seconds."""


class StatePersistence(abc.ABC):
    """Base class of stores. These five methods are what a store of one's own has to have."""

    @property
    def is_encrypted(self) -> bool:
        """Whether arguments can be read only with a key; then they are kept whole, with the secrets in them."""
        return False

    @abc.abstractmethod
    async def save(self, recovery_data: RecoveryData) -> None:
        """Keep the record, replacing an earlier one of the same `operation_id`."""

    @abc.abstractmethod
    async def load(self, operation_id: str) -> RecoveryData | None:
        """The record, or None when it is not known."""

    @abc.abstractmethod
    async def delete(self, operation_id: str) -> None:
        """Forget the record; silent when it is not known."""

    @abc.abstractmethod
    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        """All records in `state`, oldest first."""

    @abc.abstractmethod
    async def cleanup_old(self, days: int = 7) -> int:
        """Forget finished records not touched for `days` days; returns how many."""


@dataclass(frozen=True)
class Owner:
    """A process that runs operations: a unique id, the machine, the process id and its start time there.

    `about` is what the process tells of itself, as JSON; None: it has told nothing.
    """

    owner_id: str
    host: str
    pid: int
    started: str
    about: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class OwnerRow:
    """An owner as the store knows it; `heartbeat_at` is in seconds since the epoch."""

    owner: Owner
    heartbeat_at: float


@dataclass(frozen=True)
class Change:
    """One state change to be made in one transaction, provided that the operation is where it is expected.

    Args:
        expected: states from which it may happen.
        fields: new values of fields of `RecoveryData`; "state" among them.
        fence: the claim under which it is made; None when it is a person's control.
        claim: the change takes the operation for `owner`: `attempt` and `fence` grow by one.
        attempt: how the running attempt ended (outcome, category, error, delay_s), None to leave it open.
        metadata: what is to be set among the metadata, the rest of which stays as it is at that moment; unlike
            "metadata" among `fields`, which takes the place of all of it.

    One that takes out the owner and nothing else is no news, unless the operation is pending: others may run it now.
    Nor is one that leaves a finished operation finished: it would be told to be complete once more.
    """

    expected: Collection[RecoveryState]
    fields: Mapping[str, Any]
    at: datetime
    fence: int | None = None
    claim: bool = False
    attempt: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None

    def is_news(self, state: RecoveryState) -> bool:
        """Whether it gives events, when it leaves the operation in `state`."""
        if state in FINAL and "state" not in self.fields:
            return self.attempt is not None
        return self.attempt is not None or self.fields.keys() != {"owner"} or state is RecoveryState.PENDING


@dataclass(frozen=True)
class Changed:
    """Result of a change: the record as it is now, and the events that were stored with it."""

    data: RecoveryData
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Kept:
    """All that a store has of one operation, to be taken over by another store.

    `stored_at` is when it was updated last in the other store as far as is known: if nobody has touched it there since,
    it is taken over, also when the clock was set back in the meantime. `transfers` are those kept under it meanwhile.
    """

    data: RecoveryData
    attempts: tuple[AttemptRecord, ...]
    steps: tuple[StepRecord, ...]
    stored_at: datetime | None = None
    transfers: tuple[Transfer, ...] = ()


@dataclass(frozen=True)
class Retention:
    """How long finished operations are kept: for `age`, and of those at most `keep`, in at most `max_bytes`."""

    age: timedelta = timedelta(days=7)
    keep: int | None = 100_000
    max_bytes: int | None = 256 << 20


SEARCHED = ("title", "key", "project", "function_name", "operation_id")
"""The fields of a record in which `Store.find` looks for a text."""


def begins(data: RecoveryData) -> bool:
    """Whether a new record is entered with its first attempt begun."""
    return data.state is RecoveryState.IN_PROGRESS and data.attempt == 1


class Store(Protocol):
    """What the engine needs of a store. Every method is safe to call from any thread."""

    def insert(self, data: RecoveryData) -> Changed | None:
        """Keep a new record with its events; None when an unfinished operation has the same key.

        One that is in progress as attempt 1 is entered with that attempt, begun when it was updated; it is the intent,
        which survives a power cut. One that has not begun need not: nothing has been done for it yet.
        """

    def change(self, operation_id: str, change: Change) -> Changed | None:
        """Compare and set; None when the operation is elsewhere, under another fence, or unknown, or when it would
        become unfinished while another unfinished one has its key."""

    def get(self, operation_id: str) -> RecoveryData | None:
        """The record, or None."""

    def latest_with_key(self, key: str) -> RecoveryData | None:
        """The unfinished record with that key, else the newest."""

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
        """Records, newest first.

        Args:
            text: a part of one of `SEARCHED`; of the letters A to Z the case is ignored.
            before: (created, operation_id) of the last one already seen.
        """

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        """Keep metadata; False when the fence has moved on."""

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        """Keep progress with a transient event that replaces the one before; None when the fence moved on."""

    def attempts(self, operation_id: str) -> list[AttemptRecord]:
        """Attempts, oldest first."""

    def steps(self, operation_id: str) -> list[StepRecord]:
        """Finished steps, oldest first."""

    def steps_of_many(self, operation_ids: Collection[str]) -> Mapping[str, list[StepRecord]]:
        """Finished steps of operations, oldest first, without their results; those without any may be left out."""

    def load_step(self, operation_id: str, name: str) -> StepRecord | None:
        """A finished step, or None."""

    def finish_step(self, operation_id: str, fence: int, step: StepRecord) -> bool:
        """Keep the result of a step; False when the fence has moved on."""

    def events_since(self, seq: int, limit: int = 500) -> list[Event]:
        """Stored events with a number above `seq`, in order."""

    def events_of_operation(self, operation_id: str, limit: int = 200) -> list[Event]:
        """The latest stored events of one operation, in order."""

    def event_range(self) -> tuple[int, int]:
        """Numbers of the oldest kept and of the newest event; (n + 1, n) when none of n is kept any more."""

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        """Store an event that belongs to no operation."""

    def activity(self, since: float, span: int) -> list[Activity]:
        """What attempts that have ended did, by spans of time, oldest first; spans without any are left out.

        Args:
            since: seconds since the epoch.
            span: seconds; a span begins at a multiple of it.
        """

    def counts(self) -> Mapping[str, float]:
        """Totals: a count by state, `recovered` (ended well after more than one attempt), `attempts` beyond
        the first, and `recovery_seconds` summed over the recovered."""

    def heartbeat(self, owner: Owner, at: float) -> None:
        """Enter the owner, or renew its heartbeat."""

    def owners(self) -> list[OwnerRow]:
        """All owners that are entered."""

    def forget_owner(self, owner_id: str) -> None:
        """Remove an owner."""

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        """Set unfinished operations of dead or unknown owners back to pending (paused ones lose the owner).

        Args:
            limit: at most so many; called again until there is none. None: all.
        """

    def share(self, table: str, key: tuple[str, ...], change: Transition) -> Row | None:
        """Read, change and keep one row that all processes share, in one go; returns it as it is then.

        Args:
            table: "breakers", with key (scope, operation_type), or "budgets" or "settings", with key (scope,).
            change: gives what to keep, `updated_at` among it. When this returns, settings survive a power cut; the rest
                need not.
        """

    def shared(self, table: str, key: tuple[str, ...] | None = None) -> list[Row]:
        """The row of that key, or (None) all rows of a table that `share` keeps."""

    def transfer(self, destination: str) -> Transfer | None:
        """What is kept of the file that is to be at `destination`; None also when it is encrypted without its key."""

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        """Keep a transfer in the place of what was kept of its destination; when it returns, that survives a power cut.

        Args:
            operation_id, fence: False, and nothing is kept, unless the operation is in progress under that fence;
                None: kept in any case.
        """

    def forget_transfer(self, destination: str) -> None:
        """Keep nothing any more of a destination; silent when nothing is kept."""

    def transfers_of(self, content: str) -> list[Transfer]:
        """Published files with that content, newest first; without the journals that cannot be opened."""

    def partials(self) -> list[Transfer]:
        """Transfers that have a partial, oldest first; without the journals that cannot be opened."""

    def published(self, older_than: datetime) -> list[str]:
        """Destinations of the published files of which nothing was kept since, oldest first."""

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        """Block until there may be an event above `seq` (True), or for `timeout` seconds (False)."""

    def cleanup(self, older_than: datetime, *, keep: int | None = None, max_bytes: int | None = None) -> int:
        """Forget finished operations not touched since, then the oldest ones that are too many; returns how many.

        What belongs to an unfinished operation is not forgotten before that one ends. Done in small batches, between
        which others write. Shared rows not touched since are forgotten as well; those of breakers that are not
        closed a day later. Settings and transfers are not forgotten.

        Args:
            keep: how many finished operations are kept at most; None: any number.
            max_bytes: how much of the disk may be in use but for transfers, None: any amount; stores in memory do
                not look at it.
        """

    def check(self) -> None:
        """Return if the store can be read and written; raises StoreError."""

    def close(self) -> None:
        """Release files and connections; the store is not used afterwards."""


class RenewableStore(Store, Protocol):
    """A store that can fail while it is in use, and be opened again."""

    def reopen(self) -> None:
        """Open again what may have been moved, damaged or mended meanwhile; raises StoreError."""

    def take_over(self, kept: Collection[Kept], events: Collection[Event], after: int) -> None:
        """Enter what happened elsewhere while this store failed; numbers of later events are above `after`.

        An operation that somebody has claimed here since is left as it is here, one whose key is taken too.
        """


def beneath(store: Store) -> Store:
    """The store itself, without those that stand before it: by it things are known that belong to all of them."""
    while (inner := getattr(store, "store", None)) is not None:
        store = inner
    return store


def keeps_transfers(store: Store) -> bool:
    """Whether a store keeps transfers; one of somebody's own that does all the rest need not."""
    return hasattr(beneath(store), "keep_transfer")
