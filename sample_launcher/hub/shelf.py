"""What the hub has on offer by path, which faults are armed, and what was really sent."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import content, faults
from .faults import EtagChange, Fault

KEPT_REQUESTS = 10_000
"""How many of a path's latest requests are remembered."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Model:
    """A model on offer: `size` in bytes; `rate` in bytes a second, None for as fast as it goes."""

    name: str
    size: int
    rate: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"A model cannot be named {self.name!r}; use 1 to 128 letters, digits, dots, "
                "dashes and underscores, not starting with a dot or a dash."
            )
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 0:
            raise ValueError(f"'size' is {self.size!r}; give a whole number of bytes, at least 0.")
        if self.rate is not None and (isinstance(self.rate, bool) or not isinstance(self.rate, int) or self.rate < 1):
            raise ValueError(f"'rate' is {self.rate!r}; give whole bytes a second, at least 1, or null.")

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/models/{self.name}"


@dataclass
class Served:
    """One request, and how many bytes of the file were sent in answer so far."""

    method: str
    range: str | None
    status: int = 0
    sent: int = 0
    fault: str | None = None


@dataclass
class _Entry:
    model: Model | None = None
    armed: tuple[Fault, ...] = ()
    left: list[int] = field(default_factory=list)
    version: int = 0
    bytes_sent: int = 0
    requests: deque[Served] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))

    def arm(self, armed: tuple[Fault, ...]) -> None:
        self.armed = armed
        self.left = [fault.times for fault in armed]


class Shelf:
    """Everything the hub knows about its paths; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def put(self, model: Model, armed: Sequence[Any] | None = None) -> None:
        """Offer `model`, in place of an earlier one of that name; its counts start at 0."""
        entry = _Entry(model=model)
        entry.arm(faults.read_all(armed))
        with self._lock:
            self._entries[model.path] = entry

    def arm(self, path: str, armed: Sequence[Any] | None) -> None:
        """Arm faults for the requests of any path, in place of those armed before."""
        read = faults.read_all(armed)
        with self._lock:
            self._entries.setdefault(path, _Entry()).arm(read)

    def armed(self, path: str) -> tuple[Fault, ...]:
        """The faults that a path was given, used up or not."""
        with self._lock:
            entry = self._entries.get(path)
            return entry.armed if entry else ()

    def model(self, path: str) -> Model | None:
        """The model at `path`, or None."""
        with self._lock:
            entry = self._entries.get(path)
            return entry.model if entry else None

    def models(self) -> list[Model]:
        """Every model on offer, by name."""
        with self._lock:
            found = [entry.model for entry in self._entries.values() if entry.model]
        return sorted(found, key=lambda model: model.name)

    def version(self, path: str) -> int:
        """Which version of its content a path has; the first is 0."""
        with self._lock:
            entry = self._entries.get(path)
            return entry.version if entry else 0

    def sha256(self, model: Model) -> str:
        """SHA-256 of the model's present version; reads all of it the first time."""
        return content.sha256(model.name, self.version(model.path), model.size)

    def begin(self, path: str, method: str, range_: str | None) -> tuple[Served, Fault | None, int]:
        """Count a request: its record, the fault it has to suffer (GET only), and the content's version."""
        with self._lock:
            entry = self._entries.setdefault(path, _Entry())
            record = Served(method=method, range=range_)
            entry.requests.append(record)
            fault = None
            if method == "GET":
                for number, left in enumerate(entry.left):
                    if left:
                        entry.left[number] -= 1
                        fault = entry.armed[number]
                        record.fault = fault.kind
                        break
            if isinstance(fault, EtagChange):
                entry.version += 1
            return record, fault, entry.version

    def send(self, path: str, record: Served, send: Callable[[], int]) -> int:
        """Call `send`, which must not block, and count the bytes that it says the socket took.

        Both under one lock: who received bytes and then asks for the counts finds them counted.
        """
        with self._lock:
            count = send()
            record.sent += count
            entry = self._entries[path]
            # A reset starts a new list; what an older response still sends belongs to neither.
            if any(one is record for one in reversed(entry.requests)):
                entry.bytes_sent += count
            return count

    def stats(self, path: str) -> dict[str, Any] | None:
        """Counts of one path, or None when nothing is known of it."""
        with self._lock:
            entry = self._entries.get(path)
            return _counts(entry) if entry else None

    def all_stats(self) -> dict[str, dict[str, Any]]:
        """Counts of everything: {"models": by name, "paths": of anything else, by path}."""
        with self._lock:
            entries = self._entries.items()
            return {
                "models": {entry.model.name: _counts(entry) for _, entry in entries if entry.model},
                "paths": {path: _counts(entry) for path, entry in entries if not entry.model},
            }

    def reset(self) -> None:
        """Forget all counts, arm every fault again, and go back to the first content."""
        with self._lock:
            for entry in self._entries.values():
                entry.arm(entry.armed)
                entry.version = 0
                entry.bytes_sent = 0
                entry.requests.clear()


def _counts(entry: _Entry) -> dict[str, Any]:
    return {
        "bytes_sent": entry.bytes_sent,
        "requests": [dataclasses.asdict(record) for record in entry.requests],
    }
