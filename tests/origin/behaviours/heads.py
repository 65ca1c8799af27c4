"""What happens before the body, or in place of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..answers import Answer, Behaviour, End, Part, Request, Silence, Stream
from ..files import File


def no_answer(*, reset: bool = False) -> Behaviour:
    """The connection ends without a byte."""
    return lambda request, file, due: Answer("000 no answer", head=(), end=End.RST if reset else End.FIN)


def silence(seconds: float) -> Behaviour:
    """Nothing for so long, then the answer."""
    return lambda request, file, due: replace(due, head=(Silence(seconds), *_head(due)))


def cut_head(after: int, *, reset: bool = False) -> Behaviour:
    """The connection ends within the head."""
    end = End.RST if reset else End.FIN
    return lambda request, file, due: replace(due, head=(due.wire_head()[:after],), body=(), end=end)


def dribbled(seconds: float) -> Behaviour:
    """The head comes byte by byte, with so much time between two."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        head: list[Part] = []
        for byte in due.wire_head():
            head += [bytes([byte]), Silence(seconds)]
        return replace(due, head=tuple(head))

    return answer


def endless_headers(request: Request, file: File, due: Answer) -> Answer:
    """One header after another, for ever."""

    def lines() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        number = 0
        while True:
            yield b"".join(b"X-Filler-%d: %s\r\n" % (number + n, b"x" * 100) for n in range(50))
            number += 50

    return Answer(head=(Stream(lines),), end=End.FIN)


def endless_line(request: Request, file: File, due: Answer) -> Answer:
    """A header without end."""

    def pieces() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nX-Filler: "
        while True:
            yield b"x" * 8192

    return Answer(head=(Stream(pieces),), end=End.FIN)


def endless_interim(seconds: float = 0.0) -> Behaviour:
    """Interim answers (RFC 9110 §15.2.1) for ever, so much time between two, and never the one that counts."""

    def answers() -> Iterator[bytes]:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n"

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if not seconds:
            return Answer("100 Continue", head=(Stream(answers),), end=End.FIN)
        interim = (b"HTTP/1.1 100 Continue\r\n\r\n", Silence(seconds)) * 10_000
        return Answer("100 Continue", head=interim, end=End.FIN)

    return answer


def garbage(data: bytes = b"\x00\x01\x02 SSH-2.0-OpenSSH_9.2\r\n\r\n") -> Behaviour:
    """Something that is not HTTP."""
    return lambda request, file, due: Answer("000 no HTTP", head=(data,), end=End.FIN)


def _head(answer: Answer) -> tuple[Part, ...]:
    return answer.head if answer.head is not None else (answer.wire_head(),)
