"""A file at its place is healed with the pieces that are damaged, and with nothing that is not proven."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.errors import IntegrityError, NoSpaceError, RecoveryTimeoutError, RefusedError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.transfer import download, verify
from launcher_recovery.transfer.integrity import repairing
from launcher_recovery.transfer.integrity.verifying import Verified
from tests.origin import Behaviour, File, Origin
from tests.origin import behaviours as act
from tests.support import let_go
from tests.transfers import integrator, turn

PIECE = 64 << 10
COUNT = 10
FILE = File((COUNT - 1) * PIECE + 11)
CONTENT = FILE.content()

Damage = Callable[[bytes], bytes]


def flipped(*places: int) -> Damage:
    def damage(data: bytes) -> bytes:
        wrong = bytearray(data)
        for place in places:
            wrong[place] ^= 0xFF
        return bytes(wrong)

    return damage


AT = 5 * PIECE + 100
DAMAGES: dict[str, tuple[Damage, int, int]] = {
    # With them: bytes that it costs where the hashes of the pieces are known, and where only that of the whole is.
    "one": (flipped(AT), PIECE, 6 * PIECE),
    "the first byte": (flipped(0), PIECE, PIECE),
    "the last byte": (flipped(FILE.size - 1), 11, FILE.size),
    "two in one piece": (flipped(AT, AT + 5), PIECE, 6 * PIECE),
    "two pieces": (flipped(1, AT), 2 * PIECE, 7 * PIECE),
    "two pieces in a row": (flipped(AT, AT + PIECE), 2 * PIECE, 8 * PIECE),
    "too short": (lambda data: data[: AT - 1], FILE.size - 5 * PIECE, FILE.size - 5 * PIECE),
    "too short by a byte": (lambda data: data[:-1], 11, 11),
    "empty": (lambda data: b"", FILE.size, FILE.size),
    "too long": (lambda data: data + b"x" * 5000, 0, 0),
    "too long and one": (lambda data: flipped(AT)(data) + b"x" * 5000, PIECE, 6 * PIECE),
    "too short and one": (lambda data: flipped(1)(data[:AT]), FILE.size - 4 * PIECE, FILE.size - 4 * PIECE),
}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    turn({"piece": PIECE, "silence_s": 2.0}, monkeypatch.setattr)


@pytest.fixture
def store() -> Iterator[MemoryPersistence]:
    """That of the process."""
    made = MemoryPersistence()
    with integrator(RecoveryIntegrator(persistence=made)):
        yield made
    let_go(made)


@pytest.fixture
def origin(store: MemoryPersistence) -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def installed(origin: Origin, path: Path, damage: Damage, **options: Any) -> str:
    """A file that was downloaded, and damaged since; returns its address."""
    url = origin.add(FILE)
    download(url, path, **options)
    path.write_bytes(damage(CONTENT))
    return url


def cost(origin: Origin, before: int = 0) -> int:
    return origin.settled().sent() - before


# -- what it costs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_sha256", [True, False], ids=["sha256", "no sha256"])
@pytest.mark.parametrize("name", DAMAGES)
def test_where_the_hashes_of_the_pieces_are_known_it_costs_the_damaged_ones(
    origin: Origin, path: Path, name: str, has_sha256: bool
) -> None:
    damage, bytes_, _ = DAMAGES[name]
    installed(origin, path, damage, **({"sha256": FILE.sha256} if has_sha256 else {}))
    before = cost(origin)
    seen = verify(path)
    assert not seen.ok
    assert seen.bad
    assert cost(origin, before) == 0
    found = verify(path, repair=True)
    assert (found.ok, found.repaired, found.size, found.bad) == (True, True, FILE.size, seen.bad)
    assert path.read_bytes() == CONTENT
    assert cost(origin, before) == bytes_
    assert verify(path).ok


@pytest.mark.parametrize("name", DAMAGES)
def test_where_only_a_hash_of_the_whole_is_known_they_are_looked_for(origin: Origin, path: Path, name: str) -> None:
    """From the front, over one connection; what is missing is fetched first, and is all where nothing else is wrong."""
    damage, _, bytes_ = DAMAGES[name]
    url = origin.add(FILE)
    path.write_bytes(damage(CONTENT))
    assert not verify(path, sha256=FILE.sha256).ok
    found = verify(path, sha256=FILE.sha256, url=url, repair=True)
    assert (found.ok, found.repaired, found.size) == (True, True, FILE.size)
    assert path.read_bytes() == CONTENT
    # One byte tells how long it is.
    assert cost(origin) == bytes_ + 1
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if name not in ("too long", "too long and one"):
        assert all(end - start <= PIECE and start % PIECE == 0 for start, end in found.bad)


def test_what_is_right_is_not_touched(origin: Origin, path: Path) -> None:
    installed(origin, path, lambda data: data, sha256=FILE.sha256)
    before = path.stat()
    assert verify(path, repair=True) == Verified(True, FILE.size, f"sha256:{FILE.sha256} and its pieces")
    assert path.stat() == before


def test_a_damaged_file_asks_over_one_connection(origin: Origin, path: Path) -> None:
    url = origin.add(FILE)
    path.write_bytes(flipped(FILE.size - 1)(CONTENT))
    before = origin.connections
    assert verify(path, sha256=FILE.sha256, url=url, repair=True).repaired
    assert len(origin.requests()) == COUNT + 1
    assert origin.connections - before <= 2  # the answer to the first one is longer than what was wanted of it


# -- what was wrong from the beginning ------------------------------------------------------------------------


def test_what_became_wrong_on_the_way_is_healed_once_its_checksum_is_known(origin: Origin, path: Path) -> None:
    """It is as it was downloaded; from then on it is known how it is to be."""
    url = origin.add(FILE, act.flip(AT))
    download(url, path)
    assert path.read_bytes() != CONTENT
    before = cost(origin)
    assert verify(path).ok
    seen = verify(path, sha256=FILE.sha256)
    assert seen.problem is not None
    assert seen.problem.endswith("although it is as it was downloaded")
    assert verify(path, sha256=FILE.sha256, repair=True).bad == ((5 * PIECE, 6 * PIECE),)
    assert path.read_bytes() == CONTENT
    assert cost(origin, before) == 6 * PIECE
    assert verify(path).ok
    path.write_bytes(flipped(AT)(CONTENT))
    assert verify(path).bad == ((5 * PIECE, 6 * PIECE),)


def test_a_store_that_fails_then_does_not_undo_it(
    origin: Origin, path: Path, store: MemoryPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise StoreError("the disk is gone")

    download(origin.add(FILE, act.flip(AT)), path)
    monkeypatch.setattr(store, "keep_transfer", fail)
    assert verify(path, sha256=FILE.sha256, repair=True).repaired
    assert path.read_bytes() == CONTENT


# -- several sources, and bad ones ----------------------------------------------------------------------------

BAD: dict[str, Behaviour] = {
    "gone": act.refuse("404 Not Found"),
    "another file": act.changed(version=1),
    "another size": act.changed(version=1, size=FILE.size + 5),
    "no parts": act.ignores_range,
    "drops": act.drop(1000),
    "a page": act.login_page,
}


@pytest.mark.parametrize("known", ["pieces", "sha256"])
@pytest.mark.parametrize("name", BAD)
def test_a_mirror_has_what_the_first_address_does_not(origin: Origin, path: Path, known: str, name: str) -> None:
    """The mirror is the one that the download was given."""
    with Origin() as mirror:
        sources = [mirror.add(FILE)]
        download(origin.add(FILE), path, sources=sources, sha256=FILE.sha256)
        if known == "sha256":
            forget_pieces(path)
        path.write_bytes(flipped(AT)(CONTENT))
        origin.add(FILE, BAD[name])
        before = cost(mirror)
        assert verify(path, repair=True).repaired
        assert path.read_bytes() == CONTENT
        assert cost(mirror, before) <= (PIECE if known == "pieces" else FILE.size)


@pytest.mark.parametrize("known", ["pieces", "sha256"])
@pytest.mark.parametrize("name", BAD)
def test_where_nobody_has_it_nothing_is_changed(origin: Origin, path: Path, known: str, name: str) -> None:
    """What is wrong is raised where they could not be asked, and told where they have something else."""
    installed(origin, path, flipped(AT, AT + PIECE), sha256=FILE.sha256)
    if known == "sha256":
        forget_pieces(path)
    origin.add(FILE, BAD[name])
    if (known, name) == ("sha256", "another file"):
        found = verify(path, repair=True)
        assert (found.ok, found.repaired) == (False, False)
        assert found.problem is not None
        assert "where it is had from there is no file with that checksum" in found.problem
    else:
        said = {"gone": "404", "drops": "before the end", "a page": "page|parts|bytes"}.get(name, "another|bytes|parts")
        with pytest.raises((IntegrityError, requests.RequestException), match=said):
            verify(path, repair=True)
    assert path.read_bytes() == flipped(AT, AT + PIECE)(CONTENT)


def forget_pieces(path: Path) -> None:
    """What is kept of the file is of another version of this package."""
    from launcher_recovery.integration import get_recovery_integrator

    store = get_recovery_integrator().persistence
    kept = store.transfer(str(path))
    assert kept is not None
    store.keep_transfer(replace(kept, journal={**kept.journal, "algorithm": "of a later version"}))


def test_a_connection_that_breaks_once_is_no_reason_to_give_up(origin: Origin, path: Path) -> None:
    url = installed(origin, path, flipped(AT))
    origin.add(FILE, act.script(act.drop(1000)))
    assert verify(path, repair=True, url=url).repaired
    assert path.read_bytes() == CONTENT


def test_nor_is_a_byte_that_becomes_wrong_on_the_way(origin: Origin, path: Path) -> None:
    installed(origin, path, flipped(AT))
    origin.add(FILE, act.flip(AT + 1))
    before = cost(origin)
    assert verify(path, repair=True).repaired
    assert path.read_bytes() == CONTENT
    assert cost(origin, before) == 2 * PIECE


def test_pieces_that_have_come_are_healed_although_a_later_one_cannot_be_had(origin: Origin, path: Path) -> None:
    installed(origin, path, flipped(1, AT))
    origin.add(FILE, act.since(2, act.refuse("404 Not Found")))
    origin.add(FILE, act.when(lambda request: request.range != f"bytes=0-{PIECE - 1}", act.refuse("404 Not Found")))
    with pytest.raises(requests.HTTPError, match="404"):
        verify(path, repair=True)
    assert path.read_bytes() == flipped(AT)(CONTENT)


def test_what_is_missing_is_had_from_the_next_source_when_one_fails_in_the_middle(origin: Origin, path: Path) -> None:
    with Origin() as mirror:
        sources = [mirror.add(FILE)]
        download(origin.add(FILE), path, sources=sources, sha256=FILE.sha256)
        forget_pieces(path)
        path.write_bytes(CONTENT[: 2 * PIECE])
        origin.add(FILE, act.script(act.drop(3 * PIECE + 5), act.refuse("404 Not Found"), act.refuse("404 Not Found")))
        assert verify(path, repair=True).repaired
        assert cost(mirror) == FILE.size - 5 * PIECE
    assert path.read_bytes() == CONTENT


def test_a_source_that_fails_while_it_is_compared_with_is_followed_by_the_next(origin: Origin, path: Path) -> None:
    with Origin() as mirror:
        sources = [mirror.add(FILE)]
        download(origin.add(FILE), path, sources=sources, sha256=FILE.sha256)
        forget_pieces(path)
        path.write_bytes(flipped(AT)(CONTENT))
        origin.add(FILE, act.when(lambda request: (request.range or "") > "bytes=1", act.refuse("404 Not Found")))
        assert verify(path, repair=True).repaired
        assert cost(mirror) == 5 * PIECE
    assert path.read_bytes() == CONTENT


def test_a_server_that_does_not_tell_the_length_is_of_no_use(origin: Origin, path: Path) -> None:
    url = origin.add(FILE, act.content_range(lambda start, last, total: f"bytes {start}-{last}/*"))
    path.write_bytes(flipped(AT)(CONTENT))
    with pytest.raises(IntegrityError, match="does not tell how long the file is"):
        verify(path, sha256=FILE.sha256, url=url, repair=True)


# -- what cannot be done --------------------------------------------------------------------------------------


def test_without_an_address_or_a_proof_it_is_said_what_is_missing(store: MemoryPersistence, path: Path) -> None:
    with pytest.raises(RefusedError, match="there is no file"):
        verify(path)
    path.write_bytes(CONTENT)
    assert verify(path).problem == (
        "nothing is known of model.bin to compare it with: give its checksum, or download it again"
    )
    with pytest.raises(RefusedError, match=r"it is not known where model\.bin can be had: give its address"):
        verify(path, sha256="0" * 64, repair=True)
    found = verify(path, checksum="crc32:00000000", url="http://127.0.0.1:9/model.bin", repair=True)
    assert found.problem is not None
    assert found.problem.endswith("nothing proves what a server sends, download it again")


def test_a_file_that_is_only_too_long_is_cut_without_anybody_being_asked(origin: Origin, path: Path) -> None:
    installed(origin, path, lambda data: data + b"x")
    origin.add(FILE, act.refuse("404 Not Found"))
    assert verify(path, repair=True) == Verified(
        True, FILE.size, "its pieces", ((FILE.size, FILE.size + 1),), repaired=True
    )
    assert path.read_bytes() == CONTENT


def test_a_store_that_does_not_answer_knows_nothing(
    store: MemoryPersistence, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    path.write_bytes(CONTENT)
    monkeypatch.setattr(store, "transfer", fail)
    assert verify(path, sha256=FILE.sha256).checked == f"sha256:{FILE.sha256}"


def test_whoever_ends_it_is_not_taken_for_a_broken_connection(origin: Origin, path: Path) -> None:
    """Also where what is raised is an OSError, as a timeout is."""
    installed(origin, path, flipped(AT))
    asked = len(origin.requests())

    def check() -> None:
        if len(origin.requests()) > asked:
            raise RecoveryTimeoutError("it took too long")

    with pytest.raises(RecoveryTimeoutError):
        verify(path, repair=True, check=check)
    assert path.read_bytes() == flipped(AT)(CONTENT)


class Unreadable(io.FileIO):
    """A file with a sector that the disk cannot read."""

    def readinto(self, view: Any) -> int:
        if self.tell() <= AT < self.tell() + len(view):
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(view)


@pytest.mark.parametrize("known", ["pieces", "sha256"])
def test_what_the_disk_cannot_read_is_damaged(
    origin: Origin, path: Path, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to, the disk has another sector in its place."""
    installed(origin, path, lambda data: data, sha256=FILE.sha256)
    if known == "sha256":
        forget_pieces(path)
    bad = [True]

    class Sector(Unreadable):
        def readinto(self, view: Any) -> int:
            return super().readinto(view) if bad[0] else io.FileIO.readinto(self, view)

        def write(self, data: Any) -> int:
            bad[0] = not self.tell() <= AT < self.tell() + len(data)
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda self, mode, buffering=0: Sector(str(self), mode.replace("b", "")))
    before = cost(origin)
    found = verify(path, repair=True)
    monkeypatch.undo()
    assert (found.repaired, found.bad) == (True, ((5 * PIECE, 6 * PIECE),))
    assert cost(origin, before) == (PIECE if known == "pieces" else 6 * PIECE)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("where", ["the file", "what is kept meanwhile"])
def test_a_full_disk_is_told_as_one(origin: Origin, path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(origin, path, lambda data: data[:-1], sha256=FILE.sha256)

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    if where == "the file":
        monkeypatch.setattr(Path, "open", lambda self, mode, buffering=0: Full(str(self), mode.replace("b", "")))
    else:
        forget_pieces(path)
        monkeypatch.setattr(repairing.tempfile, "TemporaryFile", lambda dir: Full(tempfile.mkstemp(dir=dir)[0], "r+"))
    with pytest.raises(NoSpaceError):
        verify(path, repair=True)
    monkeypatch.undo()
    assert path.read_bytes() == CONTENT[:-1]
