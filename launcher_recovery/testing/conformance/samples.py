"""What the suite stores, and how it says which rule was broken."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from launcher_recovery.errors import StoredError
from launcher_recovery.persistence.base import Change, Changed, Store
from launcher_recovery.persistence.codec import error_to_stored
from launcher_recovery.records import Progress, RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.testing.clock import VirtualClock

T = TypeVar("T")
S = RecoveryState

NOW = datetime(2026, 11, 22, 23, 46, 31, 123456, timezone.utc)


# A call of the suite waits a few times; one that is joined to nothing waits millions of times a minute.
_WAITS_AT_MOST = 1000


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"deeper": value}
    return value


VALUES: Mapping[str, Any] = {
    "none": None,
    "booleans": [True, False, 1, 0],
    "huge_numbers": [2**64, -(2**63), 10**300],
    "floats": [0.1, 1e-300, math.inf, 2.0],
    "text": "a 🧩 ü ' \" \\ % \n \t \0 \u2028",
    "lone_surrogate": "caf\udce9",
    "bytes": b"\x00\xff",
    "tuples": (1, ("two", ()), [3]),
    "paths": Path("/models") / "ü a",
    "datetimes": [NOW, NOW.astimezone(timezone(timedelta(hours=2))), datetime(2026, 1, 1)],
    "empty": [{}, [], (), "", b""],
    "looks_like_a_tag": {"$type": "tuple", "value": 1},
    "deep_nesting": _nested(90),
}
"""One of each type that arguments, results, metadata and steps may have, and what is easily lost of it."""


def record(operation_id: str = "a", **given: Any) -> RecoveryData:
    """A record made at `NOW`."""
    return RecoveryData(operation_id, "work", **{"created_at": NOW, "updated_at": NOW, **given})


def full_record() -> RecoveryData:
    """A record with every field set to something that is not its default."""
    return RecoveryData(
        operation_id="full",
        function_name="pkg.work",
        args=(1, "two", (3.5, None), Path("/models")),
        kwargs={"workflow": {"nodes": [{"id": 1}]}, "when": NOW, "raw": b"\0\xff"},
        state=S.RECOVERING,
        attempt=3,
        error=StoredError("ConnectionError", "gone", "  File ..."),
        metadata={"etag": "x"},
        created_at=NOW,
        updated_at=NOW + timedelta(seconds=1),
        kind="download",
        key="download:/models/a",
        project="p",
        parent_id="parent",
        title="a 🧩",
        max_attempts=8,
        fruitless=2,
        watermark=12345678901.0,
        category="network",
        explanation="It broke.",
        fix="check_connection",
        next_attempt_at=NOW + timedelta(seconds=2),
        waiting_for=WaitingFor.RETRY_AFTER,
        progress=Progress(1, 2, "bytes", 3.5, 4.5, 5, "six"),
        result={"path": "/models/a"},
        owner="me",
        fence=7,
        resumable=False,
        completed_at=NOW + timedelta(seconds=3),
        begun_at=NOW + timedelta(seconds=4),
    )


def require(is_kept: bool, rule: str) -> None:
    """Fail with the rule that is broken."""
    __tracebackhide__ = True
    if not is_kept:
        raise AssertionError(rule)


def same(found: Any, expected: Any, rule: str) -> None:
    """Fail with the rule that is broken, what was found and what was expected; types count, too."""
    __tracebackhide__ = True
    require(_is_alike(found, expected), f"{rule}: expected {expected!r}, got {found!r}")


def _is_alike(found: Any, expected: Any) -> bool:
    """Whether both are equal and of the same types all through: 1 is not True, and a list is no tuple."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_is_alike(found[name], expected[name]) for name in expected)
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(_is_alike, found, expected))
    if is_dataclass(expected):
        return _is_alike(vars(found), vars(expected))
    if isinstance(expected, datetime) and found.utcoffset() != expected.utcoffset():
        return False
    return bool(found == expected)


def same_record(found: RecoveryData | None, expected: RecoveryData, rule: str) -> None:
    """Fail with the rule and the fields that differ."""
    __tracebackhide__ = True
    require(isinstance(found, RecoveryData), f"{rule}: expected a RecoveryData, got {found!r}")
    ours, theirs = _fields(expected), _fields(found)
    wrong = [
        f"{name} is {theirs.get(name)!r} instead of {value!r}"
        for name, value in ours.items()
        if not _is_alike(theirs.get(name), value)
    ]
    require(not wrong, f"{rule}: {'; '.join(wrong)}")


def _fields(data: Any) -> dict[str, Any]:
    error = None if data.error is None else error_to_stored(data.error).args
    return {**vars(data), "error": error}


def claim(store: Store, operation_id: str = "a", at: datetime = NOW) -> Changed:
    """Begin an attempt of a pending operation, as the engine does it."""
    change = Change({S.PENDING}, {"state": S.IN_PROGRESS, "owner": "me"}, at, claim=True)
    return made(store.change(operation_id, change), "change must be made to an operation in an expected state")


def made(changed: T | None, rule: str) -> T:
    """What was changed; fails with the rule when it is None."""
    __tracebackhide__ = True
    require(changed is not None, f"{rule}: expected a Changed, got None")
    assert changed is not None
    return changed


class PatientClock(VirtualClock):
    """A clock on which nobody waits without end: who does so waits for a record that the store lost or keeps."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self._rule = rule
        self._waits = 0

    def _jump(self, seconds: float) -> None:
        self._waits += 1
        found = "it waits for ever for what the store says is under way (save must replace what was saved before)"
        require(self._waits <= _WAITS_AT_MOST, f"{self._rule}: {found}")
        super()._jump(seconds)


def at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """What `work` returns in each of so many threads that begin together; raises what one of them raised."""
    barrier = threading.Barrier(number)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(position: int) -> None:
        try:
            barrier.wait(30)
            results[position] = work(position)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(position,), daemon=True) for position in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    require(len(results) == number, "methods called by several threads at once must return: some hang")
    return [results[position] for position in range(number)]


@contextmanager
def ending_after(seconds: float) -> Iterator[None]:
    """Fail in what takes longer, also when it hangs; needs signals that nobody else uses, and the main thread."""
    alarm = getattr(signal, "SIGALRM", None)
    is_main = threading.current_thread() is threading.main_thread()
    if alarm is None or not is_main or signal.getsignal(alarm) is not signal.SIG_DFL:
        yield
        return

    def fail(*_: object) -> None:
        raise AssertionError(f"every method of a store must return: the test was not over after {seconds:g} s")

    signal.signal(alarm, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, signal.SIG_DFL)
