"""Buffers for bytes on their way from a connection to the disk and to the hashes."""

from __future__ import annotations

import mmap
import queue
import threading
import time

BUFFER = 1 << 20
"""Bytes of a buffer."""


class Buffers:
    """A fixed number of buffers of `BUFFER` bytes; whoever needs one waits until another one is given back.

    Each begins at a page: the kernel copies into such a buffer up to three times faster than into one that begins a
    few bytes behind a page's beginning, as those of `bytearray` do (measured with recv on loopback).

    Args:
        count: how many there are at most.
    """

    def __init__(self, count: int) -> None:
        # Below those that are free lie the places of those that were not made yet.
        self._free: queue.LifoQueue[memoryview | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._lock = threading.Lock()
        self.waited = 0.0
        """Seconds that were spent waiting for one, by all together: they are emptied more slowly than filled."""

    def take(self, timeout: float) -> memoryview | None:
        """A buffer; None when none was given back for `timeout` seconds."""
        try:
            buffer = self._free.get_nowait()
        except queue.Empty:
            began = time.monotonic()
            try:
                buffer = self._free.get(timeout=timeout)
            except queue.Empty:
                return None
            finally:
                with self._lock:
                    self.waited += time.monotonic() - began
        if buffer is not None:
            return buffer
        try:
            return memoryview(mmap.mmap(-1, BUFFER))
        except BaseException:
            self._free.put(None)
            raise

    def give_back(self, buffer: memoryview) -> None:
        """The buffer may be used again."""
        self._free.put(buffer)
