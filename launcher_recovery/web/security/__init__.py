"""Who may talk to the recovery pages, what they may do, and how often: the host has no login."""

from launcher_recovery.web.security.cross_site import HEADER, cross_site_reason
from launcher_recovery.web.security.gate import MAX_BODY, SAFE_METHODS, Access, Gate, Refusal
from launcher_recovery.web.security.names import HostNames, same_site
from launcher_recovery.web.security.sockets import SocketGuard

__all__ = [
    "HEADER",
    "MAX_BODY",
    "SAFE_METHODS",
    "Access",
    "Gate",
    "HostNames",
    "Refusal",
    "SocketGuard",
    "cross_site_reason",
    "same_site",
]
