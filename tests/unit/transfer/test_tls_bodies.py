"""Over TLS a body is read as over plain HTTP: all that there is at once, what came before an error, and on time."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.transfer.http.body import Body
from tests.origin import Authority, Behaviour, File, Origin
from tests.origin import behaviours as act

# Three records of 16 KiB.
FILE = File(48 << 10)
Asked = Callable[..., AbstractContextManager[tuple[Body, Origin]]]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """The body of an answer over TLS, and who sends it."""
    authority = Authority(tmp_path)

    @contextmanager
    def ask(*behaviours: Behaviour, silence_s: float = 10.0) -> Iterator[tuple[Body, Origin]]:
        with Origin(authority.context()) as origin, requests.Session() as session:
            url = origin.add(FILE, *behaviours)
            with session.get(url, stream=True, verify=str(authority.bundle), timeout=10) as response:
                yield Body(response, silence_s), origin

    return ask


def read(body: Body) -> tuple[list[bytes], Exception | None]:
    """What each call gave, until the end or an error."""
    view, parts = memoryview(bytearray(1 << 20)), []
    try:
        while count := body.read_into(view):
            parts.append(bytes(view[:count]))
    except Exception as error:
        return parts, error
    return parts, None


def test_all_records_that_have_arrived_are_read_at_once(asked: Asked) -> None:
    """Each by itself would be a call, and a look at the clock, for every 16 KiB."""
    with asked() as (body, origin):
        origin.settled()
        first = body.peek()  # a record, in which the head was
        assert read(body) == ([first, FILE.content()[len(first) :]], None)


def test_what_came_before_an_error_is_handed_over_first(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is told by the next call, and by every further one."""
    receive = ssl.SSLSocket.recv_into

    def broken(self: ssl.SSLSocket, *given: Any) -> int:
        if self.gettimeout() == 0:
            raise ConnectionResetError("reset")
        return receive(self, *given)

    monkeypatch.setattr(ssl.SSLSocket, "recv_into", broken)
    with asked() as (body, origin):
        origin.settled()
        first = body.peek()
        parts, error = read(body)
        assert (len(parts), parts[0]) == (2, first)
        assert FILE.content().startswith(b"".join(parts))
        assert isinstance(error, ConnectionResetError)
        with pytest.raises(ConnectionResetError):
            body.read_into(memoryview(bytearray(1)))


def test_silence_is_waited_for_and_no_longer(asked: Asked) -> None:
    """Although what there is was read without waiting."""
    with asked(act.stall(40_000, 60), silence_s=0.2) as (body, _):
        parts, error = read(body)
        assert b"".join(parts) == FILE.content()[:40_000]
        assert isinstance(error, TimeoutError)


def test_an_early_end_is_one(asked: Asked) -> None:
    with asked(act.drop(40_000)) as (body, origin):
        origin.settled()
        parts, error = read(body)
        assert (b"".join(parts), error) == (FILE.content()[:40_000], None)


def test_the_connection_serves_the_next_request(tmp_path: Path) -> None:
    """It waits again for what is asked for next."""
    authority = Authority(tmp_path)
    with Origin(authority.context()) as origin, requests.Session() as session:
        url = origin.add(FILE)
        for _ in range(2):
            with session.get(url, stream=True, verify=str(authority.bundle), timeout=10) as response:
                parts, error = read(Body(response, 10.0))
                assert (b"".join(parts), error) == (FILE.content(), None)
        assert origin.connections == 1
