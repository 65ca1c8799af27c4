"""Sessions for operations whose servers are reached in a way of their own: a proxy, or other certificates."""

from __future__ import annotations

from typing import Any

import requests
from requests.utils import should_bypass_proxies


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
