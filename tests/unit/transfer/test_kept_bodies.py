"""Bodies that are kept are read back right, whatever ended the writer, and take no room that others need."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from launcher_recovery.transfer.healing import body_log, kept_bodies
from launcher_recovery.transfer.healing.body_log import BodyLog
from launcher_recovery.transfer.healing.kept_bodies import KeptBodies
from launcher_recovery.transfer.http.representation import Representation

URL = "https://hub.example/model.bin"
PIECE = 1000
DATA = random.Random(4).randbytes(8 * PIECE)
VERSION = Representation('"v1"', "", len(DATA))
NOW = datetime.now(timezone.utc)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_bodies, "SMALLEST", len(DATA))
    monkeypatch.setattr(body_log, "_LOOK_BYTES", PIECE)


@pytest.fixture
def kept(tmp_path: Path) -> KeptBodies:
    return KeptBodies(tmp_path / "bodies")


def begun(kept: KeptBodies, pieces: int = 0, *, attempt: int = 1, had: int = 0, url: str = URL) -> BodyLog:
    log = kept.begin("op", url, attempt, VERSION, [("Content-Type", "model/x")], had)
    assert log is not None
    for start in range(0, pieces * PIECE, PIECE):
        assert log.append(DATA[start : start + PIECE], start)
    return log


def found(kept: KeptBodies, attempt: int = 1) -> BodyLog:
    log = kept.find("op", URL, attempt)
    assert log is not None
    return log


def content(log: BodyLog) -> bytes:
    parts = []
    while part := log.read():
        parts.append(part)
    return b"".join(parts)


def file_of(kept: KeptBodies) -> Path:
    (path,) = kept.folder.rglob("*.body")
    return path


def test_what_was_kept_is_read_back_in_another_process_with_all_that_is_known_of_it(kept: KeptBodies) -> None:
    begun(kept, 3, had=17).close()
    log = found(KeptBodies(kept.folder))
    assert log.length == 3 * PIECE
    assert log.head.representation == VERSION
    assert log.head.headers == [("Content-Type", "model/x")]
    assert log.head.had == 17
    assert content(log) == DATA[: 3 * PIECE]
    assert log.append(DATA[3 * PIECE :], 3 * PIECE)
    log.close()
    assert content(found(KeptBodies(kept.folder))) == DATA


def test_only_what_goes_on_where_it_ends_is_added(kept: KeptBodies) -> None:
    log = begun(kept, 2)
    assert log.append(DATA[:PIECE], 0)
    assert log.append(DATA[3 * PIECE :], 3 * PIECE)
    assert log.length == 2 * PIECE


def test_nothing_is_kept_of_a_small_body_or_one_of_unknown_size(kept: KeptBodies) -> None:
    assert kept.begin("op", URL, 1, Representation('"v1"', "", len(DATA) - 1), []) is None
    assert kept.begin("op", URL, 1, Representation('"v1"'), []) is None
    assert not kept.folder.exists()


def test_nothing_is_found_for_another_operation_or_address(kept: KeptBodies) -> None:
    begun(kept, 1).close()
    assert kept.find("other", URL, 1) is None
    assert kept.find("op", f"{URL}?v=2", 1) is None


def test_the_same_address_with_another_signature_is_the_same(kept: KeptBodies) -> None:
    begun(kept, 1, url=f"{URL}?token=one").close()
    assert kept.find("op", f"{URL}?token=two", 1) is not None


@pytest.mark.parametrize("end", [1, 19, 20, 21, PIECE, PIECE + 19])
def test_a_torn_record_is_cut_off(kept: KeptBodies, end: int) -> None:
    begun(kept, 3).close()
    path = file_of(kept)
    os.truncate(path, path.stat().st_size - end)
    log = found(kept)
    assert log.length == 2 * PIECE
    assert content(log) == DATA[: 2 * PIECE]
    assert log.append(DATA[2 * PIECE :], 2 * PIECE)
    log.close()
    assert content(found(kept)) == DATA


def test_zeros_that_a_power_cut_left_are_cut_off(kept: KeptBodies) -> None:
    begun(kept, 2).close()
    with file_of(kept).open("ab") as file:
        file.write(bytes(5 * PIECE))
    log = found(kept)
    assert log.length == 2 * PIECE


def test_any_damaged_byte_is_noticed_and_nothing_wrong_is_ever_read(kept: KeptBodies) -> None:
    begun(kept, 4).close()
    path = file_of(kept)
    right = path.read_bytes()
    rng = random.Random(7)
    for at in [*range(40), *rng.sample(range(40, len(right)), 200)]:
        damaged = bytearray(right)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        log = kept.find("op", URL, 1)
        if log is None:
            assert not path.exists()
            continue
        there = content(log)
        assert len(there) == log.length < 4 * PIECE
        assert DATA.startswith(there)
        log.close()


def test_behind_what_is_damaged_it_is_written_anew(kept: KeptBodies) -> None:
    begun(kept, 4).close()
    path = file_of(kept)
    damaged = bytearray(path.read_bytes())
    damaged[-1500] ^= 1  # in the third piece
    path.write_bytes(damaged)
    log = found(kept)
    assert log.length == 4 * PIECE
    assert content(log) == DATA[: 2 * PIECE]
    assert log.length == 2 * PIECE
    assert log.append(DATA[2 * PIECE :], 2 * PIECE)
    log.close()
    assert content(found(kept)) == DATA


def test_records_of_another_log_are_not_taken_for_ones_of_this(kept: KeptBodies) -> None:
    begun(kept, 2).close()
    path = file_of(kept)
    old = path.read_bytes()
    begun(kept, 2).close()
    new = path.read_bytes()
    records = 2 * (PIECE + 20)
    path.write_bytes(new[:-records] + old[-records:])
    assert content(found(kept)) == b""


def test_a_log_that_is_none_is_deleted(kept: KeptBodies) -> None:
    begun(kept, 1).close()
    path = file_of(kept)
    path.write_bytes(b"my thesis")
    assert kept.find("op", URL, 1) is None
    assert not path.exists()


def test_one_response_at_a_time_has_it_and_that_of_a_later_attempt_takes_it(kept: KeptBodies) -> None:
    first = begun(kept, 1)
    assert kept.find("op", URL, 1) is None
    assert kept.begin("op", URL, 1, VERSION, []) is None
    second = found(kept, attempt=2)
    assert not first.is_open
    assert not first.append(DATA[PIECE:], PIECE)
    assert second.append(DATA[PIECE:], PIECE)
    second.close()
    assert content(found(kept, attempt=2)) == DATA


def test_a_response_that_was_forgotten_holds_nothing(kept: KeptBodies) -> None:
    log = begun(kept, 1)
    del log
    assert found(kept).length == PIECE


def test_another_process_that_has_it_is_left_alone(kept: KeptBodies) -> None:
    code = (
        "import sys\n"
        "from tests.unit.transfer.test_kept_bodies import *\n"
        "kept_bodies.SMALLEST = len(DATA)\n"
        "log = begun(KeptBodies(Path(sys.argv[1])), 2)\n"
        "print('kept', flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", code, str(kept.folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"kept\n"
        assert kept.find("op", URL, 9) is None
        assert kept.begin("op", URL, 9, VERSION, []) is None
        other.send_signal(signal.SIGKILL)
    assert content(found(kept)) == DATA[: 2 * PIECE]


def test_secrets_are_not_written_down(kept: KeptBodies) -> None:
    url = "https://ann:hunter2@hub.example/m?token=hunter2"
    headers = [
        ("Set-Cookie", "session=hunter2"),
        ("X-Auth-Token", "hunter2"),
        ("Link", "<https://cdn.example/m?X-Amz-Signature=hunter2>"),
        ("Content-Disposition", "attachment; filename=m.bin"),
        ("Content-Length", "9"),
    ]
    log = kept.begin("op", url, 1, VERSION, headers)
    assert log is not None
    assert log.head.headers == [("Content-Disposition", "attachment; filename=m.bin")]
    log.append(DATA, 0)
    log.close()
    assert b"hunter2" not in file_of(kept).read_bytes()
    assert "hunter2" not in str(file_of(kept))
    assert file_of(kept).stat().st_mode & 0o077 == 0


# -- room ---------------------------------------------------------------------------------------------


def test_it_stops_when_there_is_less_room_than_the_handler_and_it_need(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 2 * len(DATA) + body_log.SPARE_BYTES
    monkeypatch.setattr(body_log, "free_bytes", lambda folder: free)
    log = begun(kept, 2)
    free = 2 * (len(DATA) - 2 * PIECE) + body_log.SPARE_BYTES - 1
    assert not log.append(DATA[2 * PIECE :], 2 * PIECE)
    assert not log.is_open
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    monkeypatch.undo()
    monkeypatch.setattr(body_log, "free_bytes", lambda folder: 1 << 40)
    assert content(found(kept)) == DATA[: 2 * PIECE]


def test_it_makes_room_when_the_handler_alone_needs_all_there_is(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 40
    monkeypatch.setattr(body_log, "free_bytes", lambda folder: free)
    log = begun(kept, 2)
    free = body_log.SPARE_BYTES
    assert not log.append(DATA[2 * PIECE :], 2 * PIECE)
    assert list(kept.folder.rglob("*.body")) == []


def test_what_is_kept_goes_when_a_later_attempt_needs_the_room(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(kept, 2).close()
    monkeypatch.setattr(kept_bodies, "free_bytes", lambda folder: len(DATA) + body_log.SPARE_BYTES - 1)
    assert kept.find("op", URL, 2) is None
    assert list(kept.folder.rglob("*.body")) == []


def test_a_full_disk_ends_it_and_gives_the_room_back(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = begun(kept, 2)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    assert not log.append(DATA[2 * PIECE :], 2 * PIECE)
    assert not log.append(DATA[2 * PIECE :], 2 * PIECE)
    assert list(kept.folder.rglob("*.body")) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text


def test_a_folder_that_cannot_be_used_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bodies").write_bytes(b"a file")
    kept = KeptBodies(tmp_path / "bodies")
    assert kept.begin("op", URL, 1, VERSION, []) is None
    assert kept.begin("op2", URL, 1, VERSION, []) is None
    assert kept.find("op", URL, 1) is None
    kept.drop("op")
    kept.clean(NOW)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(kept.folder) in caplog.text


# -- when it goes -------------------------------------------------------------------------------------


def test_what_is_kept_for_an_operation_is_dropped_also_while_it_is_written(kept: KeptBodies) -> None:
    log = begun(kept, 1)
    other = kept.begin("other", URL, 1, VERSION, [])
    assert other is not None
    kept.drop("op")
    assert not log.append(DATA[PIECE:], PIECE)
    assert other.is_open
    assert len(list(kept.folder.iterdir())) == 1
    kept.drop("nothing")


def test_what_is_old_is_cleaned_away_and_nothing_else(kept: KeptBodies) -> None:
    begun(kept, 1).close()
    path = file_of(kept)
    stranger = kept.folder / "notes.txt"
    stranger.write_text("mine")
    kept.clean(NOW - timedelta(days=1))
    assert path.exists()
    kept.clean(NOW + timedelta(days=1))
    assert sorted(kept.folder.iterdir()) == [stranger]


def test_where_nobody_knows_how_much_is_free_what_is_kept_is_used(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(kept, 2).close()

    def refuse(folder: Path) -> int:
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr(kept_bodies, "free_bytes", refuse)
    assert content(found(kept)) == DATA[: 2 * PIECE]


@pytest.mark.parametrize("missing", ["module", "locks"])
def test_where_there_are_no_locks_bodies_are_kept_all_the_same(
    kept: KeptBodies, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if missing == "module":
        monkeypatch.setitem(sys.modules, "fcntl", None)  # type: ignore[arg-type]
    else:
        monkeypatch.setattr("fcntl.flock", refuse)
    begun(kept, 2).close()
    assert content(found(kept)) == DATA[: 2 * PIECE]


def test_one_that_goes_in_the_moment_it_is_opened_is_none(
    kept: KeptBodies, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has cleaned up; nobody needs to hear of it."""
    begun(kept, 1).close()
    monkeypatch.setattr(Path, "exists", lambda self: True)
    file_of(kept).unlink()
    with caplog.at_level(logging.WARNING):
        assert kept.find("op", URL, 1) is None
    assert caplog.records == []
