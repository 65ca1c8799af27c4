"""What can go wrong with a response: one frozen record a kind, and their JSON form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar


def _whole(kind: str, field: str, value: object, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Fault {kind!r} has {field}={value!r}; give a whole number of at least {least} instead.")


def _retry_after(kind: str, value: object) -> None:
    if value is None or (isinstance(value, str) and value.isprintable()):
        return
    _whole(kind, "retry_after", value)


@dataclass(frozen=True)
class Drop:
    """Close the connection after `after` bytes of this response's body; `reset` sends RST, not FIN."""

    kind: ClassVar[str] = "drop"
    after: int
    reset: bool = False
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "after", self.after)
        _whole(self.kind, "times", self.times, 1)
        if not isinstance(self.reset, bool):
            raise ValueError(f"Fault 'drop' has reset={self.reset!r}; give true or false instead.")


@dataclass(frozen=True)
class Status:
    """Answer with an HTTP error; `retry_after` is seconds, an HTTP date, or None for no such header."""

    kind: ClassVar[str] = "status"
    status: int = 503
    retry_after: int | str | None = None
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "status", self.status, 400)
        if self.status > 599:
            raise ValueError(f"Fault 'status' has status={self.status}; give one from 400 to 599 instead.")
        _retry_after(self.kind, self.retry_after)
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class Stall:
    """Send `after` bytes of the body, say nothing for `seconds`, then close the connection."""

    kind: ClassVar[str] = "stall"
    after: int
    seconds: float
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "after", self.after)
        _whole(self.kind, "times", self.times, 1)
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or self.seconds < 0:
            raise ValueError(f"Fault 'stall' has seconds={self.seconds!r}; give a number of at least 0 instead.")


@dataclass(frozen=True)
class WrongByte:
    """Flip the bits of the byte at the absolute offset `at`, when this response holds it."""

    kind: ClassVar[str] = "wrong_byte"
    at: int
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "at", self.at)
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class IgnoreRange:
    """Answer a range request with 200 and the whole body."""

    kind: ClassVar[str] = "ignore_range"
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class EtagChange:
    """From this response on the content is another one, with another ETag and date."""

    kind: ClassVar[str] = "etag_change"
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class RateLimit:
    """Answer 429; `retry_after` is seconds, an HTTP date, or None for no such header."""

    kind: ClassVar[str] = "rate_limit"
    retry_after: int | str | None = 1
    times: int = 1

    def __post_init__(self) -> None:
        _retry_after(self.kind, self.retry_after)
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class Html:
    """Answer 200 with a login page in place of the file."""

    kind: ClassVar[str] = "html"
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "times", self.times, 1)


@dataclass(frozen=True)
class Slow:
    """Send this response's body at `rate` bytes a second."""

    kind: ClassVar[str] = "slow"
    rate: int
    times: int = 1

    def __post_init__(self) -> None:
        _whole(self.kind, "rate", self.rate, 1)
        _whole(self.kind, "times", self.times, 1)


Fault = Drop | Status | Stall | WrongByte | IgnoreRange | EtagChange | RateLimit | Html | Slow

KINDS: dict[str, type[Any]] = {
    one.kind: one for one in (Drop, Status, Stall, WrongByte, IgnoreRange, EtagChange, RateLimit, Html, Slow)
}


def to_json(fault: Fault) -> dict[str, Any]:
    """The JSON form of a fault: its fields, and its `kind`."""
    return {"kind": fault.kind, **dataclasses.asdict(fault)}


def from_json(value: object) -> Fault:
    """Read a fault from its JSON form.

    Raises ValueError, with one sentence that says what is wrong, when it is not one.
    """
    if not isinstance(value, dict):
        raise ValueError(f"A fault must be a JSON object, not {type(value).__name__}.")
    fields = dict(value)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"There is no fault {kind!r}; give one of {', '.join(sorted(KINDS))}.")
    record = KINDS[kind]
    known = dataclasses.fields(record)
    unknown = sorted(set(map(str, fields)) - {field.name for field in known})
    if unknown:
        raise ValueError(f"Fault {kind!r} has no field {unknown[0]!r}.")
    for field in known:
        if field.default is dataclasses.MISSING and field.name not in fields:
            raise ValueError(f"Fault {kind!r} needs the field {field.name!r}.")
    fault: Fault = record(**fields)
    return fault


def read_all(value: object) -> tuple[Fault, ...]:
    """Read a list of faults, each a record or its JSON form; None is an empty list. Raises ValueError."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"'faults' must be a list, not {type(value).__name__}.")
    return tuple(one if isinstance(one, Fault) else from_json(one) for one in value)
