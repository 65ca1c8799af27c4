"""How far what came from outside may lead: to public addresses, and not to this machine and its network.

An import is written by somebody else, and this machine sends the requests that it asks for: to its router, to services
that trust whoever is in the network, to what hands out the credentials of a cloud machine (169.254.169.254). So the
addresses of an import, and where they redirect to, have to be public ones. What a person types or code calls is
trusted, and so are the servers that extensions and HF_ENDPOINT name.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Union
from urllib.parse import urlsplit

from launcher_recovery.errors import RefusedError

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_PORTS = {"http": 80, "https": 443}
# Addresses of IPv6 in which one of IPv4 is that counts (RFC 6052 §2.1).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What the proxies of some machines have every name resolve to, and take for that name (Clash "fake-ip"); nothing else
# is there (RFC 2544).
_STAND_INS = ipaddress.IPv4Network("198.18.0.0/15")


class PrivateAddressError(RefusedError):
    """An address that came from outside leads to this machine or its network."""


class Reach:
    """Where what came from outside may lead."""

    def __init__(self) -> None:
        self._trusted: set[tuple[str, int | None]] = set()

    def trust(self, urls: Iterable[str]) -> None:
        """Let the servers of these addresses be asked wherever they are."""
        self._trusted.update(filter(None, map(_server_of, urls)))

    def check(self, url: str) -> None:
        """Return when a web address may be asked, as far as can be told without resolving its name.

        Raises:
            PrivateAddressError: it may not.
        """
        server = _server_of(url)
        if server is None or self._is_trusted(server):
            return  # of one that is no web address others say so
        literal = literal_address(server[0])
        if literal is not None and not is_public(literal):
            raise _refusal(server[0], literal)

    def resolve(self, host: str, port: int) -> Sequence[str] | None:
        """The addresses of a host that may be connected to, best first; None: it may be connected to as it is.

        Raises:
            PrivateAddressError: there is none.
            OSError, UnicodeError: the name cannot be resolved.
        """
        if self._is_trusted((host.rstrip(".").lower(), port)):
            return None
        found = _resolved(host, port)
        usable = [address for address, is_usable in found.items() if is_usable]
        if not usable:
            raise _refusal(host, next(iter(found)))
        return list(map(str, usable))

    def check_repository(self, url: str, host: str | None) -> None:
        """Return when git may be asked for a repository; `nodes.confined` has it connect to what was looked at.

        Args:
            host: whom the address asks; None: it is a folder.

        Raises:
            PrivateAddressError: it may not.
        """
        if host is None:
            raise PrivateAddressError(
                "The address of a repository is a folder of this machine, which an import may not read; set "
                "RECOVERY_ALLOW_PRIVATE_ADDRESSES=true if the import is yours."
            )
        self.check(url if "://" in url else f"https://{host}/")
        if has_proxy(url):
            return  # which resolves names by itself
        server = _server_of(url)
        if server is not None and self._is_trusted(server):
            return
        try:
            found = _resolved(host, None)
        except (OSError, UnicodeError):
            return  # git says so
        for address, is_usable in found.items():
            if not is_usable:
                raise _refusal(host, address)

    def _is_trusted(self, server: tuple[str, int | None]) -> bool:
        return server in self._trusted or server == _server_of(os.environ.get("HF_ENDPOINT", "").strip())


_HOW = "an import may not ask this machine's own network; set RECOVERY_ALLOW_PRIVATE_ADDRESSES=true if it is yours."

_current: ContextVar[Reach | None] = ContextVar("launcher_recovery_reach", default=None)


@contextmanager
def of_others(*, allow_private: bool) -> Iterator[None]:
    """While it is entered, what is asked is asked on behalf of somebody else.

    Args:
        allow_private: it is let go anywhere all the same.
    """
    token = _current.set(None if allow_private else Reach())
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Reach | None:
    """How far it may go now; None: anywhere."""
    return _current.get()


def trusting(urls: Sequence[str]) -> Sequence[str]:
    """The same addresses, whose servers may be asked from now on."""
    reach = current()
    if reach is not None:
        reach.trust(urls)
    return urls


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet; those of IPv4 that are in one of IPv6 count as themselves."""
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(within)
    return address.is_global and not address.is_multicast


def literal_address(host: str) -> Address | None:
    """The address that a host is, also in the ways in which only the C library reads one (2130706433, 0177.1)."""
    name = host.strip("[]").rstrip(".")
    try:
        return address_of(name)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError, ValueError):
        return None


def address_of(text: str) -> Address:
    """The address in a text, without the zone that it may have.

    Raises:
        ValueError: there is none.
    """
    return ipaddress.ip_address(text.partition("%")[0])


def has_proxy(url: str) -> bool:
    """Whether the environment says that an address is reached through a proxy."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.netloc)


def _resolved(host: str, port: int | None) -> dict[Address, bool]:
    """The addresses of a host in the order in which they are to be tried, and whether each may be connected to."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = dict.fromkeys(address_of(str(entry[4][0])) for entry in entries)
    is_name = literal_address(host) is None
    return {address: is_public(address) or (is_name and address in _STAND_INS) for address in found}


def _server_of(url: str) -> tuple[str, int | None] | None:
    """Host and port of a web address; None: it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return None if not parts.hostname else (parts.hostname.rstrip(".").lower(), port)


def _refusal(host: str, address: Address) -> PrivateAddressError:
    shown = f"{host} is" if host == str(address) else f"{host} leads to {address},"
    return PrivateAddressError(f"{shown} an address of this machine or a private network; {_HOW}")
