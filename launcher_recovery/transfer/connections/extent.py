"""What a connection is to fetch, and what may be wrong with that on this side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Extent:
    """A part of the file that a connection is to fetch: bytes `pos` to `end`; `end` may come nearer meanwhile."""

    pos: int
    end: int

    @property
    def left(self) -> int:
        return max(0, self.end - self.pos)


class LocalError(Exception):
    """Something here failed, not the other side; `args[0]` is what."""
