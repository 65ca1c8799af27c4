"""The names under which the server may be addressed, and whether a page is of this site."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit


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
        name = name_of(host_header)
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
        name = name_of(urlsplit(origin).netloc)
    except ValueError:
        return False
    return name == name_of(host_header) is not None


def name_of(host_header: str) -> str | None:
    """The name of a Host header without its port, in lower case; None: it has none."""
    try:
        name = urlsplit(f"//{host_header.strip()}").hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name else None
