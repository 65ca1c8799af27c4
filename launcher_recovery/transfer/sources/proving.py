"""A mirror proves that it has the same file before a byte of it is used: same size, and two samples agree."""

from __future__ import annotations

import requests

from launcher_recovery.errors import IntegrityError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.http.body import Body
from launcher_recovery.transfer.http.request import NotThatFile, ask
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.sources.source import OtherFileError, Source

SAMPLE = 256 << 10
"""Bytes of a sample."""

# Where pieces are not whole, so many make a sample.
_LEAST = 64 << 10
_SILENCE_S = 5.0


def prove(
    source: Source,
    session: requests.Session,
    layout: Layout | None,
    has_checksum: bool,
    is_comparing: bool = False,
    is_racing: bool = False,
) -> None:
    """Return when the source may be used.

    Args:
        layout: what is there to compare with; None: nothing yet.
        has_checksum: whether a checksum is going to prove the whole. Without one, and without two pieces to compare,
            nothing would tell that a mirror has the same file.
        is_comparing: what is there is known to be wrong, so that it is nothing to compare with; a checksum proves what
            comes of it.
        is_racing: another connection is at what this one is to fetch, so that nothing is won by one that is not proven:
            with a checksum, fewer than two pieces are then compared as far as they are there.

    Raises:
        OtherFileError: it has another file.
        IntegrityError: it gives no parts of the file, or nothing can prove that it has the same.
        requests.RequestException: it could not be asked.
    """
    if is_comparing:
        source.is_proven = True
        return
    samples = [] if layout is None else _samples(layout, has_checksum, is_racing)
    if not samples and not has_checksum:
        raise IntegrityError(f"nothing proves that the mirror {redact_url(source.url)} has the same file")
    for start, end in samples:
        assert layout is not None
        ours = memoryview(bytearray(end - start))
        layout.part.read(ours, start)
        if _sample(source, session, start, end, layout.pieces.size) != ours:
            raise OtherFileError(f"the mirror {redact_url(source.url)} has another file")
    source.is_proven = True


def has_samples(layout: Layout, has_checksum: bool) -> bool:
    """Whether there is enough to compare with what a source has that is to race."""
    return bool(_samples(layout, has_checksum, is_racing=True))


def _samples(layout: Layout, has_checksum: bool, is_racing: bool) -> list[tuple[int, int]]:
    """The beginning of the first piece and the end of the last, as far apart as can be had; of fewer than two, none.

    Where a checksum proves the whole, pieces serve that are only to be hashed: how far that is is a matter of chance.
    So do parts of fewer pieces for one that is to race, since a slow connection is long with two.
    """
    there = layout.complete()
    hashed = [piece for piece in there if piece[2]]
    known = hashed if len(hashed) > 1 or not has_checksum else there
    if len(known) > 1:
        (first, first_end, _), (last, last_end, _) = known[0], known[-1]
        return [(first, min(first + SAMPLE, first_end)), (max(last_end - SAMPLE, last), last_end)]
    if not has_checksum or not is_racing:
        return []
    runs = [(start, end) for start, end in layout.runs() if end - start >= _LEAST]
    if not runs or runs[-1][1] - runs[0][0] < 2 * _LEAST:
        return []
    (first, first_end), (last, last_end) = runs[0], runs[-1]
    if len(runs) == 1:
        first_end = last = (first + last_end) // 2
    return [(first, min(first + SAMPLE, first_end)), (max(last_end - SAMPLE, last), last_end)]


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
