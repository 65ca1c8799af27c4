"""Bytes of any length that a name and a version determine, of which no more than a block is held in memory."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

BLOCK = 1 << 20
"""Bytes of a block."""

_TAG = 32


@functools.lru_cache(maxsize=64)
def _noise(name: str, version: int) -> bytes:
    return hashlib.shake_128(f"{name}\0{version}".encode()).digest(BLOCK - _TAG)


def _block(name: str, version: int, index: int) -> bytes:
    """32 bytes that are its own, then the noise of the version, turned by an amount of its own.

    Turning costs a copy in memory, where new noise for each block would cost more than sending it.
    """
    tag = hashlib.blake2b(f"{name}\0{version}\0{index}".encode(), digest_size=_TAG).digest()
    noise = memoryview(_noise(name, version))
    turn = int.from_bytes(tag[:4], "big") % len(noise)
    return b"".join((tag, noise[turn:], noise[:turn]))


def read(name: str, version: int, start: int, end: int) -> Iterator[memoryview]:
    """The bytes from `start` up to but not including `end`, in parts of at most a block."""
    while start < end:
        index, skip = divmod(start, BLOCK)
        part = memoryview(_block(name, version, index))[skip : skip + end - start]
        yield part
        start += len(part)
