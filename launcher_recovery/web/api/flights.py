"""Work that takes long is done by one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher_recovery.web.api.answers import ApiError

_busy = threading.Lock()


@contextmanager
def single_flight() -> Iterator[None]:
    """Within it nobody else measures or tests in this process.

    Raises:
        ApiError: somebody else does.
    """
    if not _busy.acquire(blocking=False):
        raise ApiError(409, "busy", "Something is being measured or tested at the moment: try again in some seconds.")
    try:
        yield
    finally:
        _busy.release()
