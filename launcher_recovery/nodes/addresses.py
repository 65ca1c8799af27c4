"""Addresses of repositories, as git takes them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SCHEMES = ("https", "http", "ssh", "file")
SCP_LIKE = re.compile(r"^[\w.-]+@(?P<host>[\w.-]+):[^:]")


def host_of(url: str) -> str | None:
    """Whom an address asks; None for a folder."""
    found = SCP_LIKE.match(url)
    return found["host"] if found is not None else urlsplit(url).hostname
