"""What a child program prints: read in a thread of its own, line by line, with a bound to each and to the whole."""

from __future__ import annotations

import io
import queue
import subprocess
import threading
from collections import deque

_TAIL_LINES = 60
# A longer line comes in pieces, so that a program that never ends one takes no memory without end.
_LONGEST_LINE = 8192


class Output:
    """The lines of both streams of a process, as they come, and the end of them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._is_overwritten = False
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, seconds: float) -> str | None:
        """The next line, without its end; None when the output is over.

        Raises:
            queue.Empty: none came within `seconds`.
        """
        line = self._lines.get(timeout=seconds)
        if line is None:
            return None
        if self._is_overwritten:
            self._tail.pop()
        # What a program writes over again, such as a percentage, pushes nothing out that may say what went wrong.
        self._is_overwritten = line.endswith("\r")
        text = line.rstrip("\r\n")
        self._tail.append(text if text == line else f"{text}\n")
        return text

    @property
    def tail(self) -> str:
        """The last lines that came."""
        return "".join(self._tail)

    def _read(self) -> None:
        assert self._process.stdout is not None
        # Closed here and not by the caller, who would have to wait for a grandchild that left the group and kept it
        # open.
        with io.TextIOWrapper(self._process.stdout, encoding="utf-8", errors="replace", newline="") as stream:
            while line := stream.readline(_LONGEST_LINE):
                self._lines.put(line)
        self._lines.put(None)
