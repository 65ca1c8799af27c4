"""Arguments of a call, as they are kept as JSON, become what is wanted; what makes no sense is refused in words."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.transfer.arguments import checksums_of, wanted_of
from launcher_recovery.transfer.connections.limits import CONNECTIONS_PER_HOST
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.partial.pieces import PieceHashes
from launcher_recovery.transfer.sources.hubs import headers_for
from launcher_recovery.transfer.wanted import Wanted

URL = "https://hub.example/model.bin"
SHA256 = hashlib.sha256(b"data").hexdigest()
MD5 = hashlib.md5(b"data").hexdigest()


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def wanted(**arguments: Any) -> Wanted:
    """Through JSON, as they are kept."""
    return wanted_of(json.loads(json.dumps({"url": URL, "destination": "/models/model.bin", **arguments})))


def test_an_address_and_a_place_are_enough() -> None:
    found = wanted()
    assert found == Wanted(URL, Path("/models/model.bin"), authorization=headers_for)
    assert (found.connections, found.new_session) == (CONNECTIONS_PER_HOST, requests.Session)


def test_everything_that_can_be_asked_for() -> None:
    found = wanted(
        sha256=SHA256,
        checksum=[f"md5:{MD5}"],
        size=4,
        sources=["https://one.example/m"],
        pieces={"algorithm": "md5", "length": 4, "values": [MD5]},
        connections=2,
        priority=-3,
        staging="/staging",
        reuse="auto",
        project_id="p",
    )
    assert found == Wanted(
        URL,
        Path("/models/model.bin"),
        checksums=(Checksum("sha256", SHA256), Checksum("md5", MD5)),
        size=4,
        mirrors=("https://one.example/m",),
        piece_hashes=PieceHashes("md5", 4, (MD5,)),
        authorization=headers_for,
        connections=2,
        priority=-3,
        staging=Path("/staging"),
        reuse="auto",
    )


def test_what_is_none_is_not_given() -> None:
    names = ("sha256", "checksum", "size", "sources", "pieces", "connections", "priority", "staging", "reuse")
    assert wanted(**dict.fromkeys(names)) == wanted()


def test_what_is_never_kept_is_given_besides() -> None:
    session = requests.Session()
    found = wanted_of(
        {"url": URL, "destination": "/m"},
        headers={"X-Mine": "1"},
        new_session=lambda: session,
        authorization=lambda url: {"X-Theirs": url},
    )
    assert found.headers_of(URL) == {"X-Mine": "1", "X-Theirs": URL}
    assert found.new_session() is session


def test_links_on_the_way_to_the_destination_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = wanted(destination=str(tmp_path / "link" / "model.bin"), staging=str(tmp_path / "link"))
    assert found.destination == (tmp_path / "real" / "model.bin").resolve()
    assert found.staging == (tmp_path / "real").resolve()


def test_a_hub_that_is_asked_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.example")
    found = wanted(
        url="https://huggingface.co/o/m/resolve/main/m.bin", sources=["https://hf.co/o/m", "https://x.example"]
    )
    assert found.url == "https://hf-mirror.example/o/m/resolve/main/m.bin"
    assert found.mirrors == ("https://hf-mirror.example/o/m", "https://x.example")


def test_each_mirror_is_named_once_those_of_the_caller_first() -> None:
    given = {"url": URL, "destination": "/m", "sources": ["https://b.example", "https://a.example"]}
    found = wanted_of(given, mirrors=["https://a.example", "https://c.example"])
    assert found.mirrors == ("https://b.example", "https://a.example", "https://c.example")


def test_a_single_mirror_may_be_a_text() -> None:
    assert wanted(sources="https://a.example/m").mirrors == ("https://a.example/m",)


def test_reuse_that_is_off_is_none() -> None:
    assert wanted(reuse="off").reuse is None


# -- checksums ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sha256", "given", "expected"),
    [
        (None, None, ()),
        (None, (), ()),
        (SHA256.upper(), None, (("sha256", SHA256),)),
        (None, f"SHA-256={SHA256}", (("sha256", SHA256),)),
        (SHA256, MD5, (("sha256", SHA256), ("md5", MD5))),
        (SHA256, [MD5, SHA256, MD5], (("sha256", SHA256), ("md5", MD5))),
        (None, (MD5, SHA256), (("md5", MD5), ("sha256", SHA256))),
    ],
)
def test_each_checksum_is_looked_at_once(sha256: str | None, given: Any, expected: tuple[tuple[str, str], ...]) -> None:
    assert checksums_of(sha256, given) == tuple(Checksum(*one) for one in expected)


@pytest.mark.parametrize(
    ("sha256", "given"), [("", None), (None, ""), (MD5, None), (None, "not a checksum"), (None, [SHA256, "?"])]
)
def test_what_is_no_checksum_is_refused(sha256: str | None, given: Any) -> None:
    with pytest.raises(RefusedError, match="checksum"):
        checksums_of(sha256, given)


# -- what makes no sense --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, 1.5, "5", True, [5]])
def test_a_size_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(RecoveryConfigError) as caught:
        wanted(size=size)
    assert str(caught.value) == f"size={size!r} is not usable: it must be a number of bytes, 0 or more"


@pytest.mark.parametrize("size", [0, 1, 1 << 50])
def test_every_size_is_one(size: int) -> None:
    assert wanted(size=size).size == size


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"connections": 0}, "connections=0 is not usable: it must be a whole number of at least 1"),
        ({"connections": "2"}, "connections='2' is not usable: it must be a whole number of at least 1"),
        ({"priority": "high"}, "priority='high' is not usable: it must be a whole number of at least -1000000"),
        (
            {"reuse": "maybe"},
            "reuse='maybe' is not usable: it must be off, reflink, hardlink, copy, auto or None",
        ),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecoveryConfigError) as caught:
        wanted(**arguments)
    assert str(caught.value) == expected


PIECES = "the algorithm (sha512, sha256, blake3, sha1 or md5), length and values of the hashes of pieces"


@pytest.mark.parametrize(
    "pieces",
    [
        {},
        [],
        "sha256",
        {"algorithm": "sha256", "length": 4},
        {"algorithm": "sha256", "values": []},
        {"length": 4, "values": []},
        {"algorithm": "sha256", "length": 4, "values": None},
        {"algorithm": "sha256", "length": 4, "values": SHA256},
        {"algorithm": "sha256", "length": 0, "values": []},
        {"algorithm": "sha256", "length": -1, "values": []},
        {"algorithm": "sha256", "length": 4.0, "values": []},
        {"algorithm": "sha256", "length": True, "values": []},
        {"algorithm": "sha3", "length": 4, "values": []},
        {"algorithm": "autov2", "length": 4, "values": []},
        {"algorithm": "autov3", "length": 4, "values": []},
        {"algorithm": "crc32", "length": 4, "values": []},
        {"algorithm": ["sha256"], "length": 4, "values": []},
    ],
)
def test_hashes_of_pieces_say_what_they_are(pieces: Any) -> None:
    """Before a byte is asked for, and not in the middle of it."""
    with pytest.raises(RecoveryConfigError) as caught:
        wanted(pieces=pieces)
    assert str(caught.value).startswith("pieces=")
    assert str(caught.value).endswith(f"is not usable: it must be {PIECES}")


@pytest.mark.parametrize("value", ["", MD5, "z" * 64, 5, None])
def test_the_hash_of_a_piece_is_one(value: Any) -> None:
    with pytest.raises((RefusedError, RecoveryConfigError)):
        wanted(pieces={"algorithm": "sha256", "length": 4, "values": [SHA256, value]})


def test_hashes_of_pieces_may_have_capital_letters() -> None:
    found = wanted(pieces={"algorithm": "sha256", "length": 4, "values": [SHA256.upper(), SHA256]})
    assert found.piece_hashes == PieceHashes("sha256", 4, (SHA256, SHA256))


def test_hashes_of_pieces_that_cannot_be_computed_here_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = {"algorithm": "blake3", "length": 4, "values": [SHA256]}
    assert wanted(pieces=pieces).piece_hashes == PieceHashes("blake3", 4, (SHA256,))
    monkeypatch.setitem(sys.modules, "blake3", None)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match=r"pip install 'launcher-recovery\[blake3\]'"):
        wanted(pieces=pieces)
