"""What the samples leave undefined: a small `aiohttp`, a socket, a database session, and one-line helpers."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any


class AuthenticationError(Exception):
    """The name is refused."""


class ProcessingError(Exception):
    """Work went wrong."""


class HTTPStatusError(Exception):
    """A server's answer that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status


class _Content:
    def __init__(self, body: http.client.HTTPResponse) -> None:
        self._body = body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        while chunk := await asyncio.to_thread(self._body.read1, size):
            yield chunk
        if self._body.length:
            raise ConnectionResetError(f"{self._body.length} bytes are missing")


class _Request:
    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._request = urllib.request.Request(url, headers=headers)

    async def __aenter__(self) -> SimpleNamespace:
        try:
            self._body = await asyncio.to_thread(urllib.request.urlopen, self._request, timeout=10)
        except urllib.error.HTTPError as error:
            error.close()
            raise HTTPStatusError(error.code) from None
        headers = {name.lower(): value for name, value in self._body.headers.items()}
        return SimpleNamespace(headers=headers, status=self._body.status, content=_Content(self._body))

    async def __aexit__(self, *exc: object) -> None:
        self._body.close()


class ClientSession:
    """As much of `aiohttp.ClientSession` as the samples call, over a real connection."""

    async def __aenter__(self) -> ClientSession:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return

    def get(self, url: str, headers: dict[str, str] | None = None) -> _Request:
        return _Request(url, headers or {})


aiohttp = SimpleNamespace(ClientSession=ClientSession)


class Socket:
    """A socket that remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def emit(self, name: str, payload: dict[str, Any]) -> None:
        self.sent.append((name, payload))


class Session:
    """A database session: what is added in a transaction that fails is not there afterwards."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self._open: list[Any] = []

    def begin(self) -> Session:
        return self

    async def __aenter__(self) -> Session:
        self._open = []
        return self

    async def __aexit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.kept += self._open

    def add(self, record: Any) -> None:
        self._open.append(record)


class Flaky:
    """An async function that fails so often and then returns what `answer` makes of its arguments."""

    def __init__(self, failures: int, answer: Any, error: Exception | None = None) -> None:
        self.calls = 0
        self._failures = failures
        self._answer = answer
        self._error = error or ConnectionError("Connection lost")

    async def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self._answer(*args)


_ids = itertools.count(1)


def generate_operation_id() -> str:
    return f"operation-{next(_ids)}"


def fibonacci(number: int) -> int:
    before, current = 0, 1
    for _ in range(number - 1):
        before, current = current, before + current
    return current
