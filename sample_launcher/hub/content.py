"""Deterministic content of any size, readable from any offset without holding more than a block of it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator

BLOCK = 1 << 20
"""Bytes in one block; the last block of a model is cut to the model's size."""

_TAG = 32
_HEADER = 128
"""Bytes of the header of a safetensors file, padded with spaces; a smaller file has none."""


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


def header(name: str, size: int) -> bytes:
    """What a model begins with: a safetensors file has a header that describes the rest as one tensor."""
    if not name.endswith(".safetensors") or size < _HEADER:
        return b""
    count = size - _HEADER
    text = json.dumps({"noise": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}})
    return (_HEADER - 8).to_bytes(8, "little") + text.encode().ljust(_HEADER - 8)


def read(name: str, version: int, size: int, start: int, length: int) -> Iterator[memoryview]:
    """Yield `length` bytes from the absolute offset `start` of `size`, in pieces of at most one block."""
    beginning = memoryview(header(name, size))[start : start + length]
    if beginning:
        yield beginning
        start += len(beginning)
        length -= len(beginning)
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
    for piece in read(name, version, size, 0, size):
        digest.update(piece)
    return digest.hexdigest()
