"""Hashers that are fed a file in order: those of checksums, and the one of pieces."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from copy import copy
from typing import Protocol, TypeVar, Union

from launcher_recovery.errors import RefusedError

BytesLike = Union[bytes, bytearray, memoryview]

PIECE_ALGORITHM = "xxh3-128"
"""What the hash of a piece is made with. It finds damage, not forgery: pieces are compared with what this computer
itself received, and the whole file with the checksum that was asked for.

Source: XXH3 with 128 bits, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

# Where the AutoV1 hash looks: `model_hash` of AUTOMATIC1111/stable-diffusion-webui, modules/sd_models.py, and
# `ComputeAutoV1Hash` of civitai/model-scanner, orchestrator/ModelScanner/Tasks/HashTask.cs.
_AUTOV1_START, _AUTOV1_END = 0x100000, 0x110000


class Hasher(Protocol):
    """Is fed a file from its first byte on, in order; large updates let other threads run."""

    def update(self, data: BytesLike, /) -> object:
        """Take the next bytes of the file."""

    def hexdigest(self) -> str:
        """The hash of all bytes so far, in lower-case hexadecimal."""

    def copy(self) -> Hasher:
        """Another one that has taken the same bytes so far."""


class PieceHasher(Hasher, Protocol):
    """The hash of one piece of a file."""

    def digest(self) -> bytes:
        """The hash of all bytes so far, 16 bytes."""


def piece_hasher() -> PieceHasher:
    """A new hasher of one piece, see `PIECE_ALGORITHM`.

    It lets other threads run during updates of more than 100 kB (https://github.com/ifduyue/python-xxhash/pull/22).
    """
    import xxhash

    return xxhash.xxh3_128()


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: BytesLike) -> None:
        self._value = zlib.crc32(data, self._value)

    def copy(self) -> _Crc32:
        return copy(self)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


_P = TypeVar("_P", bound="_PartOfFile")


class _PartOfFile:
    """SHA-256 of some of the bytes."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def copy(self: _P) -> _P:
        other = copy(self)
        other._digest = self._digest.copy()
        return other

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class _AutoV1(_PartOfFile):
    """SHA-256 of the 64 KiB that begin at 1 MiB."""

    def __init__(self) -> None:
        super().__init__()
        self._position = 0

    def update(self, data: BytesLike) -> None:
        view = memoryview(data)
        start, end = _AUTOV1_START - self._position, _AUTOV1_END - self._position
        self._position += len(view)
        if end > 0 and start < len(view):
            self._digest.update(view[max(start, 0) : end])


class _AutoV3(_PartOfFile):
    """SHA-256 of a safetensors file without the header, whose length is in the first 8 bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._length = b""
        self._to_skip = 0

    def update(self, data: BytesLike) -> None:
        view = memoryview(data)
        if len(self._length) < 8:
            missing = 8 - len(self._length)
            self._length += bytes(view[:missing])
            if len(self._length) < 8:
                return
            self._to_skip = int.from_bytes(self._length, "little")
            view = view[missing:]
        skipped = min(self._to_skip, len(view))
        self._to_skip -= skipped
        self._digest.update(view[skipped:])


def _blake3() -> Hasher:
    try:
        import blake3
    except ImportError:
        raise RefusedError(
            "BLAKE3 checksums need a package that is not installed: pip install 'launcher-recovery[blake3]', "
            "or give the SHA-256 instead"
        ) from None
    return blake3.blake3()


HASHERS: Mapping[str, Callable[[], Hasher]] = {
    "sha512": hashlib.sha512,
    "sha256": hashlib.sha256,
    "blake3": _blake3,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "autov1": _AutoV1,
    "autov3": _AutoV3,
    "crc32": _Crc32,
}
