"""How fast recovery is here and now, measured with a store of its own on the disk that the launcher's is on."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from launcher_recovery.clock import Clock
from launcher_recovery.decorator import recoverable
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.owners import let_go
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.signals import silence

MOST_SECONDS = 10.0
_PATIENCE_S = 5.0
_ONCE = 200
_MB = 1_000_000


@dataclass(frozen=True)
class Figure:
    """One measurement.

    Args:
        name: of what was measured.
        value: in `unit`.
        unit: such as "ms".
        limit: what it may be at most; None: there is none.
        meaning: what it is, as a sentence.
    """

    name: str
    value: float
    unit: str
    limit: float | None
    meaning: str

    @property
    def is_kept(self) -> bool | None:
        """Whether the limit is kept; None: there is none."""
        return None if self.limit is None else self.value <= self.limit


def validate(folder: Path, seconds: float = 2.0) -> list[Figure]:
    """The limits that recovery promises to keep, each measured.

    Args:
        folder: on whose disk is measured.
        seconds: how long in all, about; at most `MOST_SECONDS`.
    """
    each = min(seconds, MOST_SECONDS) / 3
    with _store(folder) as store:
        writes = _timed(lambda: Lifecycle(store).open("figures", (), {"url": "https://example.org/x"}), each)
        durable = _timed(_durable(store), each)
        latencies = _latencies(store, each)
        size = _size_of_operations(store)
    return [
        Figure("overhead", _ms(durable, 0.5), "ms", 50, "What recovery adds to an operation that is kept (median)."),
        Figure("state_write", _ms(writes, 0.99), "ms", 100, "What a change of state takes until it is kept (p99)."),
        Figure("event_latency", _ms(latencies, 0.99), "ms", 150, "From a change until listeners are told of it (p99)."),
        Figure("memory", size / _MB, "MB", 5, "Memory of a project of 20 operations under way."),
    ]


def benchmark(folder: Path, seconds: float = 3.0) -> list[Figure]:
    """How much this machine can do.

    Args:
        folder: on whose disk is measured.
        seconds: how long in all, about; at most `MOST_SECONDS`.
    """
    each = min(seconds, MOST_SECONDS) / 4
    with _store(folder) as store:
        calls = _timed(_calls(), each)
        durable = _timed(_durable(store), each)
        reads = _timed(lambda: store.find(limit=50), each)
        latencies = _latencies(store, each)
    call = _median(calls) / _ONCE
    return [
        Figure("call", call * 1e6, "µs", None, "What recovery adds to a call that is not kept (median)."),
        Figure("durable_rate", _rate(durable), "operations/s", None, "Operations that are kept, one after the other."),
        Figure("durable_p99", _ms(durable, 0.99), "ms", None, "What such an operation takes (p99)."),
        Figure("list_p99", _ms(reads, 0.99), "ms", None, "What a page of 50 operations takes to be read (p99)."),
        Figure("event_p50", _ms(latencies, 0.5), "ms", None, "From a change until listeners are told of it (median)."),
        Figure("event_p99", _ms(latencies, 0.99), "ms", None, "From a change until listeners are told of it (p99)."),
    ]


@contextmanager
def _store(folder: Path) -> Iterator[SQLitePersistence]:
    """A store in a folder of its own, which is removed in the end; nobody is told of what is done with it."""
    with TemporaryDirectory(prefix=".recovery-figures-", dir=folder) as own, silence():
        store = SQLitePersistence(Path(own) / "figures.db")
        try:
            yield store
        finally:
            let_go(store)
            store.close()


def _timed(work: Callable[[], object], seconds: float) -> list[float]:
    """The seconds that each call of `work` takes, for so long in all; once at least."""
    found: list[float] = []
    ends = time.perf_counter() + seconds
    while not found or time.perf_counter() < ends:
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def _calls() -> Callable[[], None]:
    @recoverable
    def nothing() -> None:
        return None

    def work() -> None:
        for _ in range(_ONCE):
            nothing()

    return work


def _durable(store: SQLitePersistence) -> Callable[[], None]:
    @recoverable(persistence=store)
    def nothing() -> None:
        return None

    return nothing


def _latencies(store: SQLitePersistence, seconds: float) -> list[float]:
    """The seconds from storing an event until a listener has it."""
    told = threading.Event()
    tail = OutboxTail(store)
    tail.subscribe(lambda event: told.set())
    tail.start()

    def once() -> None:
        told.clear()
        store.append_event("figures", {})
        if not told.wait(_PATIENCE_S):
            raise TimeoutError(f"an event was not told of within {_PATIENCE_S:g} s")

    try:
        return _timed(once, seconds)
    finally:
        tail.stop()


def _size_of_operations(store: SQLitePersistence, count: int = 20) -> int:
    """Bytes that operations under way take in this process, without what they share with everything else."""
    clock = Clock()
    lifecycle = Lifecycle(store, clock=clock)
    found: list[Any] = []
    for number in range(count):
        data = lifecycle.open(
            "figures", (), {"url": f"https://example.org/{number}", "destination": f"/models/{number}"}
        )
        found.append(Operation(lifecycle.begin_attempt(data.operation_id, 8), lifecycle, clock))
    return _size(found, without=(lifecycle, store, clock))


def _size(roots: Iterable[object], without: Iterable[object]) -> int:
    """Bytes of objects and of what they refer to; not of modules, classes and functions."""
    seen = {id(one) for one in without}
    left = list(roots)
    total = 0
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, (type, type(sys), type(_size))):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        left.extend(gc.get_referents(one))
    return total


def _median(values: list[float]) -> float:
    return _quantile(values, 0.5)


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _ms(values: list[float], share: float) -> float:
    return _quantile(values, share) * 1000


def _rate(values: list[float]) -> float:
    return len(values) / sum(values)
