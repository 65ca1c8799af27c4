"""Lets the processes of a Celery worker's pool end without being killed while they tell so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

_UID = "launcher-recovery-pools"


def end_in_peace() -> Callable[[], None]:
    """Have a process of the pool that is about to end take no notice of being told to end; returns how to undo that.

    It tells the worker that it ends, which answers with SIGTERM at once, while the process still holds the lock of the
    queue of results. billiard holds the signal off in the main thread only (`Worker._do_exit`; versions before 4.3 do
    not at all), so that it meets any other thread, such as one of ours: the process dies of it with the lock, for which
    the worker waits for ever when it is to end at once.

    Raises:
        ImportError: there is no Celery.
    """
    from celery import signals

    signals.worker_process_shutdown.connect(_hold_off, weak=False, dispatch_uid=_UID)
    return lambda: signals.worker_process_shutdown.disconnect(_hold_off, dispatch_uid=_UID)


def _hold_off(**_: Any) -> None:
    """In the process that ends: it does so within a second by itself."""
    if threading.current_thread() is not threading.main_thread():
        return  # a pool of threads, whose process lives on
    from billiard.common import TERM_SIGNAL

    # A function, and not SIG_IGN, which programs that are started meanwhile would be left with.
    signal.signal(TERM_SIGNAL, _take_no_notice)


def _take_no_notice(number: int, frame: object) -> None:
    """It ends anyway."""
