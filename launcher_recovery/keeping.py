"""Progress, metadata and steps of a running operation: what of them is kept, and how often."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.meter import Meter
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.base import Store, keeps_transfers
from launcher_recovery.records import Progress, StepRecord, Transfer
from launcher_recovery.transitions import Transitions

logger = logging.getLogger("launcher_recovery")


class Keeping(Transitions):
    """What a running operation keeps of itself between its transitions."""

    def __init__(self, store: Store, **settings: Any) -> None:
        super().__init__(store, **settings)
        # By handle: code that lost its claim may go on reporting for a while.
        self._meters: WeakKeyDictionary[Operation, Meter] = WeakKeyDictionary()
        # Steps whose result is not written down, by operation and name.
        self._steps_here: dict[str, dict[str, StepRecord]] = {}
        # Transfers that the store cannot keep, by operation and destination.
        self._transfers_here: dict[str, dict[str, Transfer]] = {}
        # Operations of which a transfer could not be kept or read, which was said.
        self._complained_of: set[str] = set()

    def detach(self, live: Operation) -> bool:
        is_last = super().detach(live)
        self._meters.pop(live, None)
        if is_last:
            self._steps_here.pop(live.operation_id, None)
            self._transfers_here.pop(live.operation_id, None)
            self._complained_of.discard(live.operation_id)
        return is_last

    def begin_progress(self, live: Operation, done: float, total: float | None, unit: str) -> None:
        """Set the point from which an attempt goes on."""
        meter = self._meters[live] = Meter(resumed=done)
        meter.latest = Progress(done, total, unit, resumed=done)
        self._keep_progress(live, meter.latest)

    def report_progress(
        self, live: Operation, done: float, total: float | None, unit: str, message: str | None
    ) -> None:
        """Keep and announce progress, at most five times a second for each operation."""
        meter = self._meters.get(live)
        if meter is None:
            meter = self._meters[live] = Meter()
        now = self.clock.monotonic()
        progress = meter.report(done, total, unit, None if message is None else self._text(message), now)
        if meter.is_due(now):
            self._keep_progress(live, progress)

    def _keep_progress(self, live: Operation, progress: Progress) -> None:
        at = to_datetime(self.clock.time())
        live.data.progress = progress
        try:
            metadata = self._with_snapshot(live)
            if metadata is not None:
                self.store.update_metadata(live.operation_id, live.data.fence, metadata)
            changed = self.store.save_progress(live.operation_id, live.data.fence, progress, live.data.watermark, at)
        except StoreError as error:
            logger.warning("progress of %s could not be kept: %s", live.data.title, error)
            return
        if changed is None:
            live.wake.set()  # the claim is gone; the next check finds out why
        else:
            self._announce(changed, wake=False)

    def _with_snapshot(self, live: Operation) -> dict[str, Any] | None:
        """The metadata with the state of the call; None when there is no state, or none that can be kept."""
        snapshot = None if live.snapshot is None else live.snapshot()
        if not snapshot:
            return None
        try:
            codec.dumps(snapshot)
        except TypeError as error:
            logger.debug("the state of %s is not kept: %s", live.data.title, error)
            return None
        if self.redactor.value(snapshot) != snapshot:
            return None  # without its secrets it would be another state
        live.data.metadata.update(deepcopy(snapshot))
        return self._kept_metadata(live)

    def _kept_metadata(self, live: Operation) -> dict[str, Any]:
        """What of the metadata can be kept, without secrets."""
        return {name: self.redactor.value(value) for name, value in live.data.metadata.items() if is_storable(value)}

    def _final_progress(self, live: Operation) -> Progress | None:
        meter = self._meters.pop(live, None)
        if meter is None or meter.latest is None:
            return live.data.progress
        return replace(meter.latest, rate=None, eta_s=None)

    def save_metadata(self, live: Operation) -> None:
        """Keep the metadata of a running operation, without secrets.

        Raises:
            TypeError: it holds something that cannot be kept.
        """
        self.store.update_metadata(live.operation_id, live.data.fence, self.redactor.value(live.data.metadata))

    def kept_step(self, operation_id: str, name: str) -> StepRecord | None:
        """The step, if it has finished in an earlier attempt or process."""
        name = self.kept_key(name)
        here = self._steps_here.get(operation_id, {}).get(name)
        if here is None:
            return self.store.load_step(operation_id, name)
        return deepcopy(here) if is_storable(here.result) else here

    def finish_step(self, live: Operation, name: str, result: Any) -> None:
        """Keep that a step is done; in this process only, if its result cannot be written down: it holds a secret and
        the store is not encrypted, or something of a type that is not kept.

        Raises:
            RecoveryStateError: the operation no longer belongs to this call.
        """
        name = self.kept_key(name)
        at = to_datetime(self.clock.time())
        steps_here = self._steps_here.setdefault(live.operation_id, {})
        steps_here.pop(name, None)
        try:
            step = StepRecord(name, at, codec.loads(codec.dumps(result)))
        except TypeError as error:
            logger.warning(
                "the result of step %s of %s is not kept (%s): a new process runs the step again",
                name,
                live.data.title,
                error,
            )
            step, is_kept = StepRecord(name, at, result), False
        else:
            # Without its secrets it would be another result.
            is_kept = self.keeps_secrets or self.redactor.value(result) == result
        if is_kept:
            is_ours = self.store.finish_step(live.operation_id, live.data.fence, step)
        else:
            is_ours = self.is_claimed(live)
            steps_here[name] = step
        if not is_ours:
            raise RecoveryStateError(f"step {name} of {live.data.title} ended after the operation was taken away")

    def kept_transfer(self, live: Operation, destination: str) -> Transfer | None:
        """What is kept of the file that is to be there; None also when the store fails."""
        if not keeps_transfers(self.store):
            here = self._transfers_here.get(live.operation_id, {}).get(destination)
            return None if here is None else here.copy()
        try:
            return self.store.transfer(destination)
        except StoreError as error:
            self._complain(live, error)
            return None

    def keep_transfer(self, live: Operation, transfer: Transfer) -> bool:
        """Keep what is known of a file; in this process only, if the store has no place for it.

        Returns:
            False when the operation no longer belongs to this call, which its next check finds out.
        """
        try:
            if keeps_transfers(self.store):
                is_ours = self.store.keep_transfer(transfer, live.operation_id, live.data.fence)
            elif is_ours := self.is_claimed(live):
                self._transfers_here.setdefault(live.operation_id, {})[transfer.destination] = transfer.copy()
        except StoreError as error:
            self._complain(live, error)
            return True
        if not is_ours:
            live.wake.set()
        return is_ours

    def _complain(self, live: Operation, error: StoreError) -> None:
        if live.operation_id not in self._complained_of:
            self._complained_of.add(live.operation_id)
            logger.warning("what is known of the download %s could not be kept: %s", live.data.title, error)


def is_storable(value: Any) -> bool:
    """Whether a value is of the types that can be kept."""
    try:
        codec.dumps(value)
    except TypeError:
        return False
    return True
