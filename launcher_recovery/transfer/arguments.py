"""From the arguments of a call, as they are kept with its operation, to what is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from launcher_recovery.checks import refused
from launcher_recovery.transfer.checksums import Checksum
from launcher_recovery.transfer.hubs import Authorization, asked_at, headers_for
from launcher_recovery.transfer.limits import CONNECTIONS_PER_HOST
from launcher_recovery.transfer.pieces import PieceHashes
from launcher_recovery.transfer.wanted import Wanted


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
        arguments: url, destination; sha256, checksum (a text or several), size, sources, pieces, connections, priority,
            staging, reuse, where they are given.
        mirrors: further addresses than those among the arguments.
        headers, new_session, authorization: what is never kept, see `Wanted`.

    Raises:
        RefusedError: a checksum is none.
        RecoveryConfigError: another argument is of no use, or something of the environment that concerns the address.
    """
    connections, staging, reuse = (arguments.get(name) for name in ("connections", "staging", "reuse"))
    pieces = arguments.get("pieces")
    url = asked_at(arguments["url"])
    return Wanted(
        url=url,
        destination=Path(os.path.realpath(arguments["destination"])),
        checksums=checksums_of(arguments.get("sha256"), arguments.get("checksum")),
        size=_size(arguments.get("size")),
        mirrors=tuple(dict.fromkeys(map(asked_at, (*arguments.get("sources", ()), *mirrors)))),
        piece_hashes=None
        if pieces is None
        else PieceHashes(pieces["algorithm"], pieces["length"], tuple(pieces["values"])),
        headers=headers or {},
        authorization=authorization,
        connections=CONNECTIONS_PER_HOST if connections is None else connections,
        priority=arguments.get("priority") or 0,
        staging=None if staging is None else Path(os.path.realpath(staging)),
        reuse=None if reuse == "off" else reuse,
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
