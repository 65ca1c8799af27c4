"""How many requests a peer may make: a token bucket for each (burst, then so many a second)."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable

BURST = 100
PER_SECOND = 20.0
REMEMBERED = 4096
"""Peers whose bucket is remembered; beyond it the one that was quiet the longest begins anew."""


class RateLimit:
    """The buckets of all peers.

    Args:
        monotonic: source of time, in seconds.
        burst: requests at once.
        per_second: requests a second after that.
    """

    def __init__(self, monotonic: Callable[[], float], burst: int = BURST, per_second: float = PER_SECOND) -> None:
        self._monotonic = monotonic
        self._burst = float(burst)
        self._per_second = per_second
        self._lock = threading.Lock()
        # By peer: what was left in the bucket, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, peer: str, cost: float = 1.0) -> int:
        """Let a request pass, which costs as much as `cost` usual ones.

        Returns:
            0, or the seconds after which it may be made again; then it has cost nothing.
        """
        with self._lock:
            left = self._left(peer)
            passes = left >= cost
            self._buckets[peer] = (left - cost if passes else left, self._monotonic())
            while len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        return 0 if passes else max(1, math.ceil((cost - left) / self._per_second))

    def give_back(self, peer: str, cost: float) -> None:
        """Have a request cost less than was taken for it."""
        with self._lock:
            self._buckets[peer] = (min(self._burst, self._left(peer) + cost), self._monotonic())

    def _left(self, peer: str) -> float:
        left, at = self._buckets.pop(peer, (self._burst, 0.0))
        return min(self._burst, left + max(0.0, self._monotonic() - at) * self._per_second)
