"""The routes of the API as data: they are known from the start, what answers them is loaded with the first request."""

from __future__ import annotations

from dataclasses import dataclass

from launcher_recovery.web.security import Access

PREFIX = "/api/recovery"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Route:
    """One path and method.

    Args:
        method: of HTTP.
        rule: below the prefix, as Flask has it.
        view: module below `views` and name of the function in it, with a colon between.
        access: who may ask.
    """

    method: str
    rule: str
    view: str
    access: Access

    @property
    def endpoint(self) -> str:
        """Its name in Flask."""
        return self.view.replace(":", "_")


def _read(rule: str, view: str) -> Route:
    return Route("GET", rule, view, Access.READ)


def _control(rule: str, view: str) -> Route:
    return Route("POST", rule, view, Access.CONTROL)


def _trusted(rule: str, view: str, method: str = "POST") -> Route:
    return Route(method, rule, view, Access.TRUSTED)


_ONE = "/operations/<operation_id>"

ROUTES = (
    _read("/status", "status:status"),
    _read("/health", "status:health"),
    _read("/operations", "operations:operations"),
    _read(_ONE, "operations:operation"),
    _read(f"{_ONE}/advice", "fixes:advice"),
    _read(f"{_ONE}/fixes", "fixes:fixes"),
    _trusted(f"{_ONE}/fixes/<fix>", "fixes:apply"),
    _trusted(f"{_ONE}/applied/<applied_id>/undo", "fixes:undo"),
    _read(f"{_ONE}/bundle", "operations:bundle"),
    _control(f"{_ONE}/pause", "controls:pause"),
    _control(f"{_ONE}/resume", "controls:resume"),
    _control(f"{_ONE}/cancel", "controls:cancel"),
    _control(f"{_ONE}/retry", "controls:retry"),
    _control(f"{_ONE}/priority", "controls:priority"),
    _control("/operations/pause", "bulk:pause"),
    _control("/operations/resume", "bulk:resume"),
    _control("/operations/cancel", "bulk:cancel"),
    _control("/operations/retry", "bulk:retry"),
    _read("/events", "events:events"),
    _read("/config", "settings:config"),
    _trusted("/config", "settings:change", "PATCH"),
    _trusted("/config", "settings:forget", "DELETE"),
    _read("/metrics", "status:metrics"),
    _read("/performance", "performance:performance"),
    _trusted("/performance/validate", "performance:validate"),
    _trusted("/performance/benchmark", "performance:benchmark"),
    _trusted("/test", "testing:test"),
    _read("/testing/scenarios", "testing:scenarios"),
    _trusted("/testing/run", "testing:run"),
    _read("/openapi.json", "document:openapi"),
    _read("/docs", "document:docs"),
    _read("/docs.css", "document:style"),
)
