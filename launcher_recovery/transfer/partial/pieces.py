"""Which bytes of a file are there: pieces, how far each is filled, its hash, and whether it is safe on the disk."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PIECE = 4 << 20
"""Bytes of a piece, unless there would be too many of them."""

MOST_PIECES = 4096
HASH_BYTES = 16


@dataclass(frozen=True)
class PieceHashes:
    """Hashes of pieces that somebody who knows the file has told, as a Metalink file does.

    Args:
        algorithm: as `hashlib` names it.
        length: bytes of a piece, the last one excepted.
        values: by piece, in lower-case hexadecimal.
    """

    algorithm: str
    length: int
    values: tuple[str, ...]


def piece_size(size: int) -> int:
    """Bytes of a piece of a file of `size` bytes: `PIECE`, doubled until there are at most `MOST_PIECES`."""
    piece = PIECE
    while piece * MOST_PIECES < size:
        piece *= 2
    return piece


class Pieces:
    """The state of a file of known size. It has no lock of its own: whoever shares it between threads has one.

    Within a piece bytes arrive from its beginning on, so that a number says which are there.

    Args:
        size: bytes of the file.
        piece: bytes of a piece; default: `piece_size(size)`.
    """

    def __init__(self, size: int, piece: int | None = None) -> None:
        self.size = size
        self.piece = piece or piece_size(size)
        self.count = -(-size // self.piece)
        self.filled = [0] * self.count
        self.hashes: list[bytes | None] = [None] * self.count
        """Of pieces that are complete and were hashed on their way in, or again since."""
        self.durable = [False] * self.count
        """Whether the piece was synced to the disk after it was complete."""
        self.have = 0
        """Bytes that are there, in all."""

    def start_of(self, index: int) -> int:
        return index * self.piece

    def length_of(self, index: int) -> int:
        return min(self.piece, self.size - index * self.piece)

    def end_of(self, index: int) -> int:
        return min(self.size, (index + 1) * self.piece)

    def is_complete(self, index: int) -> bool:
        return self.filled[index] == self.length_of(index)

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.have == self.size

    def fill(self, index: int, filled: int) -> None:
        """The first `filled` bytes of a piece are there, and no others."""
        self.have += filled - self.filled[index]
        self.filled[index] = filled
        if not self.is_complete(index):
            self.hashes[index] = None
            self.durable[index] = False

    def add(self, start: int, length: int) -> range:
        """Bytes arrived behind what is there of their piece; returns the pieces concerned."""
        if not length:
            return range(0)
        end = start + length
        first, last = start // self.piece, (end - 1) // self.piece
        for index in range(first, last + 1):
            self.fill(index, min(end, self.end_of(index)) - self.start_of(index))
        return range(first, last + 1)

    def drop(self, index: int) -> None:
        """Nothing of a piece is there."""
        self.fill(index, 0)

    def gaps(self, taken: Sequence[tuple[int, int]] = ()) -> Iterator[tuple[int, int]]:
        """What is missing, from the front, as (start, end); without what lies in one of the ranges `taken`.

        A gap that is taken from its beginning on is left out whole up to where the range ends.
        """
        ends = sorted(taken)
        start: int | None = None
        end = 0
        for index in range(self.count):
            missing, piece_end = self.start_of(index) + self.filled[index], self.end_of(index)
            if missing >= piece_end:
                continue
            if start is not None and missing == end:
                end = piece_end
                continue
            if start is not None:
                yield from _without(start, end, ends)
            start, end = missing, piece_end
        if start is not None:
            yield from _without(start, end, ends)

    def runs(self) -> list[tuple[int, int]]:
        """What is there, from the front, as (start, end)."""
        found: list[tuple[int, int]] = []
        for index, filled in enumerate(self.filled):
            start = self.start_of(index)
            if not filled:
                continue
            if found and found[-1][1] == start:
                found[-1] = found[-1][0], start + filled
            else:
                found.append((start, start + filled))
        return found

    def divided(self, piece: int) -> Pieces:
        """The same bytes in pieces of another length, of which no hash is known; without what lies behind a gap."""
        other = Pieces(self.size, piece)
        for index in range(other.count):
            start = other.start_of(index)
            other.fill(index, min(self._run_from(start), other.end_of(index)) - start)
        return other

    def _run_from(self, offset: int) -> int:
        """The end of the bytes that are there without a gap from `offset` on."""
        for index in range(offset // self.piece, self.count):
            end = self.start_of(index) + self.filled[index]
            if end < self.end_of(index):
                return max(offset, end)
        return self.size

    # -- the journal --------------------------------------------------------------------------------

    def to_journal(self) -> dict[str, Any]:
        """As JSON values: what is needed to go on from what is durable."""
        packed = b"".join(value or bytes(HASH_BYTES) for value in self.hashes)
        return {
            "size": self.size,
            "piece": self.piece,
            "hashes": base64.b64encode(packed).decode(),
            "durable": _runs(self.durable),
        }

    @classmethod
    def from_journal(cls, kept: Mapping[str, Any]) -> Pieces | None:
        """The pieces of which a journal tells, filled as far as they are durable, with the hashes of all that were
        hashed; None when it makes no sense."""
        try:
            size, piece = int(kept["size"]), int(kept["piece"])
            packed = base64.b64decode(kept["hashes"], validate=True)
            if size < 0 or piece < 1 or len(packed) != -(-size // piece) * HASH_BYTES:
                return None
            pieces = cls(size, piece)
            for index in range(pieces.count):
                value = packed[index * HASH_BYTES : (index + 1) * HASH_BYTES]
                pieces.hashes[index] = value if any(value) else None
            for first, last in kept["durable"]:
                # Without a hash nothing would tell whether it is still there after a power cut.
                if not 0 <= first <= last < pieces.count or None in pieces.hashes[first : last + 1]:
                    return None
                for index in range(first, last + 1):
                    pieces.fill(index, pieces.length_of(index))
                    pieces.durable[index] = True
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return pieces


def _without(start: int, end: int, taken: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, last in taken:
        if last <= max(first, start) or first >= end:  # also when nothing is left of it
            continue
        if first > start:
            yield start, first
        start = max(start, last)
    if start < end:
        yield start, end


def _runs(flags: Sequence[bool]) -> list[list[int]]:
    """First and last index of each run of true ones."""
    runs: list[list[int]] = []
    for index, flag in enumerate(flags):
        if not flag:
            continue
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return runs
