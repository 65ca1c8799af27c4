"""The server: a thread a connection, files by their path, and an account of what was asked for and sent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Union

from .answers import Answer, Behaviour, End, Request, honest
from .connection import Connection
from .files import File

Greeting = Union[End, bytes, None]
"""What happens to a connection before anything is read from it: closed, reset, closed after some bytes; or nothing."""


@dataclass
class Exchange:
    """A request and what became of it; `sent` counts bytes of the file, those of `start` and on."""

    request: Request
    status: int = 0
    start: int = 0
    sent: int = 0
    done: bool = False
    """Whether all of the answer was sent as it was meant."""


class Origin:
    """A server on a free port of 127.0.0.1, and a context manager: at its end every connection is closed.

    Args:
        tls: to speak TLS; see `Authority`.
        greeting: asked for each connection, by its number from 1 on.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, greeting: Callable[[int], Greeting] = lambda number: None
    ) -> None:
        self.tls = tls
        self.closed = threading.Event()
        self._greeting = greeting
        self._lock = threading.Lock()
        self._files: dict[str, tuple[File, tuple[Behaviour, ...]]] = {}
        self._exchanges: list[Exchange] = []
        self._asked: Counter[str] = Counter()
        self._quiet = threading.Condition(self._lock)
        self._under_way = 0
        self._bodies: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._problems: list[Exception] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="origin", daemon=True)

    # -- what it has --------------------------------------------------------------------------------

    def add(self, file: File, *behaviours: Behaviour, path: str = "/model.bin") -> str:
        """Offer a file, in place of one that was there; returns its URL.

        Args:
            behaviours: each is given the answer of the one before, the first the honest answer.
        """
        with self._lock:
            self._files[path] = (file, behaviours)
        return self.url(path)

    def url(self, path: str = "/model.bin", host: str = "127.0.0.1", user: str | None = None) -> str:
        """The address of a path; `user` may be user:password."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{'' if user is None else f'{user}@'}{host}:{self.port}{path}"

    # -- the account --------------------------------------------------------------------------------

    def settled(self, seconds: float = 30.0) -> Origin:
        """Itself, once no answer is under way: only then everything is counted that a client may have seen."""
        with self._quiet:
            assert self._quiet.wait_for(lambda: not self._under_way, seconds), "an answer is still under way"
        return self

    def exchanges(self, path: str | None = None) -> list[Exchange]:
        """In the order in which the requests came."""
        with self._lock:
            return [one for one in self._exchanges if path in (None, one.request.path)]

    def requests(self, path: str | None = None) -> list[Request]:
        return [one.request for one in self.exchanges(path)]

    def sent(self, path: str | None = None) -> int:
        """Bytes of files that went out, those excepted that a reset threw away before they left."""
        with self._lock:
            return sum(one.sent for one in self._exchanges if path in (None, one.request.path))

    def sent_by_connection(self, path: str | None = None) -> dict[int, int]:
        """The same by connection."""
        sums: Counter[int] = Counter()
        for one in self.exchanges(path):
            sums[one.request.connection] += one.sent
        return dict(sums)

    def most_at_once(self, path: str = "/model.bin") -> int:
        """The largest number of bodies of a file that were being sent at a time."""
        with self._lock:
            return self._most[path]

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        with self._lock:
            return self._accepted

    # -- what the connections use -------------------------------------------------------------------

    def greeting(self, number: int) -> Greeting:
        return self._greeting(number)

    def answer(
        self, method: str, target: str, path: str, headers: Mapping[str, str], connection: Connection, at: float
    ) -> tuple[Exchange, Answer]:
        """Enter a request, and decide on its answer; `ends` has to follow, unless this raises."""
        with self._lock:
            self._asked[path] += 1
            number = self._asked[path]
            request = Request(number, method, target, path, headers, connection.peer, connection.number, at)
            exchange = Exchange(request)
            self._exchanges.append(exchange)
            self._under_way += 1
            file, behaviours = self._files.get(path, (None, ()))
        try:
            answer = self._decide(request, file, behaviours)
        except BaseException:
            self.ends()
            raise
        exchange.status = answer.code
        exchange.start = 0 if answer.span is None else answer.span.start
        return exchange, answer

    def _decide(self, request: Request, file: File | None, behaviours: tuple[Behaviour, ...]) -> Answer:
        if file is None:
            return Answer("404 Not Found", (("Content-Length", "0"),))
        if request.method not in ("GET", "HEAD"):
            return Answer("405 Method Not Allowed", (("Allow", "GET, HEAD"), ("Content-Length", "0")))
        answer = honest(request, file)
        for behaviour in behaviours:
            answer = behaviour(request, file, answer)
        return answer

    def count(self, exchange: Exchange, sent: int) -> None:
        with self._lock:
            exchange.sent += sent

    def begins_body(self, exchange: Exchange) -> None:
        path = exchange.request.path
        with self._lock:
            self._bodies[path] += 1
            self._most[path] = max(self._most[path], self._bodies[path])

    def ends_body(self, exchange: Exchange) -> None:
        with self._lock:
            self._bodies[exchange.request.path] -= 1

    def ends(self) -> None:
        """An answer is over, one way or another."""
        with self._quiet:
            self._under_way -= 1
            self._quiet.notify_all()

    def failed(self, problem: Exception) -> None:
        self._problems.append(problem)

    def left(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    # -- running ------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                accepted, peer = self._listener.accept()
            except OSError:
                continue  # the client was gone again, or too many files are open
            with self._lock:
                self._accepted += 1
                connection = Connection(self, accepted, peer, self._accepted)
                self._connections.add(connection)
            connection.start()

    def __enter__(self) -> Origin:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        # Closing a socket does not wake who waits in accept(); one more connection does.
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_now = list(self._connections)
        for connection in open_now:
            while connection.is_alive():
                connection.hang_up()
                connection.join(0.05)
        if self._problems and error is None:
            raise self._problems[0]
