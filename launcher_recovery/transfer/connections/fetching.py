"""What the connections of one download share: they get their extents here, and bring here what they got."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from launcher_recovery.errors import IntegrityError, UnexpectedContentError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.connections.allotment import Allotment
from launcher_recovery.transfer.connections.blame import Blame
from launcher_recovery.transfer.connections.extent import Extent, LocalError
from launcher_recovery.transfer.connections.intake import Intake
from launcher_recovery.transfer.connections.limits import BANDWIDTH, Bandwidth
from launcher_recovery.transfer.connections.worker import Worker
from launcher_recovery.transfer.content.recognising import refuse_what_is_no_file
from launcher_recovery.transfer.disk.folders import explained
from launcher_recovery.transfer.http.request import Answer, FileChangedError, NotThatFile, ask
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.checksums import Digests
from launcher_recovery.transfer.integrity.comparing import Comparison
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.journal import Known
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.part import Part, PartClosedError
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.proving import has_samples, prove
from launcher_recovery.transfer.sources.source import OtherFileError, Source
from launcher_recovery.transfer.wanted import Wanted

FIRST_BYTES = 32 << 20
"""What is asked for first of a file of which the size is not known, and so much is a file that is asked for whole."""

_STALE_S = 10.0


class ChangedError(Exception):
    """The file on the server is another one than the partial: begin anew."""


class SuperfluousError(Exception):
    """The connection is one too many."""


class Fetching:
    """One attempt, as its connections see it.

    Args:
        wanted: what is asked for.
        sources: where it can be had from.
        part: the open partial.
        known: what is there of it.
        on_layout: called, with the lock held, when the size is known; gives the layout.
        on_stream: called before the first byte of a body whose length is not known is written.
    """

    def __init__(
        self,
        wanted: Wanted,
        sources: Sequence[Source],
        part: Part,
        known: Known,
        on_layout: Callable[[int], Layout],
        on_stream: Callable[[], object],
    ) -> None:
        self.wanted = wanted
        self.sources = sources
        self.part = part
        self.known = known
        self.lock = threading.RLock()
        self.happened = threading.Condition(self.lock)
        self.buffers = Buffers(4 + max(1, wanted.connections))
        self.bandwidth: Bandwidth = BANDWIDTH
        self.priority: Callable[[], int] = lambda: wanted.priority
        self.layout: Layout | None = None
        self.allotment: Allotment | None = None
        self.workers: list[Worker] = []
        self.ended: list[tuple[Worker, BaseException | None]] = []
        self.checked_at = time.monotonic()
        self.streamed: Digests | None = None
        """The hashers of a file of unknown size, which is there when they are."""
        self.stream_size: int | None = None
        self.blame = Blame(sources)
        self._intake: Intake | None = None
        self._most = known.have
        self._on_layout = on_layout
        self._on_stream = on_stream

    @property
    def pieces(self) -> Pieces | None:
        return None if self.layout is None else self.layout.pieces

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return self.known.have

    def adopt(self, size: int) -> None:
        """The size of the file is known from an earlier attempt."""
        with self.lock:
            self._lay_out(size)

    # -- called by the connections ------------------------------------------------------------------

    def work(self, worker: Worker) -> None:
        """Fetch extents until there are none left for this connection."""
        if not worker.source.is_proven:
            with self.lock:
                layout = self.layout
            is_comparing = self.allotment is not None and self.allotment.is_comparing
            is_racing = worker.rival is not None
            try:
                prove(worker.source, worker.session, layout, bool(self.wanted.proofs), is_comparing, is_racing)
            except IntegrityError:
                if worker.source.is_given:  # of another address than what is there
                    raise ChangedError from None
                raise
        while not worker.is_stopped and (extent := self._next(worker)) is not None:
            try:
                self._fetch(worker, extent)
            finally:
                with self.happened:
                    worker.extent = None
                    self.happened.notify_all()

    def left(self, worker: Worker, error: BaseException | None) -> None:
        """The connection is over."""
        with self.happened:
            if worker in self.workers:  # else nobody waits for it any more
                self.workers.remove(worker)
                self.ended.append((worker, error))
                self.happened.notify_all()

    def _next(self, worker: Worker) -> Extent | None:
        with self.lock:
            if self.layout is None or self.allotment is None:
                # Before anything is known there is one connection, and one extent.
                if self.stream_size is not None:
                    return None
                extent: Extent | None = Extent(self.known.prefix, self.known.prefix + FIRST_BYTES)
            else:
                extent = self.allotment.next(worker, self.workers, self.blame.avoided(worker.source))
            worker.extent = extent
            return extent

    def _fetch(self, worker: Worker, extent: Extent) -> None:
        worker.asked_at = time.monotonic()
        answer = self._ask(worker, extent)
        if not self.can_be_divided(answer.validators) and not answer.is_whole and answer.end != answer.validators.size:
            # Nothing would tell whether the parts are of one file: it comes in one answer, or not at all.
            answer.close()
            answer = self._ask_for_all(worker)
        worker.answered, worker.asked_at = worker.asked_at, None
        if worker.is_stopped:
            answer.close()
            return
        try:
            if answer.start == 0 and answer.response is not None:
                self._look_at(worker, answer)
            self._accept(worker, extent, answer)
        except BaseException:
            answer.close()
            raise
        if answer.response is None:
            return
        if self.layout is None:
            self._stream(worker, extent, answer)
        else:
            worker.receive(answer, extent)

    def _ask(self, worker: Worker, extent: Extent) -> Answer:
        source = worker.source
        known = source.validators or Validators(size=None if self.pieces is None else self.pieces.size)
        is_trusted = bool(self.wanted.proofs)
        size = self.wanted.size if self.pieces is None else self.pieces.size
        start: int = extent.pos
        end: int | None = extent.end
        if source.ignores_ranges or (start == 0 and size is not None and extent.end >= size and size <= FIRST_BYTES):
            start, end = 0, None
        try:
            return ask(worker.session, source, start, end, known, trust_range=is_trusted)
        except FileChangedError as error:
            if not source.is_given:
                raise OtherFileError(
                    f"the mirror {redact_url(source.url)} has another file by now", error.size
                ) from None
            if not is_trusted:
                raise ChangedError from None
        except NotThatFile:
            if start == 0 and end is None:
                raise self._nothing_of_the_kind(source.url) from None
        with self.lock:
            if len(self.workers) > 1:
                raise SuperfluousError
        return self._ask_for_all(worker)

    def _ask_for_all(self, worker: Worker) -> Answer:
        try:
            return ask(worker.session, worker.source, 0, None, Validators(), trust_range=bool(self.wanted.proofs))
        except NotThatFile:
            raise self._nothing_of_the_kind(worker.source.url) from None

    def can_be_divided(self, validators: Validators | None) -> bool:
        """Whether something proves that parts from several answers are of one version of the file."""
        return bool(self.wanted.proofs) or (validators is not None and validators.condition is not None)

    def _nothing_of_the_kind(self, url: str) -> IntegrityError:
        return IntegrityError(f"{redact_url(url)} sent a part of the file that was not asked for")

    def _accept(self, worker: Worker, extent: Extent, answer: Answer) -> None:
        """Take note of what the answer says of the file; the extent becomes what it brings."""
        source, total = worker.source, answer.validators.size
        where = redact_url(source.url if answer.response is None else answer.response.url)
        with self.lock:
            if self.wanted.size is not None and total is not None and total != self.wanted.size:
                raise IntegrityError(f"{where} has {total} bytes, but {self.wanted.size} bytes were expected")
            pieces = self.pieces
            if pieces is not None and total is not None and total != pieces.size:
                if not source.is_given:
                    raise OtherFileError(f"{where} has {total} bytes instead of {pieces.size} bytes", total)
                raise ChangedError
            if pieces is None and total is None and self.wanted.size is not None and answer.is_whole:
                total = self.wanted.size
            is_other = source.validators is not None and not source.validators.same_file(answer.validators)
            if answer.is_whole and answer.response is not None and extent.pos > 0:
                if len(self.workers) > 1:
                    raise SuperfluousError
                source.ignores_ranges = True
            is_news = source.validators != answer.validators
            source.validators = answer.validators
            if pieces is None:
                if total is None:
                    if answer.is_whole:
                        self.known.prefix = 0
                        extent.pos = 0
                    return
                try:
                    self._lay_out(total)
                except OSError as error:  # of the disk, which is no reason to ask elsewhere
                    raise LocalError(explained(error, self.part.path.parent, total)) from error
            elif answer.is_whole and is_other and not self.wanted.proofs:
                assert self._intake is not None
                self._intake.drop_from(0)
            if answer.is_whole:
                extent.pos, extent.end = 0, total or extent.end
            else:
                extent.end = min(extent.end, answer.end or extent.end)
            if pieces is not None and self.layout is not None and is_news:
                self.layout.keep()

    def _lay_out(self, size: int) -> None:
        self.layout = self._on_layout(size)
        self.allotment = Allotment(self.layout.pieces, self.wanted.connections)
        self._intake = Intake(self.layout, self.allotment, self.blame)
        self.layout.start()

    # -- who is to send what ------------------------------------------------------------------------

    def can_compare(self) -> bool:
        """Whether enough is there to see by it whether a source that is to race has the same file."""
        return self.layout is not None and has_samples(self.layout, bool(self.wanted.proofs))

    def can_serve(self, source: Source) -> bool:
        """Whether there is something that the source is still to send."""
        if self.allotment is None:
            return True
        comparison = self.allotment.comparison
        if comparison is not None and not comparison.is_for(source):
            return False  # what replaces a wrong piece comes from one source
        return self.allotment.has_work(self.workers, self.blame.avoided(source))

    def look_for_wrong(self, confirmed: Sequence[Source] = ()) -> bool:
        """The whole is wrong: compare it with what sources send, or go on with that; False: there is nothing left.

        Args:
            confirmed: sources that are known to have what is there.
        """
        assert self.allotment is not None
        assert self.layout is not None
        if self.allotment.comparison is None:
            self.allotment.comparison = Comparison(self.layout.pieces, self.sources, self.blame.brought_by, confirmed)
        return self.allotment.comparison.go_on()

    # -- bytes --------------------------------------------------------------------------------------

    def take(self, worker: Worker, extent: Extent, buffer: memoryview, count: int) -> None:
        """Write what came where it belongs, and have it hashed; what is there already is compared instead.

        Raises:
            LocalError: it could not be written, or is not what it should be.
        """
        layout, intake = self.layout, self._intake
        assert layout is not None
        assert intake is not None
        if time.monotonic() - self.checked_at > _STALE_S:
            self._wait_for_check(worker)
        written = 0
        try:
            with self.lock:
                if not worker.is_stopped:
                    written = intake.take(buffer, count, extent, worker.source)
                    self._came(worker, extent)
        except PartClosedError:
            pass
        except OSError as error:
            raise LocalError(
                explained(error, layout.part.path.parent, layout.pieces.size - layout.pieces.have)
            ) from error
        finally:
            if not written:
                self.buffers.give_back(buffer)
        layout.durability.wrote(written)

    def _came(self, worker: Worker, extent: Extent) -> None:
        """Bytes have come: give the source credit if more is there, or compared, than ever before in this attempt."""
        comparison = None if self.allotment is None else self.allotment.comparison
        had, self._most = self._most, max(self._most, self.have)
        if self._most > had if comparison is None else comparison.goes_on(extent):
            worker.source.worked()

    def _look_at(self, worker: Worker, answer: Answer) -> None:
        """Refuse what is no file, by its first bytes, before anything is believed of the answer.

        Raises:
            UnexpectedContentError: see `refuse_what_is_no_file`.
            requests.RequestException: the connection broke before there were any.
        """
        assert answer.response is not None
        first = worker.first_bytes(answer)
        if not first:
            return  # it broke at once, or is empty, which is looked at when it is there
        size = answer.validators.size
        try:
            refuse_what_is_no_file(
                first,
                content_type=answer.response.headers.get("Content-Type"),
                name=self.wanted.destination.name,
                size=len(first) if size is None and worker.is_all(answer) else size,
                where=worker.source.resolved or worker.source.url,
                asked=worker.source.url,
            )
        except UnexpectedContentError as error:
            # Of what only has an odd header the checksum says whether it is right.
            if not self.wanted.proofs or type(error) is not UnexpectedContentError:
                raise

    def look_at_nothing(self) -> None:
        """The file is empty: refuse that where it cannot be."""
        if not self.wanted.proofs:
            name, url = self.wanted.destination.name, self.wanted.url
            refuse_what_is_no_file(b"", content_type=None, name=name, size=0, where=url)

    def _wait_for_check(self, worker: Worker) -> None:
        """This process stood still for a while (or the supervisor did); it may not be the owner any more."""
        with self.happened:
            while time.monotonic() - self.checked_at > _STALE_S and not worker.is_stopped:
                self.happened.wait(0.05)

    # -- a file of unknown size ---------------------------------------------------------------------

    def _stream(self, worker: Worker, extent: Extent, answer: Answer) -> None:
        """Take a body of unknown length: append it, in order, until it ends."""
        assert answer.response is not None
        digests = Digests(self.wanted.checksums)
        try:
            if self.part.length != extent.pos:
                self.part.cut(extent.pos)
            self._on_stream()
            self._hash_prefix(digests, extent.pos, worker)
            for data in worker.stream(answer):
                self._append(data, extent.pos)
                digests.update(data)
                with self.lock:
                    extent.pos += len(data)
                    self.known.prefix = extent.pos
                    self._came(worker, extent)
        except PartClosedError:
            return
        finally:
            answer.close()
        if worker.is_stopped:
            return
        if extent.pos == 0:
            self.look_at_nothing()
        with self.happened:
            self.stream_size, self.streamed = extent.pos, digests

    def _append(self, data: memoryview, offset: int) -> None:
        try:
            self.part.write(data, offset)
        except OSError as error:
            raise LocalError(explained(error, self.part.path.parent)) from error

    def _hash_prefix(self, digests: Digests, length: int, worker: Worker) -> None:
        block = memoryview(bytearray(1 << 20))
        done = 0
        while digests.checksums and done < length and not worker.is_stopped:
            view = block[: min(len(block), length - done)]
            self.part.read(view, done)
            digests.update(view)
            done += len(view)
