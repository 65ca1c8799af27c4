"""Where a file can be had from: each address with what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from launcher_recovery.errors import IntegrityError

if TYPE_CHECKING:
    from launcher_recovery.transfer.http.validators import Validators
    from launcher_recovery.transfer.integrity.checksums import Checksum

# How much of a source's score the newest measurement is.
_NEWEST = 0.3
# Failures in a row, while other connections to it work, after which a source is left alone in this attempt.
_MOST_STRIKES = 4


class OtherFileError(IntegrityError):
    """A source has another file than the one that is there.

    Args:
        size: bytes of that; None: as many as what is there.
    """

    def __init__(self, text: str, size: int | None = None) -> None:
        super().__init__(text)
        self.size = size


class HeldError(requests.RequestException):
    """A redirect leads to a server that is to be left alone for a while; nothing is wrong with the source."""


class Source:
    """One address of the file.

    Args:
        url: the address.
        headers: sent to its origin, and to no other.
        is_given: whether it is the address that was asked for; others are mirrors, and have to prove themselves.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, is_given: bool = True) -> None:
        self.url = url
        self.headers = dict(headers or {})
        self.is_given = is_given
        self.is_proven = is_given
        self.resolved: str | None = None
        """Where redirects led last; never kept, since such addresses are signed."""
        self.validators: Validators | None = None
        self.ignores_ranges = False
        self.rate = 0.0
        """Bytes a second that one connection had, lately; 0 while that is not known."""
        self.is_out = False
        """Whether it is of no use any more in this attempt."""
        self.error: Exception | None = None
        """What it failed with last."""
        self.wrong_pieces = 0
        self.is_held: Callable[[str], bool] = lambda url: False
        """Whether the server of an address is to be left alone, to which a redirect leads."""
        self.mirrors: list[str] = []
        self.checksums: list[Checksum] = []
        self._strikes = 0
        self._is_forgiven = False

    @property
    def host(self) -> str:
        """Empty when the address has none."""
        origin = _origin(self.url)
        return "" if origin is None else origin[1]

    @property
    def key(self) -> str:
        """What stands for the address in the journal, where it must not be: it may hold secrets."""
        return key_of(self.url)

    def told(self, headers: Mapping[str, str], url: str) -> None:
        """Take what the headers of an answer say of checksums and further addresses (RFC 6249, RFC 9530)."""
        from launcher_recovery.transfer.sources import metalink  # which loads what reads XML and checksums

        mirrors, checksums = metalink.from_headers(headers, url)
        self.mirrors += [mirror for mirror in mirrors if mirror not in self.mirrors]
        if self.is_given and same_site(url, self.url):
            self.checksums += [checksum for checksum in checksums if checksum not in self.checksums]

    def worked(self) -> None:
        """It brought the file on; to send again what is there does not count, since that may go on for ever."""
        self._strikes = 0
        self._is_forgiven = False

    def had_rate(self, rate: float) -> None:
        """What a connection to it had over the last while, in bytes a second; 0 says nothing."""
        if rate > 0:
            self.rate = rate if not self.rate else (1 - _NEWEST) * self.rate + _NEWEST * rate

    def failed(self, error: Exception, *, is_final: bool, is_forgiven: bool) -> None:
        """A connection to it failed.

        Args:
            is_final: asking again within this attempt makes no sense.
            is_forgiven: it had sent bytes and fell silent, so that it is asked again at once, once.
        """
        self.error = error
        self._strikes += 1
        self._is_forgiven = is_forgiven and self._strikes == 1
        if is_final or self._strikes >= _MOST_STRIKES:
            self.is_out = True

    def revive(self) -> None:
        """Whatever spoke against it does not any more."""
        self.is_out, self.error, self._strikes = False, None, 0

    def is_usable(self, is_in_use: bool) -> bool:
        """Whether another connection to it makes sense now; `is_in_use` says whether one works at the moment."""
        return not self.is_out and (self._strikes == 0 or is_in_use or self._is_forgiven)


def key_of(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common (RFC 6454 §4); one that makes no sense has none."""
    origin = _origin(one)
    return origin is not None and origin == _origin(other)


def same_site(one: str, other: str) -> bool:
    """Whether two addresses have the host in common."""
    first, second = _origin(one), _origin(other)
    return first is not None and second is not None and first[1] == second[1]


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.scheme, parts.hostname, {"http": 80, "https": 443}.get(parts.scheme) if port is None else port
