"""Who may talk to the recovery pages: the host has no login, so foreign web pages must be kept out."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

HEADER = "X-Launcher-Recovery"
MAX_BODY = 64 * 1024


class HostNames:
    """The names under which the server may be addressed.

    Any IP address, localhost, the machine's own name, and those configured. A name of a foreign site that points
    here (DNS rebinding) is not among them.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in configured)}

    def accepts(self, host_header: str) -> bool:
        """Whether a Host header names this server; the port does not matter, proxies drop it."""
        name = _name_of(host_header)
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names or name.endswith(".localhost")
        return True

    def refusal(self, host_header: str) -> str:
        """One sentence for a request that was not accepted."""
        return (
            f"The address {host_header[:100]!r} is not one of this server's names: open it by its IP address, "
            "or add the name to RECOVERY_ALLOWED_HOSTS."
        )


def same_site(origin: str, host_header: str) -> bool:
    """Whether an Origin header is of the site addressed by a Host header; the port does not matter."""
    try:
        name = _name_of(urlsplit(origin).netloc)
    except ValueError:
        return False
    return name == _name_of(host_header) is not None


def _name_of(host_header: str) -> str | None:
    try:
        name = urlsplit(f"//{host_header.strip()}").hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name else None


def cross_site_reason(header: Callable[[str], str | None]) -> str | None:
    """Why a request that changes something looks as if a foreign page had sent it; None if it does not.

    `header` gives a header of the request by name.

    Requests with neither Origin nor Sec-Fetch-Site come from programs and need the header alone.
    """
    origin = header("Origin")
    if origin is not None and not same_site(origin, header("Host") or ""):
        return f"The request came from a page of {origin[:100]}, only this server's own pages may change something."
    site = header("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return "The request came from a page of another site, only this server's own pages may change something."
    if header(HEADER) != "1":
        return f"The header {HEADER}: 1 is missing; programs have to send it with requests that change something."
    return None


class SocketGuard:
    """WSGI middleware that applies the Host and Origin checks to the Socket.IO path, and to nothing else.

    Socket.IO's own check cannot do it: for a rebound name the Origin fits the Host, and it wants equal ports.
    """

    def __init__(self, application: Callable[..., Any], path: str, names: HostNames) -> None:
        self._application = application
        self._path = path
        self._names = names

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("PATH_INFO", "").startswith(self._path):
            message = self._refusal(environ)
            if message is not None:
                body = json.dumps({"success": False, "error": {"code": "forbidden", "message": message, "params": {}}})
                start_response("403 FORBIDDEN", [("Content-Type", "application/json")])
                return [body.encode()]
        return self._application(environ, start_response)

    def _refusal(self, environ: Mapping[str, Any]) -> str | None:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._names.accepts(host):
            return self._names.refusal(host)
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not same_site(str(origin), host):
            return f"Live events are not given to pages of {str(origin)[:100]}."
        return None
