"""The attempt loop: one generator that makes every decision, and its thin drivers for threads and event loops."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Union

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.classification import Verdict
from launcher_recovery.classification.facts import chain_of
from launcher_recovery.clock import Clock
from launcher_recovery.errors import (
    CircuitBreakerOpenError,
    OperationCancelled,
    OperationInterrupted,
    RecoveryExhaustedError,
    RecoveryStateError,
    RecoveryTimeoutError,
    StoredError,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import FINAL, Operation, RecoveryData, RecoveryState, WaitingFor, running
from launcher_recovery.policy import GiveUp, Policy, RetryAt, decide, limit_for

# A wait ends at once on a change made in this process; one made elsewhere is seen after this many seconds,
# sooner where the outbox is tailed.
_POLL_S = 1.0
_GAVE_UP = "__recovery_gave_up__"
# Orders the beginnings of attempts and the moments of giving up in this process, whatever the clock does.
_moments = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """Effect: call a function that may block for a moment (a store's), send back what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """Effect: run the handler within `timeout` seconds, send back what it returns or raise what it raises."""

    timeout: float | None


@dataclass(frozen=True)
class Wait:
    """Effect: wait for `seconds` (None: without end), less when the handle is woken."""

    seconds: float | None


Effect = Union[Call, Run, Wait]
Observer = Callable[[str, RecoveryData, "Exception | None"], None]


def _no_observer(event: str, data: RecoveryData, error: Exception | None) -> None:
    return


@dataclass
class Engine:
    """Runs operations under a policy.

    `observe` is called as `observe("attempt_started" | "attempt_finished" | "settled", record, error)`; it must
    not raise.
    """

    lifecycle: Lifecycle
    clock: Clock = field(default_factory=Clock)
    observe: Observer = _no_observer

    def run(self, data: RecoveryData, policy: Policy, handler: Callable[[], Any]) -> Any:
        """Run, or join, the operation `data` until it is over; returns its result.

        Raises:
            Exception: the handler's own last error, when it gave up (see `Policy.raise_original`).
            OperationCancelled: somebody cancelled it.
            StoredError: it was joined, and failed elsewhere.
            CircuitBreakerOpenError: the breaker was open at entry and the policy does not wait for it.
        """
        live = Operation(data, self.lifecycle, self.clock)
        self.lifecycle.attach(live)
        try:
            return self._drive(live, self._loop(live, policy), handler)
        finally:
            self.lifecycle.detach(live)

    async def run_async(self, data: RecoveryData, policy: Policy, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Like `run`, for a handler that is a coroutine function; cancelling the task cancels the operation."""
        live = Operation(data, self.lifecycle, self.clock)
        self.lifecycle.attach(live)
        try:
            return await self._drive_async(live, self._loop(live, policy), handler)
        except asyncio.CancelledError:
            try:
                self.lifecycle.cancel(live.operation_id)
            except RecoveryStateError:
                pass  # it was over already
            raise
        finally:
            self.lifecycle.detach(live)

    # -- the drivers --------------------------------------------------------------------------------

    def _drive(self, live: Operation, loop: Generator[Effect, Any, Any], handler: Callable[[], Any]) -> Any:
        value: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = loop.send(value) if failure is None else loop.throw(failure)
            except StopIteration as stop:
                return stop.value
            value, failure = None, None
            try:
                if isinstance(effect, Wait):
                    self.clock.wait(live.wake, effect.seconds)
                elif isinstance(effect, Call):
                    value = effect.function()
                else:
                    with running(live):
                        value = handler()
            except Exception as error:
                failure = error

    async def _drive_async(
        self, live: Operation, loop: Generator[Effect, Any, Any], handler: Callable[[], Awaitable[Any]]
    ) -> Any:
        value: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = loop.send(value) if failure is None else loop.throw(failure)
            except StopIteration as stop:
                return stop.value
            value, failure = None, None
            try:
                if isinstance(effect, Wait):
                    await self.clock.wait_async(live.wake, effect.seconds)
                elif isinstance(effect, Call):
                    value = await asyncio.to_thread(effect.function)
                else:
                    value = await self._run_handler_async(live, effect.timeout, handler)
            except Exception as error:
                failure = error

    async def _run_handler_async(
        self, live: Operation, timeout: float | None, handler: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Run the coroutine; end it at once when its time is over or the operation was taken from it."""
        with running(live):
            task = asyncio.ensure_future(handler())
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        try:
            while True:
                remaining = None if deadline is None else max(0.0, deadline - self.clock.monotonic())
                woken = asyncio.ensure_future(self.clock.wait_async(live.wake, remaining))
                await asyncio.wait({task, woken}, return_when=asyncio.FIRST_COMPLETED)
                was_woken = woken.done() and woken.result()
                woken.cancel()
                if task.done():
                    return task.result()
                if was_woken:
                    await asyncio.to_thread(live.check)  # raises when the operation is no longer ours
                else:
                    raise RecoveryTimeoutError(
                        f"attempt {live.attempt} of {live.data.title} took longer than {timeout:g} s"
                    )
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # -- the loop -----------------------------------------------------------------------------------

    def _loop(self, live: Operation, policy: Policy) -> Generator[Effect, Any, Any]:
        """Every decision of an operation, for both drivers."""
        while True:
            # Cleared before the look, so that a change after the look ends the wait that follows it.
            live.wake.clear()
            data = yield Call(lambda: self.lifecycle.store.get(live.operation_id))
            if data is None:
                raise RecoveryStateError(f"{live.data.title} was deleted from the store")
            if data.state in FINAL:
                return _outcome(data)
            if data.state in (RecoveryState.PAUSED, RecoveryState.IN_PROGRESS):
                # Paused by a person, or run by another call, perhaps of another process.
                yield Wait(_POLL_S)
                continue
            if data.next_attempt_at is not None:
                remaining = data.next_attempt_at.timestamp() - self.clock.time()
                if remaining > 0:
                    yield Wait(min(remaining, _POLL_S))
                    continue
            refused_s = 0.0 if policy.breaker is None else policy.breaker.acquire()
            try:
                if refused_s > 0 and policy.wait_for_breaker:
                    yield Call(functools.partial(self._hold, live, policy, refused_s))
                    continue
                live.data = yield Call(lambda: self.lifecycle.begin_attempt(live.operation_id, policy.max_attempts))
            except RecoveryStateError:  # somebody else was faster; look again
                if policy.breaker is not None and refused_s == 0:
                    policy.breaker.release()
                continue
            try:
                return (yield from self._attempt(live, policy, refused_s))
            except _Unfinished:
                continue

    def _attempt(self, live: Operation, policy: Policy, refused_s: float) -> Generator[Effect, Any, Any]:
        """One attempt, from its claim to its record; raises `_Unfinished` when the loop has to look again."""
        live.moved = False
        live.began = next(_moments)
        # `wake` is left as it is: whoever paused or cancelled right after the claim is to be heard.
        limit = self._time_limit(live, policy)
        live.attempt_ends_at = None if limit is None else self.clock.monotonic() + limit
        self.observe("attempt_started", live.data, None)
        try:
            if refused_s > 0:
                raise _refusal(policy.breaker, live, refused_s)
            result = yield Run(limit)
            live.check_time()  # what comes too late is void
        except Exception as error:
            self.observe("attempt_finished", live.data, error)
            # An operation inside this one may have been cancelled while this one was not.
            taken = isinstance(error, OperationInterrupted) and not (
                yield Call(lambda: self.lifecycle.is_claimed(live))
            )
            if taken:
                if policy.breaker is not None:
                    policy.breaker.release()
            else:
                yield from self._failed(live, policy, error)
            raise _Unfinished from None
        self.observe("attempt_finished", live.data, None)
        if policy.breaker is not None:
            policy.breaker.success()
        try:
            live.data = yield Call(lambda: self.lifecycle.succeed(live, result))
        except RecoveryStateError:
            raise _Unfinished from None  # paused or cancelled meanwhile: a late result is void
        self.observe("settled", live.data, None)
        return result

    def _failed(self, live: Operation, policy: Policy, error: Exception) -> Generator[Effect, Any, None]:
        """Record the failure of an attempt and what follows it; raises when nothing does."""
        verdict = policy.classify(error)
        _tell_breaker(policy.breaker, error, verdict, live.moved)
        fruitless = 0 if live.moved else live.data.fruitless + 1
        age = self._age(live)
        decision: RetryAt | GiveUp = GiveUp(RecoveryState.FAILED)
        if not _inner_gave_up(error, live.began):
            decision = decide(policy, error, verdict, fruitless=fruitless, age=age)
        retry = decision if isinstance(decision, RetryAt) else None
        target = RecoveryState.RECOVERING if isinstance(decision, RetryAt) else decision.state
        try:
            live.data = yield Call(
                lambda: self.lifecycle.end_attempt(
                    live,
                    target,
                    error,
                    category=verdict.category.value,
                    explanation=verdict.explanation,
                    fix=verdict.fix,
                    fruitless=fruitless,
                    limit=limit_for(policy, verdict),
                    delay=None if retry is None else retry.delay,
                    waiting_for=None if retry is None else retry.waiting_for,
                )
            )
        except RecoveryStateError:
            return
        if retry is not None:
            return
        self.observe("settled", live.data, error)
        _mark_given_up(error, live.data)
        if policy.raise_original:
            raise error
        raise RecoveryExhaustedError(f"{live.data.title} failed after {live.data.attempt} attempts: {error}") from error

    def _time_limit(self, live: Operation, policy: Policy) -> float | None:
        """Seconds that an attempt may take that begins now."""
        limit = policy.timeout
        if policy.deadline is not None:
            left = policy.deadline - self._age(live)
            # An attempt that begins after the deadline was held up, by a pause or a restart.
            if left > 0:
                limit = left if limit is None else min(limit, left)
        return limit

    def _age(self, live: Operation) -> float:
        """Seconds for which the operation has been under way, since a person began it last."""
        return self.clock.time() - (live.data.begun_at or live.data.created_at).timestamp()

    def _hold(self, live: Operation, policy: Policy, seconds: float) -> RecoveryData:
        scope = (policy.breaker and policy.breaker.scope) or "The other side"
        text = f"{scope} has failed repeatedly and is left alone for a while."
        return self.lifecycle.hold(live.operation_id, seconds, WaitingFor.BREAKER, text)


class _Unfinished(Exception):
    """Inside the loop: the attempt is over, the operation is not."""


def _outcome(data: RecoveryData) -> Any:
    """What a call gets that finds its operation ended by somebody else."""
    if data.state is RecoveryState.SUCCESS:
        return data.result
    if data.state is RecoveryState.CANCELLED:
        raise OperationCancelled(f"{data.title} was cancelled")
    error = data.error or StoredError("RecoveryError", f"{data.title} ended {data.state}")
    _mark_given_up(error, data)
    raise error


def _refusal(breaker: CircuitBreaker | None, live: Operation, seconds: float) -> CircuitBreakerOpenError:
    scope = (breaker and breaker.scope) or live.data.title
    count = breaker.failure_count if breaker else 0
    return CircuitBreakerOpenError(
        f"{scope} has failed {count} times in a row and is left alone for another {seconds:.0f} s", seconds
    )


def _tell_breaker(breaker: CircuitBreaker | None, error: Exception, verdict: Verdict, moved: bool) -> None:
    if breaker is None or isinstance(error, CircuitBreakerOpenError):
        return
    if moved:  # the far end works, however badly
        breaker.success()
    elif verdict.about_far_end:
        breaker.failure()
    else:
        breaker.release()


def _mark_given_up(error: Exception, data: RecoveryData) -> None:
    """Note the history on the error, and mark it for operations around this one."""
    attempts = "1 attempt" if data.attempt == 1 else f"{data.attempt} attempts"
    note = f"launcher-recovery: gave up after {attempts} (operation {data.operation_id})"
    try:
        setattr(error, _GAVE_UP, next(_moments))
        # What `add_note` does from Python 3.11 on.
        setattr(error, "__notes__", [*getattr(error, "__notes__", ()), note])
    except AttributeError:
        pass  # an exception class with __slots__; it is still raised, without the note


def _inner_gave_up(error: Exception, began: int) -> bool:
    """Whether an operation inside this one had its own attempts at this error and gave up.

    `began` is when this attempt did; the same exception object may have been given up on before, by another call.
    """
    return any(getattr(item, _GAVE_UP, 0) > began for item in chain_of(error))
