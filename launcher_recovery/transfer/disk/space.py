"""Sees to it that there is room on the disk for what is still to come of a file, beside what others need."""

from __future__ import annotations

from pathlib import Path

from launcher_recovery.errors import StoreError
from launcher_recovery.operation import Operation
from launcher_recovery.transfer.disk.folders import RESERVATIONS, allocated_bytes, explained, preallocate, queued_bytes
from launcher_recovery.transfer.disk.reservations import Reservation
from launcher_recovery.transfer.partial.part import Part


class Space:
    """The room that one partial takes.

    Args:
        operation: whose it is; operations that wait in its store need room as well.
        part: the open partial.
        folder: that of the destination.
        staging: that of partials; None: the same.
    """

    def __init__(self, operation: Operation, part: Part, folder: Path, staging: Path | None) -> None:
        self._operation = operation
        self._part = part
        self._folder = folder
        self._staging = staging
        self._reservation: Reservation | None = None

    def claim(self, size: int, missing: int) -> None:
        """Reserve room for a file of `size` bytes of which `missing` are still to come.

        Raises:
            NoSpaceError: there is not enough of it.
            OSError: the disk takes no files of that size, or does not answer.
        """
        had = allocated_bytes(self._part.fd)
        where = self._part.path.parent
        self._reservation = RESERVATIONS.claim(where, max(0, min(missing, size - had)), self._queued)
        try:
            if preallocate(self._part.fd, size):
                self.release()  # it is not free any more
        except OSError as error:
            raise explained(error, where, missing) from error

    def update(self, missing: int) -> None:
        """So many bytes are still to come."""
        if self._reservation is not None:
            self._reservation.update(missing)

    def release(self) -> None:
        """Nothing is to come any more."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _queued(self) -> int:
        store = self._operation.store
        if store is None:
            return 0
        try:
            return queued_bytes(store, self._folder, self._operation.operation_id, staging=self._staging)
        except StoreError:
            return 0
