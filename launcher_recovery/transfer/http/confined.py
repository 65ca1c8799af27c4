"""Connects only to where a `Reach` lets it: it is looked at the address that is connected to, for a name may have
another one with each question (DNS rebinding)."""

from __future__ import annotations

import socket
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import LocationParseError, NameResolutionError

from launcher_recovery.reach import Reach
from launcher_recovery.transfer.http.session import OwnWay


class ConfinedAdapter(HTTPAdapter):
    """Connects to the servers that it may connect to; a proxy is none of them, and resolves names by itself.

    Args:
        reach: says which these are.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        confine(self.poolmanager, self.reach)


class ConfinedWay(OwnWay):
    """Goes a way of its own, and no farther than it may; every redirect is another request.

    Args:
        proxy, ca_bundle: see `OwnWay`.
        reach: how far that is.
    """

    def __init__(self, proxy: str | None, ca_bundle: str | None, reach: Reach) -> None:
        super().__init__(proxy, ca_bundle)
        self._reach = reach
        for prefix in ("http://", "https://"):
            self.mount(prefix, ConfinedAdapter(reach))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        self._reach.check(str(request.url))
        return super().send(request, **kwargs)


def confine(manager: Any, reach: Reach) -> None:
    """Have the connections of a pool manager reach no farther."""
    classes = {}
    for scheme, pool in manager.pool_classes_by_scheme.items():
        connection = type("Confined", (_Confined, pool.ConnectionCls), {"reach": reach})
        classes[scheme] = type("ConfinedPool", (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = classes


class _Confined(urllib3.connection.HTTPConnection):
    reach: Reach

    def _new_conn(self) -> socket.socket:
        given = self._dns_host
        try:
            found = self.reach.resolve(given, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise LocationParseError(f"'{given}', label empty or too long") from error
        if found is None:
            return super()._new_conn()
        try:
            for address in found[:-1]:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except urllib3.exceptions.HTTPError:
                    continue
            self._dns_host = found[-1]
            return super()._new_conn()
        finally:
            self._dns_host = given  # by which the server is checked, and which it is told
