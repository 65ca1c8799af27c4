"""What a caller asks for: the file, where it is to be, and how it is to be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from launcher_recovery.transfer.connections.limits import CONNECTIONS_PER_HOST
from launcher_recovery.transfer.disk.reuse import How
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.partial.pieces import PieceHashes
from launcher_recovery.transfer.sources.hubs import Authorization, given_first, nobody


@dataclass(frozen=True)
class Wanted:
    """One file.

    Args:
        url: where it is asked for first.
        destination: where it is to be, with links resolved.
        checksums: what it is to have.
        size: bytes; None: not known.
        mirrors: further addresses, best first.
        piece_hashes: hashes of its pieces, from somebody who knows the file.
        headers: sent to the origin of `url` alone.
        authorization: gives the headers by which a server knows who asks, from an address; sent to the origin of that
            address alone.
        connections: how many at most, to one host.
        priority: higher goes first where downloads share something.
        staging: a folder for the partial; None: beside the destination.
        reuse: how a file with the same content that is on the disk already may serve instead of a download:
            "reflink", "hardlink", "copy", "auto"; None: not at all.
        new_session: makes what each connection is made with.
    """

    url: str
    destination: Path
    checksums: tuple[Checksum, ...] = ()
    size: int | None = None
    mirrors: tuple[str, ...] = ()
    piece_hashes: PieceHashes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: Authorization = nobody
    connections: int = CONNECTIONS_PER_HOST
    priority: int = 0
    staging: Path | None = None
    reuse: How | None = None
    new_session: Callable[[], requests.Session] = requests.Session

    def headers_of(self, url: str) -> dict[str, str]:
        """What is sent with each request for one of the addresses; what the caller gives goes first."""
        return given_first(self.headers if url == self.url else {}, self.authorization(url))

    @property
    def proofs(self) -> tuple[Checksum, ...]:
        """The checksums that prove that bytes from different places and times are one file."""
        return tuple(checksum for checksum in self.checksums if checksum.is_proof)
