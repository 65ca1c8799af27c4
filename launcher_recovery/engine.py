"""The attempt loop: one generator that makes every decision, for every driver."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from launcher_recovery import drivers
from launcher_recovery.admission import Admission
from launcher_recovery.attached import Attached
from launcher_recovery.bulkhead import Bulkhead
from launcher_recovery.classification import ErrorCategory, Retry, Verdict
from launcher_recovery.clock import Clock
from launcher_recovery.effects import Call, Effect, Loop, Outcome, Raise, Run, Wait
from launcher_recovery.endings import failure, has_failed, inner_gave_up, inner_was_cancelled, outcome
from launcher_recovery.errors import (
    OperationInterrupted,
    RecoveryStateError,
    RecoveryTimeoutError,
    StoredError,
    StoreError,
    text_of,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.policy import Decision, GiveUp, Policy, RetryAt, RetryWhen, Rules, limit_for, reader
from launcher_recovery.records import FINAL, RUNNABLE, RecoveryData, RecoveryState, WaitingFor

logger = logging.getLogger("launcher_recovery")

# A wait ends at once on a change made in this process, and soon on one made elsewhere; this is for what is missed.
_POLL_S = 1.0
_UNREADABLE = Verdict(ErrorCategory.UNKNOWN, Retry.YES, "unknown", "Something went wrong that is not known yet.")

Observer = Callable[[str, RecoveryData, "Exception | None"], None]


def _no_observer(event: str, data: RecoveryData, error: Exception | None) -> None:
    return


@dataclass
class Engine:
    """Runs operations under a policy.

    `observe` is called as `observe("attempt_started" | "attempt_finished" | "settled", record, error)`; it must
    not raise. `inline` says that the store never blocks, so that coroutines may call it directly.
    """

    lifecycle: Lifecycle
    clock: Clock = field(default_factory=Clock)
    observe: Observer = _no_observer
    inline: bool = False

    def run(self, data: RecoveryData, policy: Rules, handler: Callable[[], Any], begun: Operation | None = None) -> Any:
        """Run, or join, the operation `data` until it is over; returns its result.

        Args:
            policy: how it is retried; a function that gives it is asked for every decision.
            begun: the handle of a first attempt that is running already; `handler` then ends it.

        Raises:
            Exception: the handler's own last error, when it gave up (see `Policy.raise_original`).
            OperationCancelled: somebody cancelled it.
            StoredError: it was joined, and failed in another process; one that is also of the built-in class of the
                error's name. In this process the calls that have joined get the handler's very error as well.
            CircuitBreakerOpenError: the breaker was open at entry and the policy does not wait for it.
        """
        with self._attached(data, policy, begun) as live:
            return drivers.drive(live, self._loop(live, policy, begun is not None), handler, self.clock)

    def iterate(
        self,
        data: RecoveryData,
        policy: Rules,
        handler: Callable[[], Generator[Any, Any, Any]],
        begun: Operation | None = None,
    ) -> Generator[Any, Any, Any]:
        """Like `run`, for a handler that gives a generator; closing it early cancels the operation."""
        with self._attached(data, policy, begun) as live:
            loop = self._loop(live, policy, begun is not None)
            return (yield from drivers.drive_generator(live, loop, handler, self.clock))

    async def run_async(
        self,
        data: RecoveryData,
        policy: Rules,
        handler: Callable[[], Awaitable[Any]],
        begun: Operation | None = None,
    ) -> Any:
        """Like `run`, for a handler that is a coroutine function.

        Cancelling the task cancels the operation, unless the call only joined one that others run or wait for.
        """
        with self._attached(data, policy, begun) as live:
            loop = self._loop(live, policy, begun is not None)
            return await drivers.drive_async(live, loop, handler, self.clock, self.inline)

    async def iterate_async(
        self,
        data: RecoveryData,
        policy: Rules,
        handler: Callable[[], AsyncIterator[Any]],
        begun: Operation | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Like `iterate`, for a handler that gives an async generator."""
        with self._attached(data, policy, begun) as live:
            loop = self._loop(live, policy, begun is not None)
            items = drivers.drive_async_generator(live, loop, handler, self.clock, self.inline)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

    def _attached(self, data: RecoveryData, rules: Rules, begun: Operation | None = None) -> Attached:
        live = begun or Operation(data, self.lifecycle, self.clock)
        if begun is None:
            self.lifecycle.attach(live)
        return Attached(self.lifecycle, lambda: reader(rules)().breaker, live)

    def abandon(self, data: RecoveryData, policy: Rules, begun: Operation | None) -> None:
        """End an operation like a call whose task is cancelled before it came to `run_async`."""
        with suppress(asyncio.CancelledError), self._attached(data, policy, begun):
            raise asyncio.CancelledError

    def enter(self, draft: RecoveryData, policy: Rules, revive: bool = False) -> tuple[RecoveryData, Operation | None]:
        """Enter a call, with its first attempt where nothing holds that back; see `Lifecycle.enter`.

        Returns:
            The record, and the handle of the attempt, as `run` takes them; None: `run` begins one when it may.
        """
        if reader(policy)().holds_back:
            return self.lifecycle.enter(draft, revive), None
        data, live = self.lifecycle.start(draft, revive)
        if live is not None:
            self.begin(live, policy)
        return data, live

    def begin(self, live: Operation, policy: Rules) -> None:
        """Note that the attempt begins now with which the record of `live` was entered."""
        try:
            self._begin(live, Admission(self.lifecycle, self.clock, live, policy), is_new=True)
        except BaseException as error:
            self.lifecycle.leave(live, error)
            raise

    # -- the loop -----------------------------------------------------------------------------------

    def _loop(self, live: Operation, rules: Rules, begun: bool = False) -> Loop:
        """Every decision of an operation, for all drivers."""
        entry = Admission(self.lifecycle, self.clock, live, rules)
        ended: _Ended | None = None
        told_of: Bulkhead | None = None
        if begun:
            ended = yield from self._attempt(live, entry, None)
        while ended is None:
            self.lifecycle.end_turn(live)
            # Cleared before the look, so that a change after the look ends the wait that follows it.
            live.wake.clear()
            data = yield Call(lambda: self.lifecycle.store.get(live.operation_id))
            if data is None:
                return Raise(RecoveryStateError(f"{live.data.title} was deleted from the store"))
            if data.state in FINAL:
                live.data = data
                if not has_failed(data):
                    return outcome(data)
                error = self.lifecycle.error_of(data) or StoredError(
                    "RecoveryError", f"{data.title} ended {data.state}"
                )
                return (yield from self._failure(entry, data, error))
            is_ours = self.lifecycle.may_run(data)
            if not is_ours:
                yield Call(self.lifecycle.look_for_the_dead)
            if not is_ours or data.state not in RUNNABLE or self.lifecycle.has_to_wait(live):
                # Paused by a person, or run by another call, perhaps of another process.
                live.leave_slots()
                yield from self._wait(live, _POLL_S)
                continue
            remaining = yield from entry.seconds_to_wait(data)
            if remaining > 0:
                live.leave_slots()
                if entry.ends_too_late(data, remaining):
                    ended = yield from self._run_out(live, entry, data)
                else:
                    yield from self._wait(live, min(remaining, _POLL_S))
                continue
            queue = live.enter_slots(entry.policy.bulkheads, data)
            if queue is not None:
                if data.waiting_for is not WaitingFor.SLOT or queue is not told_of:
                    told_of = queue
                    yield from entry.hold(None, WaitingFor.SLOT, queue.reason)
                yield from self._wait(live, _POLL_S)
                continue
            refusal, held = yield from entry.ask(data)
            if held:
                continue
            limit = entry.policy.max_attempts
            if not self.lifecycle.take_turn(live):
                entry.let_go()
                continue
            try:
                live.data = yield Call(functools.partial(self.lifecycle.begin_attempt, live.operation_id, limit))
            except RecoveryStateError:  # somebody else was faster; look again
                entry.let_go()
                continue
            self._begin(live, entry)
            try:
                ended = yield from self._attempt(live, entry, refusal)
            finally:
                live.leave_slots()
        return ended.result

    def _wait(self, live: Operation, seconds: float) -> Generator[Effect, Any, None]:
        if not live.is_watched:
            yield Call(live.watch)
        yield Wait(seconds)

    def _begin(self, live: Operation, entry: Admission, is_new: bool = False) -> None:
        entry.begin(is_new=is_new)
        self.observe("attempt_started", live.data, None)

    def _attempt(
        self, live: Operation, entry: Admission, refusal: Exception | None
    ) -> Generator[Effect, Any, _Ended | None]:
        """One attempt, from its claim to its record; None when the loop has to look again."""
        ran = Outcome(error=refusal)
        if refusal is None:
            ran = yield Run(live.seconds_left())
        error = ran.error
        if error is None:
            try:
                live.check_time()  # what comes too late is void
            except RecoveryTimeoutError as late:
                error = late
        self.observe("attempt_finished", live.data, error)
        if error is not None:
            # An operation inside this one may have been cancelled while this one was not.
            if isinstance(error, OperationInterrupted) and not (yield Call(lambda: self.lifecycle.is_claimed(live))):
                entry.let_go()
                return None
            return (yield from self._failed(live, entry, error, is_refused=refusal is not None))
        yield from entry.worked()
        result = ran.value
        end = functools.partial(self.lifecycle.succeed, live, result)
        try:
            live.data = yield Call(end)
        except RecoveryStateError:
            return None  # paused or cancelled meanwhile: a late result is void
        except StoreError as problem:
            _not_recorded(live, end, problem)
        self.observe("settled", live.data, None)
        return _Ended(result)

    def _failed(
        self, live: Operation, entry: Admission, error: Exception, is_refused: bool
    ) -> Generator[Effect, Any, _Ended | None]:
        """Record the failure of an attempt and what follows it; None when it is another attempt."""
        verdict = classified(entry.policy, error)
        if not is_refused:
            yield from entry.failed(verdict)
        fruitless = 0 if live.moved and entry.policy.progress_renews else live.data.fruitless + 1
        decision: Decision = GiveUp(RecoveryState.FAILED)
        if inner_was_cancelled(error):
            # A person cancelled what this one needs, and it did not go on without it.
            decision = GiveUp(RecoveryState.CANCELLED)
        elif not inner_gave_up(error, live.began):
            decision = yield from entry.decide(error, verdict, fruitless)
        if isinstance(decision, RetryWhen) and fruitless:
            fruitless = live.data.fruitless  # what is missing here says nothing about the work
        missing = yield from entry.missing(decision)
        self.lifecycle.keep_error(live, error)
        end = functools.partial(
            self.lifecycle.end_attempt,
            live,
            decision.state if isinstance(decision, GiveUp) else RecoveryState.RECOVERING,
            error,
            category=verdict.category.value,
            explanation=missing or verdict.explanation,
            fix=verdict.offered_fix,
            fruitless=fruitless,
            limit=limit_for(entry.policy, verdict),
            delay=None if isinstance(decision, GiveUp) else decision.delay,
            waiting_for=None if isinstance(decision, GiveUp) else decision.waiting_for,
            is_due=isinstance(decision, RetryAt),
        )
        try:
            live.data = yield Call(end)
        except RecoveryStateError:
            return None
        except StoreError as problem:  # still in progress there, so that no other attempt can be begun
            _not_recorded(live, end, problem)
            return _Ended(Raise(error))
        if not isinstance(decision, GiveUp):
            entry.waits(decision, error, missing)
            return None
        if live.data.state is RecoveryState.CANCELLED:
            return _Ended(Raise(error))
        return (yield from self._give_up(live, entry, error))

    def _run_out(self, live: Operation, entry: Admission, data: RecoveryData) -> Generator[Effect, Any, _Ended | None]:
        """End a wait for which there is no time any more; None when the loop has to look again."""
        error = entry.last_error or self.lifecycle.error_of(data) or entry.too_late()
        try:
            live.data = yield Call(lambda: self.lifecycle.run_out(live.operation_id))
        except RecoveryStateError:
            return None
        entry.last_error = None
        return (yield from self._give_up(live, entry, error))

    def _give_up(self, live: Operation, entry: Admission, error: Exception) -> Generator[Effect, Any, _Ended]:
        """The operation was ended because of `error`: what its caller gets."""
        self.observe("settled", live.data, error)
        return _Ended((yield from self._failure(entry, live.data, error)))

    def _failure(self, entry: Admission, data: RecoveryData, error: Exception) -> Generator[Effect, Any, Raise]:
        try:
            history = yield Call(lambda: self.lifecycle.history(data.operation_id))
        except StoreError:
            history = []  # the note says less
        return failure(data, error, history, entry.policy.raise_original)


@dataclass(frozen=True)
class _Ended:
    """Inside the loop: the operation is over, with this result or `Raise`."""

    result: Any


def _not_recorded(live: Operation, end: Callable[[], object], problem: StoreError) -> None:
    # The caller gets what it came to all the same; others see it in progress until it can be recorded.
    live.unrecorded = end
    logger.warning("how %s ended could not be recorded: %s", live.data.title, text_of(problem))


def classified(policy: Policy, error: BaseException) -> Verdict:
    """The verdict; an error or a classifier that cannot be read makes it an unknown one."""
    try:
        return policy.classify(error)
    except Exception as problem:
        logger.warning("an error of type %s could not be classified: %s", type(error).__name__, text_of(problem))
        return _UNREADABLE
