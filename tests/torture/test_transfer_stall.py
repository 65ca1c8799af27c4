"""A server that falls silent, or as good as that, is left within seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

from launcher_recovery.persistence import MemoryPersistence
from tests.origin import Behaviour, File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads, file_sha256, turn

MIB = 1 << 20
FILE = File(8 * MIB)
BACK_S = 6.0
"""Seconds from the last byte to the next request: 5 s of silence, and what it takes to notice."""

SLACK_S = 3.0
"""What a busy machine may add."""

LONG_S = 600.0


def silence_before(origin: Origin, number: int) -> float:
    """Seconds between the arrival of one request, whose answer stalls at once, and of another."""
    requests = origin.requests()
    return requests[number].at - requests[number - 1].at


def test_silence_in_the_body_is_left_and_the_rest_fetched(tmp_path: Path) -> None:
    with Origin() as origin:
        url = origin.add(FILE, act.script(act.stall(3 * MIB, LONG_S)))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
        assert silence_before(origin, 1) <= BACK_S + SLACK_S
        assert origin.settled().sent() == FILE.size
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_silence_in_the_body_is_left_for_a_mirror(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.stall(3 * MIB, LONG_S))
        source = mirror.add(FILE)
        began = time.monotonic()
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[source])
        assert mirror.exchanges(), "the mirror was not asked"
        assert mirror.requests()[0].at - began <= BACK_S + SLACK_S
        assert time.monotonic() - began <= BACK_S + 2 * SLACK_S
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_silence_on_one_connection_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Each connection is slow, so that there are several; one of them falls silent for ever."""
    file = File(64 * MIB)
    with Origin() as origin:
        silent = act.when(lambda request: request.number == 2, act.stall(MIB, LONG_S))
        url = origin.add(file, act.slow(10e6), silent)
        began = time.monotonic()
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
        assert time.monotonic() - began <= file.size / 10e6 + BACK_S + SLACK_S
        assert origin.most_at_once("/model.bin") > 1
        assert origin.settled().sent() <= file.size + MIB
    assert (tmp_path / "model.bin").read_bytes() == file.content()


@pytest.mark.timeout(40)
def test_a_trickle_is_left_where_there_is_a_faster_source(tmp_path: Path) -> None:
    """A server that sends a few bytes a second is never silent, and still left for a mirror."""
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.slow(2_000))
        began = time.monotonic()
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[mirror.add(FILE)])
        assert time.monotonic() - began <= 10 + BACK_S + SLACK_S
        assert mirror.settled().sent() > FILE.size // 2
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_a_trickle_at_the_beginning_of_a_large_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it is the last connection, which another one would race: as soon as it was slow for a while."""
    turn({"slow_s": 1.0}, monkeypatch.setattr)
    file = File(256 * MIB)
    with Origin() as origin, Origin() as mirror:
        url = origin.add(file, act.slow(2_000))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", sha256=file.sha256, sources=[mirror.add(file)])
        assert origin.settled().sent() < MIB
        assert len(origin.requests()) <= 2  # another connection to it may have been tried before
    assert file_sha256(tmp_path / "model.bin") == file.sha256


def test_a_trickle_is_come_back_to_where_the_mirror_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn({"slow_s": 1.0}, monkeypatch.setattr)
    file = File(150_000)
    with Origin() as origin, Origin() as mirror:
        url, source = origin.add(file, act.slow(30_000)), mirror.add(file, act.refuse("404 Not Found"))
        downloads = Downloads(MemoryPersistence())
        downloads(url, tmp_path / "model.bin", sha256=file.sha256, sources=[source])
        # What was on its way when it was left is sent again: an instant of 30 kB/s.
        assert origin.settled().sent() <= file.size + 15_000
        assert len(mirror.requests()) == 1
    assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "model.bin").read_bytes() == file.content()


def test_a_server_that_does_not_answer_is_left_for_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be waited for longer if there was no other one."""
    turn({"slow_s": 0.5}, monkeypatch.setattr)
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.silence(LONG_S))
        downloads = Downloads(MemoryPersistence())
        downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[mirror.add(FILE)])
        assert origin.settled().sent() == 0
        assert mirror.settled().sent() == FILE.size
    assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_a_silent_server_is_asked_again_where_the_mirror_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same attempt: there is nothing to wait for."""
    turn({"silence_s": 0.5}, monkeypatch.setattr)
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.script(act.stall(3 * MIB, LONG_S)))
        downloads = Downloads(MemoryPersistence())
        source = mirror.add(FILE, act.refuse("404 Not Found"))
        downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[source])
        assert mirror.requests()
        assert origin.settled().sent() == FILE.size
    assert downloads.outcomes == [("success", None)]


STALLS = act.combined(act.ignores_range, act.stall(300_000, LONG_S))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("behaviour", "options"),
    [
        (STALLS, {}),
        (act.combined(act.content_length(), STALLS), {}),
        (act.combined(act.script(act.flip(400_000)), act.since(2, STALLS)), {"sha256": File(500_000).sha256}),
    ],
    ids=["the size is known", "the size is not known", "what is wrong is looked for"],
)
def test_a_server_that_falls_silent_at_the_same_byte_each_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, options: dict[str, str]
) -> None:
    """It gives no parts of the file: what it sends again is no progress."""
    turn({"silence_s": 0.1, "piece": 64 << 10}, monkeypatch.setattr)
    with Origin() as origin:
        url = origin.add(File(500_000), behaviour)
        downloads = Downloads(MemoryPersistence())
        with pytest.raises(requests.ReadTimeout):
            downloads(url, tmp_path / "model.bin", max_attempts=3, **options)
    assert not (tmp_path / "model.bin").exists()
    assert downloads.outcomes[-1] == ("exhausted", "timeout")


def test_a_trickle_is_left_alone_where_there_is_nothing_better(tmp_path: Path) -> None:
    """A slow connection that is all one has is no stall: it is not dropped and begun again."""
    file = File(300_000)
    with Origin() as origin:
        url = origin.add(file, act.slow(25_000))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
        assert origin.settled().sent() == file.size
        assert len([one for one in origin.requests() if one.method == "GET"]) <= 2
    assert (tmp_path / "model.bin").read_bytes() == file.content()


@pytest.mark.slow
@pytest.mark.parametrize("late", [act.silence(LONG_S), act.dribbled(1.0), act.endless_interim(1.0)])
def test_an_answer_that_does_not_come_is_given_up_after_half_a_minute(tmp_path: Path, late: Behaviour) -> None:
    """Also one whose head comes byte by byte, or that is announced again and again."""
    with Origin() as origin:
        url = origin.add(FILE, act.script(late))
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin")
        assert silence_before(origin, 1) <= 30 + BACK_S + SLACK_S
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
