"""Waiting for what is missing here, such as room on the disk: no attempt is begun before it is there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from launcher_recovery import NoSpaceError, OperationCancelled
from launcher_recovery.admission import LOOK_S
from launcher_recovery.classification import ErrorCategory, ErrorClassifier, Retry, Verdict
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.logs import disable_logging, enable_logging
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.persistence.base import Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.testing import VirtualClock
from tests.support import wait_for
from tests.unit.kit import Kit

S = RecoveryState
Drive = Callable[..., Awaitable[Any]]


class Disk:
    """A disk with `free` bytes; it is told how often somebody looked, and what happened when."""

    def __init__(self, kit: Kit, free: int = 0) -> None:
        self.kit, self.free = kit, free
        self.looks: list[float] = []
        self.plans: dict[float, Callable[[], object]] = {}

    def look(self) -> tuple[int, int]:
        """What is needed, and what is free."""
        self.looks.append(round(self.kit.clock.monotonic(), 3))
        return 100, self.free

    def full(self) -> NoSpaceError:
        return NoSpaceError("/models", 100, self.free, look=self.look)

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Do it when so much time has passed, as soon as somebody waits."""
        self.plans[seconds] = what

    def frees(self, seconds: float, free: int = 100) -> None:
        self.after(seconds, lambda: setattr(self, "free", free))

    def pass_time(self) -> None:
        for seconds, what in sorted(self.plans.items()):
            if self.kit.clock.monotonic() >= seconds:
                del self.plans[seconds]
                what()


class WithPlans(Clock):
    """Virtual time in which plans come true."""

    def __init__(self, inner: VirtualClock, disk: Disk) -> None:
        self.inner, self.disk = inner, disk

    def time(self) -> float:
        return self.inner.time()

    def monotonic(self) -> float:
        return self.inner.monotonic()

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        woken = self.inner.wait(wake, seconds)
        self.disk.pass_time()
        return woken

    async def wait_async(self, wake: Wake, seconds: float | None) -> bool:
        woken = await self.inner.wait_async(wake, seconds)
        if seconds is not None:  # else it is the wait beside a coroutine that runs
            self.disk.pass_time()
        return woken


@pytest.fixture
def disk(kit: Kit) -> Disk:
    made = Disk(kit)
    kit.engine.clock = WithPlans(kit.clock, made)
    return made


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest, kit: Kit) -> Drive:
    """Runs a plain handler, by each of the two drivers in turn."""

    async def run(handler: Callable[[], Any], policy: Policy | None = None, **given: Any) -> Any:
        policy = policy or policy_of()
        if request.param == "sync":
            return kit.run(handler, policy, **given)

        async def coroutine() -> Any:
            return handler()

        return await kit.run_async(coroutine, policy, **given)

    return run


def policy_of(**given: Any) -> Policy:
    return Policy(**{"wait_for_resources": True, "strategy": FixedDelayStrategy(30), "max_attempts": 3, **given})


def writes(disk: Disk, began: list[float] | None = None) -> Callable[[], str]:
    """A handler that needs 100 bytes."""

    def handler() -> str:
        if began is not None:
            began.append(disk.kit.clock.monotonic())
        if disk.free < 100:
            raise disk.full()
        return "written"

    return handler


def told(kit: Kit) -> list[tuple[str, str | None, str | None]]:
    """State, what is waited for and the explanation, as they were one after the other."""
    updates = [event.payload for event in kit.events() if event.name == "recovery_update"]
    return [(one["state"], one["waiting_for"], one["explanation"]) for one in updates]


def lacks(missing: int) -> str:
    return (
        f"There is not enough room on the disk: {missing} B are missing in /models. "
        "It goes on by itself as soon as there is room."
    )


async def test_it_goes_on_by_itself_as_soon_as_there_is_room(kit: Kit, disk: Disk, drive: Drive) -> None:
    """It waits without an attempt, tells people how much is missing at the moment, and begins when there is room."""
    began: list[float] = []
    disk.free = 10
    disk.frees(12, 60)
    disk.frees(3601)
    assert await drive(writes(disk, began)) == "written"
    assert began == [0, pytest.approx(3605)]
    assert told(kit) == [
        ("pending", None, None),
        ("in_progress", None, None),
        ("recovering", "disk_space", lacks(90)),
        ("recovering", "disk_space", lacks(40)),
        ("in_progress", None, None),
        ("success", None, None),
    ]
    assert disk.looks == [pytest.approx(LOOK_S * number) for number in range(722)]


async def test_while_it_waits_it_can_be_ended_by_hand(kit: Kit, disk: Disk, drive: Drive) -> None:
    """The record says what it waits for, has no due time, and offers what a person can do."""
    seen: list[Any] = []
    disk.after(2, lambda: seen.append(kit.events()[-1].payload))
    disk.frees(3)
    await drive(writes(disk))
    [one] = seen
    assert (one["state"], one["waiting_for"], one["next_attempt_at"]) == ("recovering", "disk_space", None)
    assert one["actions"] == ["pause", "retry", "cancel"]
    assert (one["category"], one["fix"]) == ("resource", "free_disk_space")


async def test_room_that_is_there_at_once(kit: Kit, disk: Disk, drive: Drive) -> None:
    """When the room has come back before anybody looked, nothing is waited for."""

    def handler() -> str:
        if not disk.looks:
            error = disk.full()
            disk.free = 100
            raise error
        return "written"

    assert await drive(handler) == "written"
    assert kit.clock.slept == 0
    explanation = "There is not enough room on the disk: 100 B are missing in /models."
    assert told(kit)[2] == ("recovering", "disk_space", explanation)


async def test_failures_for_want_of_room_are_not_counted(kit: Kit, disk: Disk, drive: Drive) -> None:
    """However often it was so, all attempts are left for other errors, and so it is shown."""
    errors: list[Any] = [ConnectionError("1"), *[disk.full() for _ in range(9)], ConnectionError("2"), "done"]
    disk.free = 100
    shown: list[tuple[int, int | None]] = []

    def handler() -> Any:
        operation = current_operation()
        assert operation is not None
        shown.append((operation.attempt, operation.data.max_attempts))
        item = errors.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    assert await drive(handler) == "done"
    assert [most for _, most in shown] == [3, 3, *range(4, 13), 12]
    assert kit.now.fruitless == 2


async def test_attempts_in_vain_become_rare(kit: Kit, disk: Disk, drive: Drive) -> None:
    """When it fails again at once although all that is looked at is there, it is tried no more often than others."""
    began: list[float] = []
    disk.free = 100

    def handler() -> str:
        began.append(kit.clock.monotonic())
        if len(began) < 5:
            raise disk.full()
        return "done"

    assert await drive(handler) == "done"
    assert began == [0, 0, 30, 60, 90]


async def test_attempts_that_move_are_not_in_vain(kit: Kit, disk: Disk, drive: Drive) -> None:
    """One that wrote something before the disk was full again is followed by another as soon as there is room."""
    began: list[float] = []
    disk.free = 100

    def handler() -> str:
        operation = current_operation()
        assert operation is not None
        began.append(kit.clock.monotonic())
        operation.progress(len(began), 9)
        if len(began) < 5:
            raise disk.full()
        return "done"

    assert await drive(handler) == "done"
    assert began == [0, 0, 0, 0, 0]


async def test_retry_now_ends_the_wait(kit: Kit, disk: Disk, drive: Drive) -> None:
    """A person who knows better is obeyed at once; the attempt finds out anew."""
    began: list[float] = []
    disk.after(2, lambda: kit.lifecycle.retry(kit.data.operation_id))
    disk.frees(33)
    assert await drive(writes(disk, began)) == "written"
    # The second one was in vain, so that it is looked again only after the delay of the strategy.
    assert began == [0, 2, pytest.approx(37)]


async def test_cancel_ends_the_wait(kit: Kit, disk: Disk, drive: Drive) -> None:
    """A cancel ends it, and the call."""
    disk.after(7, lambda: kit.lifecycle.cancel(kit.data.operation_id))
    with pytest.raises(OperationCancelled):
        await drive(writes(disk))
    assert (kit.now.state, kit.clock.slept) == (S.CANCELLED, 7)


async def test_pause_and_resume(kit: Kit, disk: Disk, drive: Drive) -> None:
    """While it is paused nobody looks; after the resume an attempt finds out whether there is room."""
    began: list[float] = []
    disk.after(7, lambda: kit.lifecycle.pause(kit.data.operation_id))
    disk.after(50, lambda: kit.lifecycle.resume(kit.data.operation_id))
    disk.frees(58)
    assert await drive(writes(disk, began)) == "written"
    assert began[:2] == [0, 50]
    assert not [at for at in disk.looks if 7 < at < 50]
    assert [state for state, _, _ in told(kit)].count("paused") == 1


async def test_a_deadline_ends_the_wait(kit: Kit, disk: Disk, drive: Drive) -> None:
    """At the deadline it gives up with the error of the full disk, and tells for how long it waited."""
    disk.frees(101)
    with pytest.raises(NoSpaceError) as caught:
        await drive(writes(disk), policy_of(deadline=100))
    assert (kit.now.state, kit.now.fix, kit.now.attempt) == (S.EXHAUSTED, "free_disk_space", 1)
    assert kit.now.explanation == lacks(100)
    assert kit.clock.slept == pytest.approx(100, abs=0.01)
    assert "1 attempt and 100 s of waiting" in caught.value.__notes__[0]


async def test_a_deadline_that_was_set_since(kit: Kit, disk: Disk, drive: Drive) -> None:
    """A shorter deadline counts for a wait that goes on already."""
    policies = [policy_of()]
    disk.after(20, lambda: policies.append(policy_of(deadline=10)))
    with pytest.raises(NoSpaceError):
        await drive(writes(disk), lambda: policies[-1])
    assert kit.clock.slept == pytest.approx(20, abs=0.01)


async def test_without_the_switch_it_fails_as_before(kit: Kit, disk: Disk, drive: Drive) -> None:
    """A bare policy waits for nothing, and does not say that it would."""
    with pytest.raises(NoSpaceError):
        await drive(writes(disk), Policy(classify=ErrorClassifier().classify))
    assert (kit.now.state, kit.now.waiting_for, disk.looks) == (S.FAILED, None, [])
    assert kit.now.explanation == "There is not enough room on the disk: 100 B are missing in /models."


async def test_what_cannot_be_looked_at_is_tried(
    kit: Kit, disk: Disk, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    """When looking fails the attempt begins, and the log says so."""

    def broken() -> tuple[int, int]:
        raise OSError("the disk does not answer")

    errors = [NoSpaceError("/models", 1, 0, look=broken)]

    def handler() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await drive(handler, title="model.bin") == "done"
    assert "what model.bin waits for cannot be looked for, it is tried: OSError: the disk" in caplog.text


async def test_what_a_third_party_says_is_waited_for(kit: Kit, drive: Drive, disk: Disk) -> None:
    """A verdict from anywhere can name what is missing, and when it is there."""
    plugged_in: list[bool] = []
    verdict = Verdict(
        ErrorCategory.RESOURCE,
        Retry.AFTER_FIX,
        "mine",
        "The card is not there.",
        waiting_for=WaitingFor.DISK,
        until=lambda: None if plugged_in else "Plug in the card.",
    )
    disk.after(8, lambda: plugged_in.append(True))

    def handler() -> str:
        if not plugged_in:
            raise RuntimeError("no card")
        return "done"

    assert await drive(handler, policy_of(classify=lambda error: verdict)) == "done"
    assert ("recovering", "disk", "Plug in the card.") in told(kit)
    assert kit.clock.slept == 10


async def test_the_wait_is_written_to_the_log(
    kit: Kit, disk: Disk, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what it waits for, not when the next attempt is."""
    caplog.set_level(logging.INFO, logger="launcher_recovery")
    enable_logging()
    try:
        disk.frees(3)
        await drive(writes(disk), title="model.bin")
    finally:
        disable_logging()
    assert f"model.bin: it waits (disk_space): {lacks(100)}" in caplog.messages
    assert not [message for message in caplog.messages if "the next attempt is in" in message]


def test_after_a_crash_an_attempt_finds_out_anew(each: Kit) -> None:
    """Another process that takes a waiting operation over begins an attempt, which waits in its turn."""
    disk = Disk(each)

    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    each.engine.clock = WithPlans(each.clock, disk)
    disk.after(8, die)
    with pytest.raises(Killed):
        each.run(writes(disk), policy_of())
    left = each.now
    assert (left.state, left.waiting_for, left.next_attempt_at) == (S.PENDING, WaitingFor.DISK_SPACE, None)
    assert left.explanation == lacks(100)

    next_process = Lifecycle(each.store, owner_id="next", clock=each.clock)
    began: list[float] = []
    disk.frees(18)
    engine = Engine(next_process, WithPlans(each.clock, disk))
    assert engine.run(left, policy_of(), writes(disk, began)) == "written"
    assert began == [8, pytest.approx(18)]
    assert [one.outcome for one in each.attempts] == ["failed", "failed", "success"]


@pytest.mark.parametrize("who_goes_on", ["first", "second"])
def test_calls_that_have_joined_wait_as_well(who_goes_on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call of the same operation begins no attempt either before there is room, also when the first one is
    not there any more to look."""
    monkeypatch.setattr("launcher_recovery.admission.LOOK_S", 0.01)
    store: Store = MemoryPersistence()
    lifecycle = Lifecycle(store, owner_id="me")
    free = [0]
    began: list[str] = []
    gone = threading.Event()
    looks: list[str] = []

    class Leaves(BaseException):
        pass

    class Watched(Clock):
        def wait(self, wake: Wake, seconds: float | None) -> bool:
            if who_goes_on == "second" and threading.current_thread().name == "first" and gone.is_set():
                raise Leaves
            looks.append(threading.current_thread().name)
            return super().wait(wake, 0.002)

    engine = Engine(lifecycle, Watched())
    results: list[Any] = []

    def call() -> None:
        data = lifecycle.open("work", (), {}, key="k", title="model")

        def handler() -> str:
            began.append(threading.current_thread().name)
            if free[0] < 100:
                raise NoSpaceError("/models", 100, free[0], look=lambda: (100, free[0]))
            return "written"

        try:
            results.append(engine.run(data, policy_of(), handler))
        except Leaves:
            results.append("left")

    first = threading.Thread(target=call, name="first")
    first.start()
    wait_for(lambda: any(one.waiting_for is WaitingFor.DISK_SPACE for one in store.find()))
    second = threading.Thread(target=call, name="second")
    second.start()
    wait_for(lambda: looks.count("second") > 20)
    assert began == ["first"]
    if who_goes_on == "second":
        gone.set()
        first.join(30)
        seen = len(looks)
        wait_for(lambda: len(looks) > seen + 20)
        assert began == ["first"]
    free[0] = 100
    for thread in (first, second):
        thread.join(30)
    assert sorted(results) == (["written", "written"] if who_goes_on == "first" else ["left", "written"])
    assert len(began) == 2
    assert lifecycle._handles._shortages == {}
