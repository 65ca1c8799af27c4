"""The body of a response: read as it comes, and ended from elsewhere."""

from __future__ import annotations

import select
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from launcher_recovery.transfer import body as module
from launcher_recovery.transfer.body import Body
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
