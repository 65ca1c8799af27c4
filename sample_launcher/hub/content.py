"""Deterministic content of any size, readable from any offset without holding more than a block of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

BLOCK = 1 << 20
"""Bytes in one block; the last block of a model is cut to the model's size."""

_TAG = 32


@functools.lru_cache(maxsize=64)
def _base(name: str, version: int) -> bytes:
    return hashlib.shake_128(f"{name}\0{version}".encode()).digest(BLOCK - _TAG)


def block(name: str, version: int, index: int) -> bytes:
    """One block of a model: 32 bytes that are its own, then the model's noise turned by an amount of its own.

    Turning costs a memory copy, where fresh noise for each block would cost more than sending it.
    """
    tag = hashlib.blake2b(f"{name}\0{version}\0{index}".encode(), digest_size=_TAG).digest()
    noise = memoryview(_base(name, version))
    turn = int.from_bytes(tag[:4], "big") % len(noise)
    return b"".join((tag, noise[turn:], noise[:turn]))


def read(name: str, version: int, start: int, length: int) -> Iterator[memoryview]:
    """Yield `length` bytes from the absolute offset `start`, in pieces of at most one block."""
    while length > 0:
        index, skip = divmod(start, BLOCK)
        piece = memoryview(block(name, version, index))[skip : skip + length]
        yield piece
        start += len(piece)
        length -= len(piece)


@functools.lru_cache(maxsize=256)
def sha256(name: str, version: int, size: int) -> str:
    """SHA-256 (64 hex digits) of a whole model; computed on the first call, then remembered."""
    digest = hashlib.sha256()
    for piece in read(name, version, 0, size):
        digest.update(piece)
    return digest.hexdigest()
