"""Which source is asked next, and what is said when none is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import requests

from launcher_recovery.errors import AddressExpiredError, IntegrityError
from launcher_recovery.transfer.sources.source import Source
from launcher_recovery.transfer.sources.waits import ASKING, Waits

_NOT_NOW = frozenset({408, 425, 429, 500, 502, 503, 504})
_BETTER = 2.0


class Choice:
    """The sources of one attempt.

    Args:
        sources: the given address first.
        operation_id: whose attempt it is.
        waits: which servers asked to be left alone.
        can_be_proven: whether there is something by which a source can show that it has the same file.
    """

    def __init__(
        self, sources: Sequence[Source], operation_id: str, waits: Waits, can_be_proven: Callable[[], bool]
    ) -> None:
        self._sources = sources
        self._operation_id = operation_id
        self._waits = waits
        self._can_be_proven = can_be_proven
        self._shunned: set[Source] = set()
        self._brought: set[Source] = set()
        self._last_error: BaseException | None = None
        for source in sources:
            source.is_held = self._is_held

    def best(
        self,
        in_use: Collection[Source],
        but: Source | None = None,
        can_serve: Callable[[Source], bool] = lambda source: True,
    ) -> Source | None:
        """The best source that is of use now: the fastest, the given one while nothing is known.

        One that was left because it was silent or slow is the last one to be asked.

        Args:
            in_use: those to which there are connections.
            but: one that is not wanted.
            can_serve: whether a source has something that is wanted.
        """
        usable = [one for one in self._usable(in_use) if one is not but and can_serve(one)]
        for group in ([one for one in usable if one not in self._shunned and self._is_provable(one)], usable):
            proven = [one for one in group if one.is_proven]
            if proven:
                return max(proven, key=lambda one: (one.rate, one.is_given))
            if group:
                return group[0]
        return None

    def has_better(self, source: Source, rate: float, in_use: Collection[Source]) -> bool:
        """Whether another source may well be faster than this one, of which a connection has `rate` bytes a second.

        So are one that was much faster, and one that has not been tried.
        """
        return any(
            other.rate > _BETTER * rate
            or (not other.rate and other not in in_use and other not in self._shunned and self._is_provable(other))
            for other in self._usable(in_use)
            if other is not source
        )

    def shun(self, source: Source, rate: float = 0.0) -> None:
        """Rather ask another one from now on; a connection to this one had `rate` bytes a second lately."""
        self._shunned.add(source)
        if rate:
            source.rate = min(source.rate, rate) or rate

    def failed(self, source: Source, error: Exception, received: int, is_resumable: bool) -> None:
        """A connection to a source failed.

        Args:
            received: bytes that it had brought.
            is_resumable: whether something proves that what comes by another one belongs to the same version.
        """
        self._last_error = error
        if received:
            self._brought.add(source)
        status = status_of(error)
        is_final = isinstance(error, (IntegrityError, AddressExpiredError)) or (
            status is not None and status not in _NOT_NOW
        )
        # Whoever falls silent is asked again at once if there is nobody else; and who names a time, after that time.
        is_silence = isinstance(error, requests.Timeout) and received > 0 and is_resumable
        if is_silence:
            self.shun(source)
        source.failed(error, is_final=is_final, is_forgiven=self._waits.heard(error) or is_silence)

    def refused(self, error: Exception) -> bool:
        """Whether an error says that the server wants no connection more just now."""
        self._waits.heard(error)
        return status_of(error) in _NOT_NOW

    def answered(self, source: Source, asked_at: float) -> None:
        """A source has begun to send what it was asked for at that moment."""
        for url in {source.url, source.resolved or source.url}:
            self._waits.answered(url, asked_at)

    def brought(self, source: Source) -> None:
        """A connection to it has brought bytes, and ended well."""
        self._brought.add(source)

    def error(self) -> BaseException:
        """What the attempt fails with when there is nobody left to ask.

        That of a source which brought bytes, and will go on soon; else that of the given address if it was asked at
        all; unless its server is to be left alone: then that of the one that may be asked first.
        """
        failed = [one for one in self._sources if one.error is not None]
        going = [one for one in failed if one in self._brought and not one.is_out and not self._left(one)]
        held = [one for one in self._sources if not one.is_out and self._left(one)]
        first = next(iter(going or failed or held), None)
        if first in held:
            first = min(held, key=self._left)
            told = self._waits.tell(self._longest(first), self._operation_id)
            return first.error if first.error is not None and status_of(first.error) in ASKING else told
        error = None if first is None else first.error
        return error or self._last_error or requests.ConnectionError("no source of the file is left")

    def _usable(self, in_use: Collection[Source]) -> list[Source]:
        return [one for one in self._sources if one.is_usable(one in in_use) and not self._left(one)]

    def _is_provable(self, source: Source) -> bool:
        return source.is_proven or self._can_be_proven()

    def _left(self, source: Source) -> float:
        return self._seconds(self._longest(source))

    def _is_held(self, url: str) -> bool:
        return self._seconds(url) > 0

    def _longest(self, source: Source) -> str:
        """Of the address of a source and the one behind its redirects, that which is to be left alone for longer."""
        return max((source.url, source.resolved or source.url), key=self._seconds)

    def _seconds(self, url: str) -> float:
        return self._waits.left(url, self._operation_id)


def status_of(error: BaseException) -> int | None:
    """The status of the answer that is an error; None: there was no answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
