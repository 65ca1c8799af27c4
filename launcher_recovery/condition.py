"""How a circuit breaker is, and what a call makes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum

from launcher_recovery.rows import Row

# The window of a failure rate is counted in this many slices.
SLICES = 30


class CircuitState(str, Enum):
    """CLOSED: calls pass and failures are counted. OPEN: calls are held back. HALF_OPEN: one probe is out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Condition:
    """All that is to be known of a breaker, and may be shared by processes; times are seconds since the epoch.

    Args:
        failure_count: failures in a row, of all who share it.
        opened_at: when it opened, or when the probe went out.
        generation: grows with every change of state, so that a claim of the probe's place has a number.
        probe_owner: the process whose call is the probe.
        recent: for a failure rate: (slice of time, calls, failures), oldest first.
    """

    state: CircuitState = CircuitState.CLOSED
    failure_count: int = 0
    last_failure_time: float | None = None
    opened_at: float | None = None
    generation: int = 0
    probe_owner: str | None = None
    recent: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, row: Row | None) -> Condition:
        """What a row says; that of an untried breaker when there is none."""
        if row is None:
            return UNTRIED
        given = {name: row[name] for name in _FIELDS}
        given["state"] = CircuitState(row["state"])
        given["recent"] = tuple((number, calls, failed) for number, calls, failed in row["recent"])
        return cls(**given)

    def row(self, now: float) -> Row:
        """The same as a row of JSON values, that is written now."""
        recent = [list(part) for part in self.recent]
        return {**vars(self), "state": self.state.value, "recent": recent, "updated_at": now}

    def becoming(self, state: CircuitState, opened_at: float | None, probe_owner: str | None = None) -> Condition:
        """It with another state."""
        return replace(self, state=state, opened_at=opened_at, probe_owner=probe_owner, generation=self.generation + 1)

    def counting(self, now: float, slice_s: float, *, failed: bool) -> Condition:
        """It with one more call within its window of `SLICES` slices."""
        number = int(now / slice_s)
        # What is ahead of now is from before the clock was set back.
        recent = [part for part in self.recent if number - SLICES < part[0] <= number]
        calls, failures = recent.pop()[1:] if recent and recent[-1][0] == number else (0, 0)
        return replace(self, recent=(*recent, (number, calls + 1, failures + failed)))

    @property
    def counted(self) -> tuple[int, int]:
        """Calls and failures in `recent`."""
        return sum(part[1] for part in self.recent), sum(part[2] for part in self.recent)


_FIELDS = tuple(field.name for field in fields(Condition))
UNTRIED = Condition()
