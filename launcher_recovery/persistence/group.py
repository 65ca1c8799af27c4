"""Group commit: a lone caller commits by itself, contending callers are committed together by one of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import peewee

T = TypeVar("T")

_AT_MOST = 128


class CommitUncertain(peewee.OperationalError):
    """The connection was lost during a commit: nobody here knows whether it was made."""


class WritingConnection(Protocol):
    """What group commit needs: a connection on which transactions that write are run, one at a time."""

    writing: threading.RLock

    def begin(self, durable: bool) -> None:
        """Begin a transaction that writes, when other processes let it; `durable`: it will survive a power cut."""

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Run a prepared statement, past the ORM; raises Peewee's errors."""

    def commit(self, numbered: int) -> None:
        """Make what was written since `begin` permanent; raises CommitUncertain when that is not known.

        `numbered` is the newest event number that is known, in this transaction or before.
        """

    def rollback(self) -> None:
        """Undo what was written since `begin`, if anything is still to be undone."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; some errors end it."""

    @property
    def writer_is_lost(self) -> bool:
        """Whether the connection broke, and took with it what was not committed; `begin` makes a new one."""


class _Job:
    __slots__ = ("durable", "error", "is_done", "leads", "result", "turn", "work")

    def __init__(self, work: Callable[[], Any], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.result: Any = None
        self.error: Exception | None = None
        self.is_done = False
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class GroupCommit:
    """Runs jobs in transactions, each whole or not at all, in the order in which they came.

    Whoever finds nobody at it leads: commits its own job and those that wait. Meanwhile others queue up; the first of
    them leads next. When one of several fails they are done again with a savepoint for each, so that it harms no other.
    When the connection was lost they are done again with a new one, unless that was during the commit.

    Args:
        connections: whose writing connection is used.
        on_commit: called with `numbered` after each commit, before its callers go on.
    """

    def __init__(self, connections: WritingConnection, on_commit: Callable[[int], None]) -> None:
        self._connections = connections
        self._on_commit = on_commit
        self.numbered = 0
        """The newest event number that a job gave; goes back with the job that is undone."""
        self.reset()

    def reset(self) -> None:
        """Begin anew in a forked child, in which those that waited do not exist."""
        self._gate = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._is_led = False

    def run(self, work: Callable[[], T], durable: bool = True) -> T:
        """The result of `work`, after it was committed; raises what `work` raises, then nothing of it is kept.

        `work` is called by any thread, with the writing connection in a transaction, and again if that was undone,
        perhaps through no fault of its own.
        """
        job = _Job(work, durable)
        with self._gate:
            if self._is_led:
                self._waiting.append(job)
            else:
                self._is_led = job.leads = True
        if not job.leads:
            self._wait(job)
        if job.leads:
            try:
                self._lead(job)
            finally:
                self._pass_on()
        result: T = job.outcome()
        return result

    def _wait(self, job: _Job) -> None:
        try:
            job.turn.acquire()
        except BaseException:  # Ctrl-C: nobody may wait for this thread from now on
            with self._gate:
                if job in self._waiting:
                    self._waiting.remove(job)
            if job.leads:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        with self._gate:
            if self._waiting:
                first = self._waiting.popleft()
                first.leads = True
                first.turn.release()
            else:
                self._is_led = False

    def _lead(self, job: _Job) -> None:
        with self._connections.writing:
            with self._gate:
                batch = [job, *(self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_MOST)))]
            try:
                self._commit(batch)
            finally:
                undone = [other for other in batch[1:] if not other.is_done]
                with self._gate:
                    self._waiting.extendleft(reversed(undone))
        for other in batch[1:]:
            if other.is_done:
                other.turn.release()

    def _commit(self, batch: list[_Job]) -> None:
        numbered = self.numbered
        try:
            try:
                self._attempt(batch, each_alone=False)
            except CommitUncertain:
                raise
            except Exception:
                self.numbered = numbered
                is_lost = self._connections.writer_is_lost
                self._connections.rollback()
                if len(batch) == 1 and not is_lost:
                    raise
                self._attempt(batch, each_alone=True)  # to find out whose fault it is
        except BaseException as error:
            self.numbered = numbered
            self._connections.rollback()
            if not isinstance(error, Exception):
                raise  # of this thread alone: the others are tried again
            for job in batch:
                job.error = job.error or error
        else:
            self._on_commit(self.numbered)
        for job in batch:
            job.is_done = True

    def _attempt(self, batch: list[_Job], each_alone: bool) -> None:
        self._connections.begin(any(job.durable for job in batch))
        for job in batch:
            if each_alone:
                self._perform_alone(job)
            else:
                job.result = job.work()
        self._connections.commit(self.numbered)

    def _perform_alone(self, job: _Job) -> None:
        job.error = None
        numbered = self.numbered
        self._connections.execute("SAVEPOINT job")
        try:
            job.result = job.work()
        except Exception as error:
            if not self._connections.in_transaction:
                raise  # it took all others with it, such as a full disk does
            self.numbered = numbered
            self._connections.execute("ROLLBACK TO job")
            job.error = error
        self._connections.execute("RELEASE job")
