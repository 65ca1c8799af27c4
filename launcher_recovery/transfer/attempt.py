"""One attempt of a download: go on with what is there, verify, publish."""

from __future__ import annotations

import logging
from pathlib import Path

from launcher_recovery.errors import IntegrityError, RecoveryError, UnexpectedContentError
from launcher_recovery.operation import Operation
from launcher_recovery.records import PRIORITY, Transfer, priority_of
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.connections.fetching import ChangedError, Fetching
from launcher_recovery.transfer.connections.supervisor import Supervisor
from launcher_recovery.transfer.disk.folders import check_place, explained, folder_for, partial_path
from launcher_recovery.transfer.disk.space import Space
from launcher_recovery.transfer.existing import is_there, reused
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests
from launcher_recovery.transfer.partial import journal
from launcher_recovery.transfer.partial.journal import Known
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.part import Part, PartClosedError
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import OtherFileError, Source
from launcher_recovery.transfer.wanted import Wanted

logger = logging.getLogger("launcher_recovery")

# How often a file may change while it is downloaded before this attempt gives up.
_MOST_CHANGES = 3
# How often it is looked whether the attempt may go on while a sync is waited for.
_LOOK_S = 0.02


_AS_TOLD = "the server's file has {}, as it says itself"


class _NotHereError(Exception):
    """What came is not the file, but sources that have one of another size are left.

    Args:
        useless: the addresses of all others.
    """

    def __init__(self, useless: frozenset[str]) -> None:
        super().__init__()
        self.useless = useless


def attempt(operation: Operation, wanted: Wanted) -> Path:
    """Have the file at its place, going on from what earlier attempts left.

    Nothing appears at the destination but the whole file, verified as far as checksums and size are known. A pause or a
    cancel that comes before that keeps it from appearing, also while the disk is waited for, and costs nothing that has
    arrived; one that comes later comes too late.

    Raises:
        IntegrityError: what can be had is not what was asked for.
        NoSpaceError, FolderGoneError: there is no room for it, or its disk is gone.
        requests.RequestException, OSError: the transfer broke; what arrived is kept.
    """
    destination = wanted.destination
    if is_there(destination, wanted.checksums, wanted.size, operation.check):
        return destination
    if wanted.reuse is not None and reused(operation, wanted):
        return destination
    changes, useless = 0, frozenset[str]()
    while changes < _MOST_CHANGES:
        one = _Attempt(operation, wanted, useless)
        try:
            one.run()
            return destination
        except ChangedError:
            changes += 1
            logger.info("%s changed on the server, and is downloaded anew", destination.name)
            one.discard()
        except _NotHereError as error:
            useless |= error.useless
            logger.info("%s is another file there, and is downloaded from a mirror", destination.name)
            one.discard()
        finally:
            one.close()
    raise IntegrityError(f"{redact_url(wanted.url)} keeps changing while it is downloaded")


class _Attempt:
    """The partial of one attempt, and everything that works on it."""

    def __init__(self, operation: Operation, wanted: Wanted, useless: frozenset[str] = frozenset()) -> None:
        self._operation = operation
        self._wanted = wanted
        self._useless = useless
        kept = operation.kept_transfer(str(wanted.destination))
        had_before = kept is not None and kept.partial is not None
        try:
            folder = folder_for(wanted.destination, had_before)
            check_place(wanted.destination)
            path = partial_path(wanted.destination, wanted.staging, kept.partial if kept is not None else None)
            path.parent.mkdir(parents=True, exist_ok=True)  # a staging folder; that of the destination is there
            self._part = Part(path)
        except OSError as error:
            raise explained(error, wanted.destination.parent, wanted.size) from error
        self._space = Space(operation, self._part, folder, wanted.staging)
        try:
            self._begin(kept, path)
        except BaseException:
            self._part.close()
            raise

    def _begin(self, kept: Transfer | None, path: Path) -> None:
        wanted = self._wanted
        known = journal.load(path, kept, is_proven=bool(wanted.proofs), size=wanted.size)
        self._sources = [Source(wanted.url, wanted.headers_of(wanted.url))]
        others = [url for url in dict.fromkeys(wanted.mirrors) if url != wanted.url]
        self._sources += [Source(url, wanted.headers_of(url), is_given=False) for url in others]
        for source in self._sources:
            source.validators = known.validators.get(source.key)
            if source.url in self._useless:
                source.is_out = True
                source.error = UnexpectedContentError(f"{redact_url(source.url)} has another file than was asked for")
        given = self._sources[0]
        if known.have and not wanted.proofs and not self._can_go_on(given, known):
            known = journal.nothing()
            for source in self._sources:
                source.validators = None
        if known.pieces is None and wanted.size is not None and known.prefix > wanted.size:
            known = journal.nothing()
        self._known = known
        self._fetching = Fetching(wanted, self._sources, self._part, known, self._lay_out, self._keep_stream)
        self._fetching.priority = self._priority
        self._supervisor = Supervisor(self._operation, self._fetching, self._sources)
        if known.pieces is None and not known.prefix:
            self._part.cut(0)
        if known.pieces is not None:
            self._fetching.adopt(known.pieces.size)
        self._operation.resume_at(known.have, known.pieces.size if known.pieces else wanted.size, "bytes")

    def _can_go_on(self, given: Source, known: Known) -> bool:
        """Whether something tells that what the server has is still the same file, where no checksum is going to."""
        if given.validators is not None:
            return given.validators.condition is not None
        if known.validators and known.pieces is not None:
            given.is_proven = False  # another address: it proves itself as a mirror does
            return True
        return False

    def _lay_out(self, size: int) -> Layout:
        """The size of the file is known."""
        known, wanted = self._known, self._wanted
        before = known.pieces, known.again
        if known.pieces is None:
            proofs = wanted.piece_hashes
            known.pieces = Pieces(size, None if proofs is None else proofs.length)
            if known.prefix and known.prefix <= size:
                known.pieces.add(0, known.prefix)
                known.again = [index for index in range(known.pieces.count) if known.pieces.is_complete(index)]
        try:
            self._space.claim(size, size - known.pieces.have)
            return self._layout()
        except BaseException:
            # Another source may have a file of another size.
            known.pieces, known.again = before
            self._space.release()
            raise

    def _layout(self) -> Layout:
        wanted = self._wanted
        return Layout(
            self._part,
            self._known,
            wanted.destination,
            self._fetching.lock,
            self._fetching.buffers,
            (lambda: Digests(self._checksums())) if self._checksums() else None,
            wanted.piece_hashes,
            self._validators,
            self._operation.keep_transfer,
            self._on_wrong,
        )

    def _keep_stream(self) -> None:
        """The journal of a partial whose size is not known: what tells whether the rest belongs to it."""
        self._operation.keep_transfer(
            journal.of_partial(
                self._wanted.destination, self._part.path, self._known.transfer_id, None, self._validators()
            )
        )

    def _priority(self) -> int:
        """What a person has said, also just now, else the caller."""
        data = self._operation.data
        return priority_of(data) if PRIORITY in data.metadata else self._wanted.priority

    def _validators(self) -> dict[str, Validators]:
        """What identifies the version of the file at each source, as far as that is known by now."""
        return {source.key: source.validators for source in self._sources if source.validators is not None}

    def _checksums(self) -> tuple[Checksum, ...]:
        """What was asked for, else what the server itself says of the file."""
        told = self._sources[0].checksums
        return self._wanted.checksums or tuple(checksum for checksum in told if checksum.is_proof)

    def _on_wrong(self, index: int, before: bool) -> None:
        """A piece turned out to be wrong: those that were there before are lost, those that came are the server's."""
        if before:
            logger.warning("a piece of %s was damaged on the disk and is fetched again", self._wanted.destination.name)
            return
        with self._fetching.lock:
            self._fetching.blame.arrived_wrong(index)

    # -- running ------------------------------------------------------------------------------------

    def run(self) -> None:
        fetching, supervisor = self._fetching, self._supervisor
        while True:
            supervisor.tick()
            layout = fetching.layout
            self._check_threads(layout)
            if fetching.streamed is not None:
                return self._finish_stream(fetching.streamed)
            if layout is None or not self._is_complete(layout):
                supervisor.fill_up()
                if layout is not None:
                    self._space.update(layout.pieces.size - layout.pieces.have)
                continue
            if not layout.hashing.is_finished:
                layout.hashing.finish()
                continue
            if not layout.pieces.size:
                fetching.look_at_nothing()
            if self._is_right(layout):
                return self._publish(layout.pieces, layout)

    def _is_complete(self, layout: Layout) -> bool:
        """Whether all bytes are there; then nobody is about to change any."""
        with self._fetching.lock:
            allotment = self._fetching.allotment
            comparison = None if allotment is None else allotment.comparison
            if not layout.pieces.is_whole or (comparison is not None and not comparison.is_compared):
                return False
            self._supervisor.dismiss()
            return True

    def _check_threads(self, layout: Layout | None) -> None:
        if layout is None:
            return
        for error in (layout.hashing.error, layout.durability.error):
            if error is not None and not isinstance(error, PartClosedError):
                if isinstance(error, OSError):
                    raise explained(error, self._part.path.parent) from error
                raise error

    def _is_right(self, layout: Layout) -> bool:
        """Whether the whole has its checksums. If not, what is wrong is looked for at the sources; see `Comparison`.

        Raises:
            IntegrityError: the sources have what is there, and it is not what was asked for.
            _NotHereError: there are some that have a file of another size.
        """
        digests, allotment = layout.hashing.digests, self._fetching.allotment
        assert allotment is not None
        wrong = digests.wrong() if digests is not None else ()
        if not wrong:
            return True
        assert digests is not None
        given = self._sources[0]
        is_as_told = any(digests.has(checksum) for checksum in given.checksums)
        with self._fetching.lock:
            if not allotment.is_comparing:
                logger.info("%s is damaged; its wrong piece is looked for", self._wanted.destination.name)
            # Where the server itself says of the file what was computed here, nothing was damaged on the way.
            if self._fetching.look_for_wrong([given] if is_as_told else []):
                return False
        others = {one.url for one in self._sources if isinstance(one.error, OtherFileError)}
        useless = frozenset(one.url for one in self._sources if one.url not in others)
        if others and useless > self._useless:
            raise _NotHereError(useless)
        comparison = allotment.comparison
        assert comparison is not None
        came = wrong[0], digests, layout.pieces.size
        if comparison.is_contradicted:
            raise self._refusal(*came, "what came has {}, and it is sent differently each time")
        if comparison.has_compared:
            twice = "the server's file has {}, twice" if len(self._sources) == 1 else "it has {} wherever it is from"
            raise self._refusal(*came, twice, is_final=True)
        if is_as_told:
            raise self._refusal(*came, _AS_TOLD, is_final=True)
        raise self._refusal(*came, "what came has {}, and its damaged piece cannot be fetched by itself")

    def _refusal(
        self, wrong: Checksum, digests: Digests, size: int, came: str, is_final: bool = False
    ) -> IntegrityError:
        """The error for a file that has another checksum; it is deleted.

        Args:
            size: bytes of the file.
            came: what is told of the checksum that it has.
            is_final: whether it is the file of the server, which would come again.
        """
        computed = digests.hexdigest(wrong.hashed_with)[: len(wrong.value)]
        if not is_final and any(computed in (one.error or "") for one in self._operation.history):
            came, is_final = "the server's file has {}, twice", True
        self._forget(size)
        whose = "the checksum in the request" if self._wanted.checksums else "what the server says of it"
        blame = f"; {whose} may be wrong" if is_final else ""
        error = UnexpectedContentError if is_final else IntegrityError
        return error(
            f"{redact_url(self._wanted.url)}: expected the {wrong.algorithm} {wrong.value}, but {came.format(computed)}"
            f"{blame}. The file was deleted"
        )

    def _forget(self, size: int | None) -> None:
        """What this attempt won is lost again."""
        self.discard()
        self._operation.moved = False
        self._operation.resume_at(0, size, "bytes")

    def _publish(self, pieces: Pieces, layout: Layout) -> None:
        layout.stop()
        while not layout.durability.has_ended(_LOOK_S):
            self._operation.check()
        self._check_threads(layout)
        if not layout.keep():
            # Somebody else has the operation: it is theirs to publish.
            self._operation.wake.set()
            self._operation.check()
        self._supervisor.stop()
        content = next((str(checksum) for checksum in self._checksums() if checksum.is_proof), None)
        self._operation.progress(pieces.size, pieces.size, "bytes")
        self._move(journal.of_file(self._wanted.destination, pieces, self._validators(), content, pieces.size))

    def _finish_stream(self, digests: Digests) -> None:
        size = self._fetching.stream_size
        assert size is not None
        wanted = self._wanted
        if wanted.size is not None and size != wanted.size:
            self._forget(wanted.size)
            raise IntegrityError(
                f"{redact_url(wanted.url)}: {size} bytes arrived, but {wanted.size} bytes were expected; "
                "the damaged file was deleted"
            )
        if wrong := digests.wrong():
            is_as_told = any(digests.has(checksum) for checksum in self._sources[0].checksums)
            raise self._refusal(wrong[0], digests, size, _AS_TOLD if is_as_told else "what came has {}", is_as_told)
        content = next((str(checksum) for checksum in self._wanted.checksums if checksum.is_proof), None)
        self._operation.progress(size, size, "bytes")
        self._move(journal.of_file(self._wanted.destination, None, self._validators(), content, size))

    def _move(self, transfer: Transfer) -> None:
        try:
            check_place(self._wanted.destination)
            self._part.publish(self._wanted.destination, self._operation.check)
        except RecoveryError:
            raise  # it may not go on, also where that is a timeout
        except OSError as error:
            raise explained(error, self._wanted.destination.parent) from error
        self._operation.keep_transfer(transfer)

    def discard(self) -> None:
        """Delete the partial, and forget what is known of it."""
        self._end_threads()
        self._part.discard()

    def close(self) -> None:
        """End everything; what arrived is kept, and where nothing did there is nothing to be kept."""
        self._end_threads()
        if self._is_empty():
            self._part.discard()
        self._part.close()

    def _is_empty(self) -> bool:
        """Whether nothing has arrived; room may have been made for it."""
        pieces = self._known.pieces
        return self._part.is_open and not (self._part.length if pieces is None else pieces.have)

    def _end_threads(self) -> None:
        self._supervisor.stop()
        if self._fetching.layout is not None:
            self._fetching.layout.stop()
        self._space.release()
