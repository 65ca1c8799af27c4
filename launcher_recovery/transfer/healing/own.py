"""Tells requests of our own, which are left as they are, from those of foreign code."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

_ours: contextvars.ContextVar[bool] = contextvars.ContextVar("launcher_recovery_ours", default=False)


@contextmanager
def ours() -> Iterator[None]:
    """Within it requests are sent as they are: by code that knows itself how to go on; their logs have no secrets."""
    from launcher_recovery.transfer.http import wire_log

    wire_log.redact(is_ours)
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def is_ours() -> bool:
    """Whether this code runs within `ours`."""
    return _ours.get()
