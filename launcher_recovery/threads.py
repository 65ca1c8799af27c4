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
