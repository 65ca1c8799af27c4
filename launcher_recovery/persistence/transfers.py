"""Transfers in a database: what is kept of downloaded files, found by destination and by content."""

from __future__ import annotations

from datetime import datetime

from launcher_recovery.persistence.access import DatabaseAccess
from launcher_recovery.persistence.encryption import UnreadableError
from launcher_recovery.persistence.transfer_rows import (
    COLUMNS,
    FORGET,
    column_of,
    path_of,
    plan_keep,
    to_transfer,
    to_transfer_at_least,
)
from launcher_recovery.records import Transfer

_SELECT = f"SELECT {COLUMNS} FROM recovery_transfers WHERE"
# With the conditions of the partial indexes as they are in the migration.
BY_DESTINATION = f"{_SELECT} destination = ?"
BY_CONTENT = f"{_SELECT} content = ? AND partial IS NULL ORDER BY updated_at DESC, destination"
PARTIALS = f"{_SELECT} partial IS NOT NULL ORDER BY updated_at, destination"
_PUBLISHED = (
    "SELECT destination FROM recovery_transfers WHERE partial IS NULL AND updated_at < ?"
    " ORDER BY updated_at, destination"
)
_IS_IN_PROGRESS = "SELECT 1 FROM recovery_data WHERE operation_id = ? AND fence = ? AND state = 'in_progress'"


class StoredTransfers(DatabaseAccess):
    """The table of transfers."""

    def transfer(self, destination: str) -> Transfer | None:
        rows = self._fetch(BY_DESTINATION, (column_of(destination),))
        try:
            return to_transfer(rows[0], self._seal) if rows else None
        except UnreadableError:
            return None

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        statements = plan_keep(transfer, self._seal)

        def work() -> bool:
            execute = self._connections.execute
            if operation_id is not None and execute(_IS_IN_PROGRESS, (operation_id, fence)).fetchone() is None:
                return False
            for sql, parameters in statements:
                execute(sql, parameters)
            return True

        return self._write(work)

    def forget_transfer(self, destination: str) -> None:
        parameters = (column_of(destination),)
        # A power cut may bring it back: it is of a file that is gone, which who looks for that one sees.
        self._write(lambda: self._connections.execute(FORGET, parameters), durable=False)

    def transfers_of(self, content: str) -> list[Transfer]:
        return [to_transfer_at_least(row, self._seal) for row in self._fetch(BY_CONTENT, (content,))]

    def partials(self) -> list[Transfer]:
        return [to_transfer_at_least(row, self._seal) for row in self._fetch(PARTIALS)]

    def published(self, older_than: datetime) -> list[str]:
        return [path_of(path) for (path,) in self._fetch(_PUBLISHED, (older_than.timestamp(),))]
