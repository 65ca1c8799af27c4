"""Transfers in memory: what is kept of downloaded files while this process lives."""

from __future__ import annotations

import abc
import threading
from datetime import datetime

from launcher_recovery.records import RecoveryData, Transfer


class MemoryTransfers(abc.ABC):
    """The part of the store in memory that keeps transfers."""

    _changed: threading.Condition

    def __init__(self) -> None:
        self._transfers: dict[str, Transfer] = {}

    @abc.abstractmethod
    def _claimed(self, operation_id: str, fence: int | None) -> RecoveryData | None:
        """The record of an operation that is in progress under that fence, else None."""

    def transfer(self, destination: str) -> Transfer | None:
        with self._changed:
            found = self._transfers.get(destination)
            return None if found is None else found.copy()

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        with self._changed:
            if operation_id is not None and self._claimed(operation_id, fence) is None:
                return False
            self._transfers[transfer.destination] = transfer.copy()
            return True

    def forget_transfer(self, destination: str) -> None:
        with self._changed:
            self._transfers.pop(destination, None)

    def transfers_of(self, content: str) -> list[Transfer]:
        with self._changed:
            found = [one for one in self._transfers.values() if one.content == content and one.partial is None]
            return [one.copy() for one in sorted(found, key=newest_first)]

    def partials(self) -> list[Transfer]:
        with self._changed:
            found = [one for one in self._transfers.values() if one.partial is not None]
            return [one.copy() for one in sorted(found, key=oldest_first)]

    def published(self, older_than: datetime) -> list[str]:
        with self._changed:
            found = [one for one in self._transfers.values() if one.partial is None and one.updated_at < older_than]
            return [one.destination for one in sorted(found, key=oldest_first)]


def oldest_first(transfer: Transfer) -> tuple[float, str]:
    """Where it stands among those that are sorted by age."""
    return (transfer.updated_at.timestamp(), transfer.destination)


def newest_first(transfer: Transfer) -> tuple[float, str]:
    """Where it stands among those that are sorted the other way round."""
    return (-transfer.updated_at.timestamp(), transfer.destination)
