"""Transfers while a store fails: those that are live in this process, and what is kept and forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.records import Transfer


class RememberedTransfers:
    """Says what the memory has of transfers, and gives it back to the other store.

    Args:
        memory: which has them.
    """

    def __init__(self, memory: MemoryPersistence) -> None:
        self._memory = memory
        # Under which operation each was kept that the memory has.
        self._kept_under: dict[str, str | None] = {}
        # What was forgotten while the other store failed, and when.
        self._forgotten: dict[str, datetime] = {}

    def keep(self, transfer: Transfer, operation_id: str | None, fence: int | None) -> bool:
        """Keep one in place of the other store; see `Store.keep_transfer`."""
        is_kept = self._memory.keep_transfer(transfer, operation_id, fence)
        if is_kept:
            self._note(transfer.destination, operation_id)
        return is_kept

    def adopt(self, transfer: Transfer, operation_id: str | None) -> None:
        """Take in what the other store has just kept under an operation."""
        self._memory.keep_transfer(transfer)
        self._note(transfer.destination, operation_id)

    def _note(self, destination: str, operation_id: str | None) -> None:
        self._kept_under[destination] = operation_id
        self._forgotten.pop(destination, None)

    def forget(self, destination: str, at: datetime | None = None) -> None:
        """Drop one from memory; `at`: it is to be forgotten in the other store as well."""
        self._memory.forget_transfer(destination)
        self._kept_under.pop(destination, None)
        if at is not None:
            self._forgotten[destination] = at

    def forget_those_of(self, operation_id: str) -> None:
        """Drop what was kept under an operation; the other store has it."""
        for destination in [path for path, under in self._kept_under.items() if under == operation_id]:
            self.forget(destination)

    def of(self, operation_id: str) -> tuple[Transfer, ...]:
        """What was kept under an operation."""
        found = [self._memory.transfer(path) for path, under in self._kept_under.items() if under == operation_id]
        return tuple(transfer for transfer in found if transfer is not None)

    def is_known(self, destination: str) -> bool:
        """Whether it is known here what is kept of a destination, or that nothing is."""
        return destination in self._kept_under or destination in self._forgotten

    def those_unknown(self, stored: Iterable[Transfer]) -> list[Transfer]:
        """Those of the other store of which nothing is known here."""
        return [transfer for transfer in stored if not self.is_known(transfer.destination)]

    def write_back(self, store: Store) -> None:
        """Give the other store what was kept and forgotten under no operation, unless another process knows better.

        Raises:
            StoreError: it fails still; all of it is given once more the next time.
        """
        for destination, at in self._forgotten.items():
            known = store.transfer(destination)
            if known is not None and known.updated_at <= at:
                store.forget_transfer(destination)
        for destination in self._free():
            known, ours = store.transfer(destination), self._memory.transfer(destination)
            if ours is not None and (known is None or known.updated_at <= ours.updated_at):
                store.keep_transfer(ours)

    def written_back(self) -> None:
        """What was given to the other store need not be remembered any more, but for what belongs to operations."""
        for destination in self._free():
            self.forget(destination)
        self._forgotten.clear()

    def _free(self) -> list[str]:
        """What was kept under no operation, or under one that was deleted since."""
        return [path for path, under in self._kept_under.items() if under is None or self._memory.get(under) is None]
