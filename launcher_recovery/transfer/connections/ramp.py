"""How many connections: one to begin with, one more as long as each makes the whole faster."""

from __future__ import annotations

GROWTH = 1.2
"""How many times faster the whole has to be with one connection more."""

_SHORTEST_S = 0.1
# Servers that limit a connection send by fits and starts, and a connection that is given up is not tried for long.
_JUDGED_S = 0.25
_LONGEST_S = 1.0
_ENOUGH_BYTES = 8 << 20
_AGAIN_S = 30.0
# The part of the time that connections wait for what is behind them, from which on they are not what is slow.
_NARROW = 0.05


class Ramp:
    """Decides from measurements how many connections there should be; a pure state machine.

    A measurement takes until `_ENOUGH_BYTES` have come, at least 0.1 s and at most 1 s. The first connection is given
    the time to get as fast as it is by itself: a second one would be thought to have brought that about. When one more
    connection did not help, it is taken back, and after half a minute tried again.

    Args:
        most: how many connections at most.
    """

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self.wanted = 1
        self._since: tuple[float, int, float] | None = None
        self._before = 0.0
        self._alone = 0.0
        self._rests_until = 0.0

    def observe(self, now: float, received: int, working: int, worth: bool, waited: float = 0.0) -> int:
        """How many connections there should be.

        Args:
            now: monotonic time in seconds.
            received: bytes that have arrived over all connections so far.
            working: how many connections are receiving at the moment.
            worth: whether there is enough left for another connection.
            waited: seconds that all connections together have waited for the hashes or the disk so far. Where these
                are what is slow, one more would only mix up the order.
        """
        if self._rests_until > now or (self.wanted >= self.most and not self._before) or working < self.wanted:
            self._since = None
            return self.wanted
        if self._since is None:
            self._since = now, received, waited
            return self.wanted
        began, had, had_waited = self._since
        seconds, count = now - began, received - had
        shortest = _JUDGED_S if self._before else _SHORTEST_S
        if seconds < shortest or (count < _ENOUGH_BYTES and seconds < _LONGEST_S):
            return self.wanted
        self._since = None
        rate = count / seconds
        worth = worth and waited - had_waited <= _NARROW * seconds * working
        if self._before and rate < GROWTH * self._before:
            self.wanted = max(1, self.wanted - 1)
            self._before, self._rests_until = 0.0, now + _AGAIN_S
        elif not count:
            pass  # silence says nothing of how fast it is
        elif self.wanted == 1 and rate >= GROWTH * self._alone:
            self._alone = rate  # it gets faster by itself still
        elif self.wanted < self.most and worth:
            self._before, self._rests_until = rate, 0.0
            self.wanted += 1
        else:
            self._before = 0.0
        return self.wanted

    def fall_back(self, working: int, now: float) -> None:
        """A connection could not be had, or was taken away: so many work, and no more are tried for a while."""
        self.wanted = max(1, working)
        self._before, self._since, self._rests_until = 0.0, None, now + _AGAIN_S
