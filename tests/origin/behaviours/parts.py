"""Bodies cut in two."""

from __future__ import annotations

from collections.abc import Iterable

from ..answers import Part, Span


def cut(body: Iterable[Part], count: int) -> tuple[Part, ...]:
    """A body up to so many bytes of the file."""
    kept: list[Part] = []
    for part in body:
        if isinstance(part, Span):
            if part.end - part.start >= count:
                return (*kept, Span(part.file, part.start, part.start + count))
            count -= part.end - part.start
        kept.append(part)
    return tuple(kept)


def behind(body: Iterable[Part], count: int) -> tuple[Part, ...]:
    """What `cut` cuts off."""
    left: list[Part] = []
    for part in body:
        if count < 0:
            left.append(part)
        elif isinstance(part, Span):
            length = part.end - part.start
            if length >= count:
                left.append(Span(part.file, part.start + count, part.end))
                count = -1
            else:
                count -= length
    return tuple(left)
