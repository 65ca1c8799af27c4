"""A call that has no record yet: it gets one when its code asks for the operation, or when it fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from launcher_recovery.operation import LazyHandle, Operation, _current

if TYPE_CHECKING:
    from launcher_recovery.declaration import Declaration
    from launcher_recovery.engine import Engine

_lock = threading.RLock()


class Light(LazyHandle):
    """What a call holds on to that may become an operation."""

    __slots__ = ("args", "declaration", "engine", "kwargs", "live", "parent", "started")

    def __init__(self, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.declaration = declaration
        self.args = args
        self.kwargs = kwargs
        self.parent = _current.get()
        self.live: Operation | None = None
        self.started = 0.0 if declaration.limit is None else declaration.clock.monotonic()

    def elapsed(self) -> float:
        """Seconds since the call was made, 0 for one without limits."""
        declaration = self.declaration
        return 0.0 if declaration.limit is None else declaration.clock.monotonic() - self.started

    def is_late(self) -> bool:
        """Whether its time is over."""
        limit = self.declaration.limit
        return limit is not None and self.elapsed() >= limit.seconds

    def materialize(self) -> Operation:
        with _lock:
            if self.live is None:
                self.engine: Engine
                self.engine, self.live = self.declaration.materialize(self)
            return self.live

    def release(self) -> None:
        """The call was ended from outside."""
        breaker = self.declaration.policy.breaker
        if breaker is not None:
            breaker.release(self)
        if self.live is not None:
            self.engine.lifecycle.leave(self.live)


def call(declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a plain function; as quick as can be unless it fails."""
    policy = declaration.policy
    breaker = policy.breaker
    light = Light(declaration, args, kwargs)
    if breaker is not None and not breaker.is_closed:
        return declaration.call(args, kwargs)
    failure: Exception | None = None
    result: Any = None
    token = _current.set(light)
    try:
        result = declaration.target(*args, **kwargs)
    except Exception as error:
        failure = error
    except BaseException:
        light.release()
        raise
    else:
        if light.live is None and not light.is_late():
            if breaker is not None:
                breaker.success(light)
            if policy.budget is not None:
                policy.budget.succeeded(0.0)
            return result
    finally:
        _current.reset(token)
    replay = _Replay(declaration, light, failure, result)
    del failure  # whose traceback holds this frame
    try:
        live = light.materialize()
        return light.engine.run(live.data, policy, replay.call, live)
    except Exception as error:
        return declaration.fall_back(error, args, kwargs)


async def call_async(declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Like `call`, for a coroutine function."""
    policy = declaration.policy
    breaker = policy.breaker
    light = Light(declaration, args, kwargs)
    if breaker is not None and not breaker.is_closed:
        return await declaration.call_async(args, kwargs)
    failure: Exception | None = None
    result: Any = None
    token = _current.set(light)
    try:
        result = await declaration.target(*args, **kwargs)
    except Exception as error:
        failure = error
    except BaseException:
        light.release()
        raise
    else:
        if light.live is None:
            if breaker is not None:
                breaker.success(light)
            if policy.budget is not None:
                policy.budget.succeeded(0.0)
            return result
    finally:
        _current.reset(token)
    replay = _Replay(declaration, light, failure, result)
    del failure  # whose traceback holds this frame
    try:
        live = light.materialize()
        return await light.engine.run_async(live.data, policy, replay.call_async, live)
    except Exception as error:
        value = declaration.fall_back(error, args, kwargs)
        return await value if hasattr(value, "__await__") else value


class _Replay:
    """A handler whose first attempt is over already: it ends as that one did; the others really run."""

    def __init__(self, declaration: Declaration, light: Light, failure: Exception | None, result: Any = None) -> None:
        self._target = declaration.target
        self._light = light
        self._failure = failure
        self._result = result
        self._is_first = True

    def _first(self) -> Any:
        self._is_first = False
        if self._failure is not None:
            # Its traceback is that of the attempt; kept here it would keep all frames alive.
            failure, self._failure = self._failure, None
            raise failure
        return self._result

    def call(self) -> Any:
        return self._first() if self._is_first else self._target(*self._light.args, **self._light.kwargs)

    async def call_async(self) -> Any:
        return self._first() if self._is_first else await self._target(*self._light.args, **self._light.kwargs)
