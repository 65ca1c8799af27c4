"""Makes what arrived safe from a power cut, in a thread of its own: sync, then say in the journal what is safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import Pieces

SYNC_BYTES = 64 << 20
SYNC_S = 2.0


class Durability:
    """The thread that syncs a partial while it is filled: every `SYNC_BYTES`, or `SYNC_S` when there is less.

    The order is what matters: the data was written and hashed before it is synced, and the journal says that a piece
    is durable only after it was.

    Args:
        part, pieces: what is filled; `lock` is held while `pieces` is looked at or changed.
        keep: writes the journal, durably.
    """

    def __init__(self, part: Part, pieces: Pieces, lock: threading.RLock, keep: Callable[[], object]) -> None:
        self.error: Exception | None = None
        """What ended the thread early."""
        self._part = part
        self._pieces = pieces
        self._lock = lock
        self._keep = keep
        self._more = threading.Condition()
        self._bytes = 0
        self._is_behind = False
        self._is_stopped = False
        self._synced_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="recovery-durability", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wrote(self, count: int) -> None:
        """So many bytes more were written."""
        with self._more:
            self._bytes += count
            if self._bytes >= SYNC_BYTES:
                self._more.notify()

    def stop(self) -> None:
        """End, without waiting for a sync that is under way."""
        with self._more:
            self._is_stopped = True
            self._more.notify()

    def has_ended(self, seconds: float) -> bool:
        """Whether nothing is under way any more, after `stop`; waited for, so many seconds at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def mark(self) -> None:
        """Sync now, and keep in the journal what is durable by that."""
        with self._lock:
            left = [
                index
                for index, is_durable in enumerate(self._pieces.durable)
                if not is_durable and self._pieces.is_complete(index)
            ]
            complete = [index for index in left if self._pieces.hashes[index] is not None]
            hashes = [self._pieces.hashes[index] for index in complete]
        # What was not hashed in time has its turn later, also when nothing more comes.
        self._is_behind = len(left) > len(complete)
        if not complete:
            return
        self._part.sync()
        with self._lock:
            for index, value in zip(complete, hashes, strict=True):
                # Not what was dropped, or replaced by other bytes, while the disk was busy.
                if self._pieces.hashes[index] == value:
                    self._pieces.durable[index] = True
        if not self._is_stopped:  # else the journal may be that of the next attempt
            self._keep()

    def _run(self) -> None:
        try:
            while self._wait():
                self.mark()
        except Exception as error:
            self.error = error

    def _wait(self) -> bool:
        """Wait until it is time to sync; False when it is time to end."""
        with self._more:
            while not self._is_stopped:
                due = self._synced_at + SYNC_S - time.monotonic()
                has_work = self._bytes > 0 or self._is_behind
                if self._bytes >= SYNC_BYTES or (has_work and due <= 0):
                    break
                self._more.wait(due if has_work else SYNC_S)
            self._bytes = 0
            self._synced_at = time.monotonic()
            return not self._is_stopped
