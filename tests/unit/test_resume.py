"""What is run again after a crash, a restart or a person's retry, and what is left to others."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from launcher_recovery import RecoveryStateError, StoreError, resume
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence.base import Owner, Retention
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.resume import Resumer
from launcher_recovery.signals import Event
from tests.unit.kit import Kit

S = RecoveryState


class Reruns:
    """Takes the place of the plugin: keeps what it was given; waits where it is told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, data: RecoveryData) -> None:
        self.seen.append(data.title)
        self.done.release()
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        assert self.done.acquire(timeout=20)


@pytest.fixture
def reruns() -> Reruns:
    return Reruns()


@pytest.fixture
def resumer(each: Kit, reruns: Reruns) -> Resumer:
    each.store.forget_owner("me")
    each.store.heartbeat(OWNER, each.clock.time())
    return Resumer(each.lifecycle, {"download": reruns}, each.clock)


others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _threads_of_other_tests() -> None:
    others.clear()
    others.update(threading.enumerate())


def settle() -> None:
    """Until every thread that a resumer began in this test has ended."""
    for thread in threading.enumerate():
        if thread.name.startswith("recovery-") and thread not in others:
            thread.join(20)


def test_sweep_takes_over_what_the_dead_left(each: Kit, resumer: Resumer, reruns: Reruns) -> None:
    """What a dead process ran or let wait is dispatched; what a living one has, what is paused or over, is not."""
    each.store.heartbeat(Owner("dead", OWNER.host, 1, "boot/x"), each.clock.time())
    for title, owner, state in [
        ("ran", "dead", S.IN_PROGRESS), ("waited", "dead", S.RECOVERING), ("paused", "dead", S.PAUSED),
        ("over", None, S.FAILED), ("alive", OWNER.owner_id, S.IN_PROGRESS), ("unknown", "nobody", S.PENDING),
    ]:  # fmt: skip
        each.store.insert(RecoveryData(title, "f", title=title, owner=owner, state=state, kind="download"))
    resumer.sweep()
    settle()
    assert sorted(reruns.seen) == ["ran", "unknown", "waited"]
    assert each.record("alive").owner == OWNER.owner_id
    assert [each.record("paused").state, each.record("paused").owner] == [S.PAUSED, None]


def test_only_its_kinds_and_only_what_is_free(each: Kit, resumer: Resumer, reruns: Reruns) -> None:
    """Other kinds, owned, running and live operations are not dispatched."""
    data = each.open(kind="download", title="owned")
    resumer.dispatch(data)
    other = RecoveryData("x", "f", kind="function", title="other kind")
    each.store.insert(other)
    resumer.dispatch(other)
    running = RecoveryData("y", "f", kind="download", state=S.IN_PROGRESS)
    resumer.dispatch(running)
    settle()
    assert reruns.seen == []


def test_part_of_an_unfinished_operation_is_left_to_it(each: Kit, resumer: Resumer, reruns: Reruns) -> None:
    """A part is run by the operation around it, as long as that is not over; afterwards by itself."""
    parent = each.open(kind="create_project")
    part = RecoveryData("part", "f", kind="download", title="part", parent_id=parent.operation_id)
    lost = RecoveryData("lost", "f", kind="download", title="lost", parent_id="nowhere")
    for data in (part, lost):
        each.store.insert(data)
        resumer.dispatch(data)
    settle()
    assert reruns.seen == ["lost"]
    each.lifecycle.cancel(parent.operation_id)
    resumer.dispatch(part)
    settle()
    assert reruns.seen == ["lost", "part"]


def test_dispatched_once(each: Kit) -> None:
    """While an operation is being dispatched, or a call of this process is about it, it is not dispatched again."""
    begun, go = threading.Semaphore(0), threading.Event()
    seen = []

    def rerun(data: RecoveryData) -> None:
        seen.append(data.title)
        begun.release()
        assert go.wait(20)

    resumer = Resumer(each.lifecycle, {"download": rerun}, each.clock)
    data = RecoveryData("a", "f", kind="download", title="a")
    each.store.insert(data)
    resumer.dispatch(data)
    assert begun.acquire(timeout=20)
    resumer.dispatch(data)
    go.set()
    settle()
    assert seen == ["a"]
    resumer.dispatch(data)
    settle()
    assert seen == ["a", "a"]


def test_live_operation_is_not_dispatched(each: Kit, resumer: Resumer, reruns: Reruns) -> None:
    """A call that is waiting for it goes on by itself when a person retries."""

    class Handle:
        operation_id = "a"

    data = RecoveryData("a", "f", kind="download")
    each.store.insert(data)
    handle: Any = Handle()
    each.lifecycle.attach(handle)
    resumer.dispatch(data)
    each.lifecycle.detach(handle)
    settle()
    assert reruns.seen == []


def test_event_of_a_retry_dispatches(each: Kit, resumer: Resumer, reruns: Reruns) -> None:
    """What a person retries in another process is dispatched here; other events, and unknown ids, are nothing."""
    each.store.insert(RecoveryData("a", "f", kind="download", title="a", state=S.FAILED))
    resumer.on_event(Event(1, "recovery_update", {"operation_id": "a", "state": "failed"}))
    resumer.on_event(Event(2, "circuit_breaker_update", {"state": "open"}))
    resumer.on_event(Event(3, "recovery_update", {"operation_id": "nowhere", "state": "pending"}))
    each.lifecycle.retry("a")
    resumer.on_event(each.events()[-1])
    settle()
    assert reruns.seen == ["a"]


@pytest.mark.parametrize("error", [RecoveryStateError("somebody was faster"), ValueError("bad")])
def test_rerun_that_fails_is_logged(
    each: Kit, resumer: Resumer, reruns: Reruns, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """An operation that fails again is logged by its title, and can be dispatched later."""
    reruns.error = error
    each.store.insert(RecoveryData("a", "f", kind="download", title="model.bin"))
    for _ in range(2):
        resumer.dispatch(each.record("a"))
        settle()
    assert reruns.seen == ["model.bin"] * 2
    assert "model.bin" in caplog.text
    assert str(error) in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError("the disk is full"), "interrupted operations cannot be looked for at the moment: the disk is full"),
        (KeyError("a fault of the store"), "KeyError: 'a fault of the store'"),
    ],
)
def test_thread_sweeps_until_stopped(
    each: Kit,
    reruns: Reruns,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    said: str,
) -> None:
    """The thread sweeps at once and again, also after the store failed for a while; after `stop` nothing begins."""
    monkeypatch.setattr(resume, "_SWEEP_S", 0)
    resumer = Resumer(each.lifecycle, {"download": reruns}, each.clock)
    sweep, sweeps = resumer.sweep, []

    def flaky() -> None:
        sweeps.append(1)
        if len(sweeps) == 1:
            raise error
        sweep()

    monkeypatch.setattr(resumer, "sweep", flaky)
    data = RecoveryData("a", "f", kind="download", title="a")
    each.store.insert(data)
    resumer.start()
    reruns.wait()
    resumer.stop()
    settle()
    assert said in caplog.text
    count = len(reruns.seen)
    resumer.dispatch(data)
    settle()
    assert len(reruns.seen) == count
    Resumer(each.lifecycle, {}).stop()


def test_sweep_cleans_up_once_an_hour(each: Kit, reruns: Reruns) -> None:
    """What is over is forgotten after its time, looked for at the first sweep and then once an hour."""
    each.store.heartbeat(OWNER, each.clock.time())
    retention = Retention(age=timedelta(minutes=30), keep=5)
    resumer = Resumer(each.lifecycle, {"download": reruns}, each.clock, retention)
    for _ in range(7):
        each.run(lambda: None)
    resumer.sweep()
    assert len(each.store.find()) == 5
    each.clock.advance(3590)
    each.run(lambda: None)
    resumer.sweep()
    assert len(each.store.find()) == 6
    each.clock.advance(10)
    resumer.sweep()
    assert len(each.store.find()) == 1
    Resumer(each.lifecycle, {}, each.clock).sweep()
    assert len(each.store.find()) == 1


def test_orphans_are_taken_over_a_few_at_a_time(each: Kit, resumer: Resumer) -> None:
    """The first ones are dispatched before the last ones are free."""
    for number in range(150):
        each.store.insert(RecoveryData(f"{number}", "f", owner="gone", state=S.IN_PROGRESS, kind="download"))
    assert len(each.lifecycle.release_orphans(set(), 10)) == 10
    owned: list[int] = []
    resumer._rerun["download"] = lambda data: None
    dispatch = resumer.dispatch

    def noting(data: RecoveryData) -> None:
        owned.append(sum(one.owner is not None for one in each.store.find(limit=-1)))
        dispatch(data)

    resumer.dispatch = noting  # type: ignore[method-assign]
    resumer.sweep()
    settle()
    assert owned[0] > 0
    assert owned[-1] == 0
    assert each.lifecycle.release_orphans(set()) == []
