"""A copy of an operation that is live in this process, which costs next to nothing to keep up to date."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any

from launcher_recovery.persistence.base import Change
from launcher_recovery.records import AttemptRecord, RecoveryData, RecoveryState, StepRecord


@dataclass
class LiveCopy:
    """What a store has of one operation: its record, its attempts, and its steps by name.

    What is made anew with each change is shared with those who got it from the store; they change nothing in it.
    """

    data: RecoveryData
    attempts: list[AttemptRecord]
    steps: dict[str, StepRecord]

    @classmethod
    def of(cls, data: RecoveryData, attempts: list[AttemptRecord], steps: dict[str, StepRecord]) -> LiveCopy:
        """A copy with a record of its own: code notes in that of its handle what is not kept yet."""
        own = copy(data)
        own.metadata = deepcopy(data.metadata) if data.metadata else {}
        return cls(own, attempts, steps)

    def after(self, data: RecoveryData, change: Change | None) -> LiveCopy:
        """The copy after a change, or (None) after progress; `data` is the record then."""
        attempts = self.attempts
        if change is not None and change.attempt is not None and attempts and attempts[-1].ended_at is None:
            attempts = [*attempts[:-1], replace(attempts[-1], ended_at=change.at, **change.attempt)]
        if change is not None and change.claim:
            attempts = [*attempts, AttemptRecord(data.attempt, change.at)]
        return LiveCopy.of(data, attempts, self.steps)

    def is_claimed(self, fence: int) -> bool:
        """Whether it is in progress under that claim."""
        return self.data.fence == fence and self.data.state is RecoveryState.IN_PROGRESS

    def keep_metadata(self, fence: int, metadata: Mapping[str, Any]) -> None:
        """Take in metadata that were saved under that claim."""
        if self.is_claimed(fence):
            self.data.metadata = deepcopy(dict(metadata))

    def keep_step(self, fence: int, step: StepRecord) -> None:
        """Take in a step that was finished under that claim."""
        if self.is_claimed(fence):
            self.data.updated_at = step.finished_at
            self.steps[step.name] = step
