"""What is trusted of a partial when an attempt begins: after an orderly end, after kill -9, and after a power cut."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher_recovery.records import Transfer
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.integrity.hashers import PIECE_ALGORITHM
from launcher_recovery.transfer.partial import journal
from launcher_recovery.transfer.partial import part as part_module
from launcher_recovery.transfer.partial.journal import Known
from launcher_recovery.transfer.partial.part import Part
from launcher_recovery.transfer.partial.pieces import HASH_BYTES, Pieces

ID = bytes(range(16))
SIZE, PIECE = 42, 10
DESTINATION = Path("/models/model.bin")
VALIDATORS = {"0123456789abcdef": Validators('"v1"', "Wed, 25 Nov 2026 19:25:33 GMT", SIZE), "fedc": Validators()}
NEXT_BOOT = bytes(16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin.part"


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setattr(part_module, "boot_id", lambda: NEXT_BOOT)


def a_hash(index: int) -> bytes:
    return random.Random(index).randbytes(HASH_BYTES)


def pieces_with(*states: str, size: int = SIZE) -> Pieces:
    """Pieces that are empty, have "some" bytes, are "there", "hashed" or "durable"."""
    pieces = Pieces(size, PIECE)
    for index, state in enumerate(states):
        length = pieces.length_of(index)
        pieces.fill(index, {"empty": 0, "some": 1}.get(state, length))
        if pieces.is_complete(index) and state in ("hashed", "durable"):
            pieces.hashes[index] = a_hash(index)
            pieces.durable[index] = state == "durable"
    return pieces


def left(path: Path, pieces: Pieces, transfer_id: bytes = ID) -> None:
    """A partial as an attempt leaves it."""
    part = Part(path)
    part.lay_out(transfer_id, pieces.size, pieces.piece, pieces.filled)
    part.close()


def kept_of(path: Path, pieces: Pieces | None, **changed: Any) -> Transfer:
    """What the store has of it."""
    transfer = journal.of_partial(DESTINATION, path, ID, pieces, VALIDATORS)
    return replace(transfer, journal={**json.loads(json.dumps(transfer.journal)), **changed})


def load(path: Path, kept: Transfer | None, *, is_proven: bool = False, size: int | None = None) -> Known:
    return journal.load(path, kept, is_proven=is_proven, size=size)


def expect_nothing(known: Known) -> None:
    assert (known.pieces, known.prefix, known.have) == (None, 0, 0)
    assert (known.validators, known.again, known.unproven) == ({}, [], set())
    assert len(known.transfer_id) == 16
    assert known.transfer_id != ID


def found_in(known: Known) -> Pieces:
    assert known.pieces is not None
    return known.pieces


# -- after kill -9 --------------------------------------------------------------------------------------------


def test_a_download_that_begins_has_an_id_of_its_own(path: Path) -> None:
    one, other = journal.nothing(), load(path, None)
    expect_nothing(one)
    expect_nothing(other)
    assert one.transfer_id != other.transfer_id


def test_the_note_says_to_the_byte_what_is_there(path: Path) -> None:
    pieces = pieces_with("durable", "hashed", "there", "some", "empty")
    left(path, pieces)
    known = load(path, kept_of(path, pieces))
    found = found_in(known)
    assert (found.size, found.piece, found.filled, known.have) == (SIZE, PIECE, [10, 10, 10, 1, 0], 31)
    assert found.hashes == [a_hash(0), a_hash(1), None, None, None]
    assert found.durable == [True, False, False, False, False]
    assert (known.transfer_id, known.validators, known.again, known.unproven) == (ID, VALIDATORS, [2], set())


def test_the_note_may_know_more_than_the_journal(path: Path) -> None:
    before, now = pieces_with("durable"), pieces_with("durable", "there", "there", "there", "some")
    left(path, now)
    known = load(path, kept_of(path, before))
    assert found_in(known).filled == [10, 10, 10, 10, 1]
    assert (known.again, found_in(known).hashes) == ([1, 2, 3], [a_hash(0), None, None, None, None])


def test_a_durable_piece_that_the_note_does_not_count_is_hashed_again(path: Path) -> None:
    """It was to be looked at again after a power cut, and somebody killed that attempt."""
    pieces = pieces_with("durable", "durable", "hashed")
    left(path, pieces_with("empty", "durable", "some"))
    known = load(path, kept_of(path, pieces))
    found = found_in(known)
    assert (found.filled, found.hashes[:3]) == ([10, 10, 1, 0, 0], [a_hash(0), a_hash(1), None])
    assert (known.again, known.unproven) == ([0], {0})


def test_a_partial_of_another_download_is_no_part_of_this_one(path: Path) -> None:
    pieces = pieces_with("durable", "hashed")
    left(path, pieces, transfer_id=bytes(16))
    expect_nothing(load(path, kept_of(path, pieces)))
    expect_nothing(load(path, None))


def test_where_a_checksum_proves_the_whole_it_may_be_used_all_the_same(path: Path) -> None:
    """Every piece of it is hashed again, and nothing that is known of another one is believed."""
    pieces = pieces_with("durable", "hashed", "some")
    left(path, pieces, transfer_id=bytes(16))
    for kept in (kept_of(path, pieces), None):
        known = load(path, kept, is_proven=True)
        found = found_in(known)
        assert (found.filled, found.hashes, found.durable) == ([10, 10, 1, 0, 0], [None] * 5, [False] * 5)
        assert (known.transfer_id, known.validators) == (bytes(16), {})
        assert (known.again, known.unproven) == ([0, 1], set())


@pytest.mark.parametrize("is_proven", [False, True])
def test_a_partial_of_another_size_than_the_file_is_of_no_use(path: Path, is_proven: bool) -> None:
    pieces = pieces_with("durable")
    left(path, pieces)
    expect_nothing(load(path, kept_of(path, pieces), is_proven=is_proven, size=SIZE + 1))
    assert load(path, kept_of(path, pieces), is_proven=is_proven, size=SIZE).have == 10


def test_a_journal_of_pieces_of_another_length_says_nothing_of_these(path: Path) -> None:
    other = Pieces(SIZE, 6)
    other.fill(0, 6)
    other.hashes[0], other.durable[0] = a_hash(0), True
    left(path, pieces_with("there", "some"))
    known = load(path, kept_of(path, other))
    assert (found_in(known).filled, found_in(known).hashes) == ([10, 1, 0, 0, 0], [None] * 5)
    assert (known.again, known.validators) == ([0], VALIDATORS)


@pytest.mark.parametrize("algorithm", [None, "xxh64", 3])
def test_hashes_of_another_kind_are_not_compared_with(path: Path, algorithm: Any) -> None:
    pieces = pieces_with("durable", "hashed", "some")
    left(path, pieces)
    known = load(path, kept_of(path, pieces, algorithm=algorithm))
    assert (found_in(known).filled, found_in(known).hashes) == ([10, 10, 1, 0, 0], [None] * 5)
    assert known.again == [0, 1]


# -- after a power cut ----------------------------------------------------------------------------------------


def test_after_a_power_cut_there_is_what_was_synced_once_it_was_looked_at(path: Path, reboot: Any) -> None:
    pieces = pieces_with("durable", "hashed", "durable", "some", "durable")
    left(path, pieces)
    reboot()
    known = load(path, kept_of(path, pieces))
    found = found_in(known)
    assert (found.filled, found.durable) == ([10, 0, 10, 0, 2], [True, False, True, False, True])
    assert found.hashes == [a_hash(0), None, a_hash(2), None, a_hash(4)]
    assert (known.again, known.unproven) == ([0, 2, 4], {0, 2, 4})
    assert (known.transfer_id, known.validators, known.have) == (ID, VALIDATORS, 22)


@pytest.mark.parametrize("is_proven", [False, True])
def test_after_a_power_cut_a_note_alone_says_nothing(path: Path, reboot: Any, is_proven: bool) -> None:
    left(path, pieces_with("there", "there"))
    reboot()
    expect_nothing(load(path, None, is_proven=is_proven))
    expect_nothing(load(path, kept_of(path, None), is_proven=is_proven))


def test_a_torn_note_leaves_what_was_synced(path: Path) -> None:
    """As far as the file goes."""
    pieces = pieces_with("durable", "hashed", "durable", "some", "durable")
    kept = kept_of(path, pieces)
    for length, filled in ((SIZE + 5, [10, 0, 10, 0, 2]), (SIZE - 1, [10, 0, 10, 0, 0]), (29, [10, 0, 0, 0, 0])):
        path.write_bytes(bytes(length))
        known = load(path, kept, size=SIZE)
        found = found_in(known)
        assert found.filled == filled
        assert found.hashes == [a_hash(index) if count else None for index, count in enumerate(filled)]
        assert known.again == [index for index, count in enumerate(filled) if count]
        assert known.unproven == set(known.again)
        assert (known.transfer_id, known.validators) == (ID, VALIDATORS)


def test_of_a_torn_note_of_which_nothing_was_synced_only_a_checksum_of_the_whole_makes_use(path: Path) -> None:
    """Another program may have left it; what is not right of it is found in the end."""
    path.write_bytes(bytes(SIZE))
    for kept, size in (
        (kept_of(path, pieces_with("hashed", "some")), SIZE),
        (kept_of(path, pieces_with("durable")), SIZE + 1),
    ):
        expect_nothing(load(path, kept, size=size))
        known = load(path, kept, size=size, is_proven=True)
        assert (known.pieces, known.prefix, known.validators) == (None, SIZE, {})
        expect_nothing(load(path, kept, size=SIZE - 1, is_proven=True))
    path.write_bytes(bytes(9))
    expect_nothing(load(path, kept_of(path, pieces_with("durable"))))


def test_a_partial_that_was_deleted_is_begun_anew(path: Path) -> None:
    """Also when an empty file lies in its place already: what the journal has may be of another version by now."""
    kept = kept_of(path, pieces_with("durable", "durable"))
    expect_nothing(load(path, kept))
    path.touch()
    expect_nothing(load(path, kept))
    expect_nothing(load(path, kept, is_proven=True, size=SIZE))


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None},
        {"id": "not hexadecimal"},
        {"id": "00"},
        {"pieces": None},
        {"pieces": {"size": SIZE}},
        {"version": 2},
        {"algorithm": "xxh64"},
    ],
)
def test_a_journal_that_makes_no_sense_leaves_nothing_of_a_torn_partial(path: Path, changed: dict[str, Any]) -> None:
    path.write_bytes(bytes(SIZE + 5))
    kept = kept_of(path, pieces_with("durable", "durable"))
    assert load(path, kept).have == 20
    expect_nothing(load(path, replace(kept, journal={**kept.journal, **changed})))


def test_a_journal_without_an_id_leaves_nothing_of_a_torn_partial(path: Path) -> None:
    path.write_bytes(bytes(SIZE + 5))
    kept = kept_of(path, pieces_with("durable"))
    expect_nothing(load(path, replace(kept, journal={key: kept.journal[key] for key in kept.journal if key != "id"})))


# -- a file of unknown size -----------------------------------------------------------------------------------


def test_of_a_file_of_unknown_size_everything_is_there_that_was_written(path: Path, reboot: Any) -> None:
    path.write_bytes(b"x" * 12)
    kept = kept_of(path, None)
    known = load(path, kept)
    assert (known.pieces, known.prefix, known.have, known.validators) == (None, 12, 12, VALIDATORS)
    assert load(path, kept, size=12).prefix == 12
    expect_nothing(load(path, kept, size=11))
    reboot()
    expect_nothing(load(path, kept))


def test_where_a_checksum_proves_the_whole_any_beginning_may_be_used(path: Path, reboot: Any) -> None:
    """One that another program has left, or that may have suffered from a power cut."""
    path.write_bytes(b"x" * 12)
    for kept in (None, kept_of(path, None)):
        reboot()
        known = load(path, kept, is_proven=True)
        assert (known.pieces, known.prefix, known.validators) == (None, 12, {})
        expect_nothing(load(path, kept, is_proven=True, size=11))
    expect_nothing(load(path, None))


def test_an_empty_partial_of_unknown_size_is_nothing(path: Path) -> None:
    path.touch()
    expect_nothing(load(path, kept_of(path, None), is_proven=True))


# -- what is kept ---------------------------------------------------------------------------------------------


def test_what_is_kept_of_another_partial_is_not_that_of_this_one(path: Path) -> None:
    pieces = pieces_with("durable")
    left(path, pieces)
    kept = kept_of(path, pieces)
    expect_nothing(load(path, replace(kept, partial=str(path) + "2")))
    expect_nothing(load(path, replace(kept, partial=None)))
    expect_nothing(load(path, replace(kept, journal={**kept.journal, "version": None})))


def test_what_is_kept_of_a_partial(path: Path) -> None:
    pieces = pieces_with("durable", "hashed")
    transfer = journal.of_partial(DESTINATION, path, ID, pieces, VALIDATORS)
    assert (transfer.destination, transfer.partial, transfer.content, transfer.size) == (
        str(DESTINATION),
        str(path),
        None,
        SIZE,
    )
    assert transfer.journal == {
        "version": 1,
        "id": ID.hex(),
        "validators": {
            "0123456789abcdef": {"etag": '"v1"', "last_modified": "Wed, 25 Nov 2026 19:25:33 GMT", "size": SIZE},
            "fedc": {"etag": None, "last_modified": None, "size": None},
        },
        "pieces": pieces.to_journal(),
        "algorithm": PIECE_ALGORITHM,
    }
    assert transfer.updated_at.utcoffset() is not None


def test_what_is_kept_of_a_partial_of_unknown_size(path: Path) -> None:
    transfer = journal.of_partial(DESTINATION, path, ID, None, {})
    assert transfer.size is None
    boot = part_module.boot_id().hex()
    assert transfer.journal == {"version": 1, "id": ID.hex(), "validators": {}, "prefix": True, "boot": boot}


def test_what_is_kept_of_a_file() -> None:
    pieces = pieces_with("durable", "hashed", "hashed", "hashed", "hashed")
    content = "sha256:" + "0" * 64
    transfer = journal.of_file(DESTINATION, pieces, VALIDATORS, content, SIZE)
    assert (transfer.partial, transfer.content, transfer.size) == (None, content, SIZE)
    assert set(transfer.journal) == {"version", "validators", "pieces", "algorithm"}
    found = journal.pieces_of(json.loads(json.dumps(transfer.journal)))
    assert found is not None
    assert found.hashes == [a_hash(index) for index in range(5)]


def test_of_a_file_without_pieces_only_its_size_is_kept() -> None:
    transfer = journal.of_file(DESTINATION, None, {}, None, 5)
    assert (transfer.journal, transfer.size) == ({"version": 1, "validators": {}}, 5)
    assert journal.pieces_of(transfer.journal) is None


@pytest.mark.parametrize("validators", [None, [], {"a": None}, {"a": {"colour": "blue"}}, {"a": []}, "text"])
def test_validators_that_make_no_sense_are_none(path: Path, validators: Any) -> None:
    """What the server has by now is then not taken for the same."""
    pieces = pieces_with("durable")
    left(path, pieces)
    known = load(path, kept_of(path, pieces, validators=validators))
    assert (known.have, known.validators) == (10, {})


def test_a_journal_without_validators(path: Path) -> None:
    pieces = pieces_with("durable")
    left(path, pieces)
    kept = kept_of(path, pieces)
    without = {key: value for key, value in kept.journal.items() if key != "validators"}
    known = load(path, replace(kept, journal=without))
    assert (known.have, known.validators) == (10, {})


states = st.lists(st.sampled_from(["empty", "some", "there", "hashed", "durable"]), min_size=5, max_size=5)


@given(states, st.booleans())
@settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_there_is_gone_on_with(tmp_path: Path, given_states: list[str], is_cut: bool) -> None:
    """Through JSON and the disk: after a kill all that was written, after a power cut all that was promised."""
    path = tmp_path / "model.bin.part"
    pieces = pieces_with(*given_states)
    left(path, pieces)
    kept = kept_of(path, pieces)
    with pytest.MonkeyPatch.context() as patch:
        if is_cut:
            patch.setattr(part_module, "boot_id", lambda: NEXT_BOOT)
        known = load(path, kept)
    path.unlink()
    found = found_in(known)
    expected = [count if not is_cut or pieces.durable[index] else 0 for index, count in enumerate(pieces.filled)]
    assert (found.filled, known.have) == (expected, sum(expected))
    for index in range(found.count):
        is_trusted = found.is_complete(index)
        assert found.hashes[index] == (pieces.hashes[index] if is_trusted else None)
        assert found.durable[index] == pieces.durable[index]
        has_to_be_hashed = is_trusted and (is_cut or found.hashes[index] is None)
        assert (index in known.again, index in known.unproven) == (has_to_be_hashed, is_trusted and is_cut)
