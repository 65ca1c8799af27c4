"""The address of a PostgreSQL store: read from its URL, and told to people without anything secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import ModuleType

from launcher_recovery.errors import StoreError

EXPECTED = "postgresql://user:password@host:5432/database"

# Unless the URL says otherwise. A server that does not answer, or is gone without a word, is noticed in seconds.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "fallback_application_name": "launcher-recovery",
}
_TOLD = ("host", "hostaddr", "port", "dbname")


def driver() -> ModuleType:
    """The package psycopg.

    Raises:
        StoreError: it is not installed, or lacks its library.
    """
    try:
        import psycopg
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"A recovery database on PostgreSQL needs the package psycopg, which cannot be loaded ({reason}): "
            "pip install 'launcher-recovery[postgres]', or keep the state in a file with RECOVERY_PERSISTENCE_PATH."
        ) from None
    return psycopg


def given_url(url: str | None) -> str:
    """`url`, else `RECOVERY_DATABASE_URL`.

    Raises:
        StoreError: there is neither, or it is for something else than PostgreSQL; what it is is not repeated.
    """
    found = (os.environ.get("RECOVERY_DATABASE_URL", "") if url is None else str(url)).strip()
    if not found:
        raise StoreError(f"A recovery database on PostgreSQL needs its URL: set RECOVERY_DATABASE_URL to {EXPECTED}.")
    if not re.match(r"postgres(ql)?://", found):
        raise StoreError(f"RECOVERY_DATABASE_URL={hidden(found)!r} is not usable: it must be like {EXPECTED}.")
    return found


def hidden(url: str) -> str:
    """What may be shown of a URL that cannot be read: its scheme."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://", url)
    return f"{found.group()}…" if found else "…"


class Address:
    """Where the database is.

    Args:
        url: as libpq takes it; what it does not say comes from the variables and files of libpq (`PGPASSWORD`,
            `~/.pgpass`, …).

    Raises:
        StoreError: it makes no sense; or psycopg is missing.
    """

    def __init__(self, url: str) -> None:
        psycopg = driver()
        try:
            given: Mapping[str, str] = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # whose message repeats what was given
            raise StoreError(
                f"RECOVERY_DATABASE_URL={hidden(url)!r} is not usable: it must be like {EXPECTED}, "
                "with the special characters of user and password written as %40 and so on."
            ) from None
        self.parameters = {**_DEFAULTS, **given, "client_encoding": "UTF8"}
        self._secrets = sorted(
            {value for name, value in given.items() if name not in _TOLD and len(value) > 2}, key=len, reverse=True
        )
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "this machine"
        database = given.get("dbname") or os.environ.get("PGDATABASE") or "of the user's name"
        self.name = f"{database} on {host}"
        """The database and its host, for messages."""

    def __repr__(self) -> str:
        return f"<Address {self.name}>"

    def scrub(self, text: str) -> str:
        """A message of libpq or the server on one line, without user, password, other parameters or statements."""
        text = re.sub(r'(user|role|owner) "[^"]*"', r"\1", text)
        for secret in self._secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "…", text)
        lines = (re.sub(r"^LINE \d+:.*|^\^$", "", line.strip()) for line in text.splitlines())
        return "; ".join(line for line in lines if line)

    def refusal(self, error: object) -> StoreError:
        """The error for a database that failed."""
        return StoreError(
            f"The recovery database {self.name} cannot be used ({self.scrub(str(error))}): check that its server runs "
            "and lets this user in, or name another one with RECOVERY_DATABASE_URL."
        )
