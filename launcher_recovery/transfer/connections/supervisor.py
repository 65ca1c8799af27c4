"""Looks after the connections of an attempt, in the thread of the operation: how many, to where, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests

from launcher_recovery.operation import Operation
from launcher_recovery.transfer.connections.allotment import Allotment
from launcher_recovery.transfer.connections.extent import LocalError
from launcher_recovery.transfer.connections.fetching import ChangedError, Fetching, SuperfluousError
from launcher_recovery.transfer.connections.limits import CONNECTIONS, Connections
from launcher_recovery.transfer.connections.pace import SLOW_S, Pace
from launcher_recovery.transfer.connections.ramp import Ramp
from launcher_recovery.transfer.connections.worker import Worker
from launcher_recovery.transfer.http.lines import Line
from launcher_recovery.transfer.http.request import CONNECT_TIMEOUT_S, FIRST_BYTE_TIMEOUT_S
from launcher_recovery.transfer.http.session import is_own
from launcher_recovery.transfer.sources.choice import Choice
from launcher_recovery.transfer.sources.source import HeldError, Source
from launcher_recovery.transfer.sources.waits import WAITS, Waits

TICK_S = 0.02
# From the beginning to the end of an answer's head, and from when the request was sent: a little longer than the limits
# of each step, which know nothing of a head that comes byte by byte.
_ANSWER_S = CONNECT_TIMEOUT_S + FIRST_BYTE_TIMEOUT_S + 5.0
_HEAD_S = FIRST_BYTE_TIMEOUT_S + 1.0
# After so long a person is told who is being waited for.
_UNANSWERED_S = 3.0
_LONG_AGO_S = 10.0


class _TooSlowError(requests.ReadTimeout):
    """A connection was left for a source that may be faster; nothing is wrong with it otherwise."""


class Supervisor:
    """Keeps connections going until the file is there, or an error says that this attempt is over.

    Args:
        operation: is told the progress, and is asked whether it may go on.
        fetching: what the connections share.
        sources: where the file can be had from, the given address first.
        connections, waits: what all downloads of this process share.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        operation: Operation,
        fetching: Fetching,
        sources: list[Source],
        connections: Connections = CONNECTIONS,
        waits: Waits = WAITS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operation = operation
        self._fetching = fetching
        self._sources = sources
        self._connections = connections
        self._ramp = Ramp(fetching.wanted.connections)
        self._received = 0
        self._pace = Pace()
        self._choice = Choice(sources, operation.operation_id, waits, self._can_be_proven)
        self._monotonic = monotonic

    def tick(self) -> None:
        """Wait a moment or until something happens, look after everything, and report.

        Raises:
            OperationInterrupted, RecoveryTimeoutError: see `Operation.check`.
            Exception: what ends the attempt.
        """
        fetching = self._fetching
        with fetching.happened:
            if not fetching.ended:
                fetching.happened.wait(TICK_S)
        now = self._monotonic()
        if now - fetching.checked_at > _LONG_AGO_S:
            self._operation.wake.set()  # it stood still: somebody else may have the operation by now
        self._operation.check()
        fetching.checked_at = now
        self._report()
        self._note_answers(list(fetching.workers))
        self._end_the_silent(now)
        self._end_the_slow(now)
        self._end_the_outrun()
        self._settle_ended()

    def fill_up(self) -> None:
        """Begin connections as far as there is work for them.

        Raises:
            Exception: there is work, and nobody left who could do it; see `Choice.error`.
        """
        fetching = self._fetching
        with fetching.lock:
            if fetching.ended:
                return  # whoever gave them is judged first: what broke may not be asked again in this attempt
            allotment, workers = fetching.allotment, list(fetching.workers)
            working = sum(worker.asked_at is None and worker.received > 0 for worker in workers)
            received = self._received + sum(worker.received for worker in workers)
            if allotment is None:
                wanted, has_work = 1, fetching.stream_size is None
            else:
                left = allotment_left(fetching)
                worth = left > 2 * max(1, len(workers)) * fetching.layout.pieces.piece  # type: ignore[union-attr]
                waited = fetching.buffers.waited
                wanted = self._ramp.observe(self._monotonic(), received, working, worth, waited)
                given = [source for source in self._sources if source.is_given and not source.is_out]
                if any(one.ignores_ranges or not fetching.can_be_divided(one.validators) for one in given):
                    wanted = 1
                allotment.wanted = wanted
                has_work = allotment.has_work(workers)
        while has_work and len(workers) < wanted:
            source = self._choose(workers)
            if source is None:
                if workers:
                    return
                raise self._choice.error()
            worker = self._begin(source, is_first=not workers)
            if worker is None:
                self._ramp.fall_back(len(workers), self._monotonic())
                return
            workers.append(worker)
            if allotment is not None and len(workers) > 1:
                return  # one at a time: the next look says whether there is work for another one
        if workers and not has_work and allotment is not None and not allotment.is_comparing:
            self._race(allotment, workers)

    def _race(self, allotment: Allotment, workers: list[Worker]) -> None:
        """Have another source fetch as well what the last connection would be long with; the faster one wins."""
        if any(worker.rival in workers for worker in workers):
            return  # when that is over, the one that was to be faster may turn out to be the slow one
        rival = allotment.slowest(workers, self._monotonic())
        if rival is None:
            return
        source = self._choose(workers, but=rival.source)
        if source is not None and (source.is_proven or self._fetching.can_compare()):
            self._begin(source, is_first=False, rival=rival)

    def dismiss(self) -> None:
        """End the connections that fetch what has come meanwhile by another one."""
        with self._fetching.happened:
            for worker in [worker for worker in self._fetching.workers if worker.extent is not None]:
                self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        self._fetching.workers.remove(worker)
        worker.stop()
        worker.extent = None
        self._fetching.ended.append((worker, None))

    def stop(self) -> None:
        """End every connection at once, and give back what they had."""
        fetching = self._fetching
        with fetching.lock:
            workers = list(fetching.workers)
            fetching.workers.clear()
            for worker in workers:
                worker.stop()
            ended = [worker for worker, _ in fetching.ended]
            fetching.ended.clear()
        for worker in (*workers, *ended):
            self._connections.leave(worker.source.host)

    # -- connections --------------------------------------------------------------------------------

    def _choose(self, workers: list[Worker], but: Source | None = None) -> Source | None:
        """The source for one connection more; `but` is not meant, and has what is to be fetched from another one."""
        in_use = {worker.source for worker in workers}
        return self._choice.best(in_use, but, lambda source: but is not None or self._fetching.can_serve(source))

    def _can_be_proven(self) -> bool:
        """Whether a checksum, or pieces that are there, can show that a mirror has the same file."""
        pieces = self._fetching.pieces
        return bool(self._fetching.wanted.proofs) or (
            pieces is not None and sum(value is not None for value in pieces.hashes) > 1
        )

    def _begin(self, source: Source, *, is_first: bool, rival: Worker | None = None) -> Worker | None:
        if not self._connections.enter(source.host, is_first=is_first):
            return None
        try:
            new_session = self._fetching.wanted.new_session
            session = new_session()
            # A session that the caller gives may serve others as well.
            line = Line(session, self._monotonic) if is_own(new_session) else None
            worker = Worker(self._fetching, source, session, line, self._monotonic)
            worker.rival = rival
            with self._fetching.lock:
                worker.start()
                self._fetching.workers.append(worker)
        except BaseException:
            self._connections.leave(source.host)
            raise
        return worker

    def _settle_ended(self) -> None:
        fetching = self._fetching
        with fetching.lock:
            ended, fetching.ended[:] = list(fetching.ended), []
            working = len(fetching.workers)
        for worker, _ in ended:
            self._connections.leave(worker.source.host)
            self._received += worker.received
        self._note_answers([worker for worker, _ in ended])
        for worker, error in ended:
            if error is not None:
                self._judge(worker, error, working)
            elif worker.received:
                self._choice.brought(worker.source)

    def _note_answers(self, workers: list[Worker]) -> None:
        for worker in workers:
            if worker.answered is not None:
                self._choice.answered(worker.source, worker.answered)
                worker.answered = None

    def _judge(self, worker: Worker, error: BaseException, working: int) -> None:
        source = worker.source
        if isinstance(error, LocalError):
            raise error.args[0]
        if isinstance(error, ChangedError) or not isinstance(error, Exception):
            raise error
        if isinstance(error, HeldError):
            return  # the next choice sees whom it was led to
        if isinstance(error, SuperfluousError):
            self._ramp.fall_back(working, self._monotonic())
            return
        if isinstance(error, _TooSlowError):
            self._choice.shun(source, worker.rate)
            return
        if working and any(other.source is source for other in self._fetching.workers) and self._choice.refused(error):
            # It gives no further connection, and those that it gave go on.
            self._ramp.fall_back(working, self._monotonic())
            return
        self._choice.failed(source, error, worker.received, self._fetching.can_be_divided(source.validators))

    # -- the silent and the slow --------------------------------------------------------------------

    def _end_the_silent(self, now: float) -> None:
        """End connections that get no answer, or one byte by byte, for too long; sooner if there is another source."""
        workers = list(self._fetching.workers)
        for worker in workers:
            if worker.asked_at is None:
                continue
            seconds, sent_at = now - worker.asked_at, worker.sent_at
            text = f"{worker.source.host} gave no answer within {seconds:.0f} s"
            if seconds > _ANSWER_S or (sent_at is not None and now - sent_at > _HEAD_S):
                self._leave(worker, requests.ReadTimeout(text))
            elif seconds > SLOW_S and self._has_better(worker, 0.0, workers):
                self._leave(worker, _TooSlowError(text))

    def _end_the_slow(self, now: float) -> None:
        """End connections that were far slower than usual for some time, while there is another way."""
        fetching = self._fetching
        workers = list(fetching.workers)
        limit = fetching.bandwidth.rate
        rates = {
            worker: (worker.rate, worker.silent_rate(now)) if worker.asked_at is None and worker.received else None
            for worker in workers
        }
        slow = self._pace.slow(now, rates, limit / max(1, self._connections.count()) if limit else None)
        for worker, others_are_faster in slow.items():
            # Those that are faster take over what it leaves; where all are slow it takes another source.
            if (others_are_faster and len(workers) > 1) or self._has_better(worker, worker.rate, workers):
                self._leave(worker, _TooSlowError(f"{worker.source.host} had become very slow"))

    def _end_the_outrun(self) -> None:
        """End those that have lost a race, also while others are not done yet."""
        with self._fetching.happened:
            allotment, workers = self._fetching.allotment, list(self._fetching.workers)
            if allotment is None or allotment.is_comparing:
                return
            racing = [worker for worker in workers if worker.rival in workers]
            for worker in {*racing, *(worker.rival for worker in racing)}:
                if worker is not None and allotment.is_outrun(worker):
                    self._dismiss(worker)

    def _has_better(self, worker: Worker, rate: float, workers: list[Worker]) -> bool:
        return self._choice.has_better(worker.source, rate, {other.source for other in workers})

    def _leave(self, worker: Worker, error: requests.RequestException) -> None:
        fetching = self._fetching
        with fetching.happened:
            if worker not in fetching.workers:
                return
            fetching.workers.remove(worker)
            worker.stop()
            worker.extent = None
            fetching.ended.append((worker, error))

    # -- progress -----------------------------------------------------------------------------------

    def _report(self) -> None:
        fetching = self._fetching
        with fetching.lock:
            size = fetching.wanted.size if fetching.pieces is None else fetching.pieces.size
            have = fetching.have
            message = self._what_is_done(self._monotonic())
        if fetching.layout is None and not have and message is None:
            return
        self._operation.progress(have, size, "bytes", message)

    def _what_is_done(self, now: float) -> str | None:
        """What a person may want to know beside the numbers: who is waited for, or that it is a mirror that sends."""
        workers = self._fetching.workers
        since = [worker.asked_at for worker in workers if worker.asked_at is not None]
        if len(since) == len(workers) and since and now - max(since) > _UNANSWERED_S:
            return f"waiting for an answer from {', '.join(sorted({worker.source.host for worker in workers}))}"
        mirrors = sorted({worker.source.host for worker in workers if not worker.source.is_given})
        return f"from {', '.join(mirrors)}" if mirrors else None


def allotment_left(fetching: Fetching) -> int:
    """Bytes that are missing and that no connection is about to fetch."""
    assert fetching.layout is not None
    taken = sum(worker.extent.left for worker in fetching.workers if worker.extent is not None)
    return max(0, fetching.layout.pieces.size - fetching.layout.pieces.have - taken)
