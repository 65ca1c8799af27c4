"""How recovery is in all."""

from __future__ import annotations

from flask import Response, make_response

from launcher_recovery import __version__
from launcher_recovery.health import health_of
from launcher_recovery.prometheus import MetricsMissingError, exposition
from launcher_recovery.web.api.answers import ApiError, access, answer, here, stamp
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.status import HealthAnswer, StatusAnswer


@described(StatusAnswer, tag="status")
def status() -> Response:
    """Settings, totals, open circuit breakers, problems, and what this very request may do."""
    return answer(recovery={**here().status(), "version": __version__, "access": access(), **stamp()})


@described(HealthAnswer, tag="status")
def health() -> Response:
    """Whether recovery itself is well; 503, with the same fields as `params`, when nothing can be kept."""
    found = health_of(here())
    if found["system_healthy"]:
        return answer(**found)
    problems = [*found["problems"], {"message": "State cannot be kept."}]
    stored = [problem for problem in problems if problem.get("code") == "store"]
    raise ApiError(503, "store", (stored or problems)[0]["message"], **found)


@described(None, tag="status", media="text/plain")
def metrics() -> Response:
    """The figures for Prometheus."""
    try:
        text, media = exposition(here())
    except MetricsMissingError as error:
        raise ApiError(503, "missing_dependency", str(error)) from None
    return make_response(text, 200, {"Content-Type": media})
