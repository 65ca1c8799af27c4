"""Lets requests to the API in or not: which checks are made of a request, and in which order."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Request

from launcher_recovery.clock import Clock
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.web.security.cross_site import cross_site_reason
from launcher_recovery.web.security.names import HostNames
from launcher_recovery.web.security.peers import is_of_this_machine, peer_of
from launcher_recovery.web.security.rates import RateLimit
from launcher_recovery.web.security.tokens import VARIABLE, ApiToken, read_token

LOGIN = "/recovery/login"
MAX_BODY = 64 * 1024
"""Bytes of a body."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # RFC 9110 §9.2.1


class Access(enum.Enum):
    """What a route needs of who asks."""

    READ = "read"
    """Nothing; the token, if one is configured."""
    CONTROL = "control"
    """The same, and not to be sent by a page of another site."""
    TRUSTED = "trusted"
    """The token; if none is configured, to be of this machine."""


@dataclass(frozen=True)
class Refusal:
    """An answer to a request that is not let in; `message` is a sentence for people."""

    status: int
    code: str
    message: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """What is asked of those who ask.

    Args:
        config: says under which names, and with which token.
        clock: source of time.

    Raises:
        RecoveryConfigError: the file with the token cannot be used.
    """

    def __init__(self, config: RecoveryConfig, clock: Clock) -> None:
        self.names = HostNames(config.allowed_hosts)
        self.token = ApiToken(read_token(config.api_token), clock.time)
        self.rates = RateLimit(clock.monotonic)
        self.left: list[Callable[[str], object]] = []
        """Called with the session of a browser that logs out."""

    def is_trusted(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request may apply fixes, run tests and change settings."""
        if self.token.is_needed:
            return self.token.is_shown(environ)
        return is_of_this_machine(environ)

    def refuse_host(self, request: Request) -> Refusal | None:
        """The check before all others, also of a path that there is not: of the name that is asked."""
        host = request.host
        return None if self.names.accepts(host) else Refusal(403, "forbidden_host", self.names.refusal(host))

    def refuse(self, request: Request, access: Access, max_body: int = MAX_BODY) -> Refusal | None:
        """The checks of a request to a route that there is; what its body says is not among them.

        Args:
            access: what the route needs.
            max_body: bytes that the body may have.
        """
        if request.method not in SAFE_METHODS:
            refusal = self._refuse_form(request, max_body)
            if refusal is not None:
                return refusal
        return self.refuse_peer(request.environ, access)

    def refuse_peer(self, environ: Mapping[str, Any], access: Access = Access.READ) -> Refusal | None:
        """Of these checks those of who asks, and how often."""
        if self.token.is_needed and not self.token.is_shown(environ):
            return Refusal(
                401,
                "token_needed",
                f"This needs the token of {VARIABLE}: log in at {LOGIN}, or send it as Authorization: Bearer.",
                {"login": f"{environ.get('SCRIPT_NAME', '')}{LOGIN}"},
                {"WWW-Authenticate": 'Bearer realm="launcher-recovery"'},
            )
        if access is Access.TRUSTED and not self.is_trusted(environ):
            return Refusal(
                403,
                "not_trusted",
                f"This can be done in a browser on the launcher's own machine only, unless {VARIABLE} is set.",
            )
        return self.refuse_rate(environ)

    def refuse_rate(self, environ: Mapping[str, Any], cost: float = 1.0) -> Refusal | None:
        """Of these checks the last one."""
        wait = self.rates.take(peer_of(environ), cost)
        if wait == 0:
            return None
        message = f"There were too many requests: try again in {wait} s."
        return Refusal(429, "too_many_requests", message, {"retry_after": wait}, {"Retry-After": str(wait)})

    def _refuse_form(self, request: Request, max_body: int) -> Refusal | None:
        if request.mimetype != "application/json":
            given = request.mimetype or "none"
            message = f"The request has the content type {given!r}, but application/json is needed."
            return Refusal(415, "not_json", message)
        reason = cross_site_reason(request.headers.get)
        if reason is not None:
            return Refusal(403, "forbidden", reason)
        # Neither length nor transfer encoding means no body (RFC 9112 §6.3).
        is_unknown = request.content_length is None and "Transfer-Encoding" in request.headers
        if is_unknown or (request.content_length or 0) > max_body:
            message = f"The body may have at most {max_body} bytes, with its length given."
            return Refusal(413, "too_large", message)
        return None
