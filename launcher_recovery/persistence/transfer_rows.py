"""Rows of transfers: what of a transfer stands in which column, and the statements that write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from launcher_recovery.clock import to_datetime
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.encryption import Seal, UnreadableError
from launcher_recovery.records import Transfer

Statement = tuple[str, tuple[Any, ...]]

COLUMNS = "destination, partial, content, size, updated_at, journal"
FORGET = "DELETE FROM recovery_transfers WHERE destination = ?"
_KEEP = f"INSERT INTO recovery_transfers ({COLUMNS}) SELECT ?, ?, ?, ?, ?, ?"
_IS_OURS = "EXISTS (SELECT 1 FROM recovery_data WHERE operation_id = ? AND fence = ?)"


def plan_keep(transfer: Transfer, seal: Seal) -> tuple[Statement, Statement]:
    """Keep a transfer in the place of what was kept of its destination."""
    row = _to_row(transfer, seal)
    return ((FORGET, row[:1]), (_KEEP, row))


def plan_take_over(transfer: Transfer, operation_id: str, fence: int, seal: Seal) -> tuple[Statement, Statement]:
    """Like `plan_keep`, unless the operation under which it was kept was claimed since."""
    row, ours = _to_row(transfer, seal), (operation_id, fence)
    return ((f"{FORGET} AND {_IS_OURS}", (*row[:1], *ours)), (f"{_KEEP} WHERE {_IS_OURS}", (*row, *ours)))


def _to_row(transfer: Transfer, seal: Seal) -> tuple[Any, ...]:
    return (
        column_of(transfer.destination),
        None if transfer.partial is None else column_of(transfer.partial),
        transfer.content,
        transfer.size,
        transfer.updated_at.timestamp(),
        seal.close(codec.dumps(dict(transfer.journal))),
    )


def to_transfer(row: Sequence[Any], seal: Seal) -> Transfer:
    """The transfer of a row of `COLUMNS`.

    Raises:
        UnreadableError: the journal is encrypted, and there is no key or another one.
    """
    destination, partial, content, size, updated_at, journal = row
    return Transfer(
        path_of(destination),
        codec.loads(seal.open(journal)),
        None if partial is None else path_of(partial),
        content,
        size,
        to_datetime(updated_at),
    )


def to_transfer_at_least(row: Sequence[Any], seal: Seal) -> Transfer:
    """Like `to_transfer`; with an empty journal when that cannot be opened."""
    try:
        return to_transfer(row, seal)
    except UnreadableError:
        return to_transfer((*row[:-1], codec.dumps({})), seal)


def column_of(path: str) -> str:
    """A path as every database takes it: one that is not UTF-8, and has lone surrogates, as JSON."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return json.dumps(path)
    return json.dumps(path) if path.startswith('"') else path


def path_of(column: str) -> str:
    """The path of `column_of`."""
    path: str = json.loads(column) if column.startswith('"') else column
    return path
