"""Looks after the connections of an attempt, in the thread of the operation: how many, to where, and what ends it."""

from __future__ import annotations

import statistics
import time
from collections import deque

import requests

from launcher_recovery.errors import AddressExpiredError, IntegrityError
from launcher_recovery.operation import Operation
from launcher_recovery.transfer.allotment import Allotment
from launcher_recovery.transfer.fetching import ChangedError, Fetching, SuperfluousError
from launcher_recovery.transfer.limits import CONNECTIONS, Connections
from launcher_recovery.transfer.ramp import Ramp
from launcher_recovery.transfer.request import CONNECT_TIMEOUT_S, FIRST_BYTE_TIMEOUT_S
from launcher_recovery.transfer.sources import Source
from launcher_recovery.transfer.worker import LocalError, Worker

TICK_S = 0.02
_ANSWER_S = CONNECT_TIMEOUT_S + FIRST_BYTE_TIMEOUT_S + 5.0
_SLOW_S = 10.0
_SLOW = 0.25
_NOT_NOW = (408, 425, 429, 500, 502, 503, 504)
_LONG_AGO_S = 10.0


class Supervisor:
    """Keeps connections going until the file is there, or an error says that this attempt is over.

    Args:
        operation: is told the progress, and is asked whether it may go on.
        fetching: what the connections share.
        sources: where the file can be had from, the given address first.
    """

    def __init__(
        self,
        operation: Operation,
        fetching: Fetching,
        sources: list[Source],
        connections: Connections = CONNECTIONS,
    ) -> None:
        self._operation = operation
        self._fetching = fetching
        self._sources = sources
        self._connections = connections
        self._ramp = Ramp(fetching.wanted.connections)
        self._received = 0
        self._rates: deque[float] = deque(maxlen=60)
        self._rated_at = time.monotonic()
        self._last_error: BaseException | None = None

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
        now = time.monotonic()
        if now - fetching.checked_at > _LONG_AGO_S:
            self._operation.wake.set()  # it stood still: somebody else may have the operation by now
        self._operation.check()
        fetching.checked_at = now
        self._report()
        self._settle_ended()
        self._end_the_silent(now)
        self._end_the_slow(now)

    def fill_up(self) -> None:
        """Begin connections as far as there is work for them.

        Raises:
            Exception: there is work, and nobody left who could do it: the error of the last one who tried.
        """
        fetching = self._fetching
        with fetching.lock:
            allotment, workers = fetching.allotment, list(fetching.workers)
            working = sum(worker.asked_at is None and worker.received > 0 for worker in workers)
            received = self._received + sum(worker.received for worker in workers)
            if allotment is None:
                wanted, has_work = 1, fetching.stream_size is None
            else:
                left = allotment_left(fetching)
                worth = left > 2 * max(1, len(workers)) * fetching.layout.pieces.piece  # type: ignore[union-attr]
                wanted = self._ramp.observe(time.monotonic(), received, working, worth)
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
                raise self._give_up()
            worker = self._begin(source, is_first=not workers)
            if worker is None:
                self._ramp.fall_back(len(workers), time.monotonic())
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
        rival = allotment.slowest(workers, time.monotonic())
        if rival is None:
            return
        source = self._choose(workers, but=rival.source)
        if source is not None and (source.is_proven or self._fetching.can_compare()):
            self._begin(source, is_first=False, rival=rival)

    def dismiss(self) -> None:
        """End the connections that fetch what has come meanwhile by another one."""
        with self._fetching.happened:
            for worker in [worker for worker in self._fetching.workers if worker.extent is not None]:
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
        """The best source that is of use now, `but` for one: the fastest, the given one while nothing is known."""
        in_use = {worker.source for worker in workers}
        usable = [
            source
            for source in self._sources
            if source is not but and source.is_usable(source in in_use) and (but or self._fetching.can_serve(source))
        ]
        proven = [source for source in usable if source.is_proven]
        if proven:
            return max(proven, key=lambda source: (source.rate, source.is_given))
        return usable[0] if usable else None

    def _begin(self, source: Source, *, is_first: bool, rival: Worker | None = None) -> Worker | None:
        if not self._connections.enter(source.host, is_first=is_first):
            return None
        session = self._fetching.wanted.new_session()
        worker = Worker(self._fetching, source, session)
        worker.rival = rival
        with self._fetching.lock:
            self._fetching.workers.append(worker)
        worker.start()
        return worker

    def _settle_ended(self) -> None:
        fetching = self._fetching
        with fetching.lock:
            ended, fetching.ended[:] = list(fetching.ended), []
            working = len(fetching.workers)
        for worker, error in ended:
            self._connections.leave(worker.source.host)
            self._received += worker.received
            if error is not None:
                self._judge(worker, error, working)

    def _judge(self, worker: Worker, error: BaseException, working: int) -> None:
        source = worker.source
        if isinstance(error, LocalError):
            raise error.args[0]
        if isinstance(error, ChangedError) or not isinstance(error, Exception):
            raise error
        if isinstance(error, SuperfluousError):
            self._ramp.fall_back(working, time.monotonic())
            return
        self._last_error = error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in _NOT_NOW and working and any(other.source is source for other in self._fetching.workers):
            # It gives no further connection, and those that it gave go on.
            self._ramp.fall_back(working, time.monotonic())
            return
        is_final = isinstance(error, (IntegrityError, AddressExpiredError)) or (
            status is not None and status not in _NOT_NOW
        )
        is_silence = isinstance(error, requests.Timeout) and worker.received > 0
        is_silence = is_silence and self._fetching.can_be_divided(source.validators)
        if any(other is not source and not other.is_out for other in self._sources):
            is_silence = False  # another one is asked rather
        source.failed(error, is_final=is_final, is_forgiven=is_silence)

    def _give_up(self) -> BaseException:
        """The error that tells most: that of the given address, if that was asked at all."""
        for source in self._sources:
            if source.error is not None:
                return source.error
        return self._last_error or requests.ConnectionError("no source of the file is left")

    # -- the silent and the slow --------------------------------------------------------------------

    def _end_the_silent(self, now: float) -> None:
        """Leave connections to themselves that do not get an answer, byte by byte, for too long."""
        fetching = self._fetching
        for worker in list(fetching.workers):
            if worker.asked_at is not None and now - worker.asked_at > _ANSWER_S:
                self._leave(worker, requests.ReadTimeout(f"{worker.source.host} gave no answer within {_ANSWER_S:g} s"))

    def _end_the_slow(self, now: float) -> None:
        """End a connection that was far slower than usual for some time, while there is another way."""
        fetching = self._fetching
        if now - self._rated_at < 1.0:
            return
        self._rated_at = now
        workers = [worker for worker in fetching.workers if worker.asked_at is None and worker.received]
        self._rates.extend(worker.rate for worker in workers if worker.rate)
        if len(self._rates) < 3:
            return
        usual = statistics.median(self._rates)
        for worker in workers:
            is_slow = max(worker.rate, worker.silent_rate(now)) < _SLOW * usual
            worker.slow_since = (worker.slow_since or now) if is_slow else None
            if worker.slow_since is None or now - worker.slow_since < _SLOW_S:
                continue
            others = {other for other in self._sources if other is not worker.source and other.is_usable(False)}
            if others or len(workers) > 1:
                worker.slow_since = None
                worker.source.rate = min(worker.source.rate, worker.rate)
                self._leave(worker, requests.ReadTimeout(f"{worker.source.host} had become very slow"))

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
            hosts = sorted({worker.source.host for worker in fetching.workers if not worker.source.is_given})
        if fetching.layout is None and not have:
            return
        self._operation.progress(have, size, "bytes", f"from {', '.join(hosts)}" if hosts else None)


def allotment_left(fetching: Fetching) -> int:
    """Bytes that are missing and that no connection is about to fetch."""
    assert fetching.layout is not None
    taken = sum(worker.extent.left for worker in fetching.workers if worker.extent is not None)
    return max(0, fetching.layout.pieces.size - fetching.layout.pieces.have - taken)
