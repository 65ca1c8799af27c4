"""A connection can be ended from another thread whatever it waits for, and works like any other until then."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.transfer.http import lines
from launcher_recovery.transfer.http.lines import Line
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Downloads

FILE = File(1000)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A server that accepts a connection when it is told to, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def in_thread(job: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    errors: list[Exception] = []

    def run() -> None:
        try:
            job()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_it_ends_while_an_answer_or_a_handshake_is_waited_for(
    session: requests.Session, mute: socket.socket, scheme: str
) -> None:
    line = Line(session)
    url = f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/"
    thread, errors = in_thread(lambda: session.get(url, timeout=600))
    accepted, _ = mute.accept()
    with accepted:
        assert accepted.recv(16)  # the request, or the beginning of the handshake
        line.shut()
        thread.join(30)
        assert not thread.is_alive()
        while accepted.recv(1 << 16):
            pass  # and the server sees the end of it
    assert isinstance(errors[0], requests.ConnectionError)


def test_it_ends_behind_a_proxy(session: requests.Session, mute: socket.socket) -> None:
    line = Line(session)
    session.proxies = {"http": f"http://127.0.0.1:{mute.getsockname()[1]}"}
    thread, errors = in_thread(lambda: session.get("http://hub.example/", timeout=600))
    accepted, _ = mute.accept()
    with accepted:
        assert accepted.recv(1 << 16).startswith(b"GET http://hub.example/")
        line.shut()
        thread.join(30)
        assert not thread.is_alive()
    assert errors


def test_it_is_known_since_when_an_answer_is_waited_for(session: requests.Session, mute: socket.socket) -> None:
    line = Line(session, lambda: 7.0)
    assert line.asked_at is None
    thread, errors = in_thread(lambda: session.get(f"http://127.0.0.1:{mute.getsockname()[1]}/", timeout=600))
    accepted, _ = mute.accept()
    with accepted:
        accepted.recv(1 << 16)
        wait_for(lambda: line.asked_at == 7.0)
        accepted.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        thread.join(30)
    assert line.asked_at is None
    assert not errors


def test_a_head_without_an_end_is_no_answer(session: requests.Session) -> None:
    """Wherever it breaks off, also between two lines, or in the middle of the length."""
    Line(session)
    with Origin() as origin:
        head = session.get(origin.add(FILE), stream=True)
        assert head.content == FILE.content()
        told = sum(len(f"{name}: {value}\r\n") for name, value in head.headers.items())
        length = len(f"HTTP/1.1 200 {head.reason}\r\n") + told + 2
        url = origin.add(FILE, act.script(*map(act.cut_head, range(length))))
        for _ in range(length):
            with pytest.raises(requests.ConnectionError):
                session.get(url, stream=True)
        assert session.get(url).headers == head.headers


def test_a_head_without_an_end_is_no_answer_over_tls_either(session: requests.Session, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    session.verify = str(authority.bundle)
    Line(session)
    with Origin(authority.context()) as origin:
        url = origin.add(FILE, act.cut_head(len("HTTP/1.1 200 OK\r\n")))
        with pytest.raises(requests.ConnectionError):
            session.get(url, stream=True)


def test_an_interim_answer_and_one_without_headers_are_answers(session: requests.Session, mute: socket.socket) -> None:
    Line(session)
    found: list[int] = []
    url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
    thread, errors = in_thread(lambda: found.append(session.get(url, timeout=600).status_code))
    accepted, _ = mute.accept()
    with accepted:
        accepted.recv(1 << 16)
        accepted.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\n\n")
    thread.join(30)
    assert (found, errors) == ([200], [])


def test_nothing_is_opened_any_more_afterwards(session: requests.Session) -> None:
    line = Line(session)
    with Origin() as origin:
        line.shut()
        with pytest.raises(requests.ConnectionError, match="not wanted any more"):
            session.get(origin.add(FILE))
        assert not origin.requests()


def test_an_open_connection_is_not_asked_again_afterwards(session: requests.Session) -> None:
    line = Line(session)
    with Origin() as origin:
        url = origin.add(FILE)
        session.get(url)
        line.shut()
        with pytest.raises(requests.ConnectionError):
            session.get(url)
        assert origin.connections == 1


@pytest.mark.parametrize("is_tls", [False, True], ids=["HTTP", "TLS"])
def test_it_works_like_any_other_until_then(session: requests.Session, tmp_path: Path, is_tls: bool) -> None:
    """Several requests share a connection, which ends when the session does."""
    Line(session)
    authority = Authority(tmp_path)
    session.verify = str(authority.bundle)
    with Origin(authority.context() if is_tls else None) as origin:
        url = origin.add(FILE)
        assert [session.get(url).content for _ in range(3)] == [FILE.content()] * 3
        assert origin.connections == 1
        session.close()


def test_a_proxy_is_asked_again_over_the_same_connection(session: requests.Session) -> None:
    Line(session)
    with Origin() as origin:
        session.proxies = {"http": origin.url("")}
        for _ in range(2):
            assert session.get("http://hub.example/model.bin").status_code == 404
        assert origin.connections == 1


def test_a_certificate_that_is_not_trusted_leaves_nothing_open(session: requests.Session, tmp_path: Path) -> None:
    Line(session)
    with Origin(Authority(tmp_path).context()) as origin, pytest.raises(requests.exceptions.SSLError):
        session.get(origin.add(FILE))


def test_what_is_closed_already_is_left_alone() -> None:
    one, other = socket.socketpair()
    one.close()
    other.close()
    lines.shut(one)


def test_a_tls_connection_is_shut_without_a_word(tmp_path: Path) -> None:
    """Its own method would go on in plain text."""
    authority = Authority(tmp_path)
    near, far = socket.socketpair()
    server = threading.Thread(target=lambda: authority.context().wrap_socket(far, server_side=True).close())
    server.start()
    context = ssl.create_default_context(cafile=str(authority.bundle))
    with context.wrap_socket(near, server_hostname="127.0.0.1") as secure:
        server.join()
        lines.shut(secure)
        assert isinstance(secure, ssl.SSLSocket)
        assert secure.version() is not None


# -- adapters -------------------------------------------------------------------------------------------------


class Counting(HTTPAdapter):
    """One of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str | None] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self.sent.append(request.headers.get("Range"))
        return super().send(request, *args, **kwargs)


def test_an_adapter_that_somebody_has_put_into_every_session_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As packages do that bring certificates, or a proxy of their own."""
    counting, begin = Counting(), requests.Session.__init__

    def with_theirs(self: requests.Session) -> None:
        begin(self)
        self.mount("http://127.0.0.1", counting)

    monkeypatch.setattr(requests.Session, "__init__", with_theirs)
    with Origin() as origin:
        url = origin.add(FILE, act.script(act.drop(400)))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
        assert len(counting.sent) == len(origin.requests()) == 2
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_an_adapter_of_the_session_that_a_caller_gives_is_used(tmp_path: Path) -> None:
    counting = Counting()
    with Origin() as origin, requests.Session() as session:
        session.mount("http://", counting)
        url = origin.add(FILE, act.script(act.drop(400)))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", session=session)
        assert len(counting.sent) == len(origin.requests()) == 2
        assert session.get_adapter(url) is counting
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_what_an_adapter_of_requests_was_set_to_stays(session: requests.Session) -> None:
    session.mount("http://", HTTPAdapter(max_retries=7))
    Line(session)
    held = session.get_adapter("http://127.0.0.1/")
    assert isinstance(held, HTTPAdapter)
    assert held.max_retries.total == 7
