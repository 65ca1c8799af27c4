"""Which connection fetches what: extents from the front, shorter towards the end, and who helps whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.partial.pieces import Pieces

if TYPE_CHECKING:
    from launcher_recovery.transfer.connections.worker import Worker
    from launcher_recovery.transfer.integrity.comparing import Comparison

EXTENT_S = 8.0
"""An extent takes about so many seconds, so that asking for the next one costs next to nothing."""

HELP_S = 4.0
"""A connection that would need so much longer than others is helped by an idle one."""

_FIRST = 32 << 20
# Pieces may be short where somebody else has divided the file (RFC 5854 §4.1.3); a request for each would be many.
_LEAST = 1 << 20
# While there is one connection, which need not end together with others, no extent is shorter than so many seconds.
_WORTH_S = 0.25


class Allotment:
    """Gives extents to connections. Called with the lock of the pieces held.

    Extents begin at the front, so that the whole file can be hashed while it arrives, and get shorter towards the end
    (guided self-scheduling, Polychronopoulos and Kuck 1987), so that all connections end at about the same time and
    none has to be cut off.

    Args:
        pieces: what is there.
        connections: how many there may be.
    """

    def __init__(self, pieces: Pieces, connections: int) -> None:
        self._pieces = pieces
        self._connections = max(1, connections)
        self.wanted = 1
        """How many connections there are to be at the moment."""
        self.comparison: Comparison | None = None
        """What looks for a wrong piece, once all are there and the whole is not right."""

    @property
    def is_comparing(self) -> bool:
        """Whether what is there is being compared with what a source sends, to find a wrong piece."""
        return self.comparison is not None

    def next(self, worker: Worker, workers: Sequence[Worker], avoided: Iterable[int] = ()) -> Extent | None:
        """The next extent for a connection; None: it is not needed any more.

        Args:
            worker: the connection.
            workers: all there are.
            avoided: pieces that this one is not to fetch.
        """
        busy = [other for other in workers if other.extent is not None and other is not worker]
        if self.comparison is not None and self._pieces.is_whole:
            return None if busy else self.comparison.next()
        if worker.rival is not None:
            return self._part_of(worker.rival)
        if len(busy) >= self.wanted:
            return None
        taken = [(other.extent.pos, other.extent.end) for other in busy if other.extent is not None]
        gap = next(self._pieces.gaps([*taken, *map(self._range_of, avoided)]), None)
        if gap is None:
            return self._help(busy)
        return Extent(gap[0], self._end(gap, worker, taken))

    def has_work(self, workers: Sequence[Worker], avoided: Iterable[int] = ()) -> bool:
        """Whether there is something that no connection is about to fetch, beside the pieces that are avoided."""
        taken = [(other.extent.pos, other.extent.end) for other in workers if other.extent is not None]
        if self.comparison is not None and self._pieces.is_whole:
            return not taken and not self.comparison.is_compared
        return next(self._pieces.gaps([*taken, *map(self._range_of, avoided)]), None) is not None

    def _range_of(self, index: int) -> tuple[int, int]:
        return self._pieces.start_of(index), self._pieces.end_of(index)

    def _end(self, gap: tuple[int, int], worker: Worker, taken: Sequence[tuple[int, int]]) -> int:
        start, end = gap
        length = _FIRST if not worker.rate else int(worker.rate * EXTENT_S)
        if self._connections > 1:
            left = self._pieces.size - self._pieces.have - sum(max(0, last - first) for first, last in taken)
            length = min(length, left // (2 * self._connections))
        if self.wanted == 1:
            length = max(length, int(worker.rate * _WORTH_S))
        length = max(length, self._pieces.piece, _LEAST)
        # To the end of a piece.
        until = -(-(start + length) // self._pieces.piece) * self._pieces.piece
        return end if end - until < _LEAST else until

    def _help(self, busy: Sequence[Worker]) -> Extent | None:
        """The second half of what the connection has left that is going to be the last one, if that is far behind."""
        slowest = self.slowest(busy, time.monotonic())
        if slowest is None or slowest.extent is None:
            return None
        start = self._missing_of(slowest.extent)
        if start is None or slowest.extent.end - start < 2 * self._pieces.piece:
            return None
        return self._part_of(slowest)

    def is_outrun(self, worker: Worker) -> bool:
        """Whether another connection has brought all that this one is still at."""
        extent = worker.extent
        return extent is not None and extent.left > 0 and self._missing_of(extent) is None

    def _missing_of(self, extent: Extent) -> int | None:
        """Where the first byte of an extent is missing that is not there by another connection."""
        position = extent.pos
        while position < extent.end:
            index = position // self._pieces.piece
            position = max(position, self._pieces.start_of(index) + self._pieces.filled[index])
            if position < self._pieces.end_of(index):
                return position if position < extent.end else None
        return None

    def slowest(self, workers: Sequence[Worker], now: float) -> Worker | None:
        """The connection that is going to be the last one, if it is far from done."""
        found, longest = None, HELP_S
        for worker in workers:
            rate = worker.rate_at(now)
            if worker.extent is not None and rate is not None and worker.extent.left / max(rate, 1.0) > longest:
                found, longest = worker, worker.extent.left / max(rate, 1.0)
        return found

    def _part_of(self, rival: Worker) -> Extent | None:
        """The second half of what the rival has left; what is not worth dividing is fetched twice, and never thrice."""
        extent = rival.extent
        start = None if extent is None else self._missing_of(extent)
        if extent is None or start is None:
            return None
        left = extent.end - start
        middle = -(-(start + left // 2) // self._pieces.piece) * self._pieces.piece
        if left < 2 * self._pieces.piece or not start < middle < extent.end:
            return Extent(start, extent.end)
        helped = Extent(middle, extent.end)
        extent.end = middle
        return helped
