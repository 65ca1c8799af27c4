"""What was asked for, what goes over the wire in answer, and the honest answer (RFC 9110 §13 and §14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Union

from sample_launcher.hub.ranges import select

from .files import File


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        number: the how manieth for this path, from 1 on.
        target: path and query as they were sent.
        path: without the query, decoded.
        headers: by their names in lower case; of a repeated one all values, with ", " between.
        connection: the how manieth connection of this server, from 1 on.
        at: when it had arrived, in seconds of `time.monotonic`.
    """

    number: int
    method: str
    target: str
    path: str
    headers: Mapping[str, str]
    peer: tuple[str, int]
    connection: int
    at: float

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def if_range(self) -> str | None:
        return self.headers.get("if-range")


@dataclass(frozen=True)
class Span:
    """Bytes of a file, from `start` up to but not including `end`. Only these are counted as sent."""

    file: File
    start: int
    end: int


@dataclass(frozen=True)
class Silence:
    """Nothing is sent for so many seconds; it ends at once when the client goes away."""

    seconds: float


@dataclass(frozen=True)
class Stream:
    """Bytes that are made while they are sent, such as ones without end."""

    pieces: Callable[[], Iterator[bytes]]


Part = Union[bytes, Span, Silence, Stream]


class End(Enum):
    """What becomes of the connection after an answer: kept for the next request, closed by a FIN, or by an RST."""

    KEEP = "keep"
    FIN = "FIN"
    RST = "RST"


Gate = Callable[[int], "tuple[int, End | None]"]
"""Asked before so many bytes of a file are sent: how many of them may be, and then how the connection ends, if so."""


@dataclass(frozen=True)
class Answer:
    """One answer, exactly as it goes over the wire.

    Args:
        status: status line without the protocol.
        headers: in order, with repetitions; nothing is added to them.
        body: sent behind the head; of an answer to HEAD only the head is sent.
        end: what becomes of the connection.
        rate: bytes of a file per second and connection; None: as fast as the client takes them.
        flips: offsets in the file of bytes whose bits are turned over on the way.
        head: sent in place of status line and headers.
        gate: see `Gate`.
    """

    status: str = "200 OK"
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[Part, ...] = ()
    end: End = End.KEEP
    rate: float | None = None
    flips: frozenset[int] = frozenset()
    head: tuple[Part, ...] | None = None
    gate: Gate | None = None

    @property
    def code(self) -> int:
        return int(self.status[:3])

    @property
    def span(self) -> Span | None:
        """The first bytes of a file in the body."""
        return next((part for part in self.body if isinstance(part, Span)), None)

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    def without(self, *names: str) -> Answer:
        """The answer without the headers of these names."""
        gone = {name.lower() for name in names}
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in gone))

    def having(self, name: str, *values: object) -> Answer:
        """The answer with these values of a header in place of those that it has."""
        rest = self.without(name)
        return replace(rest, headers=(*rest.headers, *((name, str(value)) for value in values)))

    def wire_head(self) -> bytes:
        """Status line and headers as bytes."""
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


Behaviour = Callable[[Request, File, Answer], Answer]
"""From a request, the file and the answer that was due, to the answer that is given."""


def honest(request: Request, file: File, answer: Answer | None = None) -> Answer:
    """The answer of a server that does what RFC 9110 says; it knows single ranges."""
    etag, modified = file.entity_tag, file.modified
    strong = etag if etag is not None and not etag.startswith("W/") else ""
    wanted = request.range if file.ranges else None
    part = select(file.size, wanted, request.if_range, strong, modified or "")
    told = [("Accept-Ranges", "bytes" if file.ranges else "none"), ("ETag", etag), ("Last-Modified", modified)]
    validators = [(name, value) for name, value in told if value is not None]
    if part is None:
        unsatisfied = [("Content-Range", f"bytes */{file.size}"), ("Content-Length", "0")]
        return Answer("416 Range Not Satisfiable", (*unsatisfied, *validators))
    headers = [("Content-Length", str(part.end - part.start)), *validators]
    if file.content_type is not None:
        headers.insert(0, ("Content-Type", file.content_type))
    if part.partial:
        headers.append(("Content-Range", f"bytes {part.start}-{part.end - 1}/{file.size}"))
    status = "206 Partial Content" if part.partial else "200 OK"
    return Answer(status, tuple(headers), (Span(file, part.start, part.end),))


def whole(request: Request, file: File) -> Answer:
    """The honest answer to the same request without a range."""
    kept = {name: value for name, value in request.headers.items() if name not in ("range", "if-range")}
    return honest(replace(request, headers=kept), file)
