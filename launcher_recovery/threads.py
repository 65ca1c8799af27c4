"""What coroutines leave to another thread, because it may block for a moment."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def written(function: Callable[[], T]) -> T:
    """The result of `function`, called in another thread.

    When the task is cancelled, what has begun by then is waited for: the end of the operation is written after what
    it was about to write.
    """
    begins = threading.Lock()

    def call() -> Any:
        return function() if begins.acquire(blocking=False) else None

    run = functools.partial(contextvars.copy_context().run, call)
    done = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return cast(T, await asyncio.shield(done))
    except asyncio.CancelledError:
        if not begins.acquire(blocking=False):
            while not done.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({done})
            done.exception()
        raise


class _Handover:
    """Takes the result of a function in another thread over, or undoes it there, whatever happens to the event loop."""

    def __init__(self, function: Callable[[], T], undo: Callable[[T], object]) -> None:
        self._function = function
        self._undo = undo
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._results: list[T] = []

    def run(self) -> Any:
        result = self._function()
        with self._lock:
            self._results.append(result)
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._undo(result)
        return result

    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            results = list(self._results)
        for result in results:
            self._undo(result)


async def in_thread(function: Callable[[], T], undo: Callable[[T], object]) -> T:
    """The result of `function`, called in another thread; when the task is cancelled meanwhile, `undo` gets it."""
    handover = _Handover(function, undo)
    try:
        result: T = await asyncio.to_thread(handover.run)
        return result
    except asyncio.CancelledError:
        handover.abandon()
        raise
