"""Has the parts of a project done: those that use the same environment one after the other, downloads beside them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence

from launcher_recovery.projects.part import Part

# Each has a thread; how many are downloaded at a time is for the slots of downloads to say.
_MOST_DOWNLOADS = 16


class Lanes:
    """Threads that have parts done, between entering and leaving it.

    Args:
        one_by_one: done in this order.
        beside: done meanwhile, several at a time.
        after: done likewise, once all of `one_by_one` is over, whatever became of it.
    """

    def __init__(self, one_by_one: Sequence[Part], beside: Sequence[Part], after: Sequence[Part] = ()) -> None:
        self._stopped = threading.Event()
        self._are_programs_over = threading.Event()
        self._lock = threading.Lock()
        self._beside, self._after = iter(beside), iter(after)
        lanes: list[Callable[[], None]] = [lambda: self._run_programs(one_by_one)]
        lanes += [self._run_downloads] * min(len(beside) + len(after), _MOST_DOWNLOADS)
        self._threads = [
            threading.Thread(
                # What runs in there are operations inside this one.
                target=contextvars.copy_context().run,
                args=(lane,),
                name=f"recovery-project-{number}",
                daemon=True,
            )
            for number, lane in enumerate(lanes)
        ]

    def __enter__(self) -> Lanes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Begin no further part. One that runs goes on, as an operation of its own that has its own controls."""
        self._stopped.set()
        self._are_programs_over.set()  # for those that wait for it

    def are_over(self, seconds: float) -> bool:
        """Whether all parts are done; waits for that, about so long."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)
                return not any(one.is_alive() for one in self._threads)
        return True

    def _run_programs(self, parts: Sequence[Part]) -> None:
        try:
            self._run(iter(parts))
        finally:
            self._are_programs_over.set()

    def _run_downloads(self) -> None:
        self._run(self._beside)
        self._are_programs_over.wait()
        self._run(self._after)

    def _run(self, parts: Iterator[Part]) -> None:
        while not self._stopped.is_set():
            with self._lock:
                part = next(parts, None)
            if part is None:
                return
            part.do()
