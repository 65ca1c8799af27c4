"""What every request to the API has to pass before it is answered, in a fixed order, and what the unknown ones get."""

from __future__ import annotations

import json
from typing import NoReturn

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from launcher_recovery.web.api.answers import ApiError
from launcher_recovery.web.api.routes import METHODS, PREFIX
from launcher_recovery.web.security import SAFE_METHODS, Access, Gate, Refusal


class Guard:
    """The checks.

    Args:
        gate: makes all of them that are not about what is known here.
        accesses: who may ask, by endpoint.
        unknown: the endpoint that takes what no route knows.
    """

    def __init__(self, gate: Gate, accesses: dict[str, Access], unknown: str) -> None:
        self._gate = gate
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
        _raise(self._gate.refuse(request, self._accesses[str(request.endpoint)]))
        if request.method not in SAFE_METHODS:
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
        _raise(self._gate.refuse_host(request))

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


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise ApiError.of(refusal)


def _check_body() -> None:
    """That the body is a JSON object; nothing stands for an empty one."""
    raw = request.get_data()
    try:
        body = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise ApiError(400, "malformed_json", "The body is not JSON: send an object, such as {}.") from None
    if not isinstance(body, dict):
        raise ApiError(422, "not_an_object", "The body must be a JSON object, such as {}.")
