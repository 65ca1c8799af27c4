"""The bar on a terminal, drawn by rich (the extra `cli`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from launcher_recovery.cli.display import Silent, Update
from launcher_recovery.cli.words import how_far, printable, what_goes_on

# Columns of the terminal.
_NAME, _BAR = 28, 16


class _Words(ProgressColumn):
    """How far it is, and what goes on; made anew at each refresh, so that a wait counts down."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._now = now

    def render(self, task: Task) -> Text:
        update: Update | None = task.fields["update"]
        if update is None:
            return Text("")
        words = ", ".join(filter(None, (how_far(update), what_goes_on(update, self._now()))))
        return Text(printable(words))


class Bar(Silent):
    """A bar that is gone when the operation is over.

    Args:
        name: of the file.
        stream: the terminal.
        now: seconds since the epoch, for tests.
    """

    def __init__(self, name: str, stream: TextIO, now: Callable[[], float] = time.time) -> None:
        self._progress = Progress(
            # Where they are too wide together, all of them give way; the narrowest terminals have no bar.
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=_NAME)),
            BarColumn(bar_width=None, table_column=Column(width=_BAR)),
            _Words(now),
            console=Console(file=stream),
            refresh_per_second=5,
            transient=True,
        )
        self._task = self._progress.add_task(printable(name), total=None, update=None)

    def __call__(self, update: Update) -> None:
        progress = update.get("progress") or {}
        self._progress.update(
            self._task, completed=progress.get("done") or 0, total=progress.get("total"), update=update
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
