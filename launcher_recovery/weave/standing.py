"""How a join point stands in this process, and what a process tells of itself in its row among the owners."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

WAITING = "waiting"
"""Its module was not imported, or was another one of that name."""
LIVE = "live"
OFF = "off"
"""It is there, and calls of it run without recovery."""

PAGES = "/recovery/"
"""Stands among the join points for the page and the API in the app of a host."""


@dataclass(frozen=True)
class Standing:
    """One join point in one process.

    Args:
        host: the host that declares it.
        point: such as `utils:fetch`, or `PAGES`.
        state: "waiting", "live" or "off".
        reason: why it is not live, or what is to be known although it is, as a sentence; empty: nothing.
    """

    host: str
    point: str
    state: str = WAITING
    reason: str = ""

    @property
    def problem(self) -> str:
        """What a person should know, as a sentence; empty: nothing."""
        if self.state == OFF:
            how = "is not there" if self.point == PAGES else "runs without recovery"
            return f"{self.point} of {self.host} {how}: {self.reason}."
        return f"{self.point} of {self.host}: {self.reason}." if self.state == LIVE and self.reason else ""


@dataclass(frozen=True)
class About:
    """A woven process.

    Args:
        role: "worker" of Celery, else "launcher".
        argv: what it was started with, without secrets.
        standings: of all join points that are not waiting.
        version: of launcher-recovery.
    """

    role: str
    argv: tuple[str, ...]
    standings: tuple[Standing, ...]
    version: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that were found in it."""
        return tuple(dict.fromkeys(standing.host for standing in self.standings))

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), separators=(",", ":"))


def about_of(text: str | None) -> About | None:
    """What a process told; None: it is not woven, or of a version that tells it in another way."""
    try:
        members: dict[str, Any] = json.loads(text or "")
        standings = tuple(Standing(**standing) for standing in members.pop("standings"))
        return About(**{**members, "argv": tuple(members["argv"]), "standings": standings})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
