"""Looks whether a file on the disk is as it should be, and has it healed with exactly the pieces that are damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from launcher_recovery.errors import RefusedError, StoreError
from launcher_recovery.persistence.base import Store, keeps_transfers
from launcher_recovery.records import Transfer
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests, piece_hasher
from launcher_recovery.transfer.integrity.repairing import Repair, read_there
from launcher_recovery.transfer.partial.journal import pieces_of
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import Source

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """What became of a look at a file.

    Args:
        ok: whether the file is as it should be, now.
        size: its bytes.
        checked: what it was compared with, in words.
        bad: the byte ranges (start, end) that were damaged when it was looked at.
        repaired: whether they were replaced.
        problem: what is wrong, as a sentence; None when it is ok.
    """

    ok: bool
    size: int
    checked: str
    bad: tuple[tuple[int, int], ...] = ()
    repaired: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class _Found:
    """What a look at a file found.

    Args:
        bad: pieces that are not as they were, or are not there.
        wrong: checksums that it does not have; what lies behind the end that it should have does not count.
        surplus: bytes of that.
        hashes: of its pieces.
    """

    bad: list[int]
    wrong: tuple[Checksum, ...]
    surplus: int
    hashes: list[bytes]

    @property
    def is_right(self) -> bool:
        return not (self.bad or self.wrong or self.surplus)


def verify_file(
    path: Path,
    store: Store,
    checksums: tuple[Checksum, ...],
    *,
    sources: Sequence[Source],
    repair: bool,
    check: Callable[[], object],
    new_session: Callable[[], requests.Session] = requests.Session,
) -> Verified:
    """See `launcher_recovery.transfer.verify`.

    Args:
        store: knows the hashes of the pieces of what was downloaded.
        sources: where it can be healed from, best first.
    """
    if not path.is_file():
        raise RefusedError(f"there is no file {path}: give the path of a file that was downloaded")
    kept = _kept(path, store)
    pieces = None if kept is None else pieces_of(kept.journal)
    known = () if kept is None or kept.content is None else (Checksum.parse(kept.content),)
    checksums = tuple(dict.fromkeys((*checksums, *known)))
    size = path.stat().st_size
    if pieces is None and not checksums:
        return _damaged(
            size,
            "nothing",
            f"nothing is known of {path.name} to compare it with: give its checksum, or download it again",
        )
    expected = pieces.size if pieces is not None else None if kept is None else kept.size
    found = _look(path, pieces, expected, checksums, check)
    checked = " and ".join([*(str(checksum) for checksum in checksums), *([] if pieces is None else ["its pieces"])])
    if found.is_right:
        return Verified(True, size, checked)
    ranges = _ranges(found, pieces, size)
    problem = _problem(path, found, pieces, expected, size)
    if not repair:
        return _damaged(size, checked, problem, ranges)
    proofs = [checksum for checksum in checksums if checksum.is_proof]
    if pieces is None and not proofs:
        return _damaged(size, checked, f"{problem}; nothing proves what a server sends, download it again", ranges)
    if not sources and (found.bad or found.wrong):
        raise RefusedError(f"it is not known where {path.name} can be had: give its address")
    with new_session() as session:
        healing = Repair(path, sources, session, check)
        if pieces is not None and found.bad:
            healing.replace(pieces, found.bad)
        if expected is not None and found.surplus:
            healing.cut(expected)
        found = _look(path, pieces, expected, checksums, check)
        if found.wrong and proofs:
            searched = healing.search(expected, proofs)
            if searched is None:
                problem = f"{problem}, and where it is had from there is no file with that checksum"
            else:
                ranges = tuple(sorted({*ranges, *searched}))
                found = _look(path, None, None, checksums, check)
                if pieces is not None and kept is not None and not found.wrong:
                    _keep(store, kept, path, pieces, check)
    before, size = size, path.stat().st_size
    if size < before and not any(end == before for _, end in ranges):
        ranges = (*ranges, (size, before))
    if not found.is_right:
        return _damaged(size, checked, f"{problem}; download it again", ranges)
    return Verified(True, size, checked, ranges, repaired=True)


def _damaged(size: int, checked: str, problem: str, bad: tuple[tuple[int, int], ...] = ()) -> Verified:
    return Verified(False, size, checked, bad, problem=problem)


def _problem(path: Path, found: _Found, pieces: Pieces | None, expected: int | None, size: int) -> str:
    """What is wrong, as a sentence."""
    if expected is not None and size != expected:
        return f"{path.name} has {size} bytes, but {expected} bytes were downloaded"
    if found.bad and pieces is not None:
        return f"{len(found.bad)} of {pieces.count} pieces of {path.name} are damaged"
    reason = f"{path.name} is damaged: it does not have {found.wrong[0]}"
    return reason if pieces is None else f"{reason}, although it is as it was downloaded"


def _ranges(found: _Found, pieces: Pieces | None, size: int) -> tuple[tuple[int, int], ...]:
    bad = [] if pieces is None else [(pieces.start_of(index), pieces.end_of(index)) for index in found.bad]
    return (*bad, *([(size - found.surplus, size)] if found.surplus else []))


def _kept(path: Path, store: Store) -> Transfer | None:
    """What the store has of the file, if it was downloaded to its end."""
    try:
        kept = store.transfer(str(path)) if keeps_transfers(store) else None
    except StoreError:
        return None
    return None if kept is None or kept.partial is not None else kept


def _keep(store: Store, kept: Transfer, path: Path, pieces: Pieces, check: Callable[[], object]) -> None:
    """What was downloaded was damaged already: from now on its pieces are those of the right file."""
    healed = Pieces(pieces.size, pieces.piece)
    healed.hashes = list(_look(path, pieces, pieces.size, (), check).hashes)
    healed.durable = [True] * healed.count
    try:
        store.keep_transfer(replace(kept, journal={**kept.journal, "pieces": healed.to_journal()}))
    except StoreError:
        return  # it is verified by its checksum, which the next look will do as well


def _look(
    path: Path,
    pieces: Pieces | None,
    expected: int | None,
    checksums: tuple[Checksum, ...],
    check: Callable[[], object],
) -> _Found:
    """Compare the file with what is known of it, in one pass."""
    digests = Digests(checksums)
    bad: list[int] = []
    hashes: list[bytes] = []
    step = _BLOCK if pieces is None else min(_BLOCK, pieces.piece)
    block = memoryview(bytearray(step))
    hasher: Any = piece_hasher()
    done = 0
    size = path.stat().st_size
    end = size if expected is None else min(size, expected)
    with path.open("rb", buffering=0) as file:
        while done < end:
            most = min(step, end - done)
            if pieces is not None:
                most = min(most, pieces.piece - done % pieces.piece)
            count = read_there(file, block[:most], done)
            if not count:
                break
            digests.update(block[:count])
            hasher.update(block[:count])
            done += count
            check()
            if pieces is not None and (done % pieces.piece == 0 or done == pieces.size):
                index = len(hashes)
                hashes.append(hasher.digest())
                if pieces.hashes[index] not in (None, hashes[index]):
                    bad.append(index)
                hasher = piece_hasher()
    if pieces is not None:
        bad += range(len(hashes), pieces.count)
    return _Found(bad, digests.wrong(), max(0, size - end), hashes)
