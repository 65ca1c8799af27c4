"""Which servers asked to be left alone for a while, by Retry-After (RFC 9110 §10.2.3)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from launcher_recovery.classification.facts import parse_retry_after

ASKING = frozenset({429, 503})
"""Statuses with which a server may ask to be left alone."""

_Server = tuple[str, "int | None"]
_PORTS = {"http": 80, "https": 443}


@dataclass
class _Wait:
    since: float
    until: float
    status: int
    told: set[str] = field(default_factory=set)
    """Operations that wait by themselves as long as was left when they were told."""


class Waits:
    """Remembers, for all downloads that share it, for how long which server is not to be asked.

    An operation that is told so once, by the error of its attempt, waits by itself before its next attempt, which is
    not held up a second time: not when a person had it try again at once, nor where tests do not wait.

    Args:
        monotonic, time: clocks, in seconds; the second one of Unix time, for dates.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, time: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._time = time
        self._lock = threading.Lock()
        self._waits: dict[_Server, _Wait] = {}

    def heard(self, error: BaseException) -> bool:
        """Take note of what the response of an error asks for; whether that is to wait."""
        response = getattr(error, "response", None)
        if not isinstance(response, requests.Response) or response.status_code not in ASKING:
            return False
        seconds = parse_retry_after(response.headers.get("Retry-After"), self._time()) or 0.0
        if seconds <= 0:
            return False
        now = self._monotonic()
        with self._lock:
            self._waits = {server: wait for server, wait in self._waits.items() if wait.until > now}
            self._waits[_server(response.url)] = _Wait(now, now + seconds, response.status_code)
        return True

    def answered(self, url: str, asked_at: float) -> None:
        """The server of an address has given what it was asked for at that moment: it is not to be left alone any more.

        So is it for others when a person had one download try again at once.
        """
        with self._lock:
            wait = self._waits.get(_server(url))
            if wait is not None and wait.since < asked_at:
                del self._waits[_server(url)]

    def left(self, url: str, operation_id: str) -> float:
        """Seconds for which an operation is not to ask the server of an address; 0: it may."""
        with self._lock:
            wait = self._waits.get(_server(url))
            if wait is None or operation_id in wait.told:
                return 0.0
            return max(0.0, wait.until - self._monotonic())

    def tell(self, url: str, operation_id: str) -> requests.HTTPError:
        """The error for an operation that cannot go on before the server of an address may be asked again."""
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
        left = math.ceil(self.left(url, operation_id))
        response = requests.Response()
        response.url, response.headers["Retry-After"] = f"{scheme}://{host}", str(left)
        with self._lock:
            wait = self._waits.get(_server(url))
            response.status_code = 503 if wait is None else wait.status
            if wait is not None:
                wait.told.add(operation_id)
        text = f"{host} asked a moment ago to be left alone, for another {left} s, with status {response.status_code}"
        return requests.HTTPError(text, response=response)


def _server(url: str) -> _Server:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError:  # no address, which whoever asks it finds out
        return "", None


WAITS = Waits()
"""Those of all downloads of this process."""
