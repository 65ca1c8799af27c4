"""A request of foreign code whose response is healed: where the response begins, and how the rest is asked for."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import requests
import urllib3

from launcher_recovery.operation import Operation
from launcher_recovery.redaction import redact_url
from launcher_recovery.strategies import Strategy
from launcher_recovery.transfer.healing.body_log import BodyLog
from launcher_recovery.transfer.healing.healed_body import LONGEST_WAIT_S, Connection, HealedBody
from launcher_recovery.transfer.healing.healed_response import HealedResponse, headers_of_whole
from launcher_recovery.transfer.healing.kept_bodies import KeptBodies
from launcher_recovery.transfer.healing.own import ours
from launcher_recovery.transfer.healing.patience import Patience
from launcher_recovery.transfer.http.representation import Representation, Rest, rest_of, sent_with

logger = logging.getLogger("launcher_recovery")

CONNECT_TIMEOUT_S = 10.0
"""For requests for the rest, where the handler set no limit for its own."""

SILENCE_S = 30.0
"""Seconds without a byte after which a connection has failed, where the handler set no limit."""

# Answers that a request may get only because it asks for a range.
_BECAUSE_OF_RANGE = frozenset({206, 400, 412, 416, 501})


class HealedRequest:
    """A request of the handler, whose response is to be healed.

    Args:
        original: sends it.
        session, request, kwargs: as the handler (or requests) gave them.
        operation: of the handler.
        kept: the bodies that are kept.
        backoff: see `HealedBody`.
    """

    def __init__(
        self,
        original: Callable[..., requests.Response],
        session: requests.Session,
        request: requests.PreparedRequest,
        kwargs: dict[str, Any],
        operation: Operation,
        kept: KeptBodies,
        backoff: Strategy,
    ) -> None:
        self._kept = kept
        self._backoff = backoff
        self._send = functools.partial(original, session)
        self._session = session
        self._request = request
        self._is_streamed = bool(kwargs.get("stream", session.stream))
        self._kwargs = {**kwargs, "stream": True}
        self._operation = operation
        self._url = str(request.url)
        self._patience = Patience(self._url, operation.operation_id)
        self._silence_s = _read_timeout(kwargs.get("timeout")) or SILENCE_S
        self._had = 0

    def send(self) -> requests.Response:
        """The response, healed if that can be; not before the server may be asked.

        Raises:
            requests.HTTPError: that is so long in coming that it is left to the operation.
        """
        self._be_patient()
        try:
            response = self._from_kept()
            if response is None:
                response = self._sent(self._send, self._request, self._kwargs)
        finally:
            self._patience.waits_itself()  # the handler sees what the server asks for
        if not isinstance(response.raw, HealedResponse):
            self._heal(response)
        if not self._is_streamed:
            _ = response.content  # which reads it, as requests does
        return response

    def _be_patient(self) -> None:
        """Wait while the server is to be left alone, as it has told somebody else."""
        left = self._patience.left()
        if left <= 0:
            return
        error = self._patience.waits_itself()
        if left > LONGEST_WAIT_S:
            raise error
        logger.info("%s is asked in %.0f s: %s", redact_url(self._url), left, error)
        self._operation.wait(left)

    def _sent(
        self, send: Callable[..., requests.Response], request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> requests.Response:
        """The answer to a request, after what it says was taken note of."""
        asked_at = time.monotonic()
        try:
            response = send(request, **kwargs)
        except requests.HTTPError as error:  # of a hook of the handler
            if error.response is not None:
                self._patience.heard(error.response, asked_at)
            raise
        self._patience.heard(response, asked_at)
        return response

    def _from_kept(self) -> requests.Response | None:
        """The response that begins with what is kept, if there is something that the server still has.

        Any other answer is given as well, if it is none that only a request for a range gets.
        """
        log = self._kept.find(self._operation.operation_id, self._url, self._operation.attempt)
        if log is None:
            return None
        # Also when all of it is there: one byte, for the headers, and to know that it is still the same.
        start = min(log.length, log.head.size - 1)
        try:
            # Not by the session's `send`, in which this is already, if it has one of its own.
            response = self._ask(start, log.head.representation, self._send)
        except (requests.ConnectionError, requests.Timeout):
            log.close()
            raise
        except Exception as error:  # of a hook of the handler, which did not reckon with a part
            logger.debug("the rest of %s cannot be asked for: %s", redact_url(self._url), error)
            log.close()
            return None
        rest = rest_of(response.status_code, response.headers, start, log.head.representation)
        if rest is not None and _is_urllib3(response):
            self._join(response, log, start, rest)
            return response
        if response.status_code in (200, 206, 412, 416):
            logger.info("%s is another file by now: what was kept of the old one is deleted", redact_url(self._url))
            self._had = max(log.head.had, log.length)
            log.delete()
        log.close()
        if response.status_code in _BECAUSE_OF_RANGE:
            response.close()
            return None
        return response

    def _ask(
        self, start: int, representation: Representation, send: Callable[..., requests.Response] | None = None
    ) -> requests.Response:
        """Ask for what begins at byte `start` of one version, with all that the handler asked with.

        It begins with the handler's address: where redirects led is often valid only for a while.
        """
        request = self._request.copy()
        request.headers["Range"] = f"bytes={start}-"
        request.headers["If-Range"] = representation.condition
        kwargs = dict(self._kwargs)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = (CONNECT_TIMEOUT_S, SILENCE_S)
        with ours():  # also when the handler reads the body, long after it was sent
            response = self._sent(send or self._session.send, request, kwargs)
        for one in (*response.history, response):
            for name in ("Range", "If-Range"):
                if one.request is not None:
                    one.request.headers.pop(name, None)
        return response

    def _heal(self, response: requests.Response) -> None:
        """Give a fresh response a body that goes on, if the server gives what that needs."""
        raw: Any = response.raw
        is_fresh = response.status_code == 200 and not getattr(response, "_content_consumed", False)
        if not is_fresh or not _is_urllib3(response) or raw.tell() != 0:
            return
        if raw.chunked and not hasattr(urllib3.HTTPResponse, "read1"):
            return  # this urllib3 cannot give chunks as they come
        representation = sent_with(response.headers)
        if representation is None:
            return
        body = HealedBody(
            self._url,
            representation,
            Connection.of(response, representation.size, self._silence_s),
            self._ask,
            self._operation,
            self._backoff,
            self._patience,
            self._silence_s,
            begin_log=lambda: self._begin_log(representation, list(raw.headers.items())),
        )
        response.raw = HealedResponse(body, raw, raw.headers)

    def _begin_log(self, representation: Representation, headers: list[tuple[str, str]]) -> BodyLog | None:
        return self._kept.begin(
            self._operation.operation_id, self._url, self._operation.attempt, representation, headers, self._had
        )

    def _join(self, response: requests.Response, log: BodyLog, start: int, rest: Rest) -> None:
        """Make of an answer with the rest one with all of the body."""
        raw: Any = response.raw
        body = HealedBody(
            self._url,
            rest.representation,
            Connection.of(response, rest.end, self._silence_s),
            self._ask,
            self._operation,
            self._backoff,
            self._patience,
            self._silence_s,
            start=start,
            log=log,
        )
        headers = headers_of_whole(log, raw.headers)
        response.raw = HealedResponse(body, raw, headers)
        response.status_code, response.reason = 200, "OK"
        response.headers = requests.structures.CaseInsensitiveDict(headers)
        if "Content-Type" not in raw.headers:
            setattr(response, "encoding", requests.utils.get_encoding_from_headers(response.headers))


def _is_urllib3(response: requests.Response) -> bool:
    """Whether the body comes from where it is known how to read it, and nothing else stands in for it."""
    return isinstance(response.raw, urllib3.HTTPResponse) and not isinstance(response.raw, HealedResponse)


def _read_timeout(timeout: Any) -> float | None:
    """Seconds of silence that the handler allows, where it says so in plain numbers."""
    if isinstance(timeout, tuple) and len(timeout) == 2:
        timeout = timeout[1]
    return float(timeout) if isinstance(timeout, (int, float)) and timeout > 0 else None
