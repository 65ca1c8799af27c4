"""Encryption at rest: what operations were called with, gave and failed with is kept so that only a key opens it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import StoreError
from launcher_recovery.secret_files import read_secret

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

logger = logging.getLogger("launcher_recovery")

VARIABLE = "RECOVERY_ENCRYPTION_KEY"
UNREADABLE_TEXT = "(encrypted, and its key is not there)"
"""Stands for a text of an attempt or an event that cannot be opened."""

_PREFIX = "enc:v1:"
_FILE = "file:"
# 32 bytes in URL-safe base64; `base64` itself is lenient, and would take half of what somebody typed.
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
_HOW = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
# What of an event's payload may quote what was encrypted elsewhere.
_SEALED_IN_EVENTS = ("error", "explanation")


class UnreadableError(StoreError):
    """Something in the store is encrypted, and its key was not given; the message says what to do."""


class Cipher:
    """Encrypts and authenticates text (Fernet: AES-128-CBC and HMAC-SHA256) with one key or several.

    Args:
        key: keys as `Fernet.generate_key` makes them, separated by commas or lines; `file:` and a path instead of a
            key stands for the keys in that file. The first one encrypts, each of them decrypts: to change the key, put
            the new one before the old one, which can go when nothing is left that was written with it.

    Raises:
        StoreError: a key is malformed, a file cannot be read, or `cryptography` is not installed. No message shows
            a key.
    """

    def __init__(self, key: str) -> None:
        self._fernet = _fernet(_keys(key))

    @classmethod
    def from_environment(cls) -> Cipher | None:
        """The cipher of `RECOVERY_ENCRYPTION_KEY`; None when that is not set."""
        key = os.environ.get(VARIABLE)
        return cls(key) if key else None

    def encrypt(self, text: str) -> str:
        """A token, in ASCII, another one each time."""
        return self._fernet.encrypt(text.encode("utf-8", "surrogatepass")).decode("ascii")

    def decrypt(self, token: str) -> str | None:
        """The text of a token; None when none of the keys opens it, or it was changed."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(token.encode("utf-8", "replace")).decode("utf-8", "surrogatepass")
        except InvalidToken:
            return None


def _fernet(keys: list[str]) -> MultiFernet:
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise StoreError(
            f"{VARIABLE} is set, but the package cryptography is missing: pip install 'launcher-recovery[crypto]'."
        ) from error
    return MultiFernet([Fernet(key) for key in keys])


def _keys(given: str) -> list[str]:
    """The keys of a setting, those in files included."""
    found: list[str] = []
    for part in _parts(given):
        if part.startswith(_FILE):
            path = Path(part[len(_FILE) :]).expanduser()
            found += [_checked(key, f"{path} holds") for key in _read(path)]
        else:
            found.append(_checked(part, f"{VARIABLE} has"))
    if not found:
        raise StoreError(f"{VARIABLE} has no key in it. This prints a new one: {_HOW}")
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]


def _checked(key: str, where: str) -> str:
    if not _KEY.fullmatch(key):
        raise StoreError(
            f"{where} something of {len(key)} characters that is no key: it must be 32 bytes in URL-safe base64, which "
            f"are 44 characters (a file with keys is given as file:/its/path). This prints a new one: {_HOW}"
        )
    return key


def _read(path: Path) -> list[str]:
    keys = _parts(read_secret(path, VARIABLE, "a key", StoreError, "ascii"))
    if not keys:
        raise StoreError(f"{VARIABLE} names the file {path}, which has no key in it. This prints a new one: {_HOW}")
    return keys


class Seal:
    """What a store puts between its values and its columns.

    Args:
        cipher: None: values are kept as they are.

    Values that were kept before there was a cipher stay readable with one, and stay as they are until they are
    written again.
    """

    def __init__(self, cipher: Cipher | None = None) -> None:
        self._cipher = cipher
        self.problem: str | None = None
        """Why something in the store could not be opened, as a sentence; None when nothing was met."""

    @property
    def is_closed(self) -> bool:
        """Whether what is written from now on can be read only with a key."""
        return self._cipher is not None

    def close(self, text: str | None) -> str | None:
        """The column of a text."""
        return text if text is None or self._cipher is None else _PREFIX + self._cipher.encrypt(text)

    def open(self, column: str | None) -> str | None:
        """The text of a column.

        Raises:
            UnreadableError: it is encrypted, and there is no key or another one.
        """
        if column is None or not column.startswith(_PREFIX):
            return column
        text = None if self._cipher is None else self._cipher.decrypt(column[len(_PREFIX) :])
        if text is None:
            raise UnreadableError(self._complain())
        return text

    def open_or_say(self, column: str | None) -> str | None:
        """Like `open`; a few words instead of what cannot be opened."""
        try:
            return self.open(column)
        except UnreadableError:
            return UNREADABLE_TEXT

    def close_payload(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The payload of an event as it is stored."""
        if self._cipher is None:
            return dict(payload)
        return {name: self.close(value) if _is_sealed(name, value) else value for name, value in payload.items()}

    def open_payload(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload of `close_payload`."""
        return {name: self.open_or_say(value) if _is_sealed(name, value) else value for name, value in payload.items()}

    def _complain(self) -> str:
        if self._cipher is None:
            sentence = f"Some of what is kept is encrypted, and there is no key: set {VARIABLE} to the one it needs."
        else:
            sentence = (
                f"Some of what is kept is encrypted with a key that is not among those given: put the one it needs "
                f"into {VARIABLE} as well, after the one that is there and a comma."
            )
        if self.problem is None:
            self.problem = sentence
            logger.warning("%s Operations concerned do not go on by themselves until then.", sentence)
        return sentence


def _is_sealed(name: str, value: Any) -> bool:
    return name in _SEALED_IN_EVENTS and isinstance(value, str)
