"""Shows a running operation: a bar on a terminal, lines elsewhere, JSON for programs, or nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

from launcher_recovery.cli.words import how_far, printable, what_goes_on

Update = Mapping[str, Any]
"""The payload of a `recovery_update`; `joined` is true when another process runs the operation."""

LINE_EVERY_S = 5.0
_OVER = frozenset({"success", "failed", "exhausted", "cancelled"})


class Silent:
    """Shows nothing."""

    def __call__(self, update: Update) -> None:
        """The operation is now as `update` says; called from any thread."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class Lines(Silent):
    """A line at every change of the state, and every five seconds in between.

    Args:
        name: what the lines begin with.
        stream: where they go.
        monotonic, now: sources of time, for tests.
    """

    def __init__(
        self,
        name: str,
        stream: TextIO,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name = printable(name)
        self._stream = stream
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._state: object = None
        self._next = 0.0

    def __call__(self, update: Update) -> None:
        if update["state"] in _OVER:
            return  # a last sentence tells how it ended
        state = (update["state"], update.get("next_attempt_at"), update.get("waiting_for"), update.get("joined"))
        with self._lock:
            if state == self._state and self._monotonic() < self._next:
                return
            far = how_far(update) if (update.get("progress") or {}).get("done") else ""
            words = ", ".join(filter(None, (far, what_goes_on(update, self._now()))))
            if words:
                self._state, self._next = state, self._monotonic() + LINE_EVERY_S
                print(f"{self._name}: {printable(words)}", file=self._stream, flush=True)


class JsonLines(Silent):
    """Every change as a JSON object in a line of its own, as the recovery page's events have it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, update: Update) -> None:
        # In one piece, since updates come from several threads.
        self._stream.write(json.dumps({"event": "recovery_update", **update}) + "\n")
        self._stream.flush()


def can_show_bar(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor, and rich is installed (the extra `cli`)."""
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal and importlib.util.find_spec("rich") is not None


def display(name: str, stream: TextIO, output: TextIO, *, quiet: bool, as_json: bool) -> Silent:
    """What shows the operation.

    Args:
        name: of the file.
        stream: for people, standard error.
        output: for programs, standard output.
        quiet: show nothing.
        as_json: to `output`, and nothing to `stream`.
    """
    if quiet:
        return Silent()
    if as_json:
        return JsonLines(output)
    if not can_show_bar(stream):
        return Lines(name, stream)
    from launcher_recovery.cli.bar import Bar

    return Bar(name, stream)
