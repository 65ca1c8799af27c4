"""The attempt loop: one generator that makes every decision, for every driver."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from launcher_recovery import drivers
from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.bulkhead import Bulkhead
from launcher_recovery.classification import ErrorCategory, Retry, Verdict
from launcher_recovery.classification.facts import chain_of
from launcher_recovery.clock import Clock
from launcher_recovery.effects import Call, Effect, Loop, Outcome, Raise, Run, Wait
from launcher_recovery.errors import (
    CircuitBreakerOpenError,
    OperationCancelled,
    OperationInterrupted,
    RecoveryExhaustedError,
    RecoveryStateError,
    RecoveryTimeoutError,
    StoredError,
    StoreError,
    text_of,
)
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import FINAL, Operation, RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.policy import GiveUp, Policy, RetryAt, counts_for_breaker, decide, limit_for

logger = logging.getLogger("launcher_recovery")

# A wait ends at once on a change made in this process; one made elsewhere is seen after this many seconds,
# sooner where the outbox is tailed.
_POLL_S = 1.0
_GAVE_UP = "__recovery_gave_up__"
# Orders the beginnings of attempts and the moments of giving up in this process, whatever the clock does.
_moments = itertools.count(1)
_UNREADABLE = Verdict(ErrorCategory.UNKNOWN, Retry.YES, "unknown", "Something went wrong that is not known yet.")

T = TypeVar("T")

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

    def run(
        self, data: RecoveryData, policy: Policy, handler: Callable[[], Any], begun: Operation | None = None
    ) -> Any:
        """Run, or join, the operation `data` until it is over; returns its result.

        Args:
            begun: the handle of a first attempt that is running already; `handler` then ends it.

        Raises:
            Exception: the handler's own last error, when it gave up (see `Policy.raise_original`).
            OperationCancelled: somebody cancelled it.
            StoredError: it was joined, and failed elsewhere.
            CircuitBreakerOpenError: the breaker was open at entry and the policy does not wait for it.
        """
        with self._attached(data, policy, begun) as live:
            return drivers.drive(live, self._loop(live, policy, begun is not None), handler, self.clock)

    def iterate(
        self, data: RecoveryData, policy: Policy, handler: Callable[[], Generator[Any, Any, Any]]
    ) -> Generator[Any, Any, Any]:
        """Like `run`, for a handler that gives a generator; closing it early cancels the operation."""
        with self._attached(data, policy) as live:
            return (yield from drivers.drive_generator(live, self._loop(live, policy), handler, self.clock))

    async def run_async(
        self,
        data: RecoveryData,
        policy: Policy,
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
        self, data: RecoveryData, policy: Policy, handler: Callable[[], AsyncIterator[Any]]
    ) -> AsyncGenerator[Any, None]:
        """Like `iterate`, for a handler that gives an async generator."""
        with self._attached(data, policy) as live:
            loop = self._loop(live, policy)
            items = drivers.drive_async_generator(live, loop, handler, self.clock, self.inline)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

    def _attached(self, data: RecoveryData, policy: Policy, begun: Operation | None = None) -> _Attached:
        live = begun or Operation(data, self.lifecycle, self.clock)
        if begun is None:
            self.lifecycle.attach(live)
        return _Attached(self.lifecycle, policy, live)

    # -- the loop -----------------------------------------------------------------------------------

    def _loop(self, live: Operation, policy: Policy, begun: bool = False) -> Loop:
        """Every decision of an operation, for all drivers."""
        ended: _Ended | None = None
        told_of: Bulkhead | None = None
        if begun:
            ended = yield from self._attempt(live, policy, None)
        while ended is None:
            # Cleared before the look, so that a change after the look ends the wait that follows it.
            live.wake.clear()
            data = yield Call(lambda: self.lifecycle.store.get(live.operation_id))
            if data is None:
                return Raise(RecoveryStateError(f"{live.data.title} was deleted from the store"))
            if data.state in FINAL:
                return _outcome(data)
            if data.state in (RecoveryState.PAUSED, RecoveryState.IN_PROGRESS):
                # Paused by a person, or run by another call, perhaps of another process.
                live.leave_slots()
                yield Wait(_POLL_S)
                continue
            remaining = yield from self._to_wait(data, policy)
            if remaining > 0:
                live.leave_slots()
                yield Wait(min(remaining, _POLL_S))
                continue
            queue = live.enter_slots(policy.bulkheads)
            if queue is not None:
                if data.waiting_for is not WaitingFor.SLOT or queue is not told_of:
                    told_of = queue
                    yield from self._hold(live, None, WaitingFor.SLOT, queue.reason)
                yield Wait(_POLL_S)
                continue
            refusal, held = yield from self._admit(live, policy, data)
            if held:
                continue
            try:
                live.data = yield Call(lambda: self.lifecycle.begin_attempt(live.operation_id, policy.max_attempts))
            except RecoveryStateError:  # somebody else was faster; look again
                _let_go(policy, live)
                continue
            self.begin(live, policy)
            try:
                ended = yield from self._attempt(live, policy, refusal)
            finally:
                live.leave_slots()
        return ended.result

    def _to_wait(self, data: RecoveryData, policy: Policy) -> Generator[Effect, Any, float]:
        """Seconds until the next attempt is due."""
        if data.next_attempt_at is None:
            return 0.0
        breaker = policy.breaker
        if data.waiting_for is WaitingFor.BREAKER and breaker is not None:
            yield from _ask(policy, breaker.refresh)
            if not breaker.is_open():
                return 0.0  # the probe of another operation got through, perhaps of another process
        return data.next_attempt_at.timestamp() - self.clock.time()

    def _admit(
        self, live: Operation, policy: Policy, data: RecoveryData
    ) -> Generator[Effect, Any, tuple[Exception | None, bool]]:
        """Ask the budget and the breaker: the error with which the attempt is refused, and whether to look again."""
        if live.unpaid is not None and policy.budget is not None:
            wait = yield from _ask(policy, policy.budget.admit)
            if wait > 0:
                if self._is_too_late(data, policy, wait):
                    return live.unpaid, False
                text = "Too much has failed lately, so that retries are spread out."
                yield from self._hold(live, wait, WaitingFor.SLOT, text)
                return None, True
            live.unpaid = None
        breaker = policy.breaker
        if breaker is None:
            return None, False
        refused_s = yield from _ask(policy, functools.partial(breaker.acquire, live))
        if refused_s <= 0:
            return None, False
        if policy.wait_for_breaker and not self._is_too_late(data, policy, refused_s):
            text = f"{breaker.scope or 'The other side'} has failed repeatedly and is left alone for a while."
            breaker.tell(live.wake)
            yield from self._hold(live, refused_s, WaitingFor.BREAKER, text)
            return None, True
        return _refusal(breaker, live, refused_s), False

    def _hold(
        self, live: Operation, seconds: float | None, waiting_for: WaitingFor, text: str
    ) -> Generator[Effect, Any, None]:
        try:
            yield Call(lambda: self.lifecycle.hold(live.operation_id, seconds, waiting_for, text))
        except RecoveryStateError:
            return  # it changed meanwhile; the loop looks again

    def begin(self, live: Operation, policy: Policy) -> None:
        """Note that an attempt begins now; `live.data` is its record."""
        live.moved = False
        live.began = next(_moments)
        # `wake` is left as it is: whoever paused or cancelled right after the claim is to be heard.
        limit = self._time_limit(live, policy)
        live.attempt_ends_at = None if limit is None else self.clock.monotonic() + limit
        self.observe("attempt_started", live.data, None)

    def _attempt(
        self, live: Operation, policy: Policy, refusal: Exception | None
    ) -> Generator[Effect, Any, _Ended | None]:
        """One attempt, from its claim to its record; None when the loop has to look again."""
        breaker = policy.breaker
        # The far end works as soon as something moves: those that wait for this probe need not see it end.
        live.on_moved = None if breaker is None else functools.partial(breaker.success, live)
        outcome = Outcome(error=refusal)
        if refusal is None:
            outcome = yield Run(live.seconds_left())
        error = outcome.error
        if error is None:
            try:
                live.check_time()  # what comes too late is void
            except RecoveryTimeoutError as late:
                error = late
        self.observe("attempt_finished", live.data, error)
        if error is not None:
            # An operation inside this one may have been cancelled while this one was not.
            if isinstance(error, OperationInterrupted) and not (yield Call(lambda: self.lifecycle.is_claimed(live))):
                _let_go(policy, live)
                return None
            return (yield from self._failed(live, policy, error, is_refused=refusal is not None))
        yield from _ask(policy, functools.partial(_tell_success, policy, live))
        result = outcome.value
        try:
            live.data = yield Call(lambda: self.lifecycle.succeed(live, result))
        except RecoveryStateError:
            return None  # paused or cancelled meanwhile: a late result is void
        self.observe("settled", live.data, None)
        return _Ended(result)

    def _failed(
        self, live: Operation, policy: Policy, error: Exception, is_refused: bool
    ) -> Generator[Effect, Any, _Ended | None]:
        """Record the failure of an attempt and what follows it; None when it is another attempt."""
        verdict = _classify(policy, error)
        if not is_refused:
            yield from _ask(policy, functools.partial(_tell_breaker, policy, verdict, live))
        fruitless = 0 if live.moved else live.data.fruitless + 1
        decision: RetryAt | GiveUp = GiveUp(RecoveryState.FAILED)
        if not _inner_gave_up(error, live.began):
            age = self._age(live.data)
            decision = decide(policy, error, verdict, fruitless=fruitless, age=age, previous=live.waited_last)
        if isinstance(decision, RetryAt) and policy.budget is not None:
            decision = yield from _ask(policy, functools.partial(self._pay, live, policy, decision, error))
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
            return None
        if retry is not None:
            if retry.waiting_for is WaitingFor.BREAKER and policy.breaker is not None:
                policy.breaker.tell(live.wake)
            live.waited_last = retry.delay
            return None
        self.observe("settled", live.data, error)
        history = yield Call(lambda: self.lifecycle.history(live.operation_id))
        _mark_given_up(error, live.data, sum(item.delay_s or 0.0 for item in history))
        if policy.raise_original:
            return _Ended(Raise(error))
        text = f"{live.data.title} failed after {live.data.attempt} attempts: {text_of(error)}"
        return _Ended(Raise(RecoveryExhaustedError(text), error))

    def _pay(self, live: Operation, policy: Policy, retry: RetryAt, error: Exception) -> RetryAt | GiveUp:
        """Take the price of a retry from the budget; without one, give up, or wait longer."""
        budget = policy.budget
        assert budget is not None
        paid = budget.take(timed_out=isinstance(error, TimeoutError))
        if paid is not None:
            live.paid = paid
            return retry
        live.paid = 0.0
        if not policy.wait_for_breaker:
            return GiveUp(RecoveryState.EXHAUSTED)
        live.unpaid = error
        delay = max(retry.delay, budget.probe_interval)
        if self._is_too_late(live.data, policy, delay):
            return GiveUp(RecoveryState.EXHAUSTED)
        return RetryAt(delay, WaitingFor.SLOT)

    def _time_limit(self, live: Operation, policy: Policy) -> float | None:
        """Seconds that an attempt may take that begins now."""
        limit = policy.timeout
        if policy.deadline is not None:
            left = policy.deadline - self._age(live.data)
            # An attempt that begins after the deadline was held up, by a pause or a restart.
            if left > 0:
                limit = left if limit is None else min(limit, left)
        return limit

    def _age(self, data: RecoveryData) -> float:
        """Seconds for which the operation has been under way, since a person began it last."""
        return self.clock.time() - (data.begun_at or data.created_at).timestamp()

    def _is_too_late(self, data: RecoveryData, policy: Policy, seconds: float) -> bool:
        """Whether the operation would be past its deadline after a wait of `seconds`."""
        return policy.deadline is not None and self._age(data) + seconds > policy.deadline


class _Attached:
    """While it is entered, the call is known to the lifecycle; whatever ends it from outside ends its part.

    A class, not a generator with a decorator: those set attributes of the exceptions that pass through.
    """

    def __init__(self, lifecycle: Lifecycle, policy: Policy, live: Operation) -> None:
        self._lifecycle = lifecycle
        self._policy = policy
        self._live = live

    def __enter__(self) -> Operation:
        return self._live

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        live, lifecycle = self._live, self._lifecycle
        try:
            if error is not None and not isinstance(error, Exception):
                _let_go(self._policy, live)
                if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
                    lifecycle.give_back(live)  # this process ends, the operation need not
                elif live.began or not lifecycle.is_shared(live):
                    lifecycle.cancel(live.operation_id)
        except (RecoveryStateError, StoreError) as problem:
            logger.debug("an interrupted call left its operation as it was: %s", problem)
        finally:
            live.leave_slots()
            lifecycle.detach(live)


def _ask(policy: Policy, function: Callable[[], T]) -> Generator[Effect, Any, T]:
    """Call what asks or tells the breaker or the budget; one that is shared through a store may block."""
    if policy.is_shared:
        result: T = yield Call(function)
        return result
    return function()


def _let_go(policy: Policy, live: Operation) -> None:
    """Free the place of the probe, if this call is it."""
    if policy.breaker is not None:
        policy.breaker.release(live)


@dataclass(frozen=True)
class _Ended:
    """Inside the loop: the operation is over, with this result or `Raise`."""

    result: Any


def _outcome(data: RecoveryData) -> Any:
    """What a call gets that finds its operation ended by somebody else."""
    if data.state is RecoveryState.SUCCESS:
        return data.result
    if data.state is RecoveryState.CANCELLED:
        return Raise(OperationCancelled(f"{data.title} was cancelled"))
    error = data.error or StoredError("RecoveryError", f"{data.title} ended {data.state}")
    _mark_given_up(error, data, 0.0)
    return Raise(error)


def _refusal(breaker: CircuitBreaker, live: Operation, seconds: float) -> CircuitBreakerOpenError:
    return CircuitBreakerOpenError(
        f"{breaker.scope or live.data.title} has failed {breaker.failure_count} times in a row and is left alone "
        f"for another {seconds:.0f} s",
        seconds,
    )


def _classify(policy: Policy, error: Exception) -> Verdict:
    """The verdict; an error or a classifier that cannot be read makes it an unknown one."""
    try:
        return policy.classify(error)
    except Exception as problem:
        logger.warning("an error of type %s could not be classified: %s", type(error).__name__, text_of(problem))
        return _UNREADABLE


def _tell_success(policy: Policy, live: Operation) -> None:
    if policy.breaker is not None:
        policy.breaker.success(live)
    if policy.budget is not None:
        policy.budget.succeeded(live.paid)


def _tell_breaker(policy: Policy, verdict: Verdict, live: Operation) -> None:
    breaker = policy.breaker
    if breaker is None:
        return
    if live.moved:  # the far end works, however badly
        breaker.success(live)
    elif counts_for_breaker(policy, verdict):
        breaker.failure(live)
    else:
        breaker.release(live)


def _mark_given_up(error: Exception, data: RecoveryData, waited: float) -> None:
    """Note the history on the error, and mark it for operations around this one; `waited` is in seconds."""
    attempts = "1 attempt" if data.attempt == 1 else f"{data.attempt} attempts"
    waits = f" and {waited:.3g} s of waiting" if waited else ""
    note = f"launcher-recovery: gave up after {attempts}{waits} (operation {data.operation_id})"
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
