"""Which source sent which piece, and what of it was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from launcher_recovery.errors import IntegrityError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.sources.source import Source

# How often a source may send a piece wrong, where there is no other; and how many pieces, where there is.
_MOST_WRONG = 2


class Blame:
    """What the sources of one attempt are to blame for. Its methods are called with the lock of the pieces held.

    Args:
        sources: where the file can be had from.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.brought_by: dict[int, Source] = {}
        """By piece, the source that sent the end of it."""
        self._sources = sources
        self._wrong: Counter[tuple[int, Source]] = Counter()

    def sent(self, pieces: Iterable[int], source: Source) -> None:
        """What there is of these pieces ends with what `source` has sent."""
        self.brought_by.update(dict.fromkeys(pieces, source))

    def avoided(self, source: Source) -> set[int]:
        """Pieces that a source sent wrong: nobody sends one twice if another source can, and nobody thrice."""
        others = [other for other in self._sources if other is not source and not other.is_out]
        return {
            index
            for (index, who), times in self._wrong.items()
            if who is source and (times >= _MOST_WRONG or any(not self._wrong[index, other] for other in others))
        }

    def arrived_wrong(self, index: int) -> None:
        """A piece that has just come does not have its hash."""
        source = self.brought_by.get(index)
        if source is None:
            return
        self._wrong[index, source] += 1
        source.wrong_pieces += 1
        source.error = IntegrityError(f"{redact_url(source.url)} sent piece {index + 1} of the file wrong")
        if source.wrong_pieces > _MOST_WRONG and any(one is not source and not one.is_out for one in self._sources):
            source.is_out = True
