"""After a wrong piece the whole file is hashed from there on, not from the front."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.transfer.integrity.checksums import Checksum, Digests, piece_hasher
from launcher_recovery.transfer.partial import hashing as module
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.hashing import Hashing
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import PieceHashes, Pieces
from tests.support import wait_for

PIECE = 1000
DATA = hashlib.shake_128(b"hashing").digest(10 * PIECE + 7)
SHA256 = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
COUNT = 11


class ReadPart(Part):
    """A partial that counts what is read of it."""

    count = 0

    def read(self, view: memoryview, offset: int) -> None:
        self.count += len(view)
        super().read(view, offset)


class Kit:
    """A partial and the thread that hashes it."""

    def __init__(self, folder: Path, proofs: PieceHashes | None = None, checksums: tuple[Checksum, ...] = (SHA256,)):
        self.part = ReadPart(folder / "model.part")
        self.pieces = Pieces(len(DATA), PIECE)
        self.part.lay_out(bytes(16), len(DATA), PIECE, self.pieces.filled)
        self.lock = threading.RLock()
        self.wrong: list[tuple[int, bool]] = []
        new: Any = (lambda: Digests(checksums)) if checksums else None
        self.hashing = Hashing(
            self.part, self.pieces, self.lock, new, Buffers(2), proofs, lambda *told: self.wrong.append(told)
        )

    def put(self, start: int, end: int, data: bytes = DATA) -> None:
        """These bytes arrive."""
        with self.lock:
            changed = self.pieces.add(start, end - start)
            self.part.write(data[start:end], start, [(index, self.pieces.filled[index]) for index in changed])
            self.hashing.put(start, memoryview(data)[start:end], None)

    def finished(self) -> tuple[Checksum, ...]:
        """The checksums that are wrong in the end."""
        self.hashing.finish()
        wait_for(lambda: self.hashing.is_finished)
        assert self.hashing.error is None
        assert self.hashing.digests is not None
        return self.hashing.digests.wrong()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path)
    yield made
    made.hashing.stop()
    made.part.close()


def damaged(*places: int) -> bytes:
    data = bytearray(DATA)
    for place in places:
        data[place] ^= 0xFF
    return bytes(data)


def test_what_arrives_in_order_is_hashed_without_being_read_again(kit: Kit) -> None:
    kit.hashing.start()
    for start in range(0, len(DATA), 300):
        kit.put(start, min(start + 300, len(DATA)))
    assert kit.finished() == ()
    assert kit.part.count == 0
    for index, value in enumerate(kit.pieces.hashes):
        hasher = piece_hasher()
        hasher.update(DATA[index * PIECE : (index + 1) * PIECE])
        assert value == hasher.digest()


@pytest.mark.parametrize("places", [COUNT, 4])
def test_after_a_wrong_piece_only_what_lies_behind_it_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    """From the last place at which the hash was kept."""
    monkeypatch.setattr(module, "_MOST_KEPT", places)
    kit = Kit(tmp_path)
    kit.hashing.start()
    data = damaged(7 * PIECE + 5)
    kit.put(0, len(data), data)
    assert kit.finished() == (SHA256,)
    assert kit.part.count == 0
    with kit.lock:
        kit.pieces.fill(7, 5)
        kit.hashing.rewind(7 * PIECE)
        kit.put(7 * PIECE + 5, 8 * PIECE)
    assert kit.finished() == ()
    # What was there of the piece, for its own hash; then what lies behind it, or behind the place. The rest of the
    # piece came from memory, or had to be read as well.
    assert kit.part.count <= 5 + len(DATA) - (8 if places == COUNT else 6) * PIECE
    kit.hashing.stop()
    kit.part.close()


def test_a_piece_that_is_not_what_was_told_is_dropped_and_what_was_hashed_before_it_counts(tmp_path: Path) -> None:
    starts = range(0, len(DATA), PIECE)
    proofs = PieceHashes(
        "sha256", PIECE, tuple(hashlib.sha256(DATA[start : start + PIECE]).hexdigest() for start in starts)
    )
    kit = Kit(tmp_path, proofs)
    try:
        kit.hashing.start()
        kit.put(0, len(DATA), damaged(9 * PIECE))
        wait_for(lambda: bool(kit.wrong))
        assert kit.wrong == [(9, False)]
        assert kit.pieces.filled[9] == 0
        kit.put(9 * PIECE, 10 * PIECE)
        assert kit.finished() == ()
        assert kit.part.count <= 7  # the last piece, which had been hashed too early
    finally:
        kit.hashing.stop()
        kit.part.close()
