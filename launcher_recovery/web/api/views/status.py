"""How recovery is in all."""

from __future__ import annotations

from flask import Response

from launcher_recovery import __version__
from launcher_recovery.errors import StoreError
from launcher_recovery.web.api.answers import ApiError, answer, here, stamp
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.status import HealthAnswer, StatusAnswer


@described(StatusAnswer, tag="status")
def status() -> Response:
    """Settings, totals, open circuit breakers, and problems."""
    return answer(recovery={**here().status(), "version": __version__, **stamp()})


@described(HealthAnswer, tag="status")
def health() -> Response:
    """Whether recovery itself is well; 503 when nothing can be kept."""
    integrator = here()
    problem = next((found for found in integrator.problems if found["code"] == "store"), None)
    try:
        integrator.persistence.check()
    except StoreError as error:
        problem = {"code": "store", "message": str(error)}
    if problem is not None:
        raise ApiError(503, problem["code"], problem["message"])
    return answer(persistence_healthy=True)
