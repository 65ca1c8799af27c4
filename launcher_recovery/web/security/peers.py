"""Who a request comes from: by what it is counted, and whether it is of this very machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from launcher_recovery import reach
from launcher_recovery.reach import Address
from launcher_recovery.web.security.names import name_of

# Headers by which proxies and tunnels say for whom they ask; one of them is enough to end the trust.
_FORWARDING = frozenset(
    f"HTTP_{name.upper().replace('-', '_')}"
    for name in (
        "Forwarded", "Via", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-Forwarded-For",
        "X-Original-Host", "X-ProxyUser-IP", "Client-IP", "True-Client-IP", "Proxy-Client-IP", "WL-Proxy-Client-IP",
        "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Ray", "CF-Visitor", "CDN-Loop", "Fastly-Client-IP",
        "Fly-Client-IP", "X-Envoy-External-Address", "X-Appengine-User-IP", "X-Azure-ClientIP", "X-Azure-SocketIP",
        "Tailscale-User-Login",
    )
)  # fmt: skip
_FORWARDED_PREFIX = "HTTP_X_FORWARDED"
# Where ProxyFix keeps what it has rewritten.
_BEFORE_PROXY_FIX = "werkzeug.proxy_fix.orig"
# Bits of an IPv6 address that one household or machine has to itself (RFC 6177).
_NETWORK_BITS = 64


def address_of(text: str) -> Address | None:
    """The address in a text, an IPv4 address in an IPv6 one (::ffff:127.0.0.1) as itself; None: there is none."""
    try:
        found = reach.address_of(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found if mapped is None else mapped


def peer_of(environ: Mapping[str, Any]) -> str:
    """By what the requests of one peer are counted: its IPv4 address, or the first half of its IPv6 address."""
    text = str(environ.get("REMOTE_ADDR", ""))
    address = address_of(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address), _NETWORK_BITS), strict=False))
    return text if address is None else str(address)


def is_of_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether a request was sent by a browser or program of this machine for itself.

    A proxy or a tunnel on this machine connects from it as well: what carries a header of one is not of this machine,
    nor is HTTP/1.0, which nginx speaks when nobody has set it up to say for whom it asks.
    """
    if any(name in _FORWARDING or name.startswith(_FORWARDED_PREFIX) for name in environ):
        return False
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return False
    before = environ.get(_BEFORE_PROXY_FIX) or {}
    peers = [environ.get("REMOTE_ADDR"), before.get("REMOTE_ADDR", environ.get("REMOTE_ADDR"))]
    hosts = [environ.get("HTTP_HOST"), before.get("HTTP_HOST", environ.get("HTTP_HOST"))]
    return all(_is_loopback(str(peer)) for peer in peers) and all(_is_local_name(str(host or "")) for host in hosts)


def _is_loopback(peer: str) -> bool:
    address = address_of(peer)
    return address is not None and address.is_loopback


def _is_local_name(host_header: str) -> bool:
    name = name_of(host_header)
    if name is None:
        return False
    address = address_of(name)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified  # 0.0.0.0, which launchers print as their address
