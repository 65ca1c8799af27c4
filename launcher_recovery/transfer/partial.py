"""The partial file beside its destination: append, verify, publish."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

_BLOCK = 1 << 20


class Partial:
    """`NAME.part` beside the destination, open for appending at `start`; hashes what passes through.

    Args:
        destination: where the file is to be in the end.
        start: bytes that are kept; what lies behind is cut off.
        digest: SHA-256 object that has seen the kept bytes; None: no SHA-256 is wanted.
    """

    def __init__(self, destination: Path, start: int, digest: Any) -> None:
        self.path = path_for(destination)
        self._destination = destination
        self._digest = digest
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self.path.open("r+b" if self.path.exists() else "w+b")
        try:
            self._file.truncate(start)
            self._file.seek(start)
        except BaseException:
            self._file.close()
            raise
        self.size = start

    def write(self, data: bytes) -> None:
        """Append."""
        # Written through at once: after a kill the length of the file says exactly what is there.
        self._file.write(data)
        self._file.flush()
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of everything so far, in lower-case hexadecimal."""
        return str(self._digest.hexdigest())

    def publish(self) -> None:
        """Make it the destination, durably and at once: nobody ever sees half a file there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self._destination)
        sync_folder(self._destination.parent)

    def discard(self) -> None:
        """Delete it."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def path_for(destination: Path) -> Path:
    """Where the partial of `destination` lies."""
    return destination.with_name(destination.name + ".part")


def kept_bytes(destination: Path) -> int:
    """Length of the partial; 0 when there is none."""
    try:
        return path_for(destination).stat().st_size
    except FileNotFoundError:
        return 0


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where folders can be synced."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_of(path: Path, length: int, check: Callable[[], None]) -> Any:
    """SHA-256 object that has seen the first `length` bytes of a file; `check` is called between blocks."""
    digest = hashlib.sha256()
    if length > 0:
        with path.open("rb") as file:
            while length > 0 and (block := file.read(min(_BLOCK, length))):
                digest.update(block)
                length -= len(block)
                check()
    return digest
