"""Connections that can be ended from another thread while they begin, and while they wait for an answer."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter

from launcher_recovery.reach import Reach
from launcher_recovery.transfer.http.confined import ConfinedAdapter, confine


class Line:
    """What one thread has open to a server before there is a response; see `Body.shut` for what comes then.

    While a name is looked up, and until the server has accepted a connection, nothing can be ended; that has a limit of
    its own. So has what goes by an adapter that is not one of requests itself: somebody wants it to be used.

    Args:
        session: of requests, made for this thread alone; its adapters are replaced by ones with the same settings.
        monotonic: the clock, in seconds.
    """

    def __init__(self, session: requests.Session, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.asked_at: float | None = None
        """When the request was sent whose answer is waited for; None: there is no such."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._is_shut = False
        for prefix, adapter in list(session.adapters.items()):
            if type(adapter) in (HTTPAdapter, ConfinedAdapter):
                session.mount(prefix, _Adapter(self, adapter))

    def shut(self) -> None:
        """End it from another thread; nothing can be opened any more."""
        with self._lock:
            self._is_shut = True
            if self._held is not None:
                shut(self._held)

    def hold(self, opened: socket.socket | None) -> None:
        """From now on `shut` ends this one.

        Raises:
            ConnectionAbortedError: it was shut before.
        """
        with self._lock:
            if self._is_shut:
                raise ConnectionAbortedError("the connection is not wanted any more")
            self._held = opened

    @contextmanager
    def asks(self, opened: socket.socket | None) -> Iterator[None]:
        """While it is entered an answer is waited for, and `shut` ends that."""
        self.hold(opened)
        self.asked_at = self._monotonic()
        try:
            yield
        finally:
            self.asked_at = None
            self.let_go()

    def let_go(self) -> None:
        """From now on `shut` ends nothing."""
        with self._lock:
            self._held = None


def shut(opened: socket.socket) -> None:
    """Have whoever waits for this socket, in whichever thread, wait no longer."""
    try:
        # Not the method of a TLS socket, which would go on without decrypting.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
    except (OSError, ValueError):
        pass  # it is closed already


class _Adapter(HTTPAdapter):
    def __init__(self, line: Line, like: Any) -> None:
        self._line = line
        self._reach: Reach | None = getattr(like, "reach", None)
        made: Any = self  # the types of requests do not know how it is copied
        made.__setstate__(like.__getstate__())

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        if self._reach is not None:
            confine(self.poolmanager, self._reach)
        self._hold(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        self._hold(manager)
        return manager

    def _hold(self, manager: Any) -> None:
        """Have the connections of a pool manager be ones that the line holds."""
        classes = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            if issubclass(pool.ConnectionCls, _Held):
                return  # it was given out before
            connection = type("Held", (_Held, pool.ConnectionCls), {"line": self._line})
            classes[scheme] = type("HeldPool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = classes


class _Head:
    """What a response reads its head from: knows the last line."""

    def __init__(self, file: Any) -> None:
        self.last = b""
        self._file = file

    def readline(self, *limit: int) -> bytes:
        self.last = self._file.readline(*limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    """A response whose head has an end.

    http.client takes the end of the connection for one: a body of no length, or of the first digits of its length,
    would be believed.
    """

    def begin(self) -> None:
        if self.headers is not None:
            return
        file: Any = self.fp
        head: Any = _Head(file)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = file
        if not head.last:
            raise http.client.RemoteDisconnected("Remote end closed connection in the middle of the head")


class _Held(urllib3.connection.HTTPConnection):
    line: Line
    response_class: Any = _Response
    _twin: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        opened = super()._new_conn()
        try:
            # TLS takes the socket over before it is done with its handshake, so that only a twin of it can be shut.
            self._twin = opened.dup()
            self.line.hold(self._twin)
        except BaseException:
            opened.close()
            raise
        return opened

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            self.line.let_go()
            if self._twin is not None:
                self._twin.close()
                self._twin = None

    def _tunnel(self) -> None:
        answers: list[_Response] = []

        def response_class(*args: Any, **kwargs: Any) -> _Response:
            answers.append(_Response(*args, **kwargs))
            return answers[-1]

        self.response_class = response_class
        try:
            super()._tunnel()
        finally:
            del self.response_class
            for answer in answers:  # Python 3.10 leaves that of the proxy open, and by it the socket
                answer.close()

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        with self.line.asks(self.sock):
            return super().getresponse(*args, **kwargs)
