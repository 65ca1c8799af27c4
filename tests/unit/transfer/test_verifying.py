"""A file is looked at byte by byte, and healed with exactly what is damaged in it, from where it was downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import xxhash

from launcher_recovery.errors import IntegrityError, RefusedError, StoreError
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.transfer.integrity import verifying as verifying_module
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.integrity.verifying import Verified, verify_file
from launcher_recovery.transfer.partial import journal
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import Source
from tests.faults import FaultServer, Reply, part, whole
from tests.origin import File, Origin

PIECE = 10_000
FILE = File(42_000)
SIZE = FILE.size
DATA = FILE.content()
SHA256 = Checksum("sha256", FILE.sha256)
MD5 = Checksum("md5", hashlib.md5(DATA).hexdigest())
OTHER = Checksum("sha256", "0" * 64)
CHECKED = f"{SHA256} and its pieces"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying_module, "_BLOCK", 3_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(DATA)
    return path


def pieces_of(data: bytes = DATA) -> Pieces:
    """All of them there, and some of them durable, as after a download."""
    pieces = Pieces(len(data), PIECE)
    if data:
        pieces.add(0, len(data))
    for index in range(pieces.count):
        pieces.hashes[index] = xxhash.xxh3_128_digest(data[pieces.start_of(index) : pieces.end_of(index)])
        pieces.durable[index] = index < 2
    return pieces


@pytest.fixture
def store(path: Path) -> MemoryPersistence:
    """What was kept when the file was downloaded."""
    made = MemoryPersistence()
    made.keep_transfer(journal.of_file(path, pieces_of(), {}, str(SHA256), SIZE))
    return made


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


def verify(path: Path, store: Any, *checksums: Checksum, url: str | None = None, **options: Any) -> Verified:
    sources = [Source(url, options.pop("headers", None))] if url is not None else []
    given = {"repair": url is not None, "check": lambda: None, "sources": sources, **options}
    return verify_file(path, store, checksums, **given)


def damage(path: Path, *at: int) -> bytes:
    data = bytearray(path.read_bytes())
    for offset in at:
        data[offset] ^= 1
    path.write_bytes(data)
    return bytes(data)


def ranges(origin: Origin) -> list[str | None]:
    return [asked.headers.get("range") for asked in origin.requests()]


# -- looking --------------------------------------------------------------------------------------------------


def test_a_file_that_is_as_it_was_downloaded_is_right(path: Path, store: MemoryPersistence) -> None:
    assert verify(path, store) == Verified(True, SIZE, CHECKED)
    assert verify(path, store, MD5, SHA256) == Verified(True, SIZE, f"{MD5} and {CHECKED}")
    assert verify(path, store, repair=True) == Verified(True, SIZE, CHECKED)


@pytest.mark.parametrize("at", [0, PIECE - 1, PIECE, 2 * PIECE + 5, SIZE - 1])
def test_one_wrong_byte_is_found_and_so_is_its_piece(path: Path, store: MemoryPersistence, at: int) -> None:
    damaged = damage(path, at)
    start = at // PIECE * PIECE
    found = verify(path, store)
    assert found == Verified(
        False, SIZE, CHECKED, ((start, min(start + PIECE, SIZE)),), problem="1 of 5 pieces of model.bin are damaged"
    )
    assert path.read_bytes() == damaged


def test_every_wrong_piece_is_named(path: Path, store: MemoryPersistence) -> None:
    damage(path, 5, 15_000, SIZE - 1)
    found = verify(path, store)
    assert found.bad == ((0, 10_000), (10_000, 20_000), (40_000, 42_000))
    assert found.problem == "3 of 5 pieces of model.bin are damaged"


def test_without_a_checksum_the_pieces_tell(path: Path, store: MemoryPersistence) -> None:
    store.keep_transfer(journal.of_file(path, pieces_of(), {}, None, SIZE))
    assert verify(path, store) == Verified(True, SIZE, "its pieces")
    damage(path, 7)
    assert verify(path, store).bad == ((0, 10_000),)


def test_of_a_file_of_which_nothing_is_known_nothing_can_be_said(path: Path) -> None:
    problem = "nothing is known of model.bin to compare it with: give its checksum, or download it again"
    assert verify(path, MemoryPersistence()) == Verified(False, SIZE, "nothing", problem=problem)


def test_what_is_known_of_a_partial_is_not_known_of_the_file(path: Path) -> None:
    """A newer version is being downloaded to the same place."""
    store = MemoryPersistence()
    store.keep_transfer(journal.of_partial(path, path.with_suffix(".part"), bytes(16), pieces_of(bytes(SIZE)), {}))
    assert verify(path, store).checked == "nothing"
    assert verify(path, store, SHA256).ok


def test_hashes_that_are_not_understood_are_not_compared_with(path: Path, store: MemoryPersistence) -> None:
    kept = store.transfer(str(path))
    assert kept is not None
    for changed in ({"algorithm": "xxh64"}, {"version": 2}, {"pieces": {"size": 5}}):
        store.keep_transfer(replace(kept, journal={**kept.journal, **changed}))
        assert verify(path, store) == Verified(True, SIZE, str(SHA256))


def test_a_store_that_keeps_or_gives_nothing_is_none(path: Path, store: MemoryPersistence) -> None:
    class Failing(MemoryPersistence):
        def transfer(self, destination: str) -> Any:
            raise StoreError("the database is locked")

    assert verify(path, object(), SHA256) == Verified(True, SIZE, str(SHA256))
    assert verify(path, Failing(), SHA256) == Verified(True, SIZE, str(SHA256))


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.touch()
    store = MemoryPersistence()
    store.keep_transfer(journal.of_file(path, pieces_of(b""), {}, None, 0))
    nothing = Checksum("md5", hashlib.md5().hexdigest())
    assert verify(path, store) == Verified(True, 0, "its pieces")
    assert verify(path, store, nothing) == Verified(True, 0, f"{nothing} and its pieces")
    assert not verify(path, store, SHA256).ok


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RefusedError) as caught:
            verify(path, MemoryPersistence(), SHA256)
        assert str(caught.value) == f"there is no file {path}: give the path of a file that was downloaded"


@pytest.mark.parametrize(("has_pieces", "expected"), [(True, 17), (False, 14)])
def test_it_may_be_ended_between_blocks(path: Path, store: MemoryPersistence, has_pieces: bool, expected: int) -> None:
    """Blocks of 3,000 bytes; with pieces, none goes beyond the end of one."""
    calls: list[int] = []
    verify(path, store if has_pieces else MemoryPersistence(), SHA256, check=lambda: calls.append(1))
    assert len(calls) == expected

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(path, store, check=end)


# -- healing --------------------------------------------------------------------------------------------------


def test_exactly_the_damaged_pieces_are_fetched_and_replaced(
    path: Path, store: MemoryPersistence, origin: Origin
) -> None:
    damage(path, 10_000, 12_345, SIZE - 1)
    inode = path.stat().st_ino
    found = verify(path, store, url=origin.add(FILE))
    assert found == Verified(True, SIZE, CHECKED, ((10_000, 20_000), (40_000, 42_000)), repaired=True)
    assert path.read_bytes() == DATA
    assert path.stat().st_ino == inode
    assert ranges(origin) == ["bytes=10000-19999", "bytes=40000-41999"]
    assert verify(path, store) == Verified(True, SIZE, CHECKED)


@pytest.mark.parametrize("more", [1, 7_000, 30_000])
def test_what_was_appended_is_cut_off(path: Path, store: MemoryPersistence, more: int) -> None:
    """For which no address is needed."""
    with path.open("ab") as file:
        file.write(b"x" * more)
    found = verify(path, store, repair=True)
    assert found == Verified(True, SIZE, CHECKED, ((SIZE, SIZE + more),), repaired=True)
    assert path.read_bytes() == DATA


def test_a_longer_file_is_healed_and_cut_off(path: Path, store: MemoryPersistence, origin: Origin) -> None:
    damage(path, SIZE - 1)
    with path.open("ab") as file:
        file.write(b"x" * 9_000)
    found = verify(path, store, url=origin.add(FILE))
    assert found == Verified(True, SIZE, CHECKED, ((40_000, SIZE), (SIZE, SIZE + 9_000)), repaired=True)
    assert (path.read_bytes(), ranges(origin)) == (DATA, ["bytes=40000-41999"])


def test_without_an_address_it_cannot_be_healed(path: Path, store: MemoryPersistence) -> None:
    damaged = damage(path, 5)
    with pytest.raises(RefusedError) as caught:
        verify(path, store, repair=True)
    assert str(caught.value) == "it is not known where model.bin can be had: give its address"
    assert path.read_bytes() == damaged


def test_a_file_that_is_another_one_by_now_replaces_nothing(
    path: Path, store: MemoryPersistence, origin: Origin
) -> None:
    """Piece by piece: one that is still the same is healed."""
    damaged = damage(path, 5, 25_000)
    changed = DATA[:25_000] + b"?" + DATA[25_001:]
    replies = [
        part(f"bytes {start}-{start + PIECE - 1}/{SIZE}", changed[start : start + PIECE]) for start in (0, 20_000)
    ]
    with FaultServer(*replies) as server, pytest.raises(IntegrityError) as caught:
        verify(path, store, url=server.url("/model.bin?token=abcdefgh"))
    assert str(caught.value) == (
        f"{server.url()}?token=*** has another file by now, so that model.bin cannot be repaired from there; "
        "download it again"
    )
    assert path.read_bytes() == DATA[:10_000] + damaged[10_000:]


def test_the_first_piece_is_taken_from_the_whole_as_well(path: Path, store: MemoryPersistence) -> None:
    damage(path, 5)
    with FaultServer(whole(DATA)) as server:
        assert verify(path, store, url=server.url()).repaired
    assert path.read_bytes() == DATA


def test_a_connection_that_ends_early_replaces_nothing(path: Path, store: MemoryPersistence) -> None:
    damaged = damage(path, 15_000)
    headers = {"Content-Range": f"bytes 10000-19999/{SIZE}", "Content-Length": 10_000}
    reply = Reply("206 Partial Content", headers, [DATA[10_000:15_001]])
    with FaultServer(reply) as server, pytest.raises(requests.ConnectionError) as caught:
        verify(path, store, url=server.url())
    assert str(caught.value) == f"{server.url()} closed the connection before the end"
    assert path.read_bytes() == damaged


def test_an_error_of_the_server_is_told(path: Path, store: MemoryPersistence) -> None:
    damage(path, 15_000)
    gone = Reply("404 Not Found", {"Content-Length": 0})
    with FaultServer(gone) as server, pytest.raises(requests.HTTPError, match="answered 404"):
        verify(path, store, url=server.url())


def test_headers_are_sent_and_sessions_closed(path: Path, store: MemoryPersistence, origin: Origin) -> None:
    damage(path, 5)
    closed: list[bool] = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(True)
            super().close()

    url = origin.add(FILE)
    assert verify(path, store, url=url, headers={"X-Key": "1"}, new_session=Session).repaired
    assert [asked.headers.get("x-key") for asked in origin.requests()] == ["1"]
    assert closed
