"""Checksums as people and hubs write them, and the hashers that go with them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import sys
import threading
import zlib

import blake3
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.integrity.checksums import PIECE_ALGORITHM, Checksum, Digests, Hasher, piece_hasher
from launcher_recovery.transfer.integrity.hashers import HASHERS

DATA = b"hello world"
SHA256 = hashlib.sha256(DATA).hexdigest()
SHA512 = hashlib.sha512(DATA).hexdigest()
SHA1 = hashlib.sha1(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
BLAKE3 = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"

HEADER = b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + b"\x01\x02\x03"
# 64 KiB of other bytes at 1 MiB, and more behind them.
LONG = bytes(0x100000) + bytes(range(256)) * 256 + b"\xff" * 1000


def based(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def hashed(checksum: Checksum, data: bytes) -> str:
    hasher = checksum.hasher()
    hasher.update(data)
    return hasher.hexdigest()


@pytest.mark.parametrize(
    ("text", "algorithm", "value"),
    [
        (f"sha256:{SHA256}", "sha256", SHA256),
        (f"  SHA-256:{SHA256.upper()}\n", "sha256", SHA256),
        (f"sha256: {SHA256}", "sha256", SHA256),
        (f"sha-256={based(SHA256)}", "sha256", SHA256),
        (f"sha256={SHA256}", "sha256", SHA256),
        (f"sha256-{based(SHA256)}", "sha256", SHA256),
        (f"sha256-{SHA256}", "sha256", SHA256),
        (f"SHA-256-{based(SHA256)}", "sha256", SHA256),
        (f"sha512-{based(SHA512)}", "sha512", SHA512),
        (f"sha512:{SHA512}", "sha512", SHA512),
        (f"SHA-1:{SHA1}", "sha1", SHA1),
        (f"md5:{MD5}", "md5", MD5),
        (f"MD5={based(MD5)}", "md5", MD5),
        (f"BLAKE3:{BLAKE3.upper()}", "blake3", BLAKE3),
        (f"blake-3:{BLAKE3}", "blake3", BLAKE3),
        ("CRC32:85114A0D", "crc32", "85114a0d"),
        ("crc-32:0d4a1185", "crc32", "0d4a1185"),
        ("AutoV1:4748A7F6", "autov1", "4748a7f6"),
        ("AutoV2:A5F58EB1C3", "autov2", "a5f58eb1c3"),
        ("AutoV3:22D8CB95B807", "autov3", "22d8cb95b807"),
        (f"autov3:{SHA256}", "autov3", SHA256),
        (SHA512, "sha512", SHA512),
        (SHA256.upper(), "sha256", SHA256),
        (SHA1, "sha1", SHA1),
        (MD5, "md5", MD5),
        ("22d8cb95b807", "autov3", "22d8cb95b807"),
        ("a5f58eb1c3", "autov2", "a5f58eb1c3"),
    ],
)
def test_every_usual_spelling_is_read(text: str, algorithm: str, value: str) -> None:
    """Names in any case, with a dash or without, hexadecimal or base64, and digits alone."""
    checksum = Checksum.parse(text)
    assert (checksum.algorithm, checksum.value) == (algorithm, value)
    assert Checksum.parse(str(checksum)) == checksum


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a checksum"),
        ("85114a0d", "'85114a0d' is not a checksum"),
        ("sha256:", "'sha256:' is not a checksum"),
        (f"sha256:{SHA1}", "is no sha256 checksum: that has 64 hexadecimal digits"),
        (f"sha256-{based(SHA1)}", "is no sha256 checksum"),
        (f"sha256:{SHA256[:-1]}g", "is no sha256 checksum"),
        (f"sha256:{SHA256}=", "is no sha256 checksum"),
        ("autov3:0123456789", "is no autov3 checksum: that has 12 or 64 hexadecimal digits"),
        (f"sha3:{SHA256}", "checksums of the kind 'sha3' are not known; give one such as sha256:"),
        (f"{SHA256} model.bin", "is not a checksum"),
        ("sha256:" + "٣" * 64, "is no sha256 checksum"),
        ("autov3:e3b0c44298fc", "autov3:e3b0c44298fc is the hash of no bytes at all"),
        ("e3b0c44298fc", "hash of no bytes at all"),
        ("autov1:e3b0c442", "hash of no bytes at all"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(text: str, said: str) -> None:
    """The sentence says what was given and what is expected."""
    with pytest.raises(RefusedError) as caught:
        Checksum.parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_given_by_mistake_is_not_repeated() -> None:
    """An address in the place of a checksum may have a token in it."""
    with pytest.raises(RefusedError) as caught:
        Checksum.parse("https://h.example/f?token=hunter2")
    assert "hunter2" not in str(caught.value)


@given(
    st.one_of(st.text(), st.from_regex(r"(sha-?(256|512|1)|md5|crc32|autov[123])[:=-][0-9a-zA-Z+/=]*", fullmatch=True))
)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Whatever is given is a checksum that reads again as itself, or a `RefusedError`."""
    try:
        checksum = Checksum.parse(text)
    except RefusedError:
        return
    assert Checksum.parse(str(checksum)) == checksum


def test_without_its_package_a_blake3_checksum_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once when it is read, not at the end of the download."""
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(RefusedError, match=r"pip install 'launcher-recovery\[blake3\]'"):
        Checksum.parse(f"blake3:{BLAKE3}")
    with pytest.raises(RefusedError, match="launcher-recovery"):
        Checksum("blake3", BLAKE3).hasher()
    assert Checksum.parse(f"sha256:{SHA256}").value == SHA256


@pytest.mark.parametrize(
    "text",
    [
        # Those that civitai/model-scanner computes for the same bytes (HashTaskTests.cs).
        "CRC32:85114A0D",
        "SHA256:B94D27B9934D3E08A52E52D7DA7DABFAC484EFE37A5380EE9088F7ACE2EFCDE9",
        "AutoV2:B94D27B993",
        "Blake3:D74981EFA70A0C880B8D8C1985D075DBCBF679B99A5F9914E5AAF96B831A9E24",
        f"crc32:{zlib.crc32(DATA):08x}",
        f"sha1:{SHA1}",
        f"md5:{MD5}",
        f"sha512:{SHA512}",
    ],
)
def test_each_kind_fits_its_file_and_no_other(text: str) -> None:
    """Checked against values that others published or hashlib computes."""
    checksum = Checksum.parse(text)
    assert checksum.matches(hashed(checksum, DATA))
    assert checksum.matches(hashed(checksum, DATA).upper())
    assert not checksum.matches(hashed(checksum, DATA + b"\n"))
    assert not checksum.matches("")


def test_autov1_looks_at_64_kib_behind_the_first_mib() -> None:
    """As the first hash of AUTOMATIC1111's web UI did."""
    checksum = Checksum("autov1", hashlib.sha256(LONG[0x100000:0x110000]).hexdigest()[:8])
    assert checksum.matches(hashed(checksum, LONG))
    assert checksum.matches(hashed(checksum, b"\x01" + LONG[1:-1]))
    assert not checksum.matches(hashed(checksum, LONG[:0x100000] + b"\xff" + LONG[0x100001:]))


def test_autov3_leaves_out_the_header() -> None:
    """A changed header changes nothing, a changed tensor does."""
    checksum = Checksum("autov3", hashlib.sha256(b"\x01\x02\x03").hexdigest()[:12])
    assert checksum.matches(hashed(checksum, SAFETENSORS))
    assert checksum.matches(hashed(checksum, SAFETENSORS.replace(b'"a"', b'"b"')))
    assert not checksum.matches(hashed(checksum, SAFETENSORS[:-1]))


def test_only_strong_checksums_of_the_whole_file_prove_that_pieces_belong_together() -> None:
    """CRC-32 is too weak, AutoV1 sees 64 KiB, AutoV3 not the header."""
    digits = {"sha512": 128, "sha256": 64, "blake3": 64, "sha1": 40, "md5": 32, "autov2": 10}
    assert all(Checksum(name, "1" * length).is_proof for name, length in digits.items())
    assert not any(Checksum(name, "1" * n).is_proof for name, n in (("crc32", 8), ("autov1", 8), ("autov3", 12)))


REFERENCE = {
    "sha512": lambda data: hashlib.sha512(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data).hexdigest(),
    "md5": lambda data: hashlib.md5(data).hexdigest(),
    "blake3": lambda data: blake3.blake3(data).hexdigest(),
    "crc32": lambda data: f"{zlib.crc32(data):08x}",
    "autov1": lambda data: hashlib.sha256(data[0x100000:0x110000]).hexdigest(),
    "autov3": lambda data: hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest(),
    PIECE_ALGORITHM: lambda data: xxhash.xxh3_128_hexdigest(data),
}


def fed(hasher: Hasher, data: bytes, cuts: list[int], kind: type) -> str:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    for start, end in itertools.pairwise(edges):
        hasher.update(kind(data[start:end]))
    hasher.update(b"")
    return hasher.hexdigest()


@pytest.mark.parametrize("name", REFERENCE)
@given(
    data=st.one_of(st.binary(max_size=100), st.just(SAFETENSORS), st.just(LONG)),
    cuts=st.lists(
        st.one_of(st.integers(0, 100), st.integers(0x0FFFFF, 0x110001), st.integers(0, len(LONG))), max_size=8
    ),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
def test_hashers_give_the_same_in_any_cutting(name: str, data: bytes, cuts: list[int], kind: type) -> None:
    """However the bytes arrive, the digits are those of the whole."""
    hasher = piece_hasher() if name == PIECE_ALGORITHM else HASHERS[name]()
    assert fed(hasher, data, cuts, kind) == REFERENCE[name](data)


def test_several_checksums_hash_each_byte_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoV2 is made of the same SHA-256, and what is wanted besides costs nothing more when it is there."""
    made: list[str] = []

    def counted(name: str) -> object:
        made.append(name)
        return hashlib.new(name)

    monkeypatch.setattr(
        "launcher_recovery.transfer.integrity.checksums.HASHERS",
        {name: lambda name=name: counted(name) for name in ("sha256", "md5", "sha1")},
    )
    right, short, wrong = Checksum("sha256", SHA256), Checksum("autov2", SHA256[:10]), Checksum("md5", "0" * 32)
    digests = Digests([right, short, wrong], also=["sha256", "sha1"])
    digests.update(DATA[:3])
    digests.update(DATA[3:])
    assert made == ["sha256", "md5", "sha1"]
    assert digests.wrong() == (wrong,)
    assert [digests.hexdigest(name) for name in ("sha256", "md5", "sha1")] == [SHA256, MD5, SHA1]


def test_the_hash_of_a_piece_is_sixteen_bytes() -> None:
    """XXH3 with 128 bits, as its digits say."""
    hasher = piece_hasher()
    hasher.update(DATA)
    assert len(hasher.digest()) == 16
    assert hasher.digest().hex() == hasher.hexdigest() == xxhash.xxh3_128_hexdigest(DATA)


@pytest.mark.parametrize("name", ["sha256", "blake3", "crc32", "autov3", PIECE_ALGORITHM])
def test_large_updates_let_other_threads_run(name: str) -> None:
    """A thread that waits gets its turn during an update, the only place where it could."""
    hasher: Hasher = piece_hasher() if name == PIECE_ALGORITHM else HASHERS[name]()
    block = bytes(8 << 20)
    gate, seen = threading.Event(), threading.Event()
    waiting = threading.Thread(target=lambda: (gate.wait(), seen.set()))
    interval = sys.getswitchinterval()
    waiting.start()
    sys.setswitchinterval(600)  # nobody is made to give way
    try:
        gate.set()
        updates = 0
        while not seen.is_set() and updates < 500:
            hasher.update(block)
            updates += 1
        assert seen.is_set()
    finally:
        sys.setswitchinterval(interval)
        waiting.join()


@pytest.mark.parametrize("name", HASHERS)
@pytest.mark.parametrize("at", [0, 3, 20, 0x100010, len(LONG)])
def test_a_copy_goes_on_by_itself(name: str, at: int) -> None:
    """From any place, such as in the middle of what a hasher looks at."""
    data = len(HEADER).to_bytes(8, "little") + LONG
    expected, hasher = HASHERS[name](), HASHERS[name]()
    expected.update(data)
    hasher.update(data[:at])
    other = hasher.copy()
    before = other.hexdigest()
    hasher.update(data[at:])
    assert other.hexdigest() == before
    other.update(data[at:])
    assert hasher.hexdigest() == other.hexdigest() == expected.hexdigest()


def test_copied_digests_have_the_same_checksums() -> None:
    digests = Digests([Checksum("sha256", SHA256)], also=["md5"])
    digests.update(DATA[:4])
    other = digests.copy()
    assert digests.wrong() == other.wrong() == (Checksum("sha256", SHA256),)
    other.update(DATA[4:])
    assert other.wrong() == ()
    assert other.hexdigest("md5") == MD5
    assert digests.wrong()


def test_a_checksum_that_was_not_asked_for_may_be_looked_at_as_well() -> None:
    """As far as its hasher was fed."""
    digests = Digests([Checksum("sha256", SHA256)])
    digests.update(DATA)
    assert digests.has(Checksum("sha256", SHA256))
    assert digests.has(Checksum("autov2", SHA256[:10]))
    assert not digests.has(Checksum("sha256", "0" * 64))
    assert not digests.has(Checksum("md5", MD5))
