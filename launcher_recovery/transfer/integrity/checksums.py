"""Checksums of files: what people and hubs write, read into one form, and the hashers that go with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from launcher_recovery.checks import shown
from launcher_recovery.errors import RefusedError
from launcher_recovery.redaction import Redactor
from launcher_recovery.transfer.integrity.hashers import (
    HASHERS,
    PIECE_ALGORITHM,
    BytesLike,
    Hasher,
    PieceHasher,
    piece_hasher,
)

__all__ = ["PIECE_ALGORITHM", "BytesLike", "Checksum", "Digests", "Hasher", "PieceHasher", "piece_hasher"]


@dataclass(frozen=True)
class _Kind:
    """A kind of checksum: the hasher that it is made with, and how many of its hexadecimal digits count."""

    hasher: str
    lengths: tuple[int, ...]
    proof: bool = True


# AutoV2 is the beginning of the SHA-256 (`shorthash` in AUTOMATIC1111/stable-diffusion-webui, modules/sd_models.py),
# AutoV3 that of a SHA-256 without the safetensors header (`addnet_hash_safetensors`, modules/hashes.py). CivitAI
# gives 12 digits of AutoV3, and once gave all (https://developer.civitai.com, `HashTask.cs` of civitai/model-scanner).
_KINDS: Mapping[str, _Kind] = {
    "sha512": _Kind("sha512", (128,)),
    "sha256": _Kind("sha256", (64,)),
    "blake3": _Kind("blake3", (64,)),
    "sha1": _Kind("sha1", (40,)),
    "md5": _Kind("md5", (32,)),
    "autov2": _Kind("sha256", (10,)),
    "autov3": _Kind("autov3", (12, 64), proof=False),
    "autov1": _Kind("autov1", (8,), proof=False),
    "crc32": _Kind("crc32", (8,), proof=False),
}
_NOTHING = hashlib.sha256().hexdigest()
# Eight digits alone may be a CRC-32 or an AutoV1.
_BARE = {128: "sha512", 64: "sha256", 40: "sha1", 32: "md5", 12: "autov3", 10: "autov2"}
_NAMED = re.compile(r"([A-Za-z]+-?[0-9]*)[:=-]\s*(\S+)")
_HEX = re.compile(r"[0-9a-fA-F]+")
_EXPECTED = "such as sha256:… followed by its 64 hexadecimal digits"


@dataclass(frozen=True)
class Checksum:
    """A checksum that a file is to have.

    Args:
        algorithm: one of sha512, sha256, blake3, sha1, md5, autov1, autov2, autov3, crc32.
        value: its hexadecimal digits, in any case.

    Raises:
        RefusedError: there is no such algorithm, or these cannot be digits of it.
    """

    algorithm: str
    value: str

    def __post_init__(self) -> None:
        kind = _KINDS.get(self.algorithm)
        if kind is None:
            raise RefusedError(f"checksums of the kind {_quoted(self.algorithm)} are not known; give one {_EXPECTED}")
        if not _HEX.fullmatch(self.value) or len(self.value) not in kind.lengths:
            raise RefusedError(
                f"{_quoted(self.value)} is no {self.algorithm} checksum: that has "
                f"{' or '.join(map(str, kind.lengths))} hexadecimal digits"
            )
        object.__setattr__(self, "value", self.value.lower())
        if self.algorithm in ("autov1", "autov3") and _NOTHING.startswith(self.value):
            # Published for files that are no safetensors or too short; any such file would pass.
            raise RefusedError(f"{self} is the hash of no bytes at all and says nothing about the file; leave it out")

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read a checksum as people and hubs write it.

        Args:
            text: `sha256:…`, `SHA-256=…` or `sha256-…` with hexadecimal digits or base64 (W3C Subresource Integrity,
                RFC 3230), an oid of Git LFS, or digits alone where their number decides.

        Raises:
            RefusedError: it is nothing of the kind, or BLAKE3 while that is not installed.
        """
        text = text.strip()
        named = _NAMED.fullmatch(text)
        if named is not None:
            algorithm = named.group(1).lower().replace("-", "")
            checksum = cls(algorithm, _digits(algorithm, named.group(2)))
        elif _HEX.fullmatch(text) and len(text) in _BARE:
            checksum = cls(_BARE[len(text)], text)
        else:
            raise RefusedError(f"{_quoted(text)} is not a checksum; give one {_EXPECTED}")
        checksum.hasher()  # says at once when a package is missing
        return checksum

    @property
    def hashed_with(self) -> str:
        """The name of the hasher; checksums with the same one share its work, as AutoV2 and SHA-256 do."""
        return _KINDS[self.algorithm].hasher

    @property
    def is_proof(self) -> bool:
        """Whether it proves that pieces from different places are one file.

        CRC-32 and AutoV1 are too weak for that, and AutoV3 leaves out the header.
        """
        return _KINDS[self.algorithm].proof

    def hasher(self) -> Hasher:
        """A new hasher, whose digits `matches` takes."""
        return HASHERS[self.hashed_with]()

    def matches(self, hexdigest: str) -> bool:
        """Whether all digits that its hasher gave fit to this checksum."""
        hexdigest = hexdigest.lower()
        if self.algorithm == "crc32":
            # CivitAI writes the lowest byte first, as .NET's System.IO.Hashing.Crc32 gives it; all others the highest.
            return self.value in (hexdigest, _reversed_bytes(hexdigest))
        return hexdigest[: len(self.value)] == self.value

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


class Digests:
    """Feeds a file to the hashers of several checksums, to each hasher once.

    Args:
        checksums: what the file is to have.
        also: names of hashers whose digits are wanted besides, such as "sha256".
    """

    def __init__(self, checksums: Iterable[Checksum], also: Iterable[str] = ()) -> None:
        self.checksums = tuple(checksums)
        names = dict.fromkeys((*(checksum.hashed_with for checksum in self.checksums), *also))
        self._hashers = {name: HASHERS[name]() for name in names}

    def update(self, data: BytesLike) -> None:
        """Take the next bytes of the file."""
        for hasher in self._hashers.values():
            hasher.update(data)

    def copy(self) -> Digests:
        """Others that have taken the same bytes so far."""
        other = Digests(())
        other.checksums = self.checksums
        other._hashers = {name: hasher.copy() for name, hasher in self._hashers.items()}
        return other

    def hexdigest(self, name: str) -> str:
        """All digits of the hasher of that name."""
        return self._hashers[name].hexdigest()

    def has(self, checksum: Checksum) -> bool:
        """Whether the bytes so far have a checksum, which need not be one of those that were given; False also when
        its hasher was not fed."""
        hasher = self._hashers.get(checksum.hashed_with)
        return hasher is not None and checksum.matches(hasher.hexdigest())

    def wrong(self) -> tuple[Checksum, ...]:
        """The checksums that the bytes so far do not have."""
        digits = {name: hasher.hexdigest() for name, hasher in self._hashers.items()}
        return tuple(checksum for checksum in self.checksums if not checksum.matches(digits[checksum.hashed_with]))


def _digits(algorithm: str, value: str) -> str:
    """Hexadecimal digits from digits or base64; what is neither is left for `Checksum` to refuse."""
    kind = _KINDS.get(algorithm)
    if kind is None or (_HEX.fullmatch(value) and len(value) in kind.lengths):
        return value
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
    return decoded.hex() if len(decoded) * 2 in kind.lengths else value


def _reversed_bytes(hexdigest: str) -> str:
    return bytes.fromhex(hexdigest)[::-1].hex()


def _quoted(text: str) -> str:
    return shown(Redactor().text(text))
