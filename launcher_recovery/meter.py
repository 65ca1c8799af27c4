"""Speed and throttling of one operation's progress."""

from __future__ import annotations

from launcher_recovery.records import Progress

INTERVAL_S = 0.2
_RATE_WINDOW_S = 4.0


class Meter:
    """What was last reported of an operation's progress, when it was last kept, and how fast it goes.

    Args:
        resumed: units that were there when the attempt began.
    """

    def __init__(self, resumed: float = 0.0) -> None:
        self.resumed = resumed
        self.latest: Progress | None = None
        self._kept_at = float("-inf")
        self._points: list[tuple[float, float]] = []

    def report(self, done: float, total: float | None, unit: str, message: str | None, now: float) -> Progress:
        """The progress at `now` (seconds of a monotonic clock), with speed and time left."""
        rate = self._rate(done, now)
        eta = None if not rate or total is None else max(0.0, (total - done) / rate)
        self.latest = Progress(done, total, unit, rate, eta, self.resumed, message)
        return self.latest

    def is_due(self, now: float) -> bool:
        """Whether progress is to be kept again; at most five times a second."""
        due = now - self._kept_at >= INTERVAL_S
        if due:
            self._kept_at = now
        return due

    def _rate(self, done: float, now: float) -> float | None:
        """Units a second over the last few seconds; None until two moments are known."""
        points = self._points
        if not points or now - points[-1][0] >= INTERVAL_S:
            points.append((now, done))
            while len(points) > 2 and now - points[0][0] > _RATE_WINDOW_S:
                points.pop(0)
        (then, before), (latest, after) = points[0], points[-1]
        return None if latest <= then else max(0.0, (after - before) / (latest - then))
