"""A small record that is read, changed and kept in one go; that of one process, whoever shares one extends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
"""A record by name, as JSON values; times are seconds since the epoch."""

Transition = Callable[["Row | None"], "Row | None"]
"""From the row as it is (None: there is none) to the row as it shall be (None: as it is). It has no effects that last:
it may be called more than once, and by another thread; the last time counts."""


class KeptRow:
    """A row of this process. Whoever looks or changes, and draws conclusions from it, holds `turn` meanwhile."""

    is_shared = False
    """Whether other processes have it as well, so that looking and changing may block."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self._known: Row | None = None

    def look(self) -> Row | None:
        """The row as it is now; None: there is none."""
        return self._known

    def change(self, transition: Transition) -> Row | None:
        """Make the row what `transition` says, and return it."""
        with self.turn:
            changed = transition(self._known)
            if changed is not None:
                self._known = changed
            return self._known

    def enter(self) -> str | None:
        """A name of this process, by which others find out whether it lives; None: nobody shares the row."""
        return None

    def is_gone(self, process: str) -> bool:
        """Whether a process that had entered has ended without a word."""
        return False
