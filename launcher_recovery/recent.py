"""The last lines that were logged in this process, for support files."""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timezone

KEPT = 500
"""How many lines are kept, of this process's latest."""

_LONGEST = 1000

logger = logging.getLogger("launcher_recovery")


class RecentLines(logging.Handler):
    """Keeps what the logger "launcher_recovery" tells, from level INFO on as far as the logger lets that through."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[str] = deque(maxlen=KEPT)

    def attach(self) -> None:
        """Keep lines from now on."""
        logger.addHandler(self)

    def detach(self) -> None:
        """Keep no more."""
        logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        try:
            text = record.getMessage()[:_LONGEST]
        except Exception:  # of arguments that do not fit; it is told by other handlers
            text = "?"
        error = record.exc_info[0] if record.exc_info else None
        self._lines.append(f"{at} {record.levelname} {text}" + ("" if error is None else f" ({error.__name__})"))

    @property
    def lines(self) -> list[str]:
        """The lines, oldest first."""
        return [*self._lines]
