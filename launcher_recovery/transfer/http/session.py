"""Sessions for operations whose servers are reached in a way of their own: a proxy, or other certificates."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.utils import should_bypass_proxies

from launcher_recovery import reach, ways
from launcher_recovery.checks import refused
from launcher_recovery.known_secrets import know
from launcher_recovery.redaction import redact_url

NewSession = Callable[[], requests.Session]
"""Makes what a connection is made with."""


def way(proxy: str | None, ca_bundle: str | None) -> NewSession:
    """Makes sessions that go that way, see `OwnWay`; usual ones when nothing is given.

    What is asked on behalf of somebody else (`reach.of_others`) goes no farther than it may.
    """
    limit = reach.current()
    if limit is not None:
        from launcher_recovery.transfer.http.confined import ConfinedWay

        return functools.partial(ConfinedWay, proxy, ca_bundle, limit)
    return requests.Session if proxy is None and ca_bundle is None else functools.partial(OwnWay, proxy, ca_bundle)


def usable_proxy(proxy: object) -> str | None:
    """The address of a proxy as it was given, whose password no text is to repeat from now on; None: none was given.

    Raises:
        RecoveryConfigError: it is none.
    """
    if proxy is None:
        return None
    if not isinstance(proxy, str) or not ways.is_proxy(proxy):
        shown = redact_url(proxy) if isinstance(proxy, str) else proxy
        raise refused("proxy", shown, "the address of a proxy such as http://proxy.example:3128, or None")
    password = urlsplit(proxy).password or ""
    know(password, unquote(password))
    return proxy


def usable_bundle(path: object) -> str | None:
    """The path of a file of certificates, absolute; None: none was given. Servers are always checked by one.

    Raises:
        RecoveryConfigError: there is none at the path.
    """
    if path is None:
        return None
    where = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if not isinstance(where, str) or not ways.has_certificates(where):
        raise refused("ca_bundle", path, "the path of a file of certificates (PEM), or None")
    return os.path.abspath(where)


def is_own(new_session: NewSession) -> bool:
    """Whether the sessions are each for one connection; one that a caller gives may serve others as well."""
    made = getattr(new_session, "func", None)
    return new_session is requests.Session or (isinstance(made, type) and issubclass(made, OwnWay))


def in_a_way(kwargs: Mapping[str, Any], url: str, proxy: str | None, ca_bundle: str | None) -> dict[str, Any]:
    """The arguments of `requests.Session.send`, so that it goes that way; see `OwnWay`.

    Certificates that somebody has chosen stay, if they are others than those of the environment.
    """
    found = dict(kwargs)
    if proxy is not None and not should_bypass_proxies(url, None):
        found["proxies"] = {**(found.get("proxies") or {}), "http": proxy, "https": proxy}
    usual = (None, True, *map(os.environ.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")))
    if ca_bundle is not None and found.get("verify") in usual:
        found["verify"] = ca_bundle
    return found


class OwnWay(requests.Session):
    """Goes through a proxy, and checks servers by a file of certificates; both go before the environment.

    What requests takes from the environment goes before the `proxies` and `verify` of its own sessions. Addresses that
    NO_PROXY names are reached directly all the same.

    Args:
        proxy: its address, with name and password if it needs them; None: as in the environment.
        ca_bundle: path of the file; None: as in the environment.
    """

    def __init__(self, proxy: str | None, ca_bundle: str | None) -> None:
        super().__init__()
        self._proxy = proxy
        self._ca_bundle = ca_bundle

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        if self._proxy is not None and not should_bypass_proxies(url, None):
            proxies = {**(proxies or {}), "http": self._proxy, "https": self._proxy}
        if self._ca_bundle is not None and verify in (None, True):
            verify = self._ca_bundle
        return super().merge_environment_settings(url, proxies, stream, verify, cert)
