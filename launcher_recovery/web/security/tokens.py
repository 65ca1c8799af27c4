"""The token of RECOVERY_API_TOKEN: shown by programs with each request, and by browsers as a session that it opened."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher_recovery.config_values import FILE, MIN_TOKEN
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.known_secrets import know
from launcher_recovery.secret_files import read_secret

logger = logging.getLogger("launcher_recovery")

VARIABLE = "RECOVERY_API_TOKEN"
SESSION_S = 14 * 24 * 3600
"""Seconds for which a browser stays logged in."""


def read_token(given: str | None) -> str | None:
    """The token of a setting, which may name a file that holds it (`file:/its/path`); None: there is none.

    Raises:
        RecoveryConfigError: the file cannot be read, or what it holds is too short. No message shows a token.
    """
    if given is None or not given.startswith(FILE):
        return given
    path = Path(given[len(FILE) :]).expanduser()
    token = read_secret(path, VARIABLE, "a token", RecoveryConfigError)
    if len(token) < MIN_TOKEN:
        raise RecoveryConfigError(
            f"{VARIABLE} names the file {path}, which holds {len(token)} characters: "
            f"a token has at least {MIN_TOKEN} characters."
        )
    return token


class ApiToken:
    """Who has the token.

    A session is a time until which it counts, a random part, and an HMAC-SHA256 of both under a key derived from the
    token: nothing is kept on the server, it counts in every process and over restarts, and ends with another token.

    Args:
        token: None: none is needed, and nobody has it.
        now: seconds since 1970.
    """

    def __init__(self, token: str | None, now: Callable[[], float]) -> None:
        self._now = now
        self._token = None if token is None else token.encode()
        self._key = b""
        self.cookie = ""
        """Name of the cookie of a session; another one for each token, so that two launchers on one machine, whose
        cookies no port keeps apart, do not log each other out."""
        if token is not None:
            know(token)
            self._key = _mac(token.encode(), "session")
            self.cookie = f"launcher_recovery_{_mac(token.encode(), 'cookie').hex()[:8]}"

    @property
    def is_needed(self) -> bool:
        """Whether a token is configured."""
        return self._token is not None

    def is_right(self, given: str) -> bool:
        """Whether this is the token, found out in a time that does not depend on how much of it is right."""
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token)

    def is_shown(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request has the token (Authorization: Bearer, RFC 6750 §2.1), or a session that it opened."""
        if self._token is None:
            return False
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() == "bearer" and self.is_right(_as_sent(given.strip())):
            return True
        return self.session_of(environ) is not None

    def session_of(self, environ: Mapping[str, Any]) -> str | None:
        """The session that a request has; None: it has none that counts."""
        # Not by a reader of cookies, which may stumble over one of somebody else.
        cookies = (part.strip().partition("=") for part in str(environ.get("HTTP_COOKIE", "")).split(";"))
        return next((value for name, _, value in cookies if name == self.cookie and self._is_session(value)), None)

    def open_session(self) -> str:
        """The value of a session's cookie, for somebody who has shown the token."""
        claim = f"{int(self._now()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        return f"{claim}.{_mac(self._key, claim).hex()}"

    def _is_session(self, given: str) -> bool:
        claim, _, mac = given.rpartition(".")
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(self._key, claim).hex().encode()):
            return False
        return int(claim.partition(".")[0]) > self._now()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest()


def _as_sent(header: str) -> str:
    """A header as UTF-8; WSGI gives its bytes as Latin-1 (PEP 3333)."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")
