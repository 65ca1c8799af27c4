"""Calls observers, such as those of extensions, so that one that hangs holds nothing up for long."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

OBSERVER_LIMIT_S = 5.0
"""Seconds for which an operation waits for an observer."""


class HangingError(Exception):
    """An observer has not come back in time; it goes on in its thread."""


class Observers:
    """Each call has a thread of its own, in the context of the caller, who waits for it; those of one name that hang
    are not called again before they have come back.

    Args:
        limit_s: seconds that a caller waits.
    """

    def __init__(self, limit_s: float = OBSERVER_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._hanging: dict[str, int] = {}

    def call(self, name: str, observer: Callable[[], object]) -> None:
        """Call an observer of that name, unless one of it hangs.

        Raises:
            HangingError: it did not come back in time.
            Exception: what it raises in time.
        """
        with self._lock:
            if self._hanging.get(name):
                return
        over = threading.Event()
        errors: list[Exception] = []
        context = contextvars.copy_context()
        is_late = False

        def work() -> None:
            try:
                context.run(observer)
            except Exception as error:
                errors.append(error)
            finally:
                with self._lock:
                    over.set()
                    if is_late:
                        self._hanging[name] -= 1

        # A daemon: the end of the process does not wait for it.
        threading.Thread(target=work, name=f"observer {name}", daemon=True).start()
        over.wait(self._limit_s)
        with self._lock:
            is_late = not over.is_set()
            if is_late:
                self._hanging[name] = self._hanging.get(name, 0) + 1
        if is_late:
            raise HangingError(f"it has not come back for {self._limit_s:g} s, and is told nothing until it does")
        if errors:
            raise errors[0]
