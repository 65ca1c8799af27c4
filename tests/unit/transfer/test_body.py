"""The body of a response: read as it comes, and ended from elsewhere."""

from __future__ import annotations

import http.client
import itertools
import random
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import urllib3

from launcher_recovery.transfer.http import body as module
from launcher_recovery.transfer.http.body import Body
from tests.faults import FaultServer, Reply, whole
from tests.origin import File, Origin
from tests.support import but_for
from tests.unit.transfer.wire import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


def body_of(wire: Wire, body: bytes = b"", length: int = 100, *headers: str) -> Body:
    return Body(wire.answers(*(headers or [f"Content-Length: {length}"]), body=body), 30.0)


def read(body: Body, count: int) -> bytes:
    view = memoryview(bytearray(count))
    return bytes(view[: body.read_into(view)])


def test_bytes_come_in_order_however_they_are_asked_for(wire: Wire) -> None:
    body = body_of(wire, b"abcdef", 12)
    assert read(body, 2) == b"ab"
    assert body.peek() == b"cdef"
    assert read(body, 100) == b"cdef"
    wire.far.sendall(b"ghijkl and more than was announced")
    assert read(body, 3) == b"ghi"
    assert read(body, 100) == b"jkl"
    assert read(body, 100) == b""
    assert body.peek() == b""


@pytest.mark.parametrize("kind", ["plain", "in chunks", "up to the end"])
def test_as_many_bytes_as_are_wanted_are_looked_at_however_they_come(wire: Wire, kind: str) -> None:
    """A server may send them one by one."""
    page = b"<html><title>Log in</title></html>"
    headers = {"plain": f"Content-Length: {len(page)}", "in chunks": "Transfer-Encoding: chunked"}.get(kind, "X: y")

    def dribble() -> None:
        for byte in page:
            wire.far.sendall(b"1\r\n%c\r\n" % byte if kind == "in chunks" else bytes([byte]))
        wire.far.sendall(b"0\r\n\r\n" if kind == "in chunks" else b"")
        wire.far.shutdown(socket.SHUT_WR)

    wire.far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = Body(wire.answers(headers), 30.0)
    sender = threading.Thread(target=dribble)
    sender.start()
    first = body.peek(10, 30.0)
    assert 10 <= len(first) <= len(page)
    assert body.peek(len(page), 30.0) == page
    assert body.peek(1000, 30.0) == page
    assert body.is_over
    sender.join()
    assert read(body, 1000) == page
    assert read(body, 1000) == b""


def test_more_bytes_are_waited_for_only_for_a_while(wire: Wire) -> None:
    body = body_of(wire, b"a", 4)
    assert body.peek(4, 0.0) == b"a"
    assert not body.is_over
    wire.far.sendall(b"bcd")
    assert read(body, 100) == b"a"
    assert read(body, 100) == b"bcd"


@pytest.mark.parametrize("headers", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_a_connection_that_breaks_while_it_is_looked_at_has_its_bytes_handed_over_first(
    wire: Wire, headers: str
) -> None:
    body = Body(wire.answers(headers, body=b"3\r\nabc\r\n"[3 if "Length" in headers else 0 :]), 0.05)
    first = body.peek(100, 30.0)
    assert first.startswith(b"abc")
    assert read(body, 100) == first
    with pytest.raises((OSError, urllib3.exceptions.HTTPError)):
        read(body, 100)
    body._response.close()


def test_bytes_behind_the_announced_end_do_not_belong_to_it(wire: Wire) -> None:
    body = body_of(wire, b"abcdef", 4)
    assert body.peek() == b"abcd"
    assert read(body, 100) == b"abcd"
    assert read(body, 100) == b""


@pytest.mark.parametrize("has_poll", [True, False])
def test_one_can_wait_for_what_comes(wire: Wire, monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    if not has_poll:
        without = but_for(select)
        del without.poll
        monkeypatch.setattr(module, "select", without)
    body = body_of(wire, b"ab", 4)
    assert body.peek() == b"ab"
    assert body.wait(0.0)  # what was looked at is still to be read
    read(body, 2)
    assert not body.wait(0.0)
    wire.far.sendall(b"c")
    assert body.wait(30.0)
    read(body, 1)
    wire.far.close()
    assert body.wait(30.0)  # for its end
    assert read(body, 1) == b""
    wire.near.close()


def test_nothing_is_waited_for_where_it_is_closed(wire: Wire) -> None:
    body = body_of(wire, b"ab", 4)
    read(body, 2)
    assert body._socket is not None
    body._socket.close()
    body._response.close()
    assert body.wait(30.0)
    body.shut()


def test_what_tls_has_taken_apart_already_needs_no_waiting(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    class Secure:
        def pending(self) -> int:
            return 5

    monkeypatch.setattr(module, "ssl", but_for(ssl, SSLSocket=Secure))
    body = body_of(wire)
    read_ahead: Any = Secure()
    body._socket = read_ahead
    assert body.wait(30.0)


def test_a_body_without_a_socket_is_read_as_it_can_be() -> None:
    """As tests have them, which put something else in the place of urllib3."""

    class Raw:
        def __init__(self) -> None:
            self.left = [b"abc", b""]

        def read(self, count: int) -> bytes:
            return self.left.pop(0)

    class Response:
        raw = Raw()

    body = Body(Response(), 5.0)  # type: ignore[arg-type]
    assert body.wait(30.0)
    assert body.peek() == b"abc"
    assert read(body, 10) == b"abc"
    assert read(body, 10) == b""
    body.shut()


def test_it_ends_at_once_from_elsewhere(wire: Wire) -> None:
    body = body_of(wire, b"ab", 4)
    read(body, 2)
    body.shut()
    assert read(body, 2) == b""


# -- every kind of body ---------------------------------------------------------------------------------------

CONTENT = random.Random(5).randbytes(300_000)


def chunked(body: bytes, *sizes: int) -> bytes:
    """The body in chunks of these sizes, the last of them again and again, without the end."""
    parts, start = [], 0
    for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
        if start >= len(body):
            return b"".join(parts)
        part = body[start : start + size]
        parts.append(b"%x;name=value\r\n%s\r\n" % (len(part), part))
        start += size
    raise AssertionError


LAST = b"0\r\n\r\n"
KINDS: dict[str, Callable[[bytes], Reply]] = {
    "with a length": whole,
    "in chunks": lambda body: Reply(headers={"Transfer-Encoding": "chunked"}, parts=[chunked(body, 1, 70_000), LAST]),
    "until the end of the connection": lambda body: Reply(parts=[body]),
}


@contextmanager
def body_from(reply: Reply, silence_s: float = 30.0) -> Iterator[Body]:
    with FaultServer(reply) as server, requests.get(server.url(), stream=True, timeout=30) as response:
        yield Body(response, silence_s)


def read_all(body: Body, counts: Iterator[int]) -> bytes:
    parts = []
    while part := read(body, next(counts)):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 9_000, len(CONTENT)])
@pytest.mark.parametrize("peeks", [False, True])
def test_the_whole_body_is_read_and_not_a_byte_more(kind: str, size: int, peeks: bool) -> None:
    """In parts of any size, of which the first may have been looked at before."""
    rng = random.Random(size)
    with body_from(KINDS[kind](CONTENT[:size])) as body:
        if peeks:
            first = body.peek()
            assert CONTENT[:size].startswith(first)
            assert bool(first) is bool(size)
            assert body.peek() == first
        assert read_all(body, (rng.choice((1, 500, 70_000)) for _ in itertools.count())) == CONTENT[:size]
        assert read(body, 10) == b""
        assert body.peek() == b""


def test_a_body_belongs_to_its_response() -> None:
    with FaultServer(whole(b"x")) as server, requests.Session() as session:
        one, other = (session.get(server.url(), stream=True) for _ in range(2))
        body = Body(one, 30.0)
        assert body.is_of(one)
        assert not body.is_of(other)
        one.close()
        other.close()


@pytest.mark.parametrize("is_read", [False, True])
def test_a_connection_whose_body_was_read_serves_the_next_request(is_read: bool) -> None:
    """One that has bytes left does not: they would be taken for the next answer."""
    with Origin() as origin, requests.Session() as session:
        url = origin.add(File(100_000))
        for _ in range(2):
            with session.get(url, stream=True, timeout=30) as response:
                body = Body(response, 30.0)
                assert read(body, 10)
                if is_read:
                    read_all(body, itertools.repeat(1 << 16))
        assert origin.connections == (1 if is_read else 2)


# -- what goes wrong ------------------------------------------------------------------------------------------

BROKEN = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)


def until_it_breaks(body: Body) -> tuple[bytes, Exception | None]:
    parts: list[bytes] = []
    try:
        while part := read(body, 1 << 16):
            parts.append(part)
    except BROKEN as error:
        return b"".join(parts), error
    return b"".join(parts), None


def test_a_body_that_ends_early_is_over_and_whoever_counts_knows() -> None:
    with body_from(Reply(headers={"Content-Length": 1000}, parts=[b"x" * 600])) as body:
        assert until_it_breaks(body) == (b"x" * 600, None)


@pytest.mark.parametrize("end", [b"", b"5\r\nab", b"nonsense\r\n"])
def test_chunks_that_end_early_are_an_error(end: bytes) -> None:
    """Nothing else would tell that more was to come."""
    reply = Reply(headers={"Transfer-Encoding": "chunked"}, parts=[chunked(b"x" * 600, 200), end])
    with body_from(reply) as body:
        data, error = until_it_breaks(body)
        assert data.startswith(b"x" * 600)
        assert len(data) <= 602
        assert isinstance(error, BROKEN)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_is_an_error_after_what_came_before(kind: str) -> None:
    begun = threading.Event()
    reply = KINDS[kind](b"x" * 100)
    parts = [*reply.parts[:1], lambda: begun.wait(10)]
    headers = {name: 1000 if name == "Content-Length" else value for name, value in reply.headers.items()}
    with body_from(Reply(headers=headers, parts=parts, reset=True)) as body:
        got = b""
        while len(got) < 100:
            got += read(body, 1000)
        begun.set()
        data, error = until_it_breaks(body)
        assert (got, data) == (b"x" * 100, b"")
        assert isinstance(error, BROKEN)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_an_error_when_it_was_long_enough(kind: str) -> None:
    done = threading.Event()
    reply = KINDS[kind](b"x" * 100)
    headers = {name: 1000 if name == "Content-Length" else value for name, value in reply.headers.items()}
    with body_from(Reply(headers=headers, parts=[*reply.parts[:1], lambda: done.wait(30)]), 0.02) as body:
        data, error = until_it_breaks(body)
        done.set()
        assert data == b"x" * 100
        assert isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError))


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_waits_is_told_at_once_when_it_is_ended_from_elsewhere(kind: str) -> None:
    done, waiting = threading.Event(), threading.Event()
    reply = KINDS[kind](b"x" * 100)
    headers = {name: 1000 if name == "Content-Length" else value for name, value in reply.headers.items()}
    with body_from(Reply(headers=headers, parts=[*reply.parts[:1], lambda: done.wait(30)])) as body:
        got = b""
        while len(got) < 100:
            got += read(body, 1000)
        ends: list[tuple[bytes, Exception | None]] = []

        def wait() -> None:
            waiting.set()
            ends.append(until_it_breaks(body))

        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        body.shut()
        thread.join(10)
        done.set()
        assert [data for data, _ in ends] == [b""]
