"""A mirror proves that it has the same file before a byte of it is used: same size, and two samples agree."""

from __future__ import annotations

from collections.abc import Sequence

import requests

from launcher_recovery.errors import IntegrityError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.body import Body
from launcher_recovery.transfer.layout import Layout
from launcher_recovery.transfer.request import NotThatFile, Validators, ask
from launcher_recovery.transfer.sources import OtherFileError, Source

SAMPLE = 256 << 10
"""Bytes of a sample."""

_SILENCE_S = 5.0


def prove(
    source: Source, session: requests.Session, layout: Layout | None, has_checksum: bool, is_comparing: bool = False
) -> None:
    """Return when the source may be used.

    Args:
        layout: what is there to compare with; None: nothing yet.
        has_checksum: whether a checksum is going to prove the whole. Without one, and without two pieces to compare,
            nothing would tell that a mirror has the same file.
        is_comparing: what is there is known to be wrong, so that it is nothing to compare with; a checksum proves what
            comes of it.

    Raises:
        OtherFileError: it has another file.
        IntegrityError: it gives no parts of the file, or nothing can prove that it has the same.
        requests.RequestException: it could not be asked.
    """
    if is_comparing:
        source.is_proven = True
        return
    there = [] if layout is None else layout.there()
    hashed = [(start, end) for start, end, is_hashed in there if is_hashed]
    if len(hashed) < 2 and not has_checksum:
        raise IntegrityError(f"nothing proves that the mirror {redact_url(source.url)} has the same file")
    # Where a checksum proves the whole, whatever there is shows in time that it is of no use to begin with it.
    known = hashed if len(hashed) > 1 else [(start, end) for start, end, _ in there]
    for start, end in _samples(known):
        assert layout is not None
        ours = memoryview(bytearray(end - start))
        layout.part.read(ours, start)
        if _sample(source, session, start, end, layout.pieces.size) != ours:
            raise OtherFileError(f"the mirror {redact_url(source.url)} has another file")
    source.is_proven = True


def _samples(there: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The beginning of the first of these ranges and the end of the last, as far apart as can be had."""
    if not there:
        return []
    (first, first_end), (last, last_end) = there[0], there[-1]
    head = (first, min(first + SAMPLE, first_end))
    tail = (max(last_end - SAMPLE, last), last_end)
    return [head] if head == tail else [head, tail]


def _sample(source: Source, session: requests.Session, start: int, end: int, size: int) -> memoryview:
    """What the source has there."""
    where = redact_url(source.url)
    try:
        answer = ask(session, source, start, end, source.validators or Validators(), trust_range=True)
    except NotThatFile:
        raise IntegrityError(f"the mirror {where} does not give the parts of the file that are asked for") from None
    try:
        theirs = answer.validators.size
        if theirs is not None and theirs != size:
            raise OtherFileError(f"the mirror {where} has a file of {theirs} bytes instead of {size} bytes", theirs)
        if answer.is_whole or theirs is None or answer.response is None:
            raise IntegrityError(f"the mirror {where} does not give the parts of the file that are asked for")
        source.validators = source.validators or answer.validators
        body, view, done = Body(answer.response, _SILENCE_S), memoryview(bytearray(end - start)), 0
        while done < len(view):
            count = body.read_into(view[done:])
            if not count:
                raise requests.ConnectionError(f"{redact_url(source.url)} closed the connection before the end")
            done += count
        return view
    finally:
        answer.close()
