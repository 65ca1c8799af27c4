"""Each hasher gives what those who made it have published for it."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import pytest

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.integrity.hashers import HASHERS, PIECE_ALGORITHM, piece_hasher

MIB = 1 << 20
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

NOTHING_512 = (
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

# FIPS 180-4 and RFC 1321 ("abc"); the check value of CRC-32/ISO-HDLC; test_vectors.json of BLAKE3; xxhsum of xxHash.
PUBLISHED = [
    ("sha512", b"", NOTHING_512),
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256", b"", NOTHING),
    ("sha1", b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("md5", b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("blake3", b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("crc32", b"123456789", "cbf43926"),
    ("crc32", b"", "00000000"),
]


def digits(name: str, *parts: bytes) -> str:
    hasher = HASHERS[name]()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


@pytest.mark.parametrize(("name", "data", "expected"), PUBLISHED)
def test_published_values(name: str, data: bytes, expected: str) -> None:
    assert digits(name, data) == expected
    assert digits(name, data[:1], b"", data[1:]) == expected


def test_the_hash_of_a_piece_is_xxh3_with_128_bits() -> None:
    hasher = piece_hasher()
    assert hasher.hexdigest() == "99aa06d3014798d86001c324468d497f"
    hasher.update(b"a")
    assert hasher.digest() == bytes.fromhex("a96faf705af16834e6c632b61e964e1f")
    assert PIECE_ALGORITHM == "xxh3-128"


def test_there_is_one_for_each_kind_of_checksum() -> None:
    assert set(HASHERS) == {"sha512", "sha256", "blake3", "sha1", "md5", "autov1", "autov3", "crc32"}


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (MIB - 1, 0, 0),
        (MIB, 0, 0),
        (MIB, 1, 1),
        (MIB, 0x10000, 0x10000),
        (MIB, 0x10001, 0x10000),
        (MIB, 5 * MIB, 0x10000),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_autov1_is_of_the_64_kib_behind_the_first_mib(before: int, after: int, counted: int, at_once: bool) -> None:
    """Of as many of them as there are."""
    data = bytes(before) + b"\1" * after
    parts = [data] if at_once else [data[start : start + 50_000] for start in range(0, len(data), 50_000)]
    assert digits("autov1", *parts) == hashlib.sha256(b"\1" * counted).hexdigest()


@pytest.mark.parametrize(
    ("parts", "rest"),
    [
        ([b"\3\0\0\0\0\0\0\0{}x", b"data"], b"data"),
        ([b"\3\0\0\0\0\0\0\0{}xdata"], b"data"),
        ([b"\3\0\0", b"\0\0\0\0", b"\0", b"{", b"}x", b"da", b"ta"], b"data"),
        ([b"\3\0\0\0\0\0\0\0", b"{}xdata"], b"data"),
        ([b"\0\0\0\0\0\0\0\0", b"data"], b"data"),
        ([b"\3\0\0\0\0\0\0\0{}x"], b""),
        ([b"\4\0\0\0\0\0\0\0{}x"], b""),
        ([b"\xff" * 8, b"data"], b""),
        ([b"\3\0\0"], b""),
        ([], b""),
    ],
)
def test_autov3_is_of_what_follows_the_header(parts: list[bytes], rest: bytes) -> None:
    """However the length, the header and the rest arrive."""
    assert digits("autov3", *parts) == hashlib.sha256(rest).hexdigest()


@pytest.mark.parametrize("name", ["sha1", "md5"])
def test_old_ones_are_not_used_for_security(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a system forbids them (FIPS), that has to be said."""
    real, said = getattr(hashlib, name), []

    def made(*given: Any, **options: Any) -> Any:
        said.append(options)
        return real(*given, **options)

    monkeypatch.setattr(hashlib, name, made)
    digits(name, b"abc")
    assert said == [{"usedforsecurity": False}]


def test_without_its_package_blake3_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)  # type: ignore[arg-type]
    with pytest.raises(RefusedError) as caught:
        HASHERS["blake3"]()
    assert str(caught.value) == (
        "BLAKE3 checksums need a package that is not installed: pip install 'launcher-recovery[blake3]', "
        "or give the SHA-256 instead"
    )
