"""Which connections are so much slower than is usual, for so long, that another way is worth looking for."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import TypeVar

SLOW_S = 10.0
"""So long a connection may be slow."""

SLOW = 0.25
"""Below so much of what is usual it is."""

CRAWL = 64 << 10
"""Bytes a second that are slow by themselves, since a connection that is alone makes its own speed the usual one."""

_LOOK_S = 1.0
_REMEMBERED = 60
_FEWEST = 3

K = TypeVar("K", bound=Hashable)


class Pace:
    """Compares connections with what connections had over the last minute or so; a pure state machine."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)
        self._looked_at: float | None = None
        self._since: dict[Hashable, float] = {}

    def slow(self, now: float, rates: Mapping[K, tuple[float, float] | None], share: float | None) -> dict[K, bool]:
        """The connections that have been slow for `SLOW_S`; with each, whether that is so beside others, or by itself.

        Looks at most once a second, and gives nothing in between.

        Args:
            now: monotonic time in seconds.
            rates: by connection, bytes a second at the last measurement and since then; None: it waits for an answer,
                which says nothing of its speed.
            share: bytes a second that a limit leaves to each connection; None: there is no limit.
        """
        if self._looked_at is not None and now - self._looked_at < _LOOK_S:
            return {}
        self._looked_at = now
        self._since = {key: since for key, since in self._since.items() if key in rates}
        known = {key: pair for key, pair in rates.items() if pair is not None}
        self._rates.extend(rate for rate, _ in known.values() if rate)
        usual = sorted(self._rates)[len(self._rates) // 2] if len(self._rates) >= _FEWEST else 0.0
        crawl: float = CRAWL
        if share is not None:
            usual, crawl = min(usual, share), min(crawl, SLOW * share)
        found = {}
        for key, pair in known.items():
            rate = max(pair)
            is_behind = rate < SLOW * usual
            if not is_behind and rate >= crawl:
                self._since.pop(key, None)
            elif now - self._since.setdefault(key, now) >= SLOW_S:
                found[key] = is_behind
        return found
