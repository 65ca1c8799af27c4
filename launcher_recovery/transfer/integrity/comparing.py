"""Looks for what is wrong in a file that does not have its checksum, by comparing it with what sources send."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import OtherFileError, Source

# Bounded ranges, since what a source sends behind the first difference is of no use.
_BOUNDED = 16 << 20
_BOUNDS = 32
# How often the whole is looked at in the middle of a comparison.
_MOST_LOOKS = 8


class Comparison:
    """Which pieces are compared with which source, and in which order. Called with the lock of the pieces held.

    A piece is compared with a source that did not send it, if there is one, since what is wrong is not from there; else
    with the one that did, since it may have become wrong on the way; and with none twice, so that there is an end to it
    whatever they send. One that differs is replaced by what the source has.

    After the first one that differs the whole is looked at again, since there is rarely another one. After that it is
    looked at when a row of pieces that differ has ended, and a few times only, so that a file that is another one
    altogether is not hashed as often as it has pieces.

    Args:
        pieces: what is there, and is wrong somewhere.
        sources: where the file can be had from, the given address first.
        brought_by: by piece, the source that sent it, as far as that is known; what an earlier attempt has left may be
            from any of them.
        confirmed: sources which are known to have what is there.
    """

    def __init__(
        self,
        pieces: Pieces,
        sources: Sequence[Source],
        brought_by: Mapping[int, Source],
        confirmed: Collection[Source] = (),
    ) -> None:
        self._pieces = pieces
        self._sources = sources
        self._confirmed = confirmed
        self._senders = [brought_by.get(index) for index in range(pieces.count)]
        """By piece, the source of what is there now."""
        self._compared: dict[Source, bytearray] = {source: bytearray(pieces.count) for source in sources}
        self._was_compared = bytearray(pieces.count)
        self._was_replaced = bytearray(pieces.count)
        self._due = bytearray(pieces.count)
        """The pieces that are still to be compared with `source`, one byte for each."""
        self._extent: Extent | None = None
        self._reached = 0
        self._found: int | None = None
        self._looks = 0
        self.source: Source | None = None
        """With which what is there is being compared."""
        self.is_contradicted = False
        """Whether a source sent something else than before."""
        for source in sources:
            if isinstance(source.error, OtherFileError) and source.error.size in (None, pieces.size):
                source.revive()  # it may be the one that has the right file

    @property
    def has_compared(self) -> bool:
        """Whether anything had been compared when it was last gone on with."""
        return any(self._was_compared)

    # -- whose turn it is ---------------------------------------------------------------------------

    def go_on(self) -> bool:
        """The whole is wrong, still: look on. False: everything was compared with everybody who could be asked."""
        self._settle()
        if self._found is not None:
            self._looks += 1
            self._found = None
        return self._next_due() is not None or self._begin(lambda source: not source.is_out)

    def is_for(self, source: Source) -> bool:
        """Whether it is the turn of a source that can be asked now; that of one that cannot is over."""
        if self.source is not source and (self.source is None or not self.source.is_usable(False)):
            self._settle()
            self._found = None
            self._begin(lambda one: one.is_usable(False))
        return self.source is source

    def _begin(self, can_be_asked: Callable[[Source], bool]) -> bool:
        """Begin with the source that is of most use, and with what it is of most use for."""
        usable = [
            source
            for source in self._sources
            if can_be_asked(source) and not source.ignores_ranges and source not in self._confirmed
        ]
        # Where that says nothing, rather not the given one, of which most is likely to be.
        usable.sort(key=lambda source: (not source.is_usable(False), source.is_given))
        for is_due in (self._is_of_another, self._is_new, self._is_left):
            rounds = {source: bytearray(is_due(i, source) for i in range(self._pieces.count)) for source in usable}
            best = max(usable, key=lambda source: sum(rounds[source]), default=None)
            if best is not None and any(rounds[best]):
                self.source, self._due, self._extent, self._reached = best, rounds[best], None, 0
                return True
        return False

    def _is_of_another(self, index: int, source: Source) -> bool:
        return not self._was_compared[index] and self._senders[index] is not source

    def _is_new(self, index: int, source: Source) -> bool:
        return not self._was_compared[index]

    def _is_left(self, index: int, source: Source) -> bool:
        """What two sources agree on need not be asked of the first of them again."""
        if self._compared[source][index]:
            return False
        return self._senders[index] is not source or bool(self._was_replaced[index])

    # -- how far it is ------------------------------------------------------------------------------

    @property
    def is_compared(self) -> bool:
        """Whether it is time to look at the whole again."""
        due = self._next_due()
        if due is None:
            return True
        if self._found is None or self._looks >= _MOST_LOOKS:
            return False
        if not self._looks:
            return True
        behind = self._due.find(1, self._found + 1)
        return due > behind  # the piece behind the last one that differs does not

    def next(self) -> Extent | None:
        """What is to be fetched next, to be compared; None: it is time to look at the whole."""
        if self.is_compared:
            return None
        pieces, index = self._pieces, self._next_due()
        assert index is not None
        start, last = max(self._cursor, pieces.start_of(index)), index
        most = max(min(_BOUNDED, pieces.size // _BOUNDS) // pieces.piece, 1)
        while last + 1 < min(index + most, pieces.count) and self._due[last + 1]:
            last += 1
        self._extent = Extent(start, pieces.end_of(last))
        return self._extent

    def differs(self, index: int, extent: Extent) -> None:
        """A piece is another one at the source, and what that has takes its place from now on."""
        assert self.source is not None
        self._found = index
        if self._senders[index] is self.source:
            self.is_contradicted = True
        self._senders[index] = self.source
        self._was_replaced[index] = True
        if not self._looks:
            extent.end = min(extent.end, self._pieces.end_of(index))

    def goes_on(self, extent: Extent) -> bool:
        """Whether `source` has been compared further than it had been before."""
        had, self._reached = self._reached, max(self._reached, extent.pos)
        return self._reached > had

    @property
    def _cursor(self) -> int:
        """How far it has come. What is missing of a piece that differs is no longer to be compared."""
        position = 0 if self._extent is None else self._extent.pos
        return position if self._found is None else max(position, self._pieces.end_of(self._found))

    def _next_due(self) -> int | None:
        """The first piece that is not compared yet."""
        index = self._cursor // self._pieces.piece if self._cursor < self._pieces.size else self._pieces.count
        found = self._due.find(1, index)
        return None if found < 0 else found

    def _settle(self) -> None:
        """Take note of what has been compared."""
        if self.source is None:
            return
        done = self._cursor
        for index, is_due in enumerate(self._due):
            if is_due and self._pieces.end_of(index) <= done:
                self._due[index] = False
                self._compared[self.source][index] = self._was_compared[index] = True
