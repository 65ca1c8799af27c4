"""What is kept of an operation: its states and their legal transitions, its record, attempts and steps."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any, ClassVar

from launcher_recovery.clock import to_iso


class RecoveryState(str, Enum):
    """The eight states of an operation; `TRANSITIONS` says which change is legal."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    RECOVERING = "recovering"
    SUCCESS = "success"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    PAUSED = "paused"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value


_S = RecoveryState

TRANSITIONS: Mapping[RecoveryState, frozenset[RecoveryState]] = {
    _S.PENDING: frozenset({_S.IN_PROGRESS, _S.PAUSED, _S.CANCELLED}),
    _S.IN_PROGRESS: frozenset(
        {_S.SUCCESS, _S.RECOVERING, _S.FAILED, _S.EXHAUSTED, _S.PAUSED, _S.CANCELLED, _S.PENDING}
    ),
    _S.RECOVERING: frozenset({_S.IN_PROGRESS, _S.PAUSED, _S.CANCELLED, _S.FAILED, _S.EXHAUSTED, _S.PENDING}),
    _S.PAUSED: frozenset({_S.PENDING, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.PENDING}),
    _S.EXHAUSTED: frozenset({_S.PENDING}),
    _S.CANCELLED: frozenset({_S.PENDING}),
    _S.SUCCESS: frozenset(),
}
"""From each state, the states that may follow it."""

FINAL = frozenset({_S.SUCCESS, _S.FAILED, _S.EXHAUSTED, _S.CANCELLED})
"""States in which nothing happens any more unless a person retries."""

UNFINISHED = frozenset(RecoveryState) - FINAL
"""States in which the key of an operation is taken."""

RUNNABLE = frozenset({_S.PENDING, _S.RECOVERING})
"""States from which an attempt may begin."""

OBSERVED = "observed"
"""Among the metadata of an operation that was only observed: its code runs as if recovery were not there."""


@functools.cache
def sources_of(target: RecoveryState) -> frozenset[RecoveryState]:
    """The states from which `target` can be reached."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


class WaitingFor(str, Enum):
    """Why a recovering operation waits."""

    BACKOFF = "backoff"
    RETRY_AFTER = "retry_after"
    BREAKER = "breaker"
    DISK_SPACE = "disk_space"
    DISK = "disk"
    PROGRAM = "program"
    SLOT = "slot"


@dataclass(frozen=True)
class Progress:
    """How far an operation is. `rate` is in units a second, `eta_s` in seconds, `resumed` in units that
    earlier attempts had already done when this one began."""

    done: float
    total: float | None = None
    unit: str = "steps"
    rate: float | None = None
    eta_s: float | None = None
    resumed: float = 0
    message: str | None = None


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class RecoveryData:
    """The record of one operation, as it is kept in the store.

    `attempt` is the number of the current or latest attempt (0: none began yet), `max_attempts` the number at
    which the operation gives up if nothing moves any more, `fruitless` how many failed attempts in a row moved
    nothing, `watermark` the furthest that progress ever came, `fence` grows with every claim so that a process
    that lost its claim cannot write any more. `begun_at` is when a person last began it again (None: never); the
    deadline counts from there.
    """

    operation_id: str
    function_name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    state: RecoveryState = RecoveryState.PENDING
    attempt: int = 0
    error: Exception | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    kind: str = "function"
    key: str | None = None
    project: str | None = None
    parent_id: str | None = None
    title: str = ""
    max_attempts: int | None = None
    fruitless: int = 0
    watermark: float = 0.0
    category: str | None = None
    explanation: str | None = None
    fix: str | None = None
    next_attempt_at: datetime | None = None
    waiting_for: WaitingFor | None = None
    progress: Progress | None = None
    result: Any = None
    owner: str | None = None
    fence: int = 0
    resumable: bool = True
    completed_at: datetime | None = None
    begun_at: datetime | None = None


PRIORITY = "priority"
"""Among the metadata: how important a person finds the operation."""


def priority_of(data: RecoveryData) -> int:
    """How important the operation is where it has to stand in a queue: the higher goes first; 0 unless set."""
    found = data.metadata.get(PRIORITY, 0)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


GIVEN_ATTEMPTS = "max_attempts"
"""Among the metadata: after how many attempts in a row without progress a person wants it given up; None: any number
that the settings say."""


def given_attempts_of(data: RecoveryData) -> int | None:
    """How many attempts in a row without progress a person has given an operation; None: nobody has said."""
    found = data.metadata.get(GIVEN_ATTEMPTS)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt of an operation.

    `number` starts at 1; `delay_s` is the wait in seconds that followed it; `error`, `error_type` and `traceback` are
    the message of what it raised, the name of its type, and the last frames. `resumed` are the bytes that were there
    already when it began, and that it needed not fetch again.
    """

    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    category: str | None = None
    error: str | None = None
    delay_s: float | None = None
    error_type: str | None = None
    traceback: str | None = None
    resumed: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the API gives it."""
        return {**asdict(self), "started_at": to_iso(self.started_at), "ended_at": to_iso(self.ended_at)}


@dataclass(frozen=True)
class Activity:
    """What attempts did in one span of time.

    Args:
        begins: when it begins, in seconds since the epoch.
        outcomes: how many attempts ended in it, by their outcome.
        resumed: bytes that they did not fetch again, because earlier ones had.
    """

    begins: float
    outcomes: Mapping[str, int]
    resumed: float


@dataclass(frozen=True)
class StepRecord:
    """A finished step: its name, when it finished, and its result."""

    name: str
    finished_at: datetime
    result: Any = None

    def to_json(self) -> dict[str, Any]:
        """As the API gives it, without its result."""
        return {"name": self.name, "finished_at": to_iso(self.finished_at)}


@dataclass(frozen=True)
class Transfer:
    """What is kept of a file that is, or was, downloaded; it is found by where the file is to be.

    Args:
        destination: where it is to be: absolute, with links resolved.
        journal: JSON values, some 10 to 100 KB of them: the hashes of its pieces, which of them are safe on the disk,
            what identifies the version of the file. No addresses. `Transfer.FOLDER`: it is no file but a folder,
            such as that of a node.
        partial: path of the partial file; None: there is none, the file was published.
        content: algorithm and digest, such as "sha256:<hex>", when the whole is known and verified; else None.
        size: bytes in all; None: unknown.
    """

    destination: str
    journal: Mapping[str, Any]
    partial: str | None
    content: str | None
    size: int | None
    updated_at: datetime

    FOLDER: ClassVar[Mapping[str, Any]] = {"folder": True}

    @property
    def is_folder(self) -> bool:
        """Whether it is about a folder."""
        return bool(self.journal.get("folder"))

    def copy(self) -> Transfer:
        """The same with a journal of its own."""
        return replace(self, journal=deepcopy(dict(self.journal)))
