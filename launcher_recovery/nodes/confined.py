"""Has git connect only to where a `Reach` lets it: it resolves names and follows redirects by itself otherwise."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from launcher_recovery.reach import Reach, has_proxy, literal_address
from launcher_recovery.transfer.http.session import NewSession

_FIRST = "/info/refs?service=git-upload-pack"
_TIMEOUT_S = (10.0, 30.0)


def settings_for(url: str, reach: Reach, new_session: NewSession) -> list[tuple[str, str]]:
    """Settings of git for asking a repository: no redirect is followed but those that were looked at here, and of its
    server the addresses count that were looked at (`http.curloptResolve`; git before 2.37 resolves the name itself).

    Args:
        url: of the repository.
        reach: how far git may go.
        new_session: makes sessions that go no farther.

    Raises:
        PrivateAddressError: it leads to where nobody may be asked.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return []
    target = _final(url, new_session)
    settings = [("http.followRedirects", "false")]
    if target != url:
        settings.append((f"url.{target}.insteadOf", url))
    parts = urlsplit(target)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if literal_address(host) is None and not has_proxy(target):
        try:
            found = reach.resolve(host, port)
        except (OSError, UnicodeError):
            return settings  # git says so
        if found is not None:
            settings.append(("http.curloptResolve", f"{host}:{port}:{','.join(found)}"))
    return settings


def _final(url: str, new_session: NewSession) -> str:
    """Where git would be redirected to; each step is looked at by the session."""
    base = url.rstrip("/")
    try:
        with new_session() as session, session.get(base + _FIRST, timeout=_TIMEOUT_S, stream=True) as answer:
            found = str(answer.url)
            is_elsewhere = bool(answer.history) and answer.ok and found.endswith(_FIRST)
    except requests.RequestException:
        return url  # git says so, with words that rules know
    return found.removesuffix(_FIRST) if is_elsewhere else url
