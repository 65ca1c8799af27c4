"""Looks whether a file on the disk is as it should be, and heals it with exactly the pieces that are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from launcher_recovery.errors import IntegrityError, RefusedError, StoreError
from launcher_recovery.persistence.base import Store, keeps_transfers
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.body import Body
from launcher_recovery.transfer.checksums import Checksum, Digests, piece_hasher
from launcher_recovery.transfer.journal import pieces_of
from launcher_recovery.transfer.pieces import Pieces
from launcher_recovery.transfer.request import FileChangedError, NotThatFile, Validators, ask
from launcher_recovery.transfer.sources import Source
from launcher_recovery.transfer.worker import SILENCE_S

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """What became of a look at a file.

    Args:
        ok: whether the file is as it should be, now.
        size: its bytes, now.
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


def verify_file(
    path: Path,
    store: Store,
    checksums: tuple[Checksum, ...],
    *,
    url: str | None,
    repair: bool,
    check: Callable[[], object],
    headers: Mapping[str, str] | None = None,
    new_session: Callable[[], requests.Session] = requests.Session,
) -> Verified:
    """See `launcher_recovery.transfer.verify`.

    Args:
        store: knows the hashes of the pieces of what was downloaded.
        headers: sent to the origin of `url` alone.
    """
    if not path.is_file():
        raise RefusedError(f"there is no file {path}: give the path of a file that was downloaded")
    pieces, known, validators = _known(path, store)
    checksums = tuple(dict.fromkeys((*checksums, *known)))
    size = path.stat().st_size
    if pieces is not None and pieces.size != size and not repair:
        return _damaged(size, "the size", f"{path.name} has {size} bytes, but {pieces.size} bytes were downloaded")
    if pieces is None and not checksums:
        return _damaged(
            size,
            "nothing",
            f"nothing is known of {path.name} to compare it with: give its checksum, or download it again",
        )
    bad, wrong = _look(path, pieces, checksums, check)
    checked = " and ".join([*(str(checksum) for checksum in checksums), *([] if pieces is None else ["its pieces"])])
    is_longer = pieces is not None and size > pieces.size
    if not bad and not wrong and not is_longer:
        return Verified(True, size, checked)
    if pieces is None or (wrong and not bad):
        reason = f"{path.name} is damaged: it does not have {wrong[0]}"
        if pieces is not None:
            reason += ", although it is as it was downloaded"
        return _damaged(size, checked, f"{reason}; download it again")
    ranges = tuple((pieces.start_of(index), pieces.end_of(index)) for index in bad)
    if not repair:
        return _damaged(size, checked, f"{len(bad)} of {pieces.count} pieces of {path.name} are damaged", ranges)
    if bad:
        if url is None:
            raise RefusedError(f"it is not known where {path.name} can be had: give its address")
        _heal(path, pieces, bad, Source(url, headers), validators, new_session, check)
        still, wrong = _look(path, pieces, checksums, check)
        if still or wrong:
            return _damaged(size, checked, f"{path.name} is damaged still; download it again", ranges)
    if is_longer:
        _cut(path, pieces.size)
        ranges += ((pieces.size, size),)
    return Verified(True, pieces.size, checked, ranges, repaired=True)


def _damaged(size: int, checked: str, problem: str, bad: tuple[tuple[int, int], ...] = ()) -> Verified:
    return Verified(False, size, checked, bad, problem=problem)


def _known(path: Path, store: Store) -> tuple[Pieces | None, tuple[Checksum, ...], Validators]:
    """What the store has of the file: its pieces, its checksum, and what identified its version."""
    try:
        kept = store.transfer(str(path)) if keeps_transfers(store) else None
    except StoreError:
        kept = None
    if kept is None or kept.partial is not None:
        return None, (), Validators()
    content = () if kept.content is None else (Checksum.parse(kept.content),)
    return pieces_of(kept.journal), content, Validators(size=kept.size)


def _look(
    path: Path, pieces: Pieces | None, checksums: tuple[Checksum, ...], check: Callable[[], object]
) -> tuple[list[int], tuple[Checksum, ...]]:
    """The pieces that are not as they were, or not there, and the checksums that the file does not have, in one pass.

    What is behind the last piece is not looked at.
    """
    digests = Digests(checksums)
    bad: list[int] = []
    step = _BLOCK if pieces is None else min(_BLOCK, pieces.piece)
    block = memoryview(bytearray(step))
    hasher: Any = piece_hasher()
    done = 0

    def most() -> int:
        if pieces is None:
            return step
        return min(step, pieces.piece - done % pieces.piece, pieces.size - done)

    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block[: most()]):
            view = block[:count]
            digests.update(view)
            done += count
            check()
            if pieces is None:
                continue
            hasher.update(view)
            if done % pieces.piece == 0 or done == pieces.size:
                index = (done - 1) // pieces.piece
                if pieces.hashes[index] not in (None, hasher.digest()):
                    bad.append(index)
                hasher = piece_hasher()
    if pieces is not None and done < pieces.size:
        bad.extend(range(done // pieces.piece, pieces.count))
    return bad, digests.wrong()


def _heal(
    path: Path,
    pieces: Pieces,
    bad: list[int],
    source: Source,
    validators: Validators,
    new_session: Callable[[], requests.Session],
    check: Callable[[], object],
) -> None:
    """Write what was downloaded once over the damaged pieces, each only when it has the hash that it had then."""
    with new_session() as session, path.open("r+b", buffering=0) as file:
        for index in bad:
            start, end = pieces.start_of(index), pieces.end_of(index)
            try:
                data = _fetch(session, source, start, end, validators, check)
            except FileChangedError:
                raise _other_file(source, path) from None
            hasher = piece_hasher()
            hasher.update(data)
            if hasher.digest() != pieces.hashes[index]:
                raise _other_file(source, path)
            file.seek(start)
            while data:
                data = data[file.write(data) :]
        os.fsync(file.fileno())


def _other_file(source: Source, path: Path) -> IntegrityError:
    return IntegrityError(
        f"{redact_url(source.url)} has another file by now, so that {path.name} cannot be repaired from there; "
        "download it again"
    )


def _cut(path: Path, size: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _fetch(
    session: requests.Session,
    source: Source,
    start: int,
    end: int,
    validators: Validators,
    check: Callable[[], object],
) -> memoryview:
    try:
        answer = ask(session, source, start, end, validators, trust_range=True)
    except FileChangedError:
        raise
    except NotThatFile:
        raise IntegrityError(f"{redact_url(source.url)} does not give parts of the file") from None
    try:
        if answer.response is None or (answer.is_whole and start > 0):
            raise IntegrityError(f"{redact_url(source.url)} does not give parts of the file")
        body, view, done = Body(answer.response, SILENCE_S), memoryview(bytearray(end - start)), 0
        while done < len(view):
            count = body.read_into(view[done:])
            if not count:
                raise requests.ConnectionError(f"{redact_url(source.url)} closed the connection before the end")
            done += count
            check()
        return view
    finally:
        answer.close()
