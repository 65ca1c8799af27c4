"""Puts what arrives where it belongs, and has it hashed; what is there already is compared with it instead."""

from __future__ import annotations

from collections.abc import Iterator

from launcher_recovery.transfer.connections.allotment import Allotment
from launcher_recovery.transfer.connections.blame import Blame
from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import Source


class Intake:
    """The way into a partial. Its methods are called with the lock of the pieces held.

    Args:
        layout: the partial.
        allotment: says whether sources are compared.
        blame: remembers who sent what.
    """

    def __init__(self, layout: Layout, allotment: Allotment, blame: Blame) -> None:
        self._layout = layout
        self._allotment = allotment
        self._blame = blame

    def take(self, buffer: memoryview, count: int, extent: Extent, source: Source) -> int:
        """Take the first `count` bytes of `buffer`, with which `source` has sent what `extent` begins with.

        Returns:
            How many were written. If any were, the buffer is given back when they are hashed, else it is the caller's.

        Raises:
            PartClosedError: the attempt is over.
            OSError: they could not be written.
        """
        layout, view, offset = self._layout, buffer[:count], extent.pos
        written: list[tuple[int, int]] = []
        for start, end, is_missing in list(_parts(layout.pieces, offset, count)):
            data = view[start - offset : end - offset]
            if not is_missing:
                at = self._first_difference(data, start)
                if at is None:
                    continue
                self._differs(at, extent)
                start, data = at, data[at - start :]
                end = start + len(data)
            changed = layout.pieces.add(start, len(data))
            layout.part.write(data, start, [(index, layout.pieces.filled[index]) for index in changed])
            self._blame.sent(changed, source)
            written.append((start, end))
        extent.pos = offset + count
        # With the lock held, so that what two connections write into one piece is hashed in order.
        for number, (start, end) in enumerate(written):
            is_last = number == len(written) - 1
            layout.hashing.put(start, view[start - offset : end - offset], buffer if is_last else None)
        return sum(end - start for start, end in written)

    def drop_from(self, offset: int) -> None:
        """Nothing behind `offset` is worth anything."""
        pieces = self._layout.pieces
        for index in range(offset // pieces.piece, pieces.count):
            pieces.fill(index, max(0, min(pieces.filled[index], offset - pieces.start_of(index))))
        self._layout.part.note(list(enumerate(pieces.filled)))
        self._layout.hashing.rewind(offset)

    def _first_difference(self, data: memoryview, start: int) -> int | None:
        """Where what came differs from what is on the disk; None: nowhere."""
        there = memoryview(bytearray(len(data)))
        self._layout.part.read(there, start)
        if there == data:
            return None
        low, high = 0, len(data)
        while high - low > 1:  # the first half that differs, again and again
            middle = (low + high) // 2
            if there[low:middle] == data[low:middle]:
                low = middle
            else:
                high = middle
        return start + low

    def _differs(self, at: int, extent: Extent) -> None:
        """Bytes that were there are others now: without a repair under way, what follows them is void as well."""
        layout, comparison = self._layout, self._allotment.comparison
        if comparison is None:
            self.drop_from(at)
            return
        pieces = layout.pieces
        index = at // pieces.piece
        comparison.differs(index, extent)
        pieces.fill(index, at - pieces.start_of(index))
        layout.part.note([(index, pieces.filled[index])])
        layout.hashing.rewind(pieces.start_of(index))


def _parts(pieces: Pieces, offset: int, count: int) -> Iterator[tuple[int, int, bool]]:
    """What arrived, as (start, end, is_missing), without what cannot be kept: it lies behind a gap in its piece."""
    end = offset + count
    start = offset
    while start < end:
        index = start // pieces.piece
        stop = min(end, pieces.end_of(index))
        there = pieces.start_of(index) + pieces.filled[index]
        if start < there:
            yield start, min(stop, there), False
            start = min(stop, there)
        elif start == there:
            # As far as the pieces behind are empty it is one write.
            while stop < end and not pieces.filled[stop // pieces.piece]:
                stop = min(end, pieces.end_of(stop // pieces.piece))
            yield start, stop, True
            start = stop
        else:
            start = stop
