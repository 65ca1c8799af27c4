"""An open partial: its note, its journal and its threads, and what hashes of pieces from elsewhere mean for it."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from launcher_recovery.errors import IntegrityError
from launcher_recovery.records import Transfer
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests
from launcher_recovery.transfer.partial import durability as durability_module
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.journal import Known
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.part import Note, Part, boot_id, read_note
from launcher_recovery.transfer.partial.pieces import PieceHashes, Pieces
from tests.support import wait_for

ID = bytes(range(16))
SIZE, PIECE = 42, 10
DATA = random.Random(3).randbytes(SIZE)
WHOLE = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
DESTINATION = Path("/models/model.bin")
VALIDATORS = {"0123": Validators('"v1"', None, SIZE)}


def hashes_of(length: int) -> PieceHashes:
    values = (hashlib.sha256(DATA[start : start + length]).hexdigest() for start in range(0, SIZE, length))
    return PieceHashes("sha256", length, tuple(values))


class Rig:
    """A partial with what an earlier attempt has left, and a store."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.bin.part"
        self.part = Part(self.path)
        self.known = Known(ID, Pieces(SIZE, PIECE))
        self.lock = threading.RLock()
        self.kept: list[Transfer] = []
        self.notes_then: list[Note | None] = []
        self.is_ours = True
        self.wrong: list[tuple[int, bool]] = []
        self.layouts: list[Layout] = []

    def there(self, *filled: int) -> None:
        assert self.known.pieces is not None
        for index, count in enumerate(filled):
            self.known.pieces.fill(index, count)
            self.part.write(DATA[index * PIECE : index * PIECE + count], index * PIECE)

    def keep(self, transfer: Transfer) -> bool:
        self.kept.append(transfer)
        self.notes_then.append(read_note(self.path))
        return self.is_ours

    def lay_out(self, proofs: PieceHashes | None = None, **changed: Any) -> Layout:
        arguments: dict[str, Any] = {
            "part": self.part,
            "known": self.known,
            "destination": DESTINATION,
            "lock": self.lock,
            "buffers": Buffers(1),
            "new_digests": lambda: Digests([WHOLE]),
            "proofs": proofs,
            "validators": lambda: VALIDATORS,
            "keep": self.keep,
            "on_wrong": lambda index, before: self.wrong.append((index, before)),
            **changed,
        }
        layout = Layout(**arguments)
        self.layouts.append(layout)
        return layout

    def note(self) -> tuple[int, ...]:
        note = read_note(self.path)
        assert note is not None
        return note.filled

    def close(self) -> None:
        for layout in self.layouts:
            layout.stop()
            assert layout.durability.has_ended(30)
        self.part.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def finished(layout: Layout) -> Layout:
    def look() -> bool:
        assert layout.hashing.error is None, layout.hashing.error
        layout.hashing.finish()
        return layout.hashing.is_finished

    wait_for(look, 10)
    return layout


# -- the beginning --------------------------------------------------------------------------------------------


def test_the_note_counts_what_is_there_except_what_may_be_lost(rig: Rig) -> None:
    """A kill before that was looked at makes it no better."""
    rig.there(10, 10, 3)
    rig.known.again, rig.known.unproven = [0, 1], {1}
    rig.lay_out()
    assert read_note(rig.path) == Note(ID, boot_id(), SIZE, PIECE, (10, 0, 3, 0, 0))
    assert rig.path.read_bytes()[:23] == DATA[:23]
    assert rig.kept == []


def test_what_identifies_the_version_is_kept_before_anything_is_hashed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.there(10, 10)
    rig.known.again, rig.known.unproven = [0, 1], {0, 1}
    layout = rig.lay_out()
    running: list[bool] = []
    monkeypatch.setattr(layout, "_keep", lambda transfer: running.append(layout.hashing._thread.is_alive()))
    layout.start()
    assert running == [False]
    monkeypatch.undo()
    wait_for(lambda: rig.note()[:2] == (10, 10), 10)
    assert rig.wrong == []


def test_pieces_that_are_to_be_looked_at_again_are_and_the_rest_is_hashed_as_it_comes(rig: Rig) -> None:
    rig.there(10, 10, 10)
    rig.known.again = [0, 2]
    rig.known.pieces.hashes[1] = xxhash.xxh3_128_digest(DATA[10:20])  # type: ignore[union-attr]
    rig.known.pieces.hashes[2] = bytes(15) + b"\1"  # type: ignore[union-attr]
    layout = rig.lay_out()
    layout.start()
    wait_for(lambda: rig.wrong, 10)
    assert rig.wrong == [(2, True)]
    with rig.lock:
        layout.pieces.add(20, 22)
        rig.part.write(DATA[20:], 20, [(2, 10), (3, 10), (4, 2)])
        layout.hashing.put(20, memoryview(DATA)[20:], None)
    digests = finished(layout).hashing.digests
    assert digests is not None
    assert digests.wrong() == ()
    starts = range(0, SIZE, PIECE)
    assert layout.pieces.hashes == [xxhash.xxh3_128_digest(DATA[start : start + PIECE]) for start in starts]


# -- the journal ----------------------------------------------------------------------------------------------


def test_the_journal_has_what_is_durable_and_the_validators_of_now(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability_module, "SYNC_BYTES", 1)
    now = dict(VALIDATORS)
    rig.there(10)
    rig.known.again = [0]
    layout = rig.lay_out(validators=lambda: now)
    layout.start()
    wait_for(lambda: layout.pieces.hashes[0], 10)
    now["4567"] = Validators(None, "Wed, 25 Nov 2026 19:25:33 GMT", SIZE)
    layout.durability.wrote(10)
    wait_for(lambda: len(rig.kept) > 1, 10)
    first, last = rig.kept
    assert (first.journal["pieces"]["durable"], last.journal["pieces"]["durable"]) == ([], [[0, 0]])
    assert (list(first.journal["validators"]), list(last.journal["validators"])) == (["0123"], ["0123", "4567"])
    assert (last.destination, last.partial, last.size, last.journal["id"]) == (
        str(DESTINATION),
        str(rig.path),
        SIZE,
        ID.hex(),
    )


def test_whoever_lost_the_operation_is_told(rig: Rig) -> None:
    layout = rig.lay_out()
    assert layout.keep() is True
    rig.is_ours = False
    assert layout.keep() is False


def test_an_older_journal_does_not_replace_a_newer_one(rig: Rig) -> None:
    """The thread of durability may be about to write while a connection finds out that the file has changed."""
    writing, go_on = threading.Event(), threading.Event()
    written: list[Any] = []

    def keep(transfer: Transfer) -> bool:
        number = transfer.journal["pieces"]["durable"]
        if not number:
            writing.set()
            assert go_on.wait(10)
        written.append(number)
        return True

    layout = rig.lay_out(keep=keep)
    older = threading.Thread(target=layout.keep)
    older.start()
    assert writing.wait(10)
    with rig.lock:
        layout.pieces.fill(0, 10)
        layout.pieces.hashes[0], layout.pieces.durable[0] = b"h" * 16, True
    newer = threading.Thread(target=layout.keep)
    newer.start()
    go_on.set()
    older.join(10)
    newer.join(10)
    assert written == [[], [[0, 0]]]


def test_a_journal_that_is_older_than_the_one_that_was_written_is_left_out(rig: Rig) -> None:
    """It was made before that one, and had to wait."""
    made, go_on = threading.Event(), threading.Event()
    written: list[Any] = []

    class Lock:
        """Lets go of the pieces, and then has to wait, in one thread."""

        def __enter__(self) -> None:
            rig.lock.acquire()

        def __exit__(self, *_: object) -> None:
            rig.lock.release()
            if threading.current_thread() is older:
                made.set()
                assert go_on.wait(10)

    def keep(transfer: Transfer) -> bool:
        written.append(transfer.journal["pieces"]["durable"])
        return False

    layout = rig.lay_out(keep=keep, lock=Lock())
    results: list[bool] = []
    older = threading.Thread(target=lambda: results.append(layout.keep()))
    older.start()
    assert made.wait(10)
    layout.pieces.fill(0, 10)
    layout.pieces.hashes[0], layout.pieces.durable[0] = b"h" * 16, True
    assert layout.keep() is False
    go_on.set()
    older.join(10)
    assert (written, results) == ([[[0, 0]]], [False])


# -- hashes of pieces from elsewhere --------------------------------------------------------------------------


def test_pieces_are_compared_with_hashes_that_somebody_gave(rig: Rig) -> None:
    rig.there(10, 10, 10, 10, 2)
    rig.part.write(b"?", 35)
    rig.known.again = list(range(5))
    layout = rig.lay_out(hashes_of(PIECE))
    layout.start()
    wait_for(lambda: rig.wrong and layout.pieces.hashes[4], 10)
    assert rig.wrong == [(3, True)]
    assert layout.pieces.filled == [10, 10, 10, 0, 2]


def test_a_partial_that_was_divided_in_another_way_is_divided_as_the_hashes_are(rig: Rig) -> None:
    """Each byte that is there stays, as far as it is at the beginning of a piece; all of it is looked at again."""
    rig.there(10, 6, 10, 10, 0)
    rig.part.write(b"?", 2)
    rig.known.pieces.hashes[0] = b"h" * 16  # type: ignore[union-attr]
    layout = rig.lay_out(hashes_of(4))
    assert rig.known.pieces is layout.pieces
    #  4-byte pieces begin at 0, 4, 8, 12, 16 (a gap), 20, 24, … 36; 40 is not there.
    filled = [4, 4, 4, 4, 0, 4, 4, 4, 4, 4, 0]
    assert (layout.pieces.piece, layout.pieces.filled, rig.known.have) == (4, filled, 36)
    assert (rig.known.again, rig.known.unproven) == ([0, 1, 2, 3, 5, 6, 7, 8, 9], set())
    assert rig.note() == tuple(filled)
    layout.start()
    wait_for(lambda: layout.pieces.hashes[9], 10)
    assert rig.wrong == [(0, True)]
    assert layout.pieces.filled == [0, *filled[1:]]


def test_after_a_power_cut_nothing_of_it_counts_before_it_was_looked_at(rig: Rig) -> None:
    rig.there(10, 10, 3)
    rig.known.again, rig.known.unproven = [0, 1], {0, 1}
    rig.lay_out(hashes_of(4))
    assert (rig.known.again, rig.known.unproven) == ([0, 1, 2, 3, 4], {0, 1, 2, 3, 4})
    assert rig.note() == (0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("length", "pieces", "count"), [(PIECE, 5, 4), (PIECE, 5, 6), (4, 11, 10), (4, 11, 0)])
def test_a_file_of_which_there_are_more_or_fewer_pieces_than_hashes_is_another_one(
    rig: Rig, length: int, pieces: int, count: int
) -> None:
    """It is found out before anything is written."""
    proofs = PieceHashes("sha256", length, ("0" * 64,) * count)
    rig.there(10)
    before = rig.path.read_bytes()
    expected = (
        f"the file has {SIZE} bytes, which are {pieces} pieces of {length} bytes, "
        f"but the hashes of {count} pieces were given"
    )
    with pytest.raises(IntegrityError, match=f"^{expected}$"):
        rig.lay_out(proofs)
    assert rig.path.read_bytes() == before
    assert rig.known.pieces is not None
    assert rig.known.pieces.piece == PIECE


def test_the_hashes_of_an_empty_file(rig: Rig) -> None:
    rig.known = Known(ID, Pieces(0, PIECE))
    layout = rig.lay_out(PieceHashes("sha256", PIECE, ()), new_digests=None)
    layout.start()
    assert finished(layout).pieces.is_whole


# -- the end --------------------------------------------------------------------------------------------------


def test_both_threads_end_and_a_sync_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def sync() -> None:
        syncing.set()
        assert go_on.wait(10)

    monkeypatch.setattr(durability_module, "SYNC_BYTES", 1)
    monkeypatch.setattr(rig.part, "sync", sync)
    rig.there(10)
    rig.known.again = [0]
    layout = rig.lay_out()
    layout.start()
    wait_for(lambda: layout.pieces.hashes[0], 10)
    layout.durability.wrote(10)
    assert syncing.wait(10)
    layout.stop()
    assert not layout.durability.has_ended(0.0)
    go_on.set()
    assert layout.durability.has_ended(10)
    assert not layout.hashing._thread.is_alive()
    assert layout.durability.error is None


def test_one_that_was_never_started_ends_at_once(rig: Rig) -> None:
    layout = rig.lay_out()
    layout.stop()
    assert rig.kept == []
