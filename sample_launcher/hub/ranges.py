"""Which part of a file a request asks for (RFC 9110 section 14, single ranges)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """Bytes `start` up to but not including `end`; `partial` says whether the answer is a 206."""

    start: int
    end: int
    partial: bool


def select(size: int, header: str | None, if_range: str | None, etag: str, modified: str) -> Part | None:
    """The part of a file of `size` bytes to send, or None when the range cannot be satisfied (416).

    A header that is no single byte range is ignored, as the RFC allows, and so is one whose `If-Range`
    (an ETag or a date) does not name the file as it is now.
    """
    whole = Part(0, size, partial=False)
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return whole
    if if_range is not None and if_range.strip() not in (etag, modified):
        return whole
    if match[1] == "":
        length = int(match[2])
        return Part(max(0, size - length), size, partial=True) if length and size else None
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return whole
    if start >= size:
        return None
    return Part(start, min(size, int(match[2]) + 1) if match[2] else size, partial=True)
