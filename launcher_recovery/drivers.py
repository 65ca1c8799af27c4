"""Thin drivers of the attempt loop: for threads, for event loops, and for generators of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any

from launcher_recovery.clock import Clock
from launcher_recovery.effects import Call, Effect, Loop, Outcome, Raise, Run, Wait
from launcher_recovery.operation import Operation, running
from launcher_recovery.threads import written

# Most coroutines are over by then, and need nobody who looks what other processes do to their operation.
_UNWATCHED_S = 0.02


class _Steps:
    """The loop, advanced with what the effect before gave."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._value: Any = None
        self._failure: Exception | None = None
        self.result: Any = None

    def next(self) -> Effect | None:
        """The next effect; None when the loop is over and `result` is known."""
        try:
            effect = self._loop.send(self._value) if self._failure is None else self._loop.throw(self._failure)
        except StopIteration as stop:
            if isinstance(stop.value, Raise):
                stop.value.now()
            self.result = stop.value
            return None
        self._value, self._failure = None, None
        return effect

    def gave(self, value: Any) -> None:
        self._value = value

    def call(self, function: Callable[[], Any]) -> None:
        try:
            self._value = function()
        except Exception as error:
            self._failure = error

    async def call_in_thread(self, function: Callable[[], Any]) -> None:
        """Like `call`, without blocking the event loop; see `written`."""
        try:
            self._value = await written(function)
        except Exception as error:
            self._failure = error


def drive(live: Operation, loop: Loop, handler: Callable[[], Any], clock: Clock) -> Any:
    """Run the loop in this thread; returns the result of the operation."""
    steps = _Steps(loop)
    while (effect := steps.next()) is not None:
        if isinstance(effect, Wait):
            clock.wait(live.wake, effect.seconds)
        elif isinstance(effect, Call):
            steps.call(effect.function)
        else:
            try:
                with running(live):
                    steps.gave(Outcome(handler()))
            except Exception as error:
                steps.gave(Outcome(error=error))
    return steps.result


def drive_generator(
    live: Operation, loop: Loop, handler: Callable[[], Generator[Any, Any, Any]], clock: Clock
) -> Generator[Any, Any, Any]:
    """Like `drive`, for a handler that gives a generator: its items are passed on, attempt after attempt."""
    steps = _Steps(loop)
    while (effect := steps.next()) is not None:
        if isinstance(effect, Wait):
            clock.wait(live.wake, effect.seconds)
        elif isinstance(effect, Call):
            steps.call(effect.function)
        else:
            try:
                steps.gave(Outcome((yield from _items(live, handler))))
            except Exception as error:
                steps.gave(Outcome(error=error))
    return steps.result


def _items(live: Operation, handler: Callable[[], Generator[Any, Any, Any]]) -> Generator[Any, Any, Any]:
    """The items of one attempt; the consumer's code between them does not run inside the operation."""
    with running(live):
        source = handler()
    sent: Any = None
    try:
        while True:
            try:
                with running(live):
                    item = next(source) if sent is None else source.send(sent)
            except StopIteration as stop:
                return stop.value
            live.check()
            live.keep_item(item)
            sent = yield item
    finally:
        source.close()


async def drive_async(
    live: Operation, loop: Loop, handler: Callable[[], Awaitable[Any]], clock: Clock, inline: bool
) -> Any:
    """Like `drive`, without blocking the event loop; `inline` says that the store never blocks."""
    steps = _Steps(loop)
    while (effect := steps.next()) is not None:
        if isinstance(effect, Run):
            try:
                steps.gave(Outcome(await run_coroutine(live, effect.timeout, handler, clock)))
            except Exception as error:
                steps.gave(Outcome(error=error))
        else:
            await _serve(live, steps, effect, clock, inline)
    return steps.result


async def drive_async_generator(
    live: Operation, loop: Loop, handler: Callable[[], AsyncIterator[Any]], clock: Clock, inline: bool
) -> AsyncGenerator[Any, None]:
    """Like `drive_generator`, for async generators."""
    steps = _Steps(loop)
    while (effect := steps.next()) is not None:
        if not isinstance(effect, Run):
            await _serve(live, steps, effect, clock, inline)
            continue
        try:
            with running(live):
                source = handler()
            try:
                while True:
                    try:
                        item = await run_coroutine(live, live.seconds_left(), source.__anext__, clock)
                    except StopAsyncIteration:
                        break
                    live.keep_item(item)
                    yield item
            finally:
                if isinstance(source, AsyncGenerator):
                    await source.aclose()
            steps.gave(Outcome())
        except Exception as error:
            steps.gave(Outcome(error=error))


async def _serve(live: Operation, steps: _Steps, effect: Effect, clock: Clock, inline: bool) -> None:
    if isinstance(effect, Wait):
        await clock.wait_async(live.wake, effect.seconds)
    elif isinstance(effect, Call):
        if inline:
            steps.call(effect.function)
        else:
            await steps.call_in_thread(effect.function)


async def run_coroutine(
    live: Operation, timeout: float | None, handler: Callable[[], Awaitable[Any]], clock: Clock
) -> Any:
    """Run the coroutine; end it at once when its time is over or the operation was taken from it."""
    with running(live):
        task = asyncio.ensure_future(handler())
    deadline = None if timeout is None else clock.monotonic() + timeout
    try:
        while True:
            remaining = None if deadline is None else max(0.0, deadline - clock.monotonic())
            is_watched = live.is_watched
            seconds = remaining
            if not is_watched:
                seconds = _UNWATCHED_S if remaining is None else min(_UNWATCHED_S, remaining)
            woken = asyncio.ensure_future(clock.wait_async(live.wake, seconds))
            await asyncio.wait({task, woken}, return_when=asyncio.FIRST_COMPLETED)
            was_woken = woken.done() and woken.result()
            woken.cancel()
            if task.done():
                return task.result()
            if was_woken:
                await asyncio.to_thread(live.check)  # raises when the operation is no longer ours
            elif not is_watched and (deadline is None or clock.monotonic() < deadline):
                await asyncio.to_thread(live.watch)
            else:
                raise live.too_late()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
