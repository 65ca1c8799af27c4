"""What `recoverable` knows of one function, and the calls that it makes of it."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from launcher_recovery import checks, isolate, signals
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.engine import Engine
from launcher_recovery.errors import (
    OperationInterrupted,
    RecoveryConfigError,
    RecoveryStateError,
    StoreError,
)
from launcher_recovery.lifecycle import RESULT_IS_PARTIAL, Lifecycle
from launcher_recovery.light import Light
from launcher_recovery.operation import NOTHING, LazyHandle, Limit, Operation, current_operation
from launcher_recovery.owners import dead_owners, keep_alive
from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.policy import Policy, Rules, reader
from launcher_recovery.records import FINAL, RecoveryData, RecoveryState
from launcher_recovery.snapshots import Resumption, States
from launcher_recovery.stores import MirroredStore
from launcher_recovery.threads import in_thread

logger = logging.getLogger("launcher_recovery")

# A function with keys but without a store remembers what is over for as long as a call may still look at it.
_REMEMBERED_S = 60
_CALLS_BETWEEN_CLEANUPS = 256


@dataclass
class Declaration:
    """One decorated function; see `launcher_recovery.decorator.recoverable` for the meaning of the fields."""

    target: Callable[..., Any]
    rules: Rules
    clock: Clock
    store: Store | None = None
    key: Callable[..., str] | None = None
    reuse_result: bool = False
    fallback: Callable[..., Any] | None = None
    state_serializer: Callable[[Any], Any] | None = None
    state_deserializer: Callable[[Any], Any] | None = None
    resume_from: str | None = None
    isolate: bool = False

    def __post_init__(self) -> None:
        checks.function("key", self.key, "a function of the call's arguments that gives a text")
        checks.flag("reuse_result", self.reuse_result)
        checks.function("fallback", self.fallback, "a function that is called with the error and the call's arguments")
        checks.function("state_serializer", self.state_serializer, "a function from the state to JSON values")
        checks.function("state_deserializer", self.state_deserializer, "a function from JSON values to the state")
        checks.flag("isolate", self.isolate)
        if self.resume_from is not None:
            checks.text("resume_from", self.resume_from)
        self.name, self.title = names_of(self.target)
        self._read = reader(self.rules)
        self.is_generator = _is(inspect.isgeneratorfunction, self.target)
        self.is_async_generator = _is(inspect.isasyncgenfunction, self.target)
        self.is_coroutine = _is(inspect.iscoroutinefunction, self.target)
        self.states = States(self.target, self.state_serializer, self.state_deserializer)
        self.resumption: Resumption | None = None
        if self.is_generator or self.is_async_generator:
            if self.resume_from is None:
                raise RecoveryConfigError(
                    f"{self.name} is a generator: say with resume_from=... which of its parameters gets the last "
                    "item that it yielded, so that another attempt can go on from there"
                )
            if self.fallback is not None:
                raise RecoveryConfigError(f"{self.name} is a generator, which cannot have a fallback")
            self.resumption = Resumption(self.target, self.resume_from)
        elif self.resume_from is not None:
            raise RecoveryConfigError(f"resume_from is for generators, and {self.name} is not one")
        if self.isolate:
            if self.is_coroutine or self.resumption is not None or self.state_serializer is not None:
                raise RecoveryConfigError(
                    f"isolate=True is not usable for {self.name}: it is for plain functions without a state_serializer"
                )
            isolate.check_target(self.target)
        is_light = not self.isolate and self.store is None and self.key is None and self.state_serializer is None
        is_light = is_light and not self.policy.bulkheads and not self.policy.is_shared and self.resumption is None
        timeout, deadline = self.policy.timeout, self.policy.deadline
        limits = [] if timeout is None else [Limit(timeout)]
        if deadline is not None:
            limits.append(Limit(deadline, is_deadline=True))
        self.limit = min(limits, key=lambda limit: limit.seconds, default=None)
        # A coroutine with a limit needs somebody who ends it.
        self.is_light = is_light and not (limits and self.is_coroutine)
        self._private = MemoryPersistence() if self.key is not None and self.store is None else None
        self._calls = 0

    @property
    def policy(self) -> Policy:
        """As it is now."""
        return self._read()

    # -- calls ----------------------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a plain function."""
        try:
            begun = self.begin(args, kwargs)
            if begun.is_over:
                return begun.data.result
            return begun.engine.run(begun.data, self.rules, begun.attempt, begun.live)
        except Exception as error:
            return self.fall_back(error, args, kwargs)

    async def call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a coroutine function."""
        try:
            begun = await self.begin_async(args, kwargs)
            if begun.is_over:
                return begun.data.result
            return await begun.engine.run_async(begun.data, self.rules, begun.attempt, begun.live)
        except Exception as error:
            value = self.fall_back(error, args, kwargs)
            return await value if inspect.isawaitable(value) else value

    def iterate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]:
        """Call a generator function."""
        begun = self.begin(args, kwargs)
        return (yield from begun.engine.iterate(begun.data, self.rules, begun.attempt, begun.live))

    async def iterate_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Call an async generator function."""
        begun = await self.begin_async(args, kwargs)
        items = begun.engine.iterate_async(begun.data, self.rules, begun.attempt, begun.live)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    def resume(self, operation_id: str) -> Any:
        """Run an operation of this function again from its record; a coroutine for a coroutine function.

        Raises:
            RecoveryStateError: it is unknown or another function's, or what it was called with is not kept.
        """
        data = None if self.store is None else self.store.get(operation_id)
        if self.store is None or data is None or data.function_name != self.name:
            raise RecoveryStateError(f"there is no operation {operation_id} of {self.name}")
        engine = self.engine(self.store)
        if data.state in FINAL and data.state is not RecoveryState.SUCCESS:
            data = engine.lifecycle.begin_again(operation_id, limit=self.policy.max_attempts)
        elif not data.resumable:
            raise RecoveryStateError(
                f"{data.title} cannot be run again, because what it was called with is not kept", state=data.state.value
            )
        self.stay_alive()
        self.release_orphans(engine.lifecycle)
        begun = Begun(self, engine, data, data.args, data.kwargs, is_kept=True)
        if self.is_coroutine:
            return engine.run_async(data, self.rules, begun.attempt)
        if self.is_generator:
            return engine.iterate(data, self.rules, begun.attempt)
        if self.is_async_generator:
            return engine.iterate_async(data, self.rules, begun.attempt)
        return engine.run(data, self.rules, begun.attempt)

    # -- parts of a call ------------------------------------------------------------------------------

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        """Enter the call as an operation, or find the one that it joins."""
        return self._enter(self._prepare(args, kwargs))

    async def begin_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        """Like `begin`, without blocking the event loop."""
        prepared = self._prepare(args, kwargs)
        if self.store is None and not self.policy.is_shared:
            return self._enter(prepared)
        return await in_thread(lambda: self._enter(prepared), Begun.abandon)

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        """What is done of `begin` without the store."""
        store = self.store or self._private
        engine = self.engine(MemoryPersistence() if store is None else store)
        parent = current_operation()
        draft = engine.lifecycle.draft(
            self.name,
            self.states.storable(args),
            kwargs,
            key=self._key_of(args, kwargs),
            parent_id=None if parent is None else parent.operation_id,
            title=self.title,
            limit=self.policy.max_attempts,
        )
        return Begun(self, engine, draft, args, kwargs)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The key of a call, with the name of the function: the same text means something else to another one."""
        if self.key is None:
            return None
        key: Any = self.key(*args, **kwargs)
        if not isinstance(key, str):
            raise RecoveryConfigError(
                f"the key function of {self.name} returned {key!r:.100} ({type(key).__name__}), but a key is text: "
                "have it return a str"
            )
        return f"{_key_space(self.target, self.name)}:{key}"

    def _enter(self, begun: Begun) -> Begun:
        self.refuse_if_open()
        lifecycle, draft = begun.engine.lifecycle, begun.data
        self.stay_alive()
        if draft.key is not None:
            self._calls += 1
            if self._private is not None and not self.reuse_result and self._calls % _CALLS_BETWEEN_CLEANUPS == 0:
                self._private.cleanup(to_datetime(self.clock.time()) - timedelta(seconds=_REMEMBERED_S))
            if self.store is not None:
                self.release_orphans(lifecycle)
            if self.reuse_result:
                found = lifecycle.store.latest_with_key(draft.key)
                if found is not None and _can_be_given_again(found):
                    begun.data, begun.is_over = found, True
                    return begun
        begun.data, begun.live = begun.engine.enter(draft, self.rules, revive=self.state_serializer is not None)
        return begun

    def stay_alive(self) -> None:
        """Show other processes that this one lives, through the store that they share."""
        if self.store is not None and not isinstance(self.store, MirroredStore):
            keep_alive(self.store)

    def engine(self, store: Store) -> Engine:
        """What runs a call with `store`."""
        lifecycle = Lifecycle(store, clock=self.clock)
        return Engine(lifecycle, self.clock, inline=self.store is None and not self.policy.is_shared)

    def release_orphans(self, lifecycle: Lifecycle) -> None:
        """Free what processes left that are gone, so that this call may take it over."""
        try:
            lifecycle.release_orphans(dead_owners(lifecycle.store.owners(), self.clock.time()))
        except StoreError as error:
            logger.warning("interrupted operations cannot be looked for at the moment: %s", error)

    def refuse_if_open(self) -> None:
        """Raise CircuitBreakerOpenError while the breaker is open."""
        breaker = self.policy.breaker
        if breaker is None:
            return
        breaker.refresh()
        if breaker.is_open():
            raise breaker.refusal(self.name, breaker.timeout_remaining)

    def fall_back(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the fallback gives instead of `error`; raises it when there is none, or a person ended the call."""
        if self.fallback is None or isinstance(error, OperationInterrupted):
            raise error
        return self.fallback(error, *args, **kwargs)

    # -- the quick way --------------------------------------------------------------------------------

    def goes_light(self) -> bool:
        """Whether a call needs no record until something happens."""
        return self.is_light and not signals.recovery_updated.receivers and not signals.recovery_completed.receivers

    def materialize(self, light: Light) -> tuple[Engine, Operation]:
        """Make an operation of a light call, as if it had been one from the beginning: its first attempt runs."""
        engine = self.engine(MemoryPersistence())
        parent = light.parent.materialize() if isinstance(light.parent, LazyHandle) else light.parent
        draft = engine.lifecycle.draft(
            self.name,
            light.args,
            light.kwargs,
            parent_id=None if parent is None else parent.operation_id,
            title=self.title,
            limit=self.policy.max_attempts,
            created_at=to_datetime(self.clock.time() - light.elapsed()),
        )
        live = engine.lifecycle.start(draft)[1]
        assert live is not None
        engine.begin(live, self.policy)
        if self.limit is not None:
            live.attempt_ends_at, live.limit = light.started + self.limit.seconds, self.limit
        return engine, live


@dataclass
class Begun:
    """A call that is entered: `attempt` runs it once, inside its operation; `live` runs its first one already."""

    declaration: Declaration
    engine: Engine
    data: RecoveryData
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    live: Operation | None = None
    is_over: bool = False
    is_kept: bool = False

    def abandon(self) -> None:
        """Nobody waits for the call any more."""
        if not self.is_over:
            self.engine.abandon(self.data, self.declaration.rules, self.live)

    def attempt(self) -> Any:
        """Call the function with the arguments of this attempt."""
        declaration = self.declaration
        live = current_operation()
        assert live is not None
        args, kwargs = self.args, self.kwargs
        if declaration.resumption is not None:
            args, kwargs = declaration.resumption.arguments(live, args, kwargs)
        elif live.snapshot is None:
            # The first attempt of this call: the state may have come further in another process.
            latest = States.latest(live)
            if latest is not NOTHING or self.is_kept:
                args = self.args = declaration.states.restored(args, latest)
            declaration.states.attach(live, args)
        if declaration.isolate:
            return isolate.run(declaration.target, live, args, kwargs)
        return declaration.target(*args, **kwargs)


def _is(check: Callable[[Any], bool], target: Any) -> bool:
    """Whether a function, or the `__call__` of an object, is of a kind."""
    return check(target) or (not inspect.isroutine(target) and check(type(target).__call__))


def _key_space(target: Any, name: str) -> str:
    """What the keys of a function begin with, the same after a restart."""
    code = getattr(target, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return name
    # All lambdas of a function have one name; what they do tells them apart.
    constants = [item for item in code.co_consts if isinstance(item, (str, bytes, int, float))]
    said = repr((code.co_code, code.co_names, constants)).encode("utf-8", "backslashreplace")
    return f"{name}#{hashlib.sha256(said).hexdigest()[:8]}"


def _can_be_given_again(found: RecoveryData) -> bool:
    return found.state is RecoveryState.SUCCESS and RESULT_IS_PARTIAL not in found.metadata


def names_of(target: Any) -> tuple[str, str]:
    """Full and short name of whatever can be called."""
    while not hasattr(target, "__qualname__") and hasattr(target, "func"):  # functools.partial
        target = target.func
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}", getattr(named, "__name__", named.__qualname__)
