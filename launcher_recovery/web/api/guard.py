"""What every request to the API has to pass before it is answered, in a fixed order, and what the unknown ones get."""

from __future__ import annotations

import json
from typing import NoReturn

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from launcher_recovery.web.api.answers import ApiError
from launcher_recovery.web.api.routes import METHODS, PREFIX, Access
from launcher_recovery.web.security import MAX_BODY, HostNames, cross_site_reason


class Guard:
    """The checks.

    Args:
        names: under which the server may be addressed.
        accesses: who may ask, by endpoint.
        unknown: the endpoint that takes what no route knows.
    """

    def __init__(self, names: HostNames, accesses: dict[str, Access], unknown: str) -> None:
        self._names = names
        self._accesses = accesses
        self._unknown = unknown

    def check(self) -> None:
        """Refuse the request at hand, if it is to be refused.

        Raises:
            ApiError: why it is.
        """
        self._check_name()
        if request.endpoint == self._unknown:
            self.refuse_unknown()
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        if request.mimetype != "application/json":
            raise ApiError(
                415,
                "not_json",
                f"The request has the content type {request.mimetype or 'none'!r}, but application/json is needed.",
            )
        reason = cross_site_reason(request.headers.get)
        if reason is not None:
            raise ApiError(403, "forbidden", reason)
        # Neither length nor transfer encoding means no body (RFC 9112 §6.3).
        unknown = request.content_length is None and "Transfer-Encoding" in request.headers
        if unknown or (request.content_length or 0) > MAX_BODY:
            raise ApiError(413, "too_large", f"The body may have at most {MAX_BODY} bytes, with its length given.")
        _check_body()

    def answer_unusual(self) -> Response | None:
        """For a method that no route takes, such as TRACE, and that would not reach the blueprint: its refusal."""
        if request.url_rule is not None or not request.path.startswith(f"{PREFIX}/"):
            return None
        try:
            self._check_name()
            self.refuse_unknown()
        except ApiError as error:
            return error.response()

    def _check_name(self) -> None:
        if not self._names.accepts(request.host):
            raise ApiError(403, "forbidden_host", self._names.refusal(request.host))

    def refuse_unknown(self) -> NoReturn:
        """404, or 405 when the path is known with other methods."""
        adapter = current_app.url_map.bind("")
        allowed = []
        for method in METHODS:
            try:
                endpoint, _ = adapter.match(request.path, method=method)
            except HTTPException:
                continue
            if endpoint in self._accesses and method not in ("HEAD", "OPTIONS"):
                allowed.append(method)
        if not allowed:
            raise ApiError(404, "not_found", f"There is nothing at {request.path[:100]}.")
        methods = ", ".join(sorted(allowed))
        message = f"{request.path[:100]} takes {methods}, not {request.method}."
        raise ApiError(405, "method_not_allowed", message, allowed=methods)


def _check_body() -> None:
    """That the body is a JSON object; nothing stands for an empty one."""
    raw = request.get_data()
    try:
        body = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise ApiError(400, "malformed_json", "The body is not JSON: send an object, such as {}.") from None
    if not isinstance(body, dict):
        raise ApiError(422, "not_an_object", "The body must be a JSON object, such as {}.")
