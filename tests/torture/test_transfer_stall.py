"""A server that falls silent, or as good as that, is left within seconds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from launcher_recovery.errors import OperationCancelled
from launcher_recovery.persistence import MemoryPersistence
from tests.origin import Behaviour, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Downloads

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


@pytest.mark.parametrize("reads", ["head", "body"])
def test_a_cancelled_download_lets_go_of_a_silent_server_at_once(tmp_path: Path, reads: str) -> None:
    """Within 100 ms, whatever it waits for."""
    ended: list[float] = []
    silence = act.silence(LONG_S) if reads == "head" else act.stall(MIB, LONG_S)
    downloads = Downloads(MemoryPersistence())

    def run(url: str) -> None:
        try:
            downloads(url, tmp_path / "model.bin")
        except OperationCancelled:
            ended.append(time.monotonic())

    with Origin() as origin:
        caller = threading.Thread(target=run, args=(origin.add(FILE, silence),))
        caller.start()
        wait_for(lambda: origin.sent() == (0 if reads == "head" else MIB) and origin.requests())
        time.sleep(0.3)
        assert downloads.data is not None
        cancelled_at = time.monotonic()
        downloads.lifecycle.cancel(downloads.data.operation_id)
        caller.join(20)
        assert ended[0] - cancelled_at <= 0.1 + SLACK_S / 10
