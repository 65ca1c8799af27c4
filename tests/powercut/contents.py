"""What one file may hold after a power cut: what was synced, and of what was written since, any of it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

_UNSEEN = 64 << 10
# Of the sectors that changed, how many have their newest contents.
_NEWEST = (0.02, 0.5, 0.9, 0.998)


class Write(NamedTuple):
    """Bytes were written at an offset."""

    offset: int
    data: bytes


class Resize(NamedTuple):
    """The file got another length."""

    size: int


Change = Union[Write, Resize]


class Sync(NamedTuple):
    """A sync that has begun: what it makes durable when it ends."""

    contents: bytes
    changes: int


class Contents:
    """The contents of one file, as they are and as they may be found again.

    Args:
        path: where it is now; it is read through a descriptor of its own, so that it may be renamed or deleted.
        is_new: nothing of it was on the disk before.
    """

    def __init__(self, path: str, is_new: bool) -> None:
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - until `close`; and os.open is watched
        self._durable = b"" if is_new else self.now()
        self._pending: list[Change] = []

    def close(self) -> None:
        self._file.close()

    def now(self) -> bytes:
        """As a process sees it that reads it now."""
        fd = self._file.fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0)

    def changed(self, change: Change) -> None:
        """Note a change that was made."""
        self._pending.append(change)

    def sync_begins(self) -> Sync:
        """What was written up to here is durable once the sync has ended; what is written meanwhile is not."""
        return Sync(self.now(), len(self._pending))

    def sync_ends(self, sync: Sync) -> None:
        self._durable = sync.contents
        del self._pending[: sync.changes]

    def after_cut(self, rng: random.Random) -> bytes:
        """What may be found after a power cut at this moment, at random."""
        how = rng.choice(("as synced", "as now", "in order", "sectors", "sectors", "sectors"))
        if how == "as synced":
            return self._durable
        if how == "as now":
            return self.now()
        changes = [*self._pending, *self._unseen()]
        if how == "in order":
            found = bytearray(self._durable)
            for change in changes[: rng.randint(0, len(changes))]:
                apply(change, found)
            return bytes(found)
        return self._sector_by_sector(changes, rng)

    def _unseen(self) -> Iterator[Change]:
        """Changes that were made in a way that is not watched, as if each 64 KiB of them were one write."""
        known = bytearray(self._durable)
        for change in self._pending:
            apply(change, known)
        now = self.now()
        if known == now:
            return
        if len(known) > len(now):
            yield Resize(len(now))
        for start in range(0, len(now), _UNSEEN):
            block = now[start : start + _UNSEEN]
            if known[start : start + _UNSEEN] != block:
                yield Write(start, block)

    def _sector_by_sector(self, changes: list[Change], rng: random.Random) -> bytes:
        """Each sector that was written holds one of the versions that it had since the last sync, or zeros.

        One of which only zeros were cut off, or to which only zeros were added, is not written by that.
        """
        found = bytearray(self._durable)
        sizes = [len(found)]
        versions: dict[int, list[bytes]] = {}
        for change in changes:
            start, end = _touched(change, len(found))
            before = {sector: _sector(found, sector) for sector in range(start // SECTOR, -(-end // SECTOR))}
            apply(change, found)
            sizes.append(len(found))
            for sector, version in before.items():
                if _is_written(change, sector) or _sector(found, sector) != version:
                    versions.setdefault(sector, [version]).append(_sector(found, sector))
        found.extend(bytes(max(sizes) - len(found)))
        share = rng.choice(_NEWEST)
        for sector, known in versions.items():
            if rng.random() >= share:
                known = [*known[:-1], bytes(SECTOR)]
                place = sector * SECTOR
                length = min(SECTOR, max(0, len(found) - place))
                found[place : place + length] = rng.choice(known)[:length]
        return bytes(found[: rng.choice(sizes)])


def apply(change: Change, contents: bytearray) -> None:
    """Make the change."""
    if isinstance(change, Resize):
        del contents[change.size :]
        contents.extend(bytes(change.size - len(contents)))
        return
    offset, data = change
    if data:
        contents.extend(bytes(max(0, offset - len(contents))))
        contents[offset : offset + len(data)] = data


def _touched(change: Change, size: int) -> tuple[int, int]:
    if isinstance(change, Resize):
        return min(size, change.size), max(size, change.size)
    return min(size, change.offset), change.offset + len(change.data)


def _is_written(change: Change, sector: int) -> bool:
    if isinstance(change, Resize):
        return False
    return change.offset < (sector + 1) * SECTOR and sector * SECTOR < change.offset + len(change.data)


def _sector(contents: bytearray, sector: int) -> bytes:
    return bytes(contents[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
