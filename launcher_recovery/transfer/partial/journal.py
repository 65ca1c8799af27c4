"""What is known of a partial when an attempt begins, from the store and the file itself; and what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from launcher_recovery.records import Transfer
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.hashers import PIECE_ALGORITHM
from launcher_recovery.transfer.partial import part
from launcher_recovery.transfer.partial.pieces import Pieces

_VERSION = 1
_ID_BYTES = 16


@dataclass
class Known:
    """What there is to go on with.

    Args:
        transfer_id: ties the partial to its journal.
        pieces: what is there of a file of known size.
        prefix: bytes from the front of a file of which the size is not known yet.
        validators: by source, what identified the version of which these bytes are.
        again: pieces to be hashed again.
        unproven: those of them that may have been lost in a power cut; the note does not count them before they were
            hashed, so that a kill in between makes them no better.
    """

    transfer_id: bytes
    pieces: Pieces | None = None
    prefix: int = 0
    validators: dict[str, Validators] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    unproven: set[int] = field(default_factory=set)

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return self.prefix if self.pieces is None else self.pieces.have


def nothing() -> Known:
    """A download that begins."""
    return Known(os.urandom(_ID_BYTES))


def load(path: Path, kept: Transfer | None, *, is_proven: bool, size: int | None) -> Known:
    """What can be trusted of a partial.

    Args:
        path: where it lies.
        kept: what the store has of it.
        is_proven: whether a checksum is going to prove the whole, so that bytes of which nothing is known may be used.
        size: bytes of the file, when the caller knows.
    """
    try:
        length = path.stat().st_size
    except OSError:
        return nothing()
    journal: Mapping[str, Any] = {}
    if kept is not None and kept.partial == str(path) and kept.journal.get("version") == _VERSION:
        journal = kept.journal
    note = part.read_note(path)
    if note is None:
        return _of_journal(length, journal, size) or _of_prefix(length, journal, is_proven, size)
    if size is not None and note.size != size:
        return nothing()
    is_ours = journal.get("id") == note.transfer_id.hex()
    durable = pieces_of(journal) if is_ours else None
    if durable is not None and (durable.size, durable.piece) != (note.size, note.piece):
        durable = None
    if not is_ours and not is_proven:
        return nothing()  # nothing would tell whether the rest belongs to it
    known = Known(note.transfer_id, validators=_validators(journal) if is_ours else {})
    if note.boot != part.boot_id():
        if durable is None:
            return nothing()
        # After a power cut: what was synced, and even of that only what still has its hash.
        known.pieces = durable
        known.again = [index for index in range(durable.count) if durable.is_complete(index)]
        known.unproven = set(known.again)
        for index in range(durable.count):
            if not durable.is_complete(index):
                durable.hashes[index] = None
        return known
    pieces = known.pieces = Pieces(note.size, note.piece)
    for index, filled in enumerate(note.filled):
        if durable is not None and durable.durable[index] and filled < pieces.length_of(index):
            known.unproven.add(index)
            filled = pieces.length_of(index)
        pieces.fill(index, filled)
        if pieces.is_complete(index) and durable is not None:
            pieces.hashes[index] = durable.hashes[index]
            pieces.durable[index] = durable.durable[index]
    known.again = [
        index
        for index in range(pieces.count)
        if index in known.unproven or (pieces.is_complete(index) and pieces.hashes[index] is None)
    ]
    return known


def pieces_of(journal: Mapping[str, Any]) -> Pieces | None:
    """The pieces of which a journal tells; None when it tells of none, or not in a way that is understood here."""
    if journal.get("version") != _VERSION or journal.get("algorithm") != PIECE_ALGORITHM:
        return None
    return Pieces.from_journal(journal.get("pieces", {}))


def _of_journal(length: int, journal: Mapping[str, Any], size: int | None) -> Known | None:
    """A partial whose note was torn by a power cut: what was synced, as far as it still has its hash."""
    pieces, transfer_id = pieces_of(journal), _transfer_id(journal)
    if pieces is None or transfer_id is None or size not in (None, pieces.size):
        return None
    for index in range(pieces.count):
        if pieces.end_of(index) > length or not pieces.is_complete(index):
            pieces.drop(index)
    again = [index for index in range(pieces.count) if pieces.is_complete(index)]
    if not again:
        return None
    return Known(transfer_id, pieces, 0, _validators(journal), again, set(again))


def _transfer_id(journal: Mapping[str, Any]) -> bytes | None:
    try:
        found = bytes.fromhex(journal["id"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if len(found) == _ID_BYTES else None


def _of_prefix(length: int, journal: Mapping[str, Any], is_proven: bool, size: int | None) -> Known:
    """A partial without a note: one of unknown size, or one that another program has left."""
    is_ours = "prefix" in journal and journal.get("boot") == part.boot_id().hex()
    if not length or not (is_ours or is_proven) or (size is not None and length > size):
        return nothing()
    known = nothing()
    known.prefix = length
    if is_ours:
        known.validators = _validators(journal)
    return known


def _validators(journal: Mapping[str, Any]) -> dict[str, Validators]:
    try:
        return {key: Validators(**given) for key, given in journal.get("validators", {}).items()}
    except (AttributeError, TypeError):
        return {}


def of_partial(
    destination: Path, path: Path, transfer_id: bytes, pieces: Pieces | None, validators: Mapping[str, Validators]
) -> Transfer:
    """What is kept of a partial."""
    journal: dict[str, Any] = {
        "version": _VERSION,
        "id": transfer_id.hex(),
        "validators": {key: asdict(given) for key, given in validators.items()},
    }
    if pieces is None:
        journal.update(prefix=True, boot=part.boot_id().hex())
    else:
        journal.update(pieces=pieces.to_journal(), algorithm=PIECE_ALGORITHM)
    size = None if pieces is None else pieces.size
    return Transfer(str(destination), journal, str(path), None, size, datetime.now(timezone.utc))


def of_file(
    destination: Path, pieces: Pieces | None, validators: Mapping[str, Validators], content: str | None, size: int
) -> Transfer:
    """What is kept of a file that is at its place."""
    journal: dict[str, Any] = {
        "version": _VERSION,
        "validators": {key: asdict(given) for key, given in validators.items()},
    }
    if pieces is not None:
        journal.update(pieces=pieces.to_journal(), algorithm=PIECE_ALGORITHM)
    return Transfer(str(destination), journal, None, content, size, datetime.now(timezone.utc))
