"""Servers that name a time are left alone for that time by all downloads, while other servers go on."""

from __future__ import annotations

import threading
from email.utils import formatdate
from pathlib import Path

import pytest
import requests

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.clock import Clock
from launcher_recovery.errors import OperationCancelled
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.sources.waits import Waits
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Downloads

URL = "https://hub.example/model.bin"
FILE = File(1 << 20)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def waits(clock: VirtualClock) -> Waits:
    return Waits(clock.monotonic, clock.time)


def refusal(status: int = 429, url: str = URL, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response.url = status, url
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.HTTPError("no", response=response)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_names_a_time_is_left_alone_until_then(waits: Waits, clock: VirtualClock, status: int) -> None:
    assert waits.heard(refusal(status, Retry_After="30"))
    assert waits.left(URL, "op") == pytest.approx(30)
    clock.advance(29)
    assert waits.left("https://HUB.example:443/another.bin", "another") == pytest.approx(1)
    clock.advance(1)
    assert waits.left(URL, "op") == 0


def test_a_server_that_has_answered_since_is_not_left_alone_any_more(waits: Waits, clock: VirtualClock) -> None:
    waits.answered(URL, clock.monotonic())  # there is nothing to end
    before = clock.monotonic()
    clock.advance(1)
    assert waits.heard(refusal(Retry_After="3600"))
    waits.answered(URL, before)  # by what was asked for before that
    waits.answered("https://another.example/model.bin", clock.monotonic() + 1)
    assert waits.left(URL, "op") == pytest.approx(3600)
    waits.answered("https://hub.example/another.bin", clock.monotonic() + 1)
    assert waits.left(URL, "op") == 0


def test_when_a_person_has_one_download_try_again_and_it_comes_the_others_may_go_on_too(tmp_path: Path) -> None:
    with Origin() as origin:
        refused = origin.add(FILE, act.script(act.refuse("503 Service Unavailable", retry_after=3600)))
        first = Downloads(MemoryPersistence(), Clock())
        caller = threading.Thread(target=first, args=(refused, tmp_path / "first.bin"))
        caller.start()
        wait_for(lambda: first.data is not None and first.record.state is RecoveryState.RECOVERING)
        assert first.data is not None
        first.lifecycle.retry(first.data.operation_id)
        caller.join(30)
        assert (tmp_path / "first.bin").read_bytes() == FILE.content()
        Downloads(MemoryPersistence())(refused, tmp_path / "second.bin", max_attempts=1)
    assert (tmp_path / "second.bin").read_bytes() == FILE.content()


def test_it_may_name_a_date(waits: Waits, clock: VirtualClock) -> None:
    assert waits.heard(refusal(Retry_After=formatdate(clock.time() + 60, usegmt=True)))
    assert waits.left(URL, "op") == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    "error",
    [
        refusal(),
        refusal(Retry_After="0"),
        refusal(Retry_After="soon"),
        refusal(404, Retry_After="30"),
        requests.HTTPError("no answer at all"),
        OSError("no"),
    ],
)
def test_others_are_not(waits: Waits, error: Exception) -> None:
    assert not waits.heard(error)
    assert waits.left(URL, "op") == 0


@pytest.mark.parametrize(
    "other", ["https://other.example/model.bin", "https://hub.example:8443/m", "http://hub.example/m"]
)
def test_it_is_about_one_server(waits: Waits, other: str) -> None:
    waits.heard(refusal(Retry_After="30"))
    assert waits.left(other, "op") == 0


def test_whoever_was_told_waits_by_itself_and_is_not_held_up_again(waits: Waits, clock: VirtualClock) -> None:
    waits.heard(refusal(503, Retry_After="30"))
    clock.advance(9.5)
    error = waits.tell(URL + "?token=secret", "op")
    assert "hub.example asked a moment ago to be left alone, for another 21 s" in str(error)
    assert "secret" not in str(vars(error.response))
    assert waits.left(URL, "op") == 0
    assert waits.left(URL, "another") == pytest.approx(20.5)
    verdict = ErrorClassifier(now=clock.time).classify(error)
    assert (verdict.wait_s, verdict.scope) == (21, "hub.example")
    waits.heard(refusal(Retry_After="60"))  # asked anew
    assert waits.left(URL, "op") == pytest.approx(60)


def test_whoever_asks_too_late_is_told_that_it_is_over(waits: Waits) -> None:
    error = waits.tell(URL, "op")
    assert error.response is not None
    assert (error.response.status_code, error.response.headers["Retry-After"]) == (503, "0")


def test_what_is_over_is_forgotten(waits: Waits, clock: VirtualClock) -> None:
    for number in range(100):
        waits.heard(refusal(url=f"https://{number}.example/", Retry_After="1"))
        clock.advance(2)
    assert len(waits._waits) == 1


# -- downloads ----------------------------------------------------------------------------------------


def test_while_one_server_waits_another_one_goes_on(tmp_path: Path) -> None:
    """In the same attempt, and without a wait."""
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.refuse("429 Too Many Requests", retry_after=3600))
        downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[mirror.add(FILE)])
        assert len(origin.requests()) == 1
        assert mirror.settled().sent() == FILE.size
    assert downloads.outcomes == [("success", None)]


def test_a_server_that_waits_is_not_asked_by_a_later_attempt_of_one_that_goes_on_elsewhere(tmp_path: Path) -> None:
    """The mirror breaks off: the next attempt goes on there, and leaves the first one alone all the same."""
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.refuse("429 Too Many Requests", retry_after=3600))
        source = mirror.add(FILE, act.script(act.drop(FILE.size // 2)))
        downloads(url, tmp_path / "model.bin", sha256=FILE.sha256, sources=[source])
        assert len(origin.requests()) == 1
        assert mirror.settled().sent() == FILE.size
    assert downloads.outcomes == [("failed", "network"), ("success", None)]


def test_two_downloads_from_one_server_both_wait(tmp_path: Path) -> None:
    """The second one does not ask before the time that the first one was told, although it has not asked yet."""
    store, clock = MemoryPersistence(), VirtualClock()
    first, second = Downloads(store), Downloads(store, clock)
    refused, is_over = threading.Event(), threading.Event()

    def observe(event: str, data: object, error: object) -> None:
        if event == "attempt_finished" and not refused.is_set():
            refused.set()
            is_over.wait(60)

    first.engine.observe = observe  # type: ignore[assignment]
    with Origin() as origin:
        url = origin.add(FILE, act.script(act.refuse("503 Service Unavailable", retry_after=40)), path="/one")
        caller = threading.Thread(target=first, args=(url, tmp_path / "one.bin"))
        caller.start()
        try:
            assert refused.wait(30)
            second(origin.add(FILE, path="/two"), tmp_path / "two.bin")
        finally:
            is_over.set()
            caller.join(60)
        assert len(origin.requests("/one")) == 2
        assert len(origin.requests("/two")) == 1
    assert second.outcomes == [("failed", "network"), ("success", None)]
    assert 30 <= clock.slept <= 40
    for name in ("one.bin", "two.bin"):
        assert (tmp_path / name).read_bytes() == FILE.content()


class RefusedOnce:
    """A download that was refused, and does not try again before it is told to."""

    def __init__(self, store: MemoryPersistence, url: str, path: Path) -> None:
        self._downloads = Downloads(store)
        self._refused, self._is_over = threading.Event(), threading.Event()
        self._downloads.engine.observe = self._observe  # type: ignore[assignment]
        self._caller = threading.Thread(target=self._downloads, args=(url, path))

    def _observe(self, event: str, data: object, error: object) -> None:
        if event == "attempt_finished" and not self._refused.is_set():
            self._refused.set()
            self._is_over.wait(60)

    def __enter__(self) -> None:
        self._caller.start()
        assert self._refused.wait(30)

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._caller.join(60)


def test_a_store_behind_redirects_that_names_a_time_is_left_alone_and_not_who_leads_there(tmp_path: Path) -> None:
    """By all downloads that are led there, the one that was refused and others; not by those that are not."""
    memory, clock = MemoryPersistence(), VirtualClock()
    led, direct = Downloads(memory, clock), Downloads(memory)
    with Origin() as origin, Origin() as store:
        refused = store.add(FILE, act.script(act.refuse("503 Service Unavailable", retry_after=40)), path="/one")
        first = origin.add(FILE, act.redirect(refused), path="/one")
        second = origin.add(FILE, act.redirect(store.add(FILE, path="/two")), path="/two")
        with RefusedOnce(memory, first, tmp_path / "one.bin"):
            direct(origin.add(FILE, path="/three"), tmp_path / "three.bin", max_attempts=1)
            assert led.data is None
            led(second, tmp_path / "two.bin")
        assert len(store.requests("/two")) == 1
        assert len(store.requests("/one")) == 2
    assert led.outcomes == [("failed", "network"), ("success", None)]
    assert 30 <= clock.slept <= 40
    assert "127.0.0.1 asked a moment ago to be left alone" in str(led.attempts[0].error)
    for name in ("one.bin", "two.bin", "three.bin"):
        assert (tmp_path / name).read_bytes() == FILE.content()


def test_while_a_store_behind_a_redirect_waits_a_mirror_is_asked(tmp_path: Path) -> None:
    memory = MemoryPersistence()
    downloads = Downloads(memory)
    with Origin() as origin, Origin() as store, Origin() as mirror:
        refused = store.add(FILE, act.refuse("429 Too Many Requests", retry_after=3600), path="/one")
        with pytest.raises(requests.HTTPError):
            Downloads(memory)(origin.add(FILE, act.redirect(refused), path="/one"), tmp_path / "one", max_attempts=1)
        second = origin.add(FILE, act.redirect(store.add(FILE, path="/two")), path="/two")
        downloads(second, tmp_path / "two.bin", sha256=FILE.sha256, sources=[mirror.add(FILE)])
        assert store.requests("/two") == []
        assert len(origin.requests("/two")) == 1
    assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "two.bin").read_bytes() == FILE.content()


def test_it_is_shown_that_a_server_is_waited_for(tmp_path: Path) -> None:
    """Also by a download that has not asked it itself."""
    store = MemoryPersistence()
    second = Downloads(store, Clock())
    ended: list[Exception] = []

    def run(url: str) -> None:
        try:
            second(url, tmp_path / "two.bin")
        except OperationCancelled as error:
            ended.append(error)

    with Origin() as origin:
        url = origin.add(FILE, act.refuse("503 Service Unavailable", retry_after=3600))
        with pytest.raises(requests.HTTPError):
            Downloads(store)(url, tmp_path / "one.bin", max_attempts=1)
        caller = threading.Thread(target=run, args=(origin.add(FILE, path="/two"),))
        caller.start()
        wait_for(lambda: second.data is not None and second.record.state is RecoveryState.RECOVERING)
        shown = second.record
        second.lifecycle.cancel(shown.operation_id)
        caller.join(30)
        assert not origin.requests("/two")
    assert shown.waiting_for == WaitingFor.RETRY_AFTER
    assert shown.next_attempt_at is not None
    assert shown.next_attempt_at.timestamp() - second.clock.time() > 3000
    assert len(ended) == 1
