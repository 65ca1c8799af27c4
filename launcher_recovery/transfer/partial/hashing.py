"""Hashes bytes in a thread of their own: each piece by itself, and the whole file in order."""

from __future__ import annotations

import errno
import mmap
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from launcher_recovery.transfer.integrity.checksums import Digests, Hasher, piece_hasher
from launcher_recovery.transfer.integrity.hashers import HASHERS
from launcher_recovery.transfer.partial.buffers import BUFFER, Buffers
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import PieceHashes, Pieces

# The hash of the file is kept at so many places at most, to go on from there when what follows was wrong.
_MOST_KEPT = 512
_WAKE = None
# Where it was written, the bytes, and the buffer they are in; without bytes: what was hashed from there on is void.
_Item = tuple[int, memoryview | None, memoryview | None]


@dataclass
class _Open:
    """A piece of which only the first `done` bytes were hashed so far."""

    hasher: Any
    proof: Hasher | None
    done: int = 0

    def update(self, data: memoryview) -> None:
        self.hasher.update(data)
        if self.proof is not None:
            self.proof.update(data)
        self.done += len(data)


class Hashing:
    """The thread that hashes a partial while it is filled.

    What arrives is hashed from memory; the whole file, which has to be hashed in order, from the disk where it did
    not arrive in order. What was there before is hashed again when there is time for it.

    Args:
        part, pieces: what is filled; `lock` is held while `pieces` is looked at or changed.
        new_digests: makes the hashers of the whole file; None: none are wanted.
        buffers: where the buffers go that were hashed.
        proofs: hashes of pieces that somebody who knows the file has told.
        on_wrong: called with the index of a piece that turned out to be wrong, after it was dropped, and whether it was
            on the disk before (True) or has just arrived (False).
    """

    def __init__(
        self,
        part: Part,
        pieces: Pieces,
        lock: threading.RLock,
        new_digests: Callable[[], Digests] | None,
        buffers: Buffers,
        proofs: PieceHashes | None,
        on_wrong: Callable[[int, bool], None],
    ) -> None:
        self.error: Exception | None = None
        """What ended the thread early."""
        self._part = part
        self._pieces = pieces
        self._lock = lock
        self._new_digests = new_digests
        self._digests = None if new_digests is None else new_digests()
        self._buffers = buffers
        self._proofs = proofs
        self._on_wrong = on_wrong
        self._front = 0
        self._step_bytes = pieces.piece * max(1, -(-pieces.count // _MOST_KEPT))
        self._kept: list[Digests] = []
        """The hashers as they were after each `_step_bytes` of the file."""
        self._open: dict[int, _Open] = {}
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._again: deque[int] = deque()
        self._block = memoryview(mmap.mmap(-1, BUFFER))
        self._is_stopped = False
        self._has_to_finish = False
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recovery-hashing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, offset: int, data: memoryview, buffer: memoryview | None) -> None:
        """Hash `data`, which was written at `offset` and lies in `buffer`; that, if any, is given back afterwards."""
        self._queue.put((offset, data, buffer))

    def again(self, index: int) -> None:
        """Hash a piece that is on the disk: it is wrong when it has another hash than it had."""
        self._again.append(index)
        self._queue.put(_WAKE)

    def finish(self) -> None:
        """Hash what is left; `is_finished` says when that is done. To be said again when a piece turned out to be
        wrong, or bytes have changed."""
        self._has_to_finish = True
        self._queue.put(_WAKE)

    @property
    def is_finished(self) -> bool:
        """Whether every piece, and the whole, have their hash."""
        return self._finished.is_set()

    @property
    def digests(self) -> Digests | None:
        """The hashers of the whole file; of use only when it is finished."""
        return self._digests

    def rewind(self, offset: int) -> None:
        """Bytes from `offset` on have changed, or are going to: what was hashed of them does not count."""
        with self._lock:
            self._has_to_finish = False
            self._finished.clear()
        self._queue.put((offset, None, None))

    def stop(self) -> None:
        """End at once."""
        self._is_stopped = True
        self._queue.put(_WAKE)
        if self._thread.is_alive():
            self._thread.join()

    # -- in the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._step()
        except Exception as error:
            self.error = error
            while not self._is_stopped:  # whoever waits for a buffer is not to wait for ever
                self._give_back(self._queue.get())

    def _step(self) -> None:
        has_work = bool(self._again) or self._can_catch_up() or self._can_finish()
        try:
            item = self._queue.get(block=not has_work)
        except queue.Empty:
            self._step_behind()
            return
        if item is None:
            return
        offset, data, _ = item
        if data is None:
            self._rewind(offset)
            return
        try:
            self._take(offset, data)
        finally:
            self._give_back(item)

    def _give_back(self, item: _Item | None) -> None:
        if item is not None and item[2] is not None:
            self._buffers.give_back(item[2])

    def _step_behind(self) -> None:
        """One piece of what is on the disk."""
        if self._again:
            self._hash_again(self._again.popleft())
        elif self._can_catch_up():
            self._catch_up(self._front // self._pieces.piece)
        else:
            self._finish()

    def _can_finish(self) -> bool:
        """Whether it is to finish, no piece was dropped since that was said, and nothing has come just now."""
        with self._lock:
            is_due = self._has_to_finish and not self.is_finished
            return is_due and self._pieces.is_whole and self._queue.empty()

    def _finish(self) -> None:
        with self._lock:
            if not self._can_finish():
                return
            missing = [index for index, value in enumerate(self._pieces.hashes) if value is None]
            self._again.extend(missing)
            if not missing:
                self._finished.set()

    def _take(self, offset: int, data: memoryview) -> None:
        pieces = self._pieces
        while data:
            index = offset // pieces.piece
            part = data[: pieces.end_of(index) - offset]
            within = offset - pieces.start_of(index)
            piece = self._open.get(index)
            if piece is None or piece.done != within:
                piece = self._open[index] = self._begin(index, within)
            piece.update(part)
            if self._front == offset:
                self._feed(part)
            if piece.done == pieces.length_of(index):
                del self._open[index]
                self._end(index, piece, before=False)
            offset, data = offset + len(part), data[len(part) :]

    def _begin(self, index: int, within: int) -> _Open:
        """A piece whose first bytes arrived earlier."""
        piece = _Open(piece_hasher(), None if self._proofs is None else HASHERS[self._proofs.algorithm]())
        start = self._pieces.start_of(index)
        while piece.done < within and not self._is_stopped:
            block = self._block[: min(BUFFER, within - piece.done)]
            self._part.read(block, start + piece.done)
            if self._front == start + piece.done:
                self._feed(block)
            piece.update(block)
        return piece

    def _hash_again(self, index: int) -> None:
        with self._lock:
            if not self._pieces.is_complete(index):
                return
        try:
            piece = self._begin(index, self._pieces.length_of(index))
        except (OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            # A bad block, or somebody has cut the file: what cannot be read is fetched again.
            self._end(index, None, before=True)
            return
        if not self._is_stopped:
            self._end(index, piece, before=True)

    def _end(self, index: int, piece: _Open | None, before: bool) -> None:
        """All of a piece was hashed; None: it could not be read."""
        with self._lock:
            if not self._pieces.is_complete(index):
                return  # it was dropped meanwhile
            if piece is not None and self._is_right(index, piece, before):
                self._pieces.hashes[index] = piece.hasher.digest()
                if before:
                    self._part.note([(index, self._pieces.length_of(index))])
                return
            self._pieces.drop(index)
            self._part.note([(index, 0)])
            self._has_to_finish = False
            self._finished.clear()
        self._go_back(self._pieces.start_of(index))
        self._on_wrong(index, before)

    def _is_right(self, index: int, piece: _Open, before: bool) -> bool:
        if before and self._pieces.hashes[index] not in (None, piece.hasher.digest()):
            return False
        return piece.proof is None or self._proofs is None or piece.proof.hexdigest() == self._proofs.values[index]

    def _rewind(self, offset: int) -> None:
        self._open = {index: one for index, one in self._open.items() if self._pieces.end_of(index) <= offset}
        self._go_back(offset)

    def _feed(self, data: memoryview) -> None:
        """The next bytes of the whole file, up to the end of their piece at most."""
        if self._digests is None:
            return
        self._digests.update(data)
        self._front += len(data)
        if not self._front % self._step_bytes:
            self._kept.append(self._digests.copy())

    def _go_back(self, offset: int) -> None:
        """The whole file is hashed again from `offset` on, or from a place before it where the hash was kept."""
        if self._front <= offset or self._new_digests is None:
            return
        number = offset // self._step_bytes
        del self._kept[number:]
        self._digests = self._kept[-1].copy() if self._kept else self._new_digests()
        self._front = number * self._step_bytes

    def _can_catch_up(self) -> bool:
        """Whether what comes next of the whole file is on the disk and was not in the queue just now."""
        if self._digests is None or self._front >= self._pieces.size:
            return False
        return self._pieces.hashes[self._front // self._pieces.piece] is not None

    def _catch_up(self, index: int) -> None:
        end = self._pieces.end_of(index)
        while self._front < end and not self._is_stopped:
            block = self._block[: min(BUFFER, end - self._front)]
            self._part.read(block, self._front)
            self._feed(block)
