"""A partial that is open: its pieces, and the threads that hash it and make it durable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher_recovery.errors import IntegrityError
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.checksums import Digests
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.durability import Durability
from launcher_recovery.transfer.partial.hashing import Hashing
from launcher_recovery.transfer.partial.journal import Known, of_partial
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import PieceHashes, Pieces

Keep = Callable[..., bool]


class Layout:
    """The partial of a file of known size while it is filled.

    Args:
        part: the open partial.
        known: what is there of it; its `pieces` are filled, and are divided anew where `proofs` are of other ones.
        destination: where the file is to be in the end.
        lock: guards the pieces.
        new_digests: makes the hashers of the whole file; None: none are wanted.
        proofs: hashes of its pieces from somebody who knows the file.
        validators: gives what identifies the version at each source; kept with every mark.
        keep: writes a `Transfer` to the store; False when the operation is somebody else's by now.
        on_wrong: see `Hashing`.

    Raises:
        IntegrityError: the file has not as many pieces as there are `proofs`.
        OSError: the partial cannot be written to.
    """

    def __init__(
        self,
        part: Part,
        known: Known,
        destination: Path,
        lock: threading.RLock,
        buffers: Buffers,
        new_digests: Callable[[], Digests] | None,
        proofs: PieceHashes | None,
        validators: Callable[[], Mapping[str, Validators]],
        keep: Keep,
        on_wrong: Callable[[int, bool], None],
    ) -> None:
        assert known.pieces is not None
        if proofs is not None:
            _check_count(known.pieces.size, proofs)
            if proofs.length != known.pieces.piece:
                _divide_anew(known, known.pieces, proofs.length)
        self.part = part
        self.pieces = known.pieces
        self._known = known
        self._destination = destination
        self._lock = lock
        self._validators = validators
        self._keep = keep
        noted = [0 if index in known.unproven else filled for index, filled in enumerate(self.pieces.filled)]
        part.lay_out(known.transfer_id, self.pieces.size, self.pieces.piece, noted)
        self.hashing = Hashing(part, self.pieces, lock, new_digests, buffers, proofs, on_wrong)
        self.durability = Durability(part, self.pieces, lock, self.keep)
        self._writing = threading.Lock()
        self._made = self._written = 0
        self._is_kept = True

    def complete(self) -> list[tuple[int, int, bool]]:
        """The pieces that are there, as (start, end), and whether they were hashed by now."""
        pieces = self.pieces
        with self._lock:
            return [
                (pieces.start_of(index), pieces.end_of(index), value is not None)
                for index, value in enumerate(pieces.hashes)
                if pieces.is_complete(index)
            ]

    def runs(self) -> list[tuple[int, int]]:
        """What is there, from the front, as (start, end), hashed or not."""
        with self._lock:
            return self.pieces.runs()

    def start(self) -> None:
        """Keep what identifies the version, before any byte of it is written; then begin to hash and sync."""
        self.keep()
        for index in self._known.again:
            self.hashing.again(index)
        self.hashing.start()
        self.durability.start()

    def keep(self) -> bool:
        """Write the journal; False when the operation is somebody else's by now."""
        with self._lock:
            self._made = number = self._made + 1
            transfer = of_partial(
                self._destination, self.part.path, self._known.transfer_id, self.pieces, self._validators()
            )
        with self._writing:
            if number > self._written:  # else a newer one was written meanwhile
                self._written = number
                self._is_kept = self._keep(transfer)
            return self._is_kept

    def stop(self) -> None:
        """End the threads, that of `durability` after the sync that is under way."""
        self.durability.stop()
        self.hashing.stop()


def _check_count(size: int, proofs: PieceHashes) -> None:
    count = -(-size // proofs.length)
    if len(proofs.values) != count:
        raise IntegrityError(
            f"the file has {size} bytes, which are {count} pieces of {proofs.length} bytes, "
            f"but the hashes of {len(proofs.values)} pieces were given"
        )


def _divide_anew(known: Known, pieces: Pieces, length: int) -> None:
    """An earlier attempt divided the file in another way; what is there is compared with the hashes that are given."""
    known.pieces = pieces.divided(length)
    known.again = [index for index in range(known.pieces.count) if known.pieces.is_complete(index)]
    known.unproven = set(known.again) if known.unproven else set()
