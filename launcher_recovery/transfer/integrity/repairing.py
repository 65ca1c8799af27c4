"""Heals a file that is at its place: fetches the pieces of it that are damaged, and no others where they are known."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from io import FileIO
from pathlib import Path
from typing import IO, NoReturn

import requests

from launcher_recovery.errors import IntegrityError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.connections.worker import BROKEN, SILENCE_S
from launcher_recovery.transfer.disk.folders import explained
from launcher_recovery.transfer.http.body import Body
from launcher_recovery.transfer.http.request import Answer, NotThatFile, ask
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests, piece_hasher
from launcher_recovery.transfer.integrity.comparing import Comparison
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import OtherFileError, Source

_BLOCK = 1 << 20


class _FailedError(Exception):
    """A source failed, and not something here."""


class Repair:
    """One file, and the sources it can be healed from.

    A piece is written over the damaged one only when it is proven: by the hash that it had when it was downloaded, or
    by a checksum of the whole, for which all pieces are put together first.

    Args:
        path: the file.
        sources: where it can be had from, best first.
        session: requests are made with it, one after the other.
        check: called between blocks; may raise, to end it.
    """

    def __init__(
        self, path: Path, sources: Sequence[Source], session: requests.Session, check: Callable[[], object]
    ) -> None:
        self._path = path
        self._sources = sources
        self._session = session
        self._check = check
        self._came_wrong: set[tuple[Source, int]] = set()

    def replace(self, pieces: Pieces, bad: Sequence[int]) -> None:
        """Fetch pieces again of which the hashes are known. Each that has come is healed, also if a later one fails.

        Raises:
            IntegrityError: the sources have another file by now.
            requests.RequestException: they could not be asked.
        """
        left = list(bad)
        with self._path.open("r+b", buffering=0) as file:
            try:
                while left:
                    source = self._next_source()
                    with suppress(_FailedError), closing(self._fetch(source, _first_run(pieces, left), pieces)) as come:
                        for index, data in come:
                            if not _has_hash(data, pieces.hashes[index]):
                                self._is_another(source, index)
                            self._write(file, data, pieces.start_of(index))
                            left.remove(index)
            finally:
                os.fsync(file.fileno())

    def cut(self, size: int) -> None:
        """Cut off what is behind the end that the file is to have."""
        with self._path.open("r+b", buffering=0) as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def search(self, size: int | None, checksums: Sequence[Checksum]) -> list[tuple[int, int]] | None:
        """Fetch what is missing; then find what is wrong, by comparing with the sources until the checksums are right.

        Args:
            size: bytes that the file is to have; None: as many as the first source has that answers.
            checksums: of the whole; they have to prove it.

        Returns:
            The byte ranges that were replaced; None: the sources do not have the file of these checksums, and nothing
            was changed.

        Raises:
            IntegrityError, requests.RequestException: they could not be asked, or give no parts of it.
        """
        size = self._size() if size is None else size
        pieces = Pieces(size)
        for index in range(pieces.count):
            pieces.fill(index, pieces.length_of(index))
        # It has no name, so that nothing of it stays behind, whatever happens.
        with self._path.open("r+b", buffering=0) as file, tempfile.TemporaryFile(dir=self._path.parent) as spare:
            there = _Patched(file, spare, pieces)
            if not self._is_made_right(there, pieces, checksums):
                return None
            for index in sorted(there.places):
                self._write(file, there.read(index), pieces.start_of(index))
            file.truncate(size)
            os.fsync(file.fileno())
            return [(pieces.start_of(index), pieces.end_of(index)) for index in sorted(there.places)]

    def _is_made_right(self, there: _Patched, pieces: Pieces, checksums: Sequence[Checksum]) -> bool:
        brought: dict[int, Source] = {}
        missing = [index for index in range(pieces.count) if not there.is_there(index)]
        while missing:
            source = self._next_source()
            with suppress(_FailedError), closing(self._fetch(source, _first_run(pieces, missing), pieces)) as come:
                for index, data in come:
                    self._put(there, index, data)
                    missing.remove(index)
                    brought[index] = source
        comparison = Comparison(pieces, self._sources, brought)
        while not there.has(checksums, self._check):
            if not comparison.go_on():
                return False
            while not comparison.is_compared:
                source = self._source_of(comparison)
                extent = comparison.next()
                if extent is None:
                    break
                with suppress(_FailedError), closing(self._fetch(source, extent, pieces)) as come:
                    for index, data in come:
                        if there.read(index) != data:
                            self._put(there, index, data)
                            comparison.differs(index, extent)
        return True

    def _source_of(self, comparison: Comparison) -> Source:
        """The source whose turn it is; another one's if that cannot be asked any more."""
        for source in self._sources:
            if source.is_usable(False) and comparison.is_for(source):
                return source
        raise self._error()

    # -- the sources --------------------------------------------------------------------------------

    def _next_source(self) -> Source:
        for source in self._sources:
            if source.is_usable(False):
                return source
        raise self._error()

    def _error(self) -> Exception:
        """Why there is none left: what the first of them failed with."""
        return next(source.error for source in self._sources if source.error is not None)

    def _fails(self, source: Source, error: Exception) -> NoReturn:
        """A connection that broke is tried again at once, once."""
        source.failed(error, is_final=not isinstance(error, requests.RequestException), is_forgiven=True)
        raise _FailedError from error

    def _is_another(self, source: Source, index: int) -> NoReturn:
        """It sent a piece that is another one; the first time that may have happened on the way."""
        is_again = (source, index) in self._came_wrong
        self._came_wrong.add((source, index))
        where = redact_url(source.url)
        text = f"{where} has another file by now, so that {self._path.name} cannot be repaired from there"
        source.failed(OtherFileError(f"{text}; download it again"), is_final=is_again, is_forgiven=True)
        raise _FailedError

    def _size(self) -> int:
        while True:
            source = self._next_source()
            try:
                answer = self._ask(source, 0, 1, None)
            except _FailedError:
                continue
            answer.close()
            if answer.validators.size is not None:
                return answer.validators.size
            source.error = IntegrityError(f"{redact_url(source.url)} does not tell how long the file is")
            source.is_out = True

    def _ask(self, source: Source, start: int, end: int, size: int | None) -> Answer:
        where = redact_url(source.url)
        try:
            answer = ask(self._session, source, start, end, Validators(size=size), trust_range=True)
        except NotThatFile:
            self._gives_no_parts(source)
        except (*BROKEN, IntegrityError) as error:
            self._fails(source, error)
        theirs = answer.validators.size
        if size is not None and theirs not in (None, size):
            answer.close()
            self._fails(source, OtherFileError(f"{where} has a file of {theirs} bytes instead of {size} bytes", theirs))
        if answer.response is None or (answer.is_whole and start > 0):
            answer.close()
            self._gives_no_parts(source)
        return answer

    def _gives_no_parts(self, source: Source) -> NoReturn:
        source.ignores_ranges = True
        self._fails(source, IntegrityError(f"{redact_url(source.url)} does not give parts of the file"))

    def _fetch(self, source: Source, extent: Extent, pieces: Pieces) -> Generator[tuple[int, memoryview], None, None]:
        """The pieces of an extent as they come, by one request; it may be given another end meanwhile."""
        answer = self._ask(source, extent.pos, extent.end, pieces.size)
        assert answer.response is not None
        try:
            body = Body(answer.response, SILENCE_S)
            while extent.pos < extent.end:
                index = extent.pos // pieces.piece
                data = memoryview(bytearray(pieces.end_of(index) - extent.pos))
                self._fill(source, body, data)
                yield index, data
                extent.pos = pieces.end_of(index)
        finally:
            answer.close()

    def _fill(self, source: Source, body: Body, view: memoryview) -> None:
        where = redact_url(source.url)
        while view:
            self._check()
            try:
                count = body.read_into(view[:_BLOCK])
            except (*BROKEN, ValueError) as error:
                self._fails(source, requests.ConnectionError(f"the connection to {where} broke: {error}"))
            if not count:
                self._fails(source, requests.ConnectionError(f"{where} closed the connection before the end"))
            view = view[count:]
        source.worked()

    # -- the disk -----------------------------------------------------------------------------------

    def _write(self, file: FileIO, data: memoryview, offset: int) -> None:
        try:
            file.seek(offset)
            while data:
                data = data[file.write(data) :]
        except OSError as error:
            raise explained(error, self._path.parent) from error

    def _put(self, there: _Patched, index: int, data: memoryview) -> None:
        try:
            there.put(index, data)
        except OSError as error:
            raise explained(error, self._path.parent) from error


class _Patched:
    """A file as it would be with other pieces in it, which are kept elsewhere until they are proven."""

    def __init__(self, file: FileIO, spare: IO[bytes], pieces: Pieces) -> None:
        self._file = file
        self._spare = spare
        self._pieces = pieces
        self._length = os.fstat(file.fileno()).st_size
        self.places: dict[int, int] = {}
        """By piece, where it lies in `spare`."""

    def is_there(self, index: int) -> bool:
        """Whether the file has the piece up to its end."""
        return self._pieces.end_of(index) <= self._length

    def put(self, index: int, data: memoryview) -> None:
        """This is what is to be in the place of a piece."""
        place = self.places.get(index, len(self.places) * self._pieces.piece)
        self._spare.seek(place)
        self._spare.write(data)
        self.places[index] = place

    def read(self, index: int) -> memoryview:
        """A piece; zeros for what is not there."""
        place = self.places.get(index)
        view = memoryview(bytearray(self._pieces.length_of(index)))
        if place is not None:
            self._spare.seek(place)
            self._spare.readinto(view)  # type: ignore[attr-defined]
            return view
        done, start = 0, self._pieces.start_of(index)
        while done < len(view) and (count := read_there(self._file, view[done : done + _BLOCK], start + done)):
            done += count
        return view

    def has(self, checksums: Sequence[Checksum], check: Callable[[], object]) -> bool:
        """Whether the whole has the checksums."""
        digests = Digests(checksums)
        for index in range(self._pieces.count):
            digests.update(self.read(index))
            check()
        return not digests.wrong()


def read_there(file: FileIO, view: memoryview, offset: int) -> int:
    """Fill `view` from a place of a file; how much came, 0 at its end. What the disk cannot read counts as zeros."""
    file.seek(offset)
    try:
        return file.readinto(view)
    except OSError:
        view[:] = bytes(len(view))
        return len(view)


def _first_run(pieces: Pieces, indexes: Sequence[int]) -> Extent:
    """The first of these pieces and those that follow it without a gap."""
    last = indexes[0]
    for index in indexes[1:]:
        if index != last + 1:
            break
        last = index
    return Extent(pieces.start_of(indexes[0]), pieces.end_of(last))


def _has_hash(data: memoryview, expected: bytes | None) -> bool:
    hasher = piece_hasher()
    hasher.update(data)
    return hasher.digest() == expected
