"""From the arguments of a call, as they are kept with its operation, to what is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from launcher_recovery.checks import refused, whole
from launcher_recovery.config_values import WAYS
from launcher_recovery.transfer.connections.limits import CONNECTIONS_PER_HOST
from launcher_recovery.transfer.disk.reuse import How
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.integrity.hashers import HASHERS
from launcher_recovery.transfer.partial.pieces import PieceHashes
from launcher_recovery.transfer.sources.hubs import Authorization, asked_at, headers_for
from launcher_recovery.transfer.wanted import Wanted

_LOWEST_PRIORITY = -(10**6)
_PIECE_ALGORITHMS = ("sha512", "sha256", "blake3", "sha1", "md5")


def wanted_of(
    arguments: Mapping[str, Any],
    *,
    mirrors: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    new_session: Callable[[], requests.Session] | None = None,
    authorization: Authorization = headers_for,
) -> Wanted:
    """What the arguments of `launcher_download`, or of `download`, ask for.

    Args:
        arguments: url, destination; sha256, checksum and sources (a text or several), size, pieces, connections,
            priority, staging, reuse, where they are given.
        mirrors: further addresses than those among the arguments.
        headers, new_session, authorization: what is never kept, see `Wanted`.

    Raises:
        RefusedError: a checksum is none, or that of a piece.
        RecoveryConfigError: another argument is of no use, or something of the environment that concerns the address.
    """
    connections, staging = arguments.get("connections"), arguments.get("staging")
    sources = arguments.get("sources") or ()
    url = asked_at(arguments["url"])
    return Wanted(
        url=url,
        destination=Path(os.path.realpath(arguments["destination"])),
        checksums=checksums_of(arguments.get("sha256"), arguments.get("checksum")),
        size=_size(arguments.get("size")),
        mirrors=tuple(dict.fromkeys(map(asked_at, (*([sources] if isinstance(sources, str) else sources), *mirrors)))),
        piece_hashes=_piece_hashes(arguments.get("pieces")),
        headers=headers or {},
        authorization=authorization,
        connections=CONNECTIONS_PER_HOST if connections is None else whole("connections", connections, 1),
        priority=whole("priority", arguments.get("priority") or 0, _LOWEST_PRIORITY),
        staging=None if staging is None else Path(os.path.realpath(staging)),
        reuse=_reuse(arguments.get("reuse")),
        new_session=new_session or requests.Session,
    )


def checksums_of(sha256: str | None, given: str | Sequence[str] | None) -> tuple[Checksum, ...]:
    """The checksums that a caller gives, each once."""
    texts = [given] if isinstance(given, str) else list(given or ())
    found = [] if sha256 is None else [Checksum("sha256", str(sha256))]
    return tuple(dict.fromkeys((*found, *(Checksum.parse(text) for text in texts))))


def _size(size: Any) -> int | None:
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise refused("size", size, "a number of bytes, 0 or more")
    return size


def _piece_hashes(pieces: Any) -> PieceHashes | None:
    if pieces is None:
        return None
    given: Mapping[str, Any] = pieces if isinstance(pieces, Mapping) else {}
    algorithm: Any = given.get("algorithm")
    length: Any = given.get("length")
    values: Any = given.get("values")
    is_whole = isinstance(length, int) and not isinstance(length, bool)
    if algorithm not in _PIECE_ALGORITHMS or not is_whole or length < 1 or not isinstance(values, (list, tuple)):
        known = f"{', '.join(_PIECE_ALGORITHMS[:-1])} or {_PIECE_ALGORITHMS[-1]}"
        raise refused("pieces", pieces, f"the algorithm ({known}), length and values of the hashes of pieces")
    HASHERS[algorithm]()  # says at once when a package is missing
    return PieceHashes(algorithm, length, tuple(Checksum(algorithm, str(value)).value for value in values))


def _reuse(how: Any) -> How | None:
    if how in (None, "off"):
        return None
    if how not in WAYS:
        raise refused("reuse", how, f"{', '.join(WAYS)} or None")
    found: How = how
    return found
