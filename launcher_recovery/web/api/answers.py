"""What the API answers: successes and errors, each as JSON of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, current_app, jsonify, request

from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.web.security import Gate, Refusal


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people, one sentence.
        params: what the message is about, as JSON values.
    """

    def __init__(self, status: int, code: str, message: str, **params: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.params = params
        self.headers: Mapping[str, str] = {}

    @classmethod
    def of(cls, refusal: Refusal) -> ApiError:
        """The answer to a request that is not let in."""
        error = cls(refusal.status, refusal.code, refusal.message, **refusal.params)
        error.headers = refusal.headers
        return error

    def response(self) -> Response:
        """The answer."""
        error = {"code": self.code, "message": self.message, "params": self.params}
        response = jsonify({"success": False, "error": error})
        response.status_code = self.status
        response.headers.update(self.headers)
        if self.status == 405:
            response.headers["Allow"] = self.params["allowed"]  # RFC 9110 §15.5.6
        return response


def answer(**content: Any) -> Response:
    """A success."""
    return jsonify({"success": True, **content})


def here() -> RecoveryIntegrator:
    """The integrator of the app that is asked."""
    integrator: RecoveryIntegrator = current_app.extensions["launcher_recovery"]
    return integrator


def access() -> dict[str, bool]:
    """What the request at hand may do: `token`, whether one is configured; `trusted`, whether it may apply fixes, run
    tests and change settings."""
    gate: Gate = current_app.extensions["launcher_recovery_gate"]
    return {"token": gate.token.is_needed, "trusted": gate.is_trusted(request.environ)}


def stamp() -> dict[str, Any]:
    """The number of the newest event and the time: what happens afterwards has a higher number."""
    integrator = here()
    now = to_iso(to_datetime(integrator.clock.time()))
    return {"seq": integrator.persistence.event_range()[1], "now": now}


def sentence(text: str) -> str:
    """`text` with a full stop; not capitalised, since it may begin with the name of a file or project."""
    return text if text.endswith((".", "。")) else f"{text}."
