"""Which bytes come, how many of them, in which form, and what is said of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace

from ..answers import Answer, Behaviour, End, Part, Request, Span, honest, whole
from ..files import File
from .parts import cut


def changed(**fields: object) -> Behaviour:
    """Another version of the file in its place: `changed(version=1)`, `changed(version=1, label=0)`."""
    return lambda request, file, due: honest(request, replace(file, **fields))  # type: ignore[arg-type]


def changed_carelessly(**fields: object) -> Behaviour:
    """The same on a server that does not know If-Range: a 206 of the other version."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        kept = {name: value for name, value in request.headers.items() if name != "if-range"}
        return changed(**fields)(replace(request, headers=kept), file, due)

    return answer


def ignores_range(request: Request, file: File, due: Answer) -> Answer:
    """200 and all of the file."""
    return whole(request, file)


def content_range(said: Callable[[int, int, int], str | None]) -> Behaviour:
    """A 206 says this of its range, instead of start, last byte and total; None: nothing."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if due.code != 206 or due.span is None:
            return due
        value = said(due.span.start, due.span.end - 1, file.size)
        return due.having("Content-Range", *([] if value is None else [value]))

    return answer


def another_part(by: int, *, says_so: bool = True) -> Behaviour:
    """A 206 has as many bytes from elsewhere, `by` bytes further on (at most at the end of the file)."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        span = due.span
        if due.code != 206 or span is None:
            return due
        start = max(0, min(span.start + by, file.size - (span.end - span.start)))
        elsewhere = Span(file, start, start + span.end - span.start)
        moved = replace(due, body=(elsewhere,))
        return (
            content_range(lambda *_: f"bytes {start}-{elsewhere.end - 1}/{file.size}")(request, file, moved)
            if says_so
            else moved
        )

    return answer


def multipart(request: Request, file: File, due: Answer) -> Answer:
    """A 206 in the form of multipart/byteranges (RFC 9110 §14.6)."""
    span = due.span
    if due.code != 206 or span is None:
        return due
    head = (
        f"\r\n--THIS_STRING_SEPARATES\r\nContent-Type: {file.content_type}\r\n"
        f"Content-Range: bytes {span.start}-{span.end - 1}/{file.size}\r\n\r\n"
    ).encode()
    tail = b"\r\n--THIS_STRING_SEPARATES--\r\n"
    length = len(head) + span.end - span.start + len(tail)
    named = due.without("Content-Range").having("Content-Length", length)
    named = named.having("Content-Type", "multipart/byteranges; boundary=THIS_STRING_SEPARATES")
    return replace(named, body=(head, span, tail))


def unsatisfiable(told: str | Callable[[int], str] | None) -> Behaviour:
    """416 to every range, with this Content-Range, or what gives one for its first byte; None: without one."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if request.range is None or due.span is None:
            return due
        value = told(due.span.start) if callable(told) else told
        headers = () if value is None else (("Content-Range", value),)
        return Answer("416 Range Not Satisfiable", (*headers, ("Content-Length", "0")))

    return answer


def shorter(by: int) -> Behaviour:
    """The last bytes are missing, and Content-Length says so; Content-Range does not."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if due.span is None:
            return due
        length = max(0, due.span.end - due.span.start - by)
        return replace(due.having("Content-Length", length), body=cut(due.body, length))

    return answer


def longer(by: int, *, announced: bool = True) -> Behaviour:
    """More bytes than belong there; Content-Length says so, or does not."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if due.span is None:
            return due
        more = replace(due, body=(*due.body, b"?" * by), end=due.end if announced else End.FIN)
        return more.having("Content-Length", due.span.end - due.span.start + by) if announced else more

    return answer


def content_length(*values: object) -> Behaviour:
    """These values of Content-Length: none, a wrong one, several. The connection ends behind the body."""
    return lambda request, file, due: replace(due.having("Content-Length", *values), end=End.FIN)


def chunked(size: int = 100_000, fault: str | None = None) -> Behaviour:
    """In chunks, without a Content-Length.

    Args:
        fault: "no end": the last chunk is missing; "bad size": the third one has no number; "cut": the connection
            ends within the third one.
    """

    def answer(request: Request, file: File, due: Answer) -> Answer:
        span = due.span
        if span is None:
            return due
        body: list[Part] = []
        for number, start in enumerate(range(span.start, span.end, size)):
            end = min(start + size, span.end)
            if number == 2 and fault == "bad size":
                body.append(b"xyz\r\n")
            else:
                body.append(f"{end - start:x}\r\n".encode())
            if number == 2 and fault == "cut":
                body.append(Span(span.file, start, start + (end - start) // 2))
                break
            body += [Span(span.file, start, end), b"\r\n"]
        else:
            if fault != "no end":
                body.append(b"0\r\n\r\n")
        in_chunks = due.without("Content-Length").having("Transfer-Encoding", "chunked")
        return replace(in_chunks, body=tuple(body), end=due.end if fault is None else End.FIN)

    return answer


def gzipped(request: Request, file: File, due: Answer) -> Answer:
    """Compressed, although nobody asked for that; the validators stay."""
    span = due.span
    if span is None:
        return due
    squeezed = gzip.compress(span.file.content(span.start, span.end), compresslevel=1)
    return replace(due.having("Content-Encoding", "gzip").having("Content-Length", len(squeezed)), body=(squeezed,))


def said(name: str, *values: object) -> Behaviour:
    """A header has these values."""
    return lambda request, file, due: due.having(name, *values)
