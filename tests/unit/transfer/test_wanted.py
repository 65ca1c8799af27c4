"""What a caller asks for, and what of it goes where."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import requests

from launcher_recovery.transfer.connections.limits import CONNECTIONS_PER_HOST
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.wanted import Wanted

URL = "https://hub.example/model.bin"
PATH = Path("/models/model.bin")


def test_a_file_is_wanted_with_as_little_as_an_address_and_a_place() -> None:
    wanted = Wanted(URL, PATH)
    assert (wanted.url, wanted.destination, wanted.checksums, wanted.size, wanted.mirrors) == (URL, PATH, (), None, ())
    assert (wanted.piece_hashes, wanted.headers, wanted.proofs, wanted.priority) == (None, {}, (), 0)
    assert (wanted.connections, wanted.staging, wanted.reuse) == (CONNECTIONS_PER_HOST, None, None)
    assert wanted.new_session is requests.Session
    assert wanted.headers_of(URL) == {}


def test_what_is_wanted_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Wanted(URL, PATH).size = 5  # type: ignore[misc]


def test_only_some_checksums_prove_that_parts_belong_together() -> None:
    """In the order in which they were given."""
    md5, crc32 = Checksum("md5", "0" * 32), Checksum("crc32", "0" * 8)
    short, sha256 = Checksum("autov2", "1" * 10), Checksum("sha256", "1" * 64)
    assert Wanted(URL, PATH, (md5, crc32, short, sha256)).proofs == (md5, short, sha256)
    assert Wanted(URL, PATH, (crc32, Checksum("autov1", "1" * 8), Checksum("autov3", "1" * 12))).proofs == ()


def test_headers_of_the_caller_go_to_the_address_alone_and_before_those_of_the_hub() -> None:
    asked: list[str] = []

    def authorization(url: str) -> dict[str, str]:
        asked.append(url)
        return {"Authorization": "Bearer hub", "X-Hub": url}

    wanted = Wanted(URL, PATH, headers={"authorization": "Bearer mine"}, authorization=authorization)
    other = "https://mirror.example/model.bin"
    assert wanted.headers_of(URL) == {"authorization": "Bearer mine", "X-Hub": URL}
    assert wanted.headers_of(other) == {"Authorization": "Bearer hub", "X-Hub": other}
    assert asked == [URL, other]


def test_headers_are_not_shown() -> None:
    assert "secret" not in repr(Wanted(URL, PATH, headers={"Authorization": "Bearer secret"}))
