"""Every piece and the whole file get the right hash, in whatever order the bytes come; what is wrong is dropped."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher_recovery.transfer.integrity.checksums import Checksum, Digests
from launcher_recovery.transfer.partial import hashing as hashing_module
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.hashing import Hashing
from launcher_recovery.transfer.partial.part import Part, PartClosedError, read_note
from launcher_recovery.transfer.partial.pieces import PieceHashes, Pieces
from tests.support import wait_for

PIECE = 10
SIZE = 45
DATA = random.Random(7).randbytes(SIZE)
WHOLE = Checksum("sha256", hashlib.sha256(DATA).hexdigest())


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from the disk comes in several parts."""
    monkeypatch.setattr(hashing_module, "BUFFER", 4)


def piece_of(index: int, data: bytes = DATA) -> bytes:
    return data[index * PIECE : (index + 1) * PIECE]


def hash_of(index: int, data: bytes = DATA) -> bytes:
    return xxhash.xxh3_128_digest(piece_of(index, data))


class Rig:
    """A partial with the threads' share of the work done by the test: bytes arrive when it says so."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = SIZE,
        new_digests: Callable[[], Digests] | None = lambda: Digests([WHOLE]),
        proofs: PieceHashes | None = None,
        on_wrong: Callable[[int, bool], None] | None = None,
    ) -> None:
        self.part = Part(folder / "model.bin.part")
        self.pieces = Pieces(size, PIECE)
        self.part.lay_out(bytes(16), size, PIECE, self.pieces.filled)
        self.lock = threading.RLock()
        self.wrong: list[tuple[int, bool]] = []
        self.buffers = Buffers(1)
        tell = on_wrong or (lambda index, before: self.wrong.append((index, before)))
        self.hashing = Hashing(self.part, self.pieces, self.lock, new_digests, self.buffers, proofs, tell)

    def there(self, start: int, end: int, data: bytes = DATA) -> None:
        """Bytes that an earlier attempt has left."""
        changed = self.pieces.add(start, end - start)
        self.part.write(data[start:end], start, [(index, self.pieces.filled[index]) for index in changed])

    def arrive(self, start: int, end: int, data: bytes = DATA) -> None:
        with self.lock:
            self.there(start, end, data)
            self.hashing.put(start, memoryview(data)[start:end], None)

    def finish(self) -> Digests | None:
        """As the thread of the operation does, until it is finished."""

        def look() -> bool:
            assert self.hashing.error is None, self.hashing.error
            self.hashing.finish()
            return self.hashing.is_finished

        wait_for(look, 10)
        return self.hashing.digests

    def expect_right(self) -> None:
        digests = self.finish()
        assert self.pieces.hashes == [hash_of(index) for index in range(self.pieces.count)]
        assert digests is not None
        assert digests.wrong() == ()
        assert self.hashing.error is None

    def note(self) -> tuple[int, ...]:
        note = read_note(self.part.path)
        assert note is not None
        return note.filled

    def close(self) -> None:
        self.hashing.stop()
        self.part.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def one(**options: Any) -> Rig:
        made.append(Rig(tmp_path, **options))
        return made[-1]

    yield one
    for rig in made:
        rig.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


# -- what arrives ---------------------------------------------------------------------------------------------


def test_bytes_that_come_in_order_are_hashed_from_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(rig.part, "read", lambda view, offset: read.append(offset))
    rig.hashing.start()
    for start in range(0, SIZE, 7):
        rig.arrive(start, min(start + 7, SIZE))
    rig.expect_right()
    assert (rig.wrong, read) == ([], [])


def test_the_whole_file_is_hashed_from_the_disk_where_it_did_not_come_in_order(rig: Rig) -> None:
    rig.hashing.start()
    for start, end in ((30, 45), (10, 30), (0, 10)):
        rig.arrive(start, end)
    rig.expect_right()


@given(st.data())
@settings(derandomize=True, deadline=None, database=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_the_order_makes_no_difference(folder: Path, data: st.DataObject) -> None:
    """Some is there before and hashed again, the rest comes in parts of any length, at the beginning of any gap."""
    rig = Rig(folder)
    try:
        for index in range(rig.pieces.count):
            length = rig.pieces.length_of(index)
            if filled := data.draw(st.sampled_from([0, 3, length])):
                rig.there(index * PIECE, index * PIECE + filled)
            if filled == length:
                rig.hashing.again(index)
        rig.hashing.start()
        while gaps := list(rig.pieces.gaps()):
            start, end = data.draw(st.sampled_from(gaps))
            rig.arrive(start, start + data.draw(st.integers(1, end - start)))
        rig.expect_right()
        assert rig.wrong == []
    finally:
        rig.close()
        rig.part.path.unlink()


def test_a_piece_of_which_the_beginning_was_there_is_hashed_with_that(rig: Rig) -> None:
    rig.there(0, 7)
    rig.there(20, 29)
    rig.hashing.start()
    rig.arrive(7, 20)
    rig.arrive(29, 45)
    rig.expect_right()


def test_without_checksums_pieces_are_hashed_and_nothing_else(make: Callable[..., Rig]) -> None:
    rig = make(new_digests=None)
    rig.hashing.start()
    rig.arrive(10, 45)
    rig.arrive(0, 10)
    assert rig.finish() is None
    assert rig.pieces.hashes == [hash_of(index) for index in range(5)]


def test_an_empty_file_is_finished_at_once(make: Callable[..., Rig]) -> None:
    rig = make(size=0, new_digests=lambda: Digests([], ["sha256"]))
    rig.hashing.start()
    digests = rig.finish()
    assert digests is not None
    assert digests.hexdigest("sha256") == hashlib.sha256().hexdigest()


def test_a_wrong_whole_is_told_by_its_digests(rig: Rig) -> None:
    rig.hashing.start()
    rig.arrive(0, SIZE, bytes(SIZE))
    digests = rig.finish()
    assert digests is not None
    assert digests.wrong() == (WHOLE,)
    assert digests.hexdigest("sha256") == hashlib.sha256(bytes(SIZE)).hexdigest()


def test_buffers_are_given_back_when_what_is_in_them_was_hashed(rig: Rig) -> None:
    rig.hashing.start()
    for start in range(0, SIZE, 15):
        buffer = rig.buffers.take(10)
        assert buffer is not None, "the one buffer that there is comes back"
        buffer[:15] = DATA[start : start + 15]
        with rig.lock:
            rig.there(start, start + 15)
            rig.hashing.put(start, buffer[:5], None)
            rig.hashing.put(start + 5, buffer[5:15], buffer)
    rig.expect_right()


# -- what is known of pieces ----------------------------------------------------------------------------------


def test_pieces_are_compared_with_what_is_known_of_them(make: Callable[..., Rig]) -> None:
    """Each with a hash of any kind; a wrong one is dropped, and its bytes are not counted for the whole."""
    values = tuple(hashlib.md5(piece_of(index)).hexdigest() for index in range(5))
    rig = make(proofs=PieceHashes("md5", PIECE, values))
    damaged = bytearray(DATA)
    damaged[25] ^= 1
    rig.hashing.start()
    rig.arrive(0, SIZE, bytes(damaged))
    wait_for(lambda: rig.wrong, 10)
    assert rig.wrong == [(2, False)]
    wait_for(lambda: rig.pieces.hashes[4], 10)
    assert rig.pieces.filled == [10, 10, 0, 10, 5]
    assert rig.note() == (10, 10, 0, 10, 5)
    assert rig.pieces.hashes == [hash_of(0), hash_of(1), None, hash_of(3), hash_of(4)]
    rig.arrive(20, 30)
    rig.expect_right()
    assert rig.wrong == [(2, False)]


def test_a_wrong_piece_ahead_costs_nothing_of_what_was_hashed_of_the_whole(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = tuple(hashlib.sha256(piece_of(index)).hexdigest() for index in range(5))
    rig = make(proofs=PieceHashes("sha256", PIECE, values))
    read: list[int] = []
    monkeypatch.setattr(rig.part, "read", lambda view, offset: read.append(offset))
    rig.hashing.start()
    rig.arrive(0, 20)
    rig.arrive(30, 40, bytes(SIZE))
    wait_for(lambda: rig.wrong, 10)
    rig.arrive(20, 45)
    rig.expect_right()
    assert (rig.wrong, read) == ([(3, False)], [])


# -- what was there before ------------------------------------------------------------------------------------


def test_what_was_there_is_hashed_again_and_noted(rig: Rig) -> None:
    """Also a piece that the note does not count yet, since it may have been lost with the power."""
    rig.there(0, SIZE)
    rig.pieces.hashes[1] = hash_of(1)
    rig.part.note([(index, 0) for index in range(5)])
    for index in range(4):
        rig.hashing.again(index)
    rig.hashing.start()
    wait_for(lambda: rig.note()[3], 10)
    assert rig.note() == (10, 10, 10, 10, 0)
    assert rig.pieces.hashes == [hash_of(0), hash_of(1), hash_of(2), hash_of(3), None]
    rig.hashing.again(4)
    rig.expect_right()
    assert rig.wrong == []


def test_what_was_there_and_is_damaged_is_dropped(rig: Rig) -> None:
    damaged = bytearray(DATA)
    damaged[41] ^= 1
    rig.there(0, SIZE, bytes(damaged))
    rig.pieces.hashes = [hash_of(index) for index in range(5)]
    rig.pieces.durable = [True] * 5
    for index in range(5):
        rig.hashing.again(index)
    rig.hashing.start()
    wait_for(lambda: rig.wrong, 10)
    assert rig.wrong == [(4, True)]
    assert (rig.pieces.filled, rig.pieces.durable) == ([10, 10, 10, 10, 0], [True, True, True, True, False])
    assert rig.note() == (10, 10, 10, 10, 0)
    rig.arrive(40, 45)
    rig.expect_right()


def test_it_is_not_finished_while_a_piece_that_was_wrong_is_missing(rig: Rig) -> None:
    """Whoever asked for the end has to ask again, or would take the hash of a half for that of the whole."""
    damaged = bytearray(DATA)
    damaged[0] ^= 1
    rig.there(0, SIZE, bytes(damaged))
    rig.pieces.hashes[0] = hash_of(0)
    for index in range(5):
        rig.hashing.again(index)
    rig.hashing.finish()
    rig.hashing.start()
    wait_for(lambda: rig.pieces.hashes[4], 10)
    rig.hashing.finish()
    assert rig.wrong == [(0, True)]
    assert not rig.hashing.is_finished
    rig.arrive(0, 10)
    rig.expect_right()


def test_a_piece_without_a_hash_is_hashed_before_it_is_finished(rig: Rig) -> None:
    """Whatever the reason that nobody gave it to be hashed."""
    rig.there(0, SIZE)
    rig.hashing.start()
    rig.expect_right()


def test_a_piece_that_is_not_there_any_more_is_not_hashed_again(rig: Rig) -> None:
    rig.there(0, 20)
    rig.pieces.drop(0)
    rig.hashing.again(0)
    rig.hashing.again(1)
    rig.hashing.start()
    wait_for(lambda: rig.pieces.hashes[1], 10)
    assert (rig.pieces.hashes[:2], rig.pieces.filled[:2], rig.wrong) == ([None, hash_of(1)], [0, 10], [])


def test_a_piece_that_is_dropped_while_it_is_hashed_gets_no_hash(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.there(0, SIZE)
    real = rig.part.read

    def read(view: memoryview, offset: int) -> None:
        if offset == 14:
            with rig.lock:
                rig.pieces.drop(1)
        real(view, offset)

    monkeypatch.setattr(rig.part, "read", read)
    rig.hashing.again(1)
    rig.hashing.again(2)
    rig.hashing.start()
    wait_for(lambda: rig.pieces.hashes[2], 10)
    assert (rig.pieces.hashes[1], rig.pieces.filled[1], rig.wrong) == (None, 0, [])


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), EOFError("it ends before")])
def test_a_piece_that_cannot_be_read_any_more_is_dropped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A bad block of the disk, or a file that somebody has cut, does not end every further attempt."""
    rig.there(0, SIZE)
    real, broken = rig.part.read, [True]

    def read(view: memoryview, offset: int) -> None:
        if 20 <= offset < 30 and broken:
            raise error
        real(view, offset)

    monkeypatch.setattr(rig.part, "read", read)
    for index in range(5):
        rig.hashing.again(index)
    rig.hashing.start()
    wait_for(lambda: rig.wrong, 10)
    assert (rig.wrong, rig.note()[2]) == ([(2, True)], 0)
    broken.clear()
    rig.arrive(20, 30)
    rig.expect_right()


# -- bytes that change ----------------------------------------------------------------------------------------


def test_bytes_that_were_replaced_are_hashed_anew(rig: Rig) -> None:
    """From the middle of a piece on, which was hashed already; as when a comparison finds another byte."""
    damaged = DATA[:23] + bytes(len(DATA) - 23)
    rig.hashing.start()
    rig.arrive(0, SIZE, damaged)
    digests = rig.finish()
    assert digests is not None
    assert digests.wrong() == (WHOLE,)
    with rig.lock:
        rig.pieces.fill(2, 3)
        rig.pieces.fill(3, 0)
        rig.pieces.fill(4, 0)
        rig.hashing.rewind(20)
        assert not rig.hashing.is_finished
        rig.arrive(23, 45)
    rig.expect_right()
    assert rig.wrong == []


def test_a_piece_that_is_open_is_begun_anew_when_it_changes(rig: Rig) -> None:
    rig.hashing.start()
    rig.arrive(0, 35, DATA[:30] + b"wrong" + DATA[35:])
    with rig.lock:
        rig.pieces.fill(3, 2)
        rig.hashing.rewind(32)
        rig.part.write(DATA[30:32], 30)
        rig.arrive(32, 45)
    rig.expect_right()


def test_what_lies_before_a_change_is_not_hashed_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = rig.part.read
    monkeypatch.setattr(rig.part, "read", lambda view, offset: (read.append(offset), real(view, offset)))
    rig.hashing.start()
    rig.arrive(0, 15)
    with rig.lock:
        rig.hashing.rewind(20)
        rig.arrive(15, 45)
    rig.expect_right()
    assert read == []


# -- the end --------------------------------------------------------------------------------------------------


def test_an_error_in_the_thread_is_kept_and_nobody_waits_for_a_buffer(make: Callable[..., Rig]) -> None:
    problem = RuntimeError("the caller's own")

    def on_wrong(index: int, before: bool) -> None:
        raise problem

    rig = make(proofs=PieceHashes("sha256", PIECE, ("0" * 64,) * 5), on_wrong=on_wrong)
    rig.hashing.start()
    for start in range(0, 40, 10):
        buffer = rig.buffers.take(10)
        assert buffer is not None
        rig.there(start, start + 10)
        rig.hashing.put(start, buffer[:10], buffer)
    wait_for(lambda: rig.hashing.error, 10)
    assert rig.hashing.error is problem
    assert rig.buffers.take(10) is not None
    rig.hashing.again(0)
    rig.hashing.stop()


def test_an_error_of_the_disk_is_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(view: memoryview, offset: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(rig.part, "read", read)
    rig.there(0, 10)
    rig.hashing.again(0)
    rig.hashing.start()
    error = wait_for(lambda: rig.hashing.error, 10)
    assert isinstance(error, OSError)
    assert (error.errno, rig.note()[0], rig.wrong) == (errno.ESTALE, 10, [])


def test_a_partial_that_is_closed_ends_the_thread(rig: Rig) -> None:
    rig.there(0, 10)
    rig.part.close()
    rig.hashing.again(0)
    rig.hashing.start()
    assert isinstance(wait_for(lambda: rig.hashing.error, 10), PartClosedError)


def test_one_that_was_never_started_is_stopped_without_waiting(rig: Rig) -> None:
    rig.hashing.stop()
    assert rig.hashing.error is None


@pytest.mark.parametrize("at", [2, 4, 12, 32])
def test_it_stops_in_the_middle_of_its_work_and_claims_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """While a piece is hashed again, while the beginning of one is, and while the whole catches up."""
    reading, stopped = threading.Event(), threading.Event()
    real = rig.part.read

    def read(view: memoryview, offset: int) -> None:
        if offset <= at < offset + len(view):
            reading.set()
            assert stopped.wait(10)
        real(view, offset)

    rig.there(0, SIZE)
    rig.pieces.fill(3, 7)
    rig.pieces.hashes[0] = hash_of(0) if at < 4 else None
    if at >= 4:
        rig.hashing.again(0)
        rig.hashing.again(1)
    monkeypatch.setattr(rig.part, "read", read)
    rig.hashing.start()
    if at == 32:
        rig.arrive(37, 40)
    assert reading.wait(10)

    class Stopping(threading.Thread):
        def run(self) -> None:
            rig.hashing.stop()

    stopping = Stopping()
    stopping.start()
    wait_for(lambda: rig.hashing._is_stopped, 10)
    stopped.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert rig.pieces.hashes[at // PIECE] == (hash_of(0) if at < 4 else None)
    assert not rig.hashing.is_finished
    assert (rig.hashing.error, rig.wrong) == (None, [])
