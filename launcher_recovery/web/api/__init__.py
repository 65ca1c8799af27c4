"""The REST API below /api/recovery."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.web.api.answers import ApiError, sentence
from launcher_recovery.web.api.guard import Guard
from launcher_recovery.web.api.routes import METHODS, PREFIX, ROUTES, Route
from launcher_recovery.web.api.timing import Timing
from launcher_recovery.web.security import Gate

logger = logging.getLogger("launcher_recovery")

_NAME = "launcher_recovery_api"


def view_of(route: Route) -> Callable[..., Response]:
    """What answers a route; with the first, what describes and checks requests is loaded."""
    module, name = route.view.split(":")
    found: Callable[..., Response] = getattr(importlib.import_module(f"{__name__}.views.{module}"), name)
    return found


def create_api(gate: Gate) -> Blueprint:
    """The blueprint of the API, which answers for the integrator of its app.

    Args:
        gate: lets requests in or not.
    """
    api = Blueprint(_NAME, __name__, url_prefix=PREFIX)
    accesses = {f"{_NAME}.{route.endpoint}": route.access for route in ROUTES}
    guard = Guard(gate, accesses, f"{_NAME}.unknown")
    timing = Timing(f"{_NAME}.")
    api.before_request(timing.start)
    api.before_request(guard.check)
    api.after_request(timing.stop)
    api.record_once(lambda state: state.app.extensions.update(launcher_recovery_timing=timing))
    for route in ROUTES:
        api.add_url_rule(route.rule, route.endpoint, _Lazy(route), methods=[route.method])

    # The host's own error handlers may turn what is unknown into a page with status 200.
    @api.route("/", defaults={"path": ""}, methods=METHODS)
    @api.route("/<path:path>", methods=METHODS)
    def unknown(path: str) -> Response:
        guard.refuse_unknown()

    @api.errorhandler(ApiError)
    def refused(error: ApiError) -> Response:
        return error.response()

    @api.errorhandler(RecoveryStateError)
    def conflict(error: RecoveryStateError) -> Response:
        return ApiError(409, "conflict", sentence(str(error)), state=error.state).response()

    @api.errorhandler(StoreError)
    def store_failed(error: StoreError) -> Response:
        return ApiError(503, "store", str(error)).response()

    @api.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        code = error.name.lower().replace(" ", "_")
        return ApiError(error.code or 500, code, error.description or error.name).response()

    @api.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        logger.exception("the API cannot answer %s %s", request.method, request.path[:200])
        message = "Something went wrong here; the log of the launcher says what."
        return ApiError(500, "internal", message).response()

    @api.after_request
    def never_cached(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.before_app_request
    def unusual_method() -> Response | None:
        response = guard.answer_unusual()
        return None if response is None else never_cached(response)

    return api


class _Lazy:
    """The view of a route, found when it is asked for the first time."""

    def __init__(self, route: Route) -> None:
        self.__name__ = route.endpoint
        self._route = route

    def __call__(self, **arguments: Any) -> Response:
        return view_of(self._route)(**arguments)
