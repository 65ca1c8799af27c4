"""How servers are reached: addresses of proxies, and files of certificates by which servers are checked."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def is_proxy(address: str) -> bool:
    """Whether it is the address of a proxy that speaks HTTP; it may have a name and password in it."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # which is looked at only now
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")


def has_certificates(path: str | Path) -> bool:
    """Whether a file has at least one certificate in it (PEM)."""
    import ssl  # loaded only by those who have such a file

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError):
        return False
    return bool(context.cert_store_stats()["x509"])
