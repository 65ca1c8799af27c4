"""A file on offer: bytes of any size that its name and version determine, and the validators told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

from . import content

_FIRST = 1_767_225_600
"""2026-01-01, in seconds: the date of version 0; each later version is a day younger."""

_DAY = 86_400


@dataclass(frozen=True)
class File:
    """One version of a file; `dataclasses.replace` gives others. Nothing of it is held in memory.

    Args:
        size: bytes.
        name: with the version, it determines the bytes: on whatever server, two of one name are the same file.
        version: other versions have other bytes from the first to the last.
        label: what the validators are made of; default: the version. Two versions with one label have the same
            validators, one version with two labels has different ones.
        etag: "strong", "weak", or None for none.
        dated: whether there is a Last-Modified.
        wrong: offsets of bytes whose bits are turned over, for good.
        content_type: media type; None: not told.
        ranges: whether parts of it can be had.
    """

    size: int
    name: str = "model"
    version: int = 0
    label: int | None = None
    etag: str | None = "strong"
    dated: bool = True
    wrong: frozenset[int] = frozenset()
    content_type: str | None = "application/octet-stream"
    ranges: bool = True

    @property
    def entity_tag(self) -> str | None:
        """The value of the header ETag."""
        if self.etag is None:
            return None
        digest = hashlib.sha256(f"{self.name}\0{self.size}\0{self._label}".encode()).hexdigest()[:24]
        return f'W/"{digest}"' if self.etag == "weak" else f'"{digest}"'

    @property
    def modified(self) -> str | None:
        """The value of the header Last-Modified."""
        return formatdate(_FIRST + self._label * _DAY, usegmt=True) if self.dated else None

    @property
    def _label(self) -> int:
        return self.version if self.label is None else self.label

    def read(self, start: int = 0, end: int | None = None) -> Iterator[memoryview]:
        """The bytes from `start` up to but not including `end` (default: all), in blocks of at most 1 MiB."""
        for block in content.read(self.name, self.version, start, self.size if end is None else end):
            yield flipped(block, start, self.wrong)
            start += len(block)

    def content(self, start: int = 0, end: int | None = None) -> bytes:
        """The same in one piece."""
        return b"".join(self.read(start, end))

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole, in lower-case hexadecimal."""
        return self.digest("sha256")

    def digest(self, algorithm: str) -> str:
        """A digest of the whole by an algorithm that `hashlib` knows, in lower-case hexadecimal."""
        digest = hashlib.new(algorithm)
        for block in self.read():
            digest.update(block)
        return digest.hexdigest()


def flipped(block: memoryview, start: int, at: frozenset[int]) -> memoryview:
    """`block`, which lies at offset `start`, with the bits of the bytes at these offsets turned over."""
    inside = [offset - start for offset in at if start <= offset < start + len(block)]
    if not inside:
        return block
    wrong = bytearray(block)
    for place in inside:
        wrong[place] ^= 0xFF
    return memoryview(wrong)
