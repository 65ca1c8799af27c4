"""A tracker of progress that code may be handed as an argument: kept with the operation, there after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from launcher_recovery.operation import Operation, current_operation

# Where the tracker's checkpoint is in the metadata of the operation.
_METADATA = "progress_tracker"


class ProgressTracker:
    """Tells how far work is, and keeps a checkpoint of it.

    Inside of an operation every `update` goes to `Operation.progress` (shown live, written at most five times a
    second), and a checkpoint is kept in the operation's metadata whenever a milestone is passed, and otherwise every
    `interval` seconds. A later attempt or process that makes a tracker for the same operation begins with that
    checkpoint. Outside of an operation it only remembers. A tracker is used by one thread at a time.

    Args:
        operation: the operation; default: the one in which `update` is called, so that a tracker can be made
            outside and be passed in.
        unit: "bytes" or "steps".
        milestones: shares of the total, above 0 and up to 1, at each of which a checkpoint is kept.
        interval: seconds between checkpoints without a milestone.
        monotonic: source of time, for tests.

    Raises:
        ValueError: a milestone is out of range.
    """

    def __init__(
        self,
        operation: Operation | None = None,
        *,
        unit: str = "bytes",
        milestones: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        interval: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        for share in milestones:
            if not 0 < share <= 1:
                raise ValueError(f"milestone {share!r} is out of range: it must be above 0 and at most 1")
        self.unit = unit
        self._done = 0.0
        self._total: float | None = None
        self._reached: list[str] = []
        self._shares = sorted(milestones)
        self._interval = interval
        self._monotonic = monotonic
        self._kept_at = monotonic()
        self._given = operation
        self._operation: Operation | None = None
        self._known_id: str | None = None

    @property
    def done(self) -> float:
        """Units done so far, in this or an earlier attempt or process."""
        self._bind()
        return self._done

    @property
    def total(self) -> float | None:
        """Units in all; None while unknown."""
        self._bind()
        return self._total

    @property
    def reached(self) -> list[str]:
        """Names of the milestones passed so far, in that order; those of shares are like "25%"."""
        self._bind()
        return [*self._reached]

    @property
    def fraction(self) -> float | None:
        """Share that is done, 0 to 1; None while the total is unknown."""
        total = self.total
        if total is None:
            return None
        return 1.0 if total <= 0 else min(1.0, self._done / total)

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the work is, counted from its beginning.

        Args:
            done: units done so far; less than before when an attempt has to begin again.
            total: units in all; None or 0 (a server that did not say): as known before.
            message: what is being done, in a few words.

        Raises:
            OperationInterrupted, RecoveryTimeoutError: as `Operation.check`: paused, cancelled, out of time.
        """
        self._bind()
        self._done = done
        self._total = total or self._total
        passed = self._pass_shares()
        if passed or self._monotonic() - self._kept_at >= self._interval:
            self._keep()
        if self._operation is not None:
            self._operation.progress(done, self._total, self.unit, message)

    def milestone(self, name: str) -> bool:
        """Pass a milestone of one's own and keep a checkpoint; False when it was passed before."""
        self._bind()
        if name in self._reached:
            return False
        self._reached.append(name)
        self._keep()
        return True

    def complete(self) -> None:
        """All is done: what is done is the total, and the checkpoint is kept."""
        self._bind()
        total = self._done if self._total is None else self._total
        self._done = self._total = total
        self._pass_shares()
        self._keep()
        if self._operation is not None:
            self._operation.progress(total, total, self.unit)

    def _pass_shares(self) -> bool:
        fraction = self.fraction
        if fraction is None:
            return False
        names = [f"{share:.0%}" for share in self._shares if share <= fraction]
        new = [name for name in names if name not in self._reached]
        self._reached += new
        return bool(new)

    def _bind(self) -> None:
        """Find the operation, and take over what was kept of it the first time that it is met."""
        operation = self._operation = self._given or current_operation()
        if operation is None or operation.operation_id == self._known_id:
            return
        if self._known_id is not None:  # the tracker was passed to another call, which has progress of its own
            self._done, self._total, self._reached = 0.0, None, []
        self._known_id = operation.operation_id
        kept: dict[str, Any] = operation.metadata.get(_METADATA, {})
        self._done = kept.get("done", self._done)
        self._total = kept.get("total", self._total)
        self._reached = [*kept.get("reached", self._reached)]

    def _keep(self) -> None:
        self._kept_at = self._monotonic()
        if self._operation is not None:
            self._operation.metadata[_METADATA] = {"done": self._done, "total": self._total, "reached": self._reached}
            self._operation.save_metadata()
