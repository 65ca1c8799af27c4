"""The handle that is given to the code of an operation, and which operation is the current one."""

from __future__ import annotations

import abc
import contextvars
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from launcher_recovery.bulkhead import Bulkhead, Ticket
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.errors import (
    OperationCancelled,
    OperationPaused,
    RecoveryStateError,
    RecoveryTimeoutError,
)
from launcher_recovery.records import AttemptRecord, RecoveryData, RecoveryState, StepRecord, Transfer, priority_of
from launcher_recovery.steps import run_step

T = TypeVar("T")


class Limit(NamedTuple):
    """A time limit as it was set: seconds for one attempt, or for the whole operation (its deadline)."""

    seconds: float
    is_deadline: bool = False


class Keeper(Protocol):
    """What a handle needs of the one that keeps operations (`launcher_recovery.lifecycle.Lifecycle`)."""

    def current(self, operation_id: str) -> RecoveryData | None: ...

    def history(self, operation_id: str) -> list[AttemptRecord]: ...

    def is_claimed(self, live: Operation) -> bool: ...

    @property
    def store(self) -> Any: ...

    @property
    def sees_others(self) -> bool: ...

    def watch(self, live: Operation) -> None: ...

    def save_metadata(self, live: Operation) -> None: ...

    def begin_progress(self, live: Operation, done: float, total: float | None, unit: str) -> None: ...

    def report_progress(
        self, live: Operation, done: float, total: float | None, unit: str, message: str | None
    ) -> None: ...

    def kept_step(self, operation_id: str, name: str) -> StepRecord | None: ...

    def finish_step(self, live: Operation, name: str, result: Any) -> None: ...

    def kept_transfer(self, live: Operation, destination: str) -> Transfer | None: ...

    def keep_transfer(self, live: Operation, transfer: Transfer) -> bool: ...


NOTHING: Any = object()
"""Stands for "no item was yielded yet"; None is an item."""


class Operation:
    """The handle of a running operation, for the code inside it; see `current_operation`.

    The engine makes one for each call; code of handlers uses `progress`, `step`, `check`, `metadata`,
    `history`, `operation_id`, `attempt` and `resumed`.
    """

    def __init__(self, data: RecoveryData, keeper: Keeper, clock: Clock) -> None:
        self.data = data
        self.wake = Wake()
        self.moved = False
        self.began = 0
        self.attempt_ends_at: float | None = None
        self.limit: Limit | None = None
        """What sets the end of the attempt."""
        self.waited_last = 0.0
        self.paid = 0.0
        self.unpaid: Exception | None = None
        self.unrecorded: Callable[[], object] | None = None
        self.on_moved: Callable[[], None] | None = None
        self.snapshot: Callable[[], Any] | None = None
        self.last_item: Any = NOTHING
        self.as_failed: Callable[[AttemptRecord], AttemptRecord] | None = None
        """While it is decided what follows the attempt: adds to its record how it failed, which is not kept yet."""
        self._tickets: list[Ticket] = []
        self._keeper = keeper
        self._clock = clock
        self._watched_in = 0 if keeper.sees_others else None

    @property
    def operation_id(self) -> str:
        return self.data.operation_id

    @property
    def store(self) -> Any:
        """The store that keeps it (`launcher_recovery.persistence.base.Store`)."""
        return self._keeper.store

    @property
    def attempt(self) -> int:
        """Number of the running attempt; the first is 1."""
        return self.data.attempt

    @property
    def metadata(self) -> dict[str, Any]:
        """Free JSON values of this operation; kept with the next `save_metadata`."""
        return self.data.metadata

    @property
    def history(self) -> list[AttemptRecord]:
        """The attempts so far, oldest first, the running one last (for a strategy: the one that has just failed)."""
        attempts = self._keeper.history(self.operation_id)
        if self.as_failed is not None and attempts:
            attempts[-1] = self.as_failed(attempts[-1])
        return attempts

    def save_metadata(self) -> None:
        """Keep `metadata` now; it is there again after a restart."""
        self._keeper.save_metadata(self)

    @property
    def is_watched(self) -> bool:
        """Whether changes made by other processes wake it, or there are none."""
        return self._watched_in is None or self._watched_in == os.getpid()

    def watch(self) -> None:
        """From now on changes made by other processes wake it, within 50 ms."""
        if not self.is_watched:
            self._watched_in = os.getpid()
            self._keeper.watch(self)

    def check(self) -> None:
        """Return if the code may go on.

        Raises:
            OperationPaused, OperationCancelled: a person asked for it, in this or, 50 ms ago, another process.
            RecoveryTimeoutError: the attempt's time or the operation's deadline is over.
            RecoveryStateError: another process has taken the operation over.
        """
        self.watch()
        if self.wake.is_set():
            self.wake.clear()
            self._look_again()
        self.check_time()

    def wait(self, seconds: float) -> None:
        """Wait, and return if the code may go on; a pause, a cancel and the end of the time end the wait at once.

        Raises:
            OperationInterrupted, RecoveryTimeoutError, RecoveryStateError: as `check` does.
        """
        until = self._clock.monotonic() + seconds
        self.check()
        while (left := until - self._clock.monotonic()) > 0:
            allowed = self.seconds_left()
            self._clock.wait(self.wake, left if allowed is None else min(left, allowed))
            self.check()

    def check_time(self) -> None:
        """Return if the time of the attempt is not over.

        Raises:
            RecoveryTimeoutError: it is.
        """
        ends_at = self.attempt_ends_at
        if ends_at is not None and self._clock.monotonic() >= ends_at:
            raise self.too_late()

    def too_late(self) -> RecoveryTimeoutError:
        """The error of an attempt whose time is over; it says which limit that was."""
        if self.limit is not None and self.limit.is_deadline:
            return RecoveryTimeoutError(f"{self.data.title} is past its deadline of {self.limit.seconds:g} s")
        of = "" if self.limit is None else f" of {self.limit.seconds:g} s"
        return RecoveryTimeoutError(f"attempt {self.attempt} of {self.data.title} took longer than its timeout{of}")

    def _look_again(self) -> None:
        if self._keeper.is_claimed(self):
            return
        stored = self._keeper.current(self.operation_id)
        if stored is None:
            return
        # Whatever comes later (another check in the handler's clean-up) must see it again.
        self.wake.set()
        if stored.state is RecoveryState.PAUSED:
            raise OperationPaused(f"{self.data.title} was paused")
        if stored.state is RecoveryState.CANCELLED:
            raise OperationCancelled(f"{self.data.title} was cancelled")
        raise RecoveryStateError(
            f"{self.data.title} is no longer run by this call, it is {stored.state}", state=stored.state.value
        )

    def progress(
        self, done: float, total: float | None = None, unit: str = "steps", message: str | None = None
    ) -> None:
        """Report how far the work is; costs little, is written at most five times a second.

        Args:
            done: units done so far, counted from the beginning of the operation (not of the attempt).
            total: units in all, None when unknown.
            unit: "bytes" or "steps".
            message: what is being done, in a few words.
        """
        if done > self.data.watermark:
            self.data.watermark = done
            self.has_moved()
        self._keeper.report_progress(self, done, total, unit, message)
        self.check()

    def resume_at(self, done: float, total: float | None = None, unit: str = "steps") -> None:
        """Tell that `done` units were there when this attempt began; they do not count as its progress."""
        self._keeper.begin_progress(self, done, total, unit)

    @overload
    def step(
        self, name: str, function: Callable[[], Awaitable[T]], still_valid: Callable[[T], bool] = ...
    ) -> Awaitable[T]: ...

    @overload
    def step(self, name: str, function: Callable[[], T], still_valid: Callable[[T], bool] = ...) -> T: ...

    def step(
        self, name: str, function: Callable[[], Any], still_valid: Callable[[Any], bool] = lambda result: True
    ) -> Any:
        """Run `function` unless the step `name` has finished in an earlier attempt or process.

        Returns its result, or the kept result (through JSON) of the earlier run, provided that `still_valid` says
        so of it (what the step made may have been deleted since). A result that holds a secret, such as a signed
        address or a token, is written down only where the store is encrypted: elsewhere later attempts in this process
        get it, and in a new process the step runs again. So it is with a result of a type that cannot be kept.

        In a coroutine `function` may be a coroutine function, or give any other awaitable: then this gives an
        awaitable, `await operation.step("clone", clone)`. The step is done once that has given its result, and not
        when it was cancelled before. A coroutine function is best given itself, or as a `functools.partial`, so that
        the event loop does not wait for the store to look the step up.
        """
        return run_step(self, name, function, still_valid)

    def kept_step(self, name: str) -> StepRecord | None:
        """The step, if it has finished before; see `step`."""
        return self._keeper.kept_step(self.operation_id, name)

    def finish_step(self, name: str, result: Any, *, is_again: bool = False) -> None:
        """Keep that a step is done; see `step`.

        Args:
            is_again: it was done before, so that nothing is won by it: an operation that does a step anew in each of
                its attempts would have attempts without end.
        """
        self._keeper.finish_step(self, name, result)
        if not is_again:
            self.has_moved()

    def kept_transfer(self, destination: str) -> Transfer | None:
        """What is kept of the file that is to be at `destination` (absolute, with links resolved); None also when the
        store fails."""
        return self._keeper.kept_transfer(self, destination)

    def keep_transfer(self, transfer: Transfer) -> bool:
        """Keep what is known of a file that this operation downloads; when it returns, that survives a power cut.

        Safe to call from any thread. A store that fails is logged once, and harms nothing.

        Returns:
            False when the operation no longer belongs to this call: nothing was kept, and the next `check` raises.
        """
        return self._keeper.keep_transfer(self, transfer)

    def has_moved(self) -> None:
        """Tell that this attempt brought something that later ones need not bring again; `progress` tells it by itself.

        Such an attempt, if it fails, begins the count of failed attempts anew (see `Policy.progress_renews`).
        """
        if not self.moved:
            self.moved = True
            if self.on_moved is not None:
                self.on_moved()

    def seconds_left(self) -> float | None:
        """Seconds that the attempt may still take, None without limit."""
        ends_at = self.attempt_ends_at
        return None if ends_at is None else max(0.0, ends_at - self._clock.monotonic())

    def keep_item(self, item: Any) -> None:
        """Remember what a generator yielded last, for its next attempt."""
        self.last_item = item

    def enter_slots(self, bulkheads: Sequence[Bulkhead], data: RecoveryData) -> Bulkhead | None:
        """None when there is room for it everywhere, else where it stands in the queue; then it is woken.

        `data` is the record as it is now: a person may have changed its priority since it took its place.
        """
        priority = priority_of(data)
        for position, bulkhead in enumerate(bulkheads):
            if position == len(self._tickets):
                self._tickets.append(bulkhead.enter(self.wake, priority))
            self._tickets[position].move(priority)
            if not self._tickets[position].is_granted:
                return bulkhead
        return None

    def leave_slots(self) -> None:
        """Make room for others, or leave the queue."""
        while self._tickets:
            self._tickets.pop().leave()


class LazyHandle(abc.ABC):
    """Stands for an operation that has no record until somebody asks for it."""

    __slots__ = ()

    @abc.abstractmethod
    def materialize(self) -> Operation:
        """The operation, made at the first call."""


_current: contextvars.ContextVar[Operation | LazyHandle | None] = contextvars.ContextVar(
    "launcher_recovery", default=None
)


def current_operation() -> Operation | None:
    """The handle of the operation in which this code runs; None outside of one."""
    found = _current.get()
    return found.materialize() if isinstance(found, LazyHandle) else found


@contextmanager
def made_current(operation: Operation) -> Iterator[None]:
    """While it is entered, `current_operation` is `operation`; its surroundings are left as they are."""
    token = _current.set(operation)
    try:
        yield
    finally:
        _current.reset(token)


surroundings: list[Callable[[Operation], AbstractContextManager[object]]] = []
"""What else the code of an operation runs in; each gives a context manager."""


class running:
    """Context manager in which `current_operation` is `operation`, with its surroundings."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        self._token = _current.set(self._operation)
        self._around = [make(self._operation) for make in surroundings]
        for around in self._around:
            around.__enter__()

    def __exit__(self, *exc: object) -> None:
        for around in reversed(self._around):
            around.__exit__(None, None, None)
        _current.reset(self._token)
