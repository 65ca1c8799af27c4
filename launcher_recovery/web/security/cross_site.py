"""Whether a request that changes something comes from a page of this server, or from a program; the host has no login,
so foreign web pages must be kept out."""

from __future__ import annotations

from collections.abc import Callable

from launcher_recovery.web.security.names import same_site

HEADER = "X-Launcher-Recovery"

_SITES = ("same-origin", "none")
_OTHER_SITE = "The request came from a page of another site, only this server's own pages may change something."


def foreign_page(header: Callable[[str], str | None]) -> str | None:
    """Why a request looks as if a foreign page had sent it, as a sentence; None if it does not.

    Args:
        header: gives a header of the request by name.
    """
    origin = header("Origin")
    if origin is not None and not same_site(origin, header("Host") or ""):
        return f"The request came from a page of {origin[:100]}, only this server's own pages may change something."
    site = header("Sec-Fetch-Site")
    return _OTHER_SITE if site is not None and site not in _SITES else None


def cross_site_reason(header: Callable[[str], str | None]) -> str | None:
    """Why a request that changes something is not accepted, as a sentence; None if it is.

    Requests with neither Origin nor Sec-Fetch-Site come from programs and need the header alone.

    Args:
        header: gives a header of the request by name.
    """
    reason = foreign_page(header)
    if reason is None and header(HEADER) != "1":
        return f"The header {HEADER}: 1 is missing; programs have to send it with requests that change something."
    return reason


def form_reason(header: Callable[[str], str | None]) -> str | None:
    """Why a form that was sent is not accepted, as a sentence; None if it is.

    A form cannot send our header, so a browser has to say which page it is on; each does for a POST.

    Args:
        header: gives a header of the request by name.
    """
    if header("Origin") is None and header("Sec-Fetch-Site") is None:
        return "The request does not say which page it comes from: use the form in a browser."
    return foreign_page(header)
