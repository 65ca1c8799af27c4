"""Behaviours of a server that sends one elsewhere, refuses, or wants something first."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from ..answers import Answer, Behaviour, Request
from ..files import File

LOGIN = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head><body><form>Please log in.</form></body></html>\n"


def redirect(location: str | Callable[[], str], status: str = "302 Found") -> Behaviour:
    """Elsewhere: an absolute or relative address, or what gives one for each request."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        where = location if isinstance(location, str) else location()
        return Answer(status, (("Location", where), ("Content-Length", "0")))

    return answer


def chain(hops: int) -> Behaviour:
    """Sent to the same path so many times, told apart by the query, before the answer comes."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        done = int(parse_qs(request.query).get("hop", ["0"])[0])
        if done >= hops:
            return due
        return redirect(f"{request.path}?hop={done + 1}")(request, file, due)

    return answer


def loop(request: Request, file: File, due: Answer) -> Answer:
    """Sent to where one was already."""
    return redirect(request.target)(request, file, due)


class Signatures:
    """Signed addresses, as stores of objects have them: made by `sign`, asked for by `required`.

    Args:
        uses: requests for which each is good; None: any number.
        seconds: for how long each is good; None: for ever.
    """

    def __init__(self, uses: int | None = None, seconds: float | None = None) -> None:
        self._uses = uses
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self._good: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self.refused = 0
        """Requests whose signature was not, or no longer, good."""

    @property
    def issued(self) -> list[str]:
        """All signatures so far."""
        with self._lock:
            return list(self._good)

    def sign(self, url: str) -> Callable[[], str]:
        """What gives a newly signed form of `url`, for `redirect`."""

        def signed() -> str:
            with self._lock:
                signature = f"f00dfeedc0ffee{next(self._numbers):06d}"
                self._good[signature] = (0, time.monotonic())
            return f"{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={signature}"

        return signed

    def required(self, request: Request, file: File, due: Answer) -> Answer:
        """403 unless the address has a signature that is still good."""
        signature = parse_qs(request.query).get("X-Amz-Signature", [""])[0]
        with self._lock:
            used, since = self._good.get(signature, (None, 0.0))
            good = used is not None and (self._uses is None or used < self._uses)
            if good and self._seconds is not None:
                good = time.monotonic() - since < self._seconds
            if good and used is not None:
                self._good[signature] = (used + 1, since)
                return due
            self.refused += 1
        body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        return _page("403 Forbidden", "application/xml", body)


def refuse(status: str, retry_after: object = None, **headers: str) -> Behaviour:
    """An error status; `retry_after` in seconds or a date, an underscore in a header's name stands for a dash."""
    told = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if retry_after is not None:
        told.append(("Retry-After", str(retry_after)))

    def answer(request: Request, file: File, due: Answer) -> Answer:
        page = _page(status, "text/plain", f"{status}\n".encode())
        return Answer(page.status, (*page.headers, *told), page.body)

    return answer


def needs_token(value: str, header: str = "authorization") -> Behaviour:
    """401 unless a header has this value."""
    denied = refuse("401 Unauthorized", WWW_Authenticate="Bearer")
    return lambda request, file, due: due if request.headers.get(header) == value else denied(request, file, due)


def login_page(request: Request, file: File, due: Answer) -> Answer:
    """A page that wants one to log in, with status 200."""
    return _page("200 OK", "text/html; charset=utf-8", LOGIN)


def disguised_page(request: Request, file: File, due: Answer) -> Answer:
    """The same page under the media type of a file, with the validators of the file."""
    kept = tuple(pair for pair in due.headers if pair[0] in ("ETag", "Last-Modified"))
    page = _page("200 OK", "application/octet-stream", LOGIN)
    return Answer(page.status, (*page.headers, *kept), page.body)


def json_error(request: Request, file: File, due: Answer) -> Answer:
    """An error told in JSON, with status 200."""
    return _page("200 OK", "application/json", json.dumps({"error": "Model is gated"}).encode())


def says(body: bytes, content_type: str = "application/json") -> Behaviour:
    """These bytes instead of the file, with status 200."""
    return lambda request, file, due: _page("200 OK", content_type, body)


def _page(status: str, content_type: str, body: bytes) -> Answer:
    return Answer(status, (("Content-Type", content_type), ("Content-Length", str(len(body)))), (body,))
