"""What is on the disk already: the file itself, or another one with the same content."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from launcher_recovery.errors import RefusedError, StoreError
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import keeps_transfers
from launcher_recovery.transfer.disk import reuse
from launcher_recovery.transfer.disk.folders import folder_for
from launcher_recovery.transfer.integrity.checksums import Checksum, Digests
from launcher_recovery.transfer.partial import journal
from launcher_recovery.transfer.wanted import Wanted

logger = logging.getLogger("launcher_recovery")


def is_there(destination: Path, checksums: tuple[Checksum, ...], size: int | None, check: Callable[[], object]) -> bool:
    """Whether the file is at its place already, as far as size and checksums tell."""
    if not destination.is_file():
        return False
    if size is not None and destination.stat().st_size != size:
        return False
    return not wrong_checksums(destination, checksums, check)


def wrong_checksums(path: Path, checksums: tuple[Checksum, ...], check: Callable[[], object]) -> tuple[Checksum, ...]:
    """The checksums that a file does not have; `check` is called between blocks."""
    if not checksums:
        return ()
    digests = Digests(checksums)
    block = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digests.update(block[:count])
            check()
    return digests.wrong()


def reused(operation: Operation, wanted: Wanted) -> bool:
    """Whether a file with the same content that is on the disk already could serve."""
    store = operation.store
    assert wanted.reuse is not None
    if not keeps_transfers(store):
        return False
    for checksum in wanted.proofs:
        try:
            found = store.transfers_of(str(checksum))
        except StoreError:
            return False
        for other in found:
            source = Path(other.destination)
            try:
                if source == wanted.destination or not reuse.verified(source, checksum, operation.check):
                    continue
                folder_for(wanted.destination, False)
                how = reuse.place(source, wanted.destination, wanted.reuse, operation.check)
            except (OSError, RefusedError) as error:
                logger.info("%s cannot serve as %s: %s", source, wanted.destination.name, error)
                continue
            logger.info("%s has the same content and serves as %s (%s)", source, wanted.destination.name, how)
            size = wanted.destination.stat().st_size
            operation.resume_at(size, size, "bytes")
            operation.keep_transfer(journal.of_file(wanted.destination, None, {}, str(checksum), size))
            return True
    return False
