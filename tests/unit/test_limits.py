"""Shared limits: breakers with probes and windows, retry budgets, bulkheads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    OperationCancelled,
    RecoveryConfigError,
    RecoveryState,
    StoreError,
    recoverable,
)
from launcher_recovery.budget import RetryBudget
from launcher_recovery.bulkhead import Bulkhead, Ticket
from launcher_recovery.classification import ErrorCategory, Retry
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.owners import let_go
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import WaitingFor
from launcher_recovery.signals import Event, circuit_breaker_updated
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.testing import VirtualClock
from tests.unit.kit import Kit, says


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


# -- the breaker ---------------------------------------------------------------------------------------


def test_opens_at_a_failure_rate(clock: VirtualClock) -> None:
    """Half of at least four calls within the window opens it, though never three in a row fail."""
    breaker = CircuitBreaker(3, 60, failure_rate=0.5, window_s=30, minimum_calls=4, clock=clock)
    breaker.failure()
    breaker.success()
    breaker.success()
    assert breaker.state is CircuitState.CLOSED
    breaker.failure()
    assert breaker.state is CircuitState.OPEN


def test_window_slides(clock: VirtualClock) -> None:
    """What is older than the window no longer counts."""
    breaker = CircuitBreaker(99, 60, failure_rate=0.5, window_s=30, minimum_calls=4, clock=clock)
    for _ in range(3):
        breaker.failure()
    clock.advance(31)
    breaker.failure()
    breaker.success()
    breaker.success()
    breaker.success()
    assert breaker.state is CircuitState.CLOSED
    breaker.failure()
    breaker.failure()
    assert breaker.state is CircuitState.OPEN


def test_closing_forgets_the_window(clock: VirtualClock) -> None:
    """After a probe that worked the share is counted anew."""
    breaker = CircuitBreaker(99, 60, failure_rate=0.5, minimum_calls=2, clock=clock)
    breaker.failure()
    breaker.failure()
    clock.advance(60)
    assert breaker.acquire("probe") == 0
    breaker.success("probe")
    breaker.failure()
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("option", "value"), [("failure_rate", 0), ("failure_rate", 1.1), ("window_s", 0), ("minimum_calls", 0)]
)
def test_bad_window(option: str, value: Any) -> None:
    """A setting out of its range is refused by its name."""
    with pytest.raises(RecoveryConfigError, match=f"{option}={value}"):
        CircuitBreaker(**{option: value})


def refusal(breaker: CircuitBreaker, clock: VirtualClock) -> str:
    """What a call is told that may not go."""
    with pytest.raises(CircuitBreakerOpenError) as caught:
        recoverable(circuit_breaker=breaker, clock=clock)(lambda: None)()
    return str(caught.value)


def test_refusal_says_how_often_and_for_how_long(clock: VirtualClock) -> None:
    """An open breaker says how often it failed, and for how many seconds more it is left alone."""
    breaker = CircuitBreaker(1, 60, scope="hub", clock=clock)
    breaker.failure()
    assert refusal(breaker, clock) == "hub has failed once and is left alone for another 60 s"
    clock.advance(59.8)
    assert refusal(breaker, clock) == "hub has failed once and is left alone for another 1 s"
    twice = CircuitBreaker(2, 9, scope="hub", clock=clock)
    twice.failure()
    twice.failure()
    assert refusal(twice, clock) == "hub has failed 2 times in a row and is left alone for another 9 s"


def test_refusal_of_a_breaker_that_opened_by_its_rate(clock: VirtualClock) -> None:
    """One that opened by the share of failures tells that share, not how many failed in a row."""
    breaker = CircuitBreaker(99, 60, scope="hub", failure_rate=0.5, minimum_calls=4, clock=clock)
    for tell in (breaker.failure, breaker.success, breaker.success, breaker.failure):
        tell()
    assert refusal(breaker, clock) == "hub has failed in 2 of its last 4 calls and is left alone for another 60 s"


def test_refusal_while_the_probe_is_out(clock: VirtualClock) -> None:
    """While one call tries it, the others are told so."""
    breaker = CircuitBreaker(1, 60, scope="hub", clock=clock)
    breaker.failure()
    clock.advance(60)
    assert breaker.acquire("probe") == 0
    assert refusal(breaker, clock) == (
        "hub has failed before and is being tried by one call at the moment; the others are left out until that has "
        "ended, or for another 60 s"
    )


def test_only_the_probe_frees_its_place(clock: VirtualClock) -> None:
    """A call from before it opened neither frees the probe's place nor answers for it."""
    breaker = CircuitBreaker(1, 60, clock=clock)
    breaker.failure("old")
    clock.advance(60)
    assert breaker.acquire("probe") == 0
    breaker.release("old")
    breaker.failure("old")
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.acquire("other") == 60
    breaker.release("probe")
    assert breaker.acquire("other") == 0


@pytest.mark.parametrize("how", ["moves", "succeeds", "is cancelled"])
def test_waiting_calls_follow_the_probe(how: str) -> None:
    """While one probe is out the others wait; when it moved, worked or was cancelled they go on at once."""
    clock = VirtualClock()
    store = MemoryPersistence()
    lifecycle = Lifecycle(store, owner_id="me", clock=clock)
    engine = Engine(lifecycle, Parked(clock))
    breaker = CircuitBreaker(1, 1000, clock=clock)
    breaker.failure()
    clock.advance(1000)
    policy = Policy(breaker=breaker, wait_for_breaker=True, classify=says())
    out, go, second_ran = threading.Event(), threading.Event(), threading.Event()

    def probe() -> str:
        operation = current_operation()
        assert operation is not None
        out.set()
        if how == "moves":
            assert go.wait(20)
            operation.progress(1, 2)
            assert second_ran.wait(20), "the others wait for the end of the probe"
        else:
            assert go.wait(20)
        if how == "is cancelled":
            lifecycle.cancel(operation.operation_id)
            operation.check()
        return "probe"

    def second() -> str:
        second_ran.set()
        return "second"

    def run(handler: Callable[[], str], title: str) -> None:
        data = lifecycle.open("work", (), {}, title=title)
        with contextlib.suppress(OperationCancelled):
            engine.run(data, policy, handler)

    first = threading.Thread(target=run, args=(probe, "first"))
    other = threading.Thread(target=run, args=(second, "other"))
    first.start()
    assert out.wait(20)
    other.start()
    wait_for(lambda: any(data.waiting_for is WaitingFor.BREAKER for data in store.find()))
    assert not second_ran.is_set()
    go.set()
    assert second_ran.wait(20)
    first.join(20)
    other.join(20)


class Parked(Clock):
    """The time of another clock, and waits that only a wake ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def time(self) -> float:
        return self._clock.time()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        return wake.wait(20)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; the test's own time limit ends it otherwise."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.002)


@pytest.mark.parametrize(
    ("category", "every", "counted"),
    [
        (ErrorCategory.NETWORK, False, True),
        (ErrorCategory.UNKNOWN, False, False),
        (ErrorCategory.UNKNOWN, True, True),
        (ErrorCategory.PERMISSION, True, True),
        (ErrorCategory.VALIDATION, True, False),
        (ErrorCategory.VALIDATION, False, False),
        (ErrorCategory.NOT_FOUND, True, False),
    ],
)
def test_which_failures_count(kit: Kit, category: ErrorCategory, every: bool, counted: bool) -> None:
    """Of a plain `recoverable` all but mistakes of the call count, of the launcher only what the far end did."""
    breaker = CircuitBreaker(9, 60, clock=kit.clock)
    policy = Policy(breaker=breaker, every_failure_counts=every, classify=says(category, Retry.NO))
    with pytest.raises(ConnectionError):
        kit.run(fail, policy)
    assert breaker.failure_count == (1 if counted else 0)


def fail() -> None:
    raise ConnectionError("gone")


def test_validation_never_opens_the_breaker_of_recoverable(clock: VirtualClock) -> None:
    """A hundred wrong calls leave it closed."""

    @recoverable(circuit_breaker_threshold=2, clock=clock)
    def work() -> None:
        raise ValueError("wrong")

    for _ in range(100):
        with pytest.raises(ValueError, match="wrong"):
            work()


# -- the budget ----------------------------------------------------------------------------------------


def test_budget_pays_for_retries() -> None:
    """A retry costs 5, one after a timeout 10; a success gives 1 or what its retry had cost; never above 500."""
    budget = RetryBudget()
    assert (budget.take(), budget.take(timed_out=True), budget.tokens) == (5, 10, 485)
    budget.succeeded(10)
    budget.succeeded(0)
    assert budget.tokens == 496
    for _ in range(9):
        budget.succeeded(0)
    assert budget.tokens == 500
    other = RetryBudget(7)
    assert (other.take(), other.take(), other.tokens) == (5, None, 2)
    with pytest.raises(RecoveryConfigError, match="retry_cost=-1"):
        RetryBudget(retry_cost=-1)


def test_dead_host_gets_little_more_than_one_try_each(clock: VirtualClock) -> None:
    """A thousand operations against a dead host make at most 1.1 times the traffic of one try each."""
    tries = []

    @recoverable(budget=RetryBudget(), clock=clock, max_retries=5)
    def work() -> None:
        tries.append(1)
        raise ConnectionError("dead")

    for _ in range(1000):
        with pytest.raises(ConnectionError):
            work()
    assert 1000 < len(tries) <= 1100


def test_launcher_waits_for_the_budget(clock: VirtualClock) -> None:
    """Under the launcher's policy an empty budget means waiting, with one probe an interval, until the deadline."""
    kit = Kit(MemoryPersistence())
    budget = RetryBudget(10, probe_interval=30, clock=kit.clock)
    policy = Policy(
        max_attempts=99,
        budget=budget,
        wait_for_breaker=True,
        deadline=100,
        strategy=FixedDelayStrategy(1),
        classify=says(),
    )
    seen: list[float] = []

    def work() -> None:
        seen.append(kit.clock.monotonic())
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        kit.run(work, policy)
    assert seen == [0, 1, 2, 32, 62, 92]
    assert kit.now.state is RecoveryState.EXHAUSTED
    assert "slot" in [event.payload.get("waiting_for") for event in kit.events()]


def test_probes_of_an_empty_budget_are_few(clock: VirtualClock) -> None:
    """Of many that wait for it, one an interval goes; when one gets through, its success pays for more."""
    budget = RetryBudget(5, probe_interval=30, clock=clock)
    assert budget.take() == 5
    assert budget.take() is None
    assert (budget.admit(), budget.admit()) == (30, 30)
    clock.advance(30)
    assert (budget.admit(), budget.admit()) == (0, 30)
    for _ in range(5):
        budget.succeeded(0)
    assert (budget.admit(), budget.admit()) == (0, 30)


# -- the bulkhead --------------------------------------------------------------------------------------


def test_bulkhead_is_first_come_first_served() -> None:
    """Places are given in the order of asking; leaving the queue costs nobody else his place."""
    bulkhead = Bulkhead(2)
    wakes = [Wake() for _ in range(5)]
    tickets = [bulkhead.enter(wake) for wake in wakes]
    assert [ticket.is_granted for ticket in tickets] == [True, True, False, False, False]
    assert (bulkhead.running, bulkhead.waiting) == (2, 3)
    tickets[2].leave()
    tickets[0].leave()
    tickets[0].leave()
    assert [ticket.is_granted for ticket in tickets[3:]] == [True, False]
    assert [wake.is_set() for wake in wakes[2:]] == [False, True, False]
    tickets[1].leave()
    tickets[3].leave()
    tickets[4].leave()
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)
    with pytest.raises(RecoveryConfigError, match="limit=0"):
        Bulkhead(0)


def granted(tickets: list[Ticket]) -> list[bool]:
    return [ticket.is_granted for ticket in tickets]


def test_the_more_important_goes_first() -> None:
    """Whoever has a higher priority gets the next place, those of the same priority in order; nobody is turned out."""
    bulkhead = Bulkhead(1)
    inside = bulkhead.enter(Wake(), -9)
    tickets = [bulkhead.enter(Wake(), priority) for priority in (0, 5, -1, 5, 0)]
    order: list[int] = []
    assert inside.is_granted
    inside.leave()
    while True in granted(tickets):
        order.append(granted(tickets).index(True))
        tickets[order[-1]].leave()
        tickets[order[-1]].is_granted = False
    assert order == [1, 3, 0, 4, 2]


def test_a_place_in_the_queue_may_change() -> None:
    """A priority that changes counts at once in the queue; for who is inside, or has left, it means nothing."""
    bulkhead = Bulkhead(1)
    inside = bulkhead.enter(Wake())
    first, second, third = (bulkhead.enter(Wake(), priority) for priority in (0, 3, 0))
    third.move(3)
    third.move(3)
    first.move(-1)
    inside.move(7)
    inside.leave()
    assert granted([first, second, third]) == [False, True, False]
    second.move(-5)
    second.leave()
    second.move(9)
    assert granted([first, third]) == [False, True]
    first.move(3)
    first.leave()
    third.leave()
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


def test_an_older_one_goes_before_a_younger_one_of_its_new_priority() -> None:
    """Who came first goes first among equals, however late he became equal."""
    bulkhead = Bulkhead(1)
    inside = bulkhead.enter(Wake())
    older, younger = bulkhead.enter(Wake(), 0), bulkhead.enter(Wake(), 5)
    older.move(5)
    inside.leave()
    assert granted([older, younger]) == [True, False]


@pytest.mark.parametrize("kind", ["threads", "tasks"])
async def test_no_more_than_the_limit_at_a_time(kind: str) -> None:
    """Threads and tasks keep to the limit, and all of them get through."""
    lock = threading.Lock()
    inside, most = 0, 0

    def enter(step: int) -> None:
        nonlocal inside, most
        with lock:
            inside += step
            most = max(most, inside)

    bulkhead = Bulkhead(2)
    if kind == "threads":

        @recoverable(bulkhead=bulkhead)
        def work() -> None:
            enter(1)
            threading.Event().wait(0.005)
            enter(-1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)
    else:

        @recoverable(bulkhead=bulkhead)
        async def work_async() -> None:
            enter(1)
            await asyncio.sleep(0.005)
            enter(-1)

        await asyncio.gather(*(work_async() for _ in range(8)))
    assert (most, bulkhead.running, bulkhead.waiting) == (2, 0, 0)


@pytest.mark.parametrize("control", ["cancel", "pause"])
async def test_waiting_for_a_place_ends_at_a_control(control: str) -> None:
    """An operation in the queue says that it waits for a slot, and leaves the queue when cancelled or paused."""
    store = MemoryPersistence()
    lifecycle = Lifecycle(store, owner_id="me")
    engine = Engine(lifecycle)
    bulkhead = Bulkhead(1)
    place = bulkhead.enter(Wake())
    data = lifecycle.open("work", (), {})

    async def work() -> str:
        return "done"

    task = asyncio.ensure_future(engine.run_async(data, Policy(bulkheads=[bulkhead]), work))

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.002)

    def stored() -> Any:
        return store.get(data.operation_id)

    await until(lambda: stored().waiting_for is WaitingFor.SLOT)
    assert stored().state is RecoveryState.PENDING
    getattr(lifecycle, control)(data.operation_id)
    await until(lambda: bulkhead.waiting == 0)
    place.leave()
    if control == "cancel":
        with pytest.raises(Exception, match="was cancelled"):
            await task
    else:
        lifecycle.resume(data.operation_id)
        assert await task == "done"
    assert bulkhead.running == 0


def test_waiting_for_the_next_attempt_takes_no_place(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts the place is free for others."""
    bulkhead = Bulkhead(1)
    running: list[int] = []
    left = [ConnectionError()]

    def work() -> str:
        running.append(bulkhead.running)
        if left:
            raise left.pop()
        return "done"

    wait = kit.clock.wait

    def wait_and_look(wake: Wake, seconds: float | None) -> bool:
        running.append(bulkhead.running)
        return wait(wake, seconds)

    monkeypatch.setattr(kit.clock, "wait", wait_and_look)
    assert kit.run(work, Policy(bulkheads=[bulkhead], classify=says())) == "done"
    assert (running[0], running[1], running[-1], bulkhead.running) == (1, 0, 1, 0)


@pytest.mark.parametrize("kept", [False, True])
def test_what_happens_to_a_breaker_is_told(clock: VirtualClock, kept: bool) -> None:
    """By a signal, and where there is a store by an event that it keeps."""
    store = MemoryPersistence()
    told: list[Event] = []

    def listen(sender: object, event: Event) -> None:
        told.append(event)

    @recoverable(
        max_retries=0,
        circuit_breaker_threshold=2,
        circuit_breaker_timeout=5,
        circuit_breaker_scope="h",
        persistence=store if kept else None,
        clock=clock,
    )
    def work() -> None:
        raise ConnectionError("gone")

    with circuit_breaker_updated.connected_to(listen):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                work()
    (event,) = told
    # With a store, all functions that name this scope have one.
    name = "function" if kept else f"{__name__}.test_what_happens_to_a_breaker_is_told.<locals>.work"
    told_of = {key: event.payload[key] for key in ("scope", "operation_type", "state", "failure_count")}
    assert told_of == {"scope": "h", "operation_type": name, "state": "open", "failure_count": 2}
    assert event.payload["timeout_remaining"] == 5
    stored = [item for item in store.events_since(0) if item.name == "circuit_breaker_update"]
    assert stored == ([event] if kept else [])
    assert (event.seq > 0) is kept
    let_go(store)


class WithoutRoom(MemoryPersistence):
    """Takes no event of a breaker."""

    def append_event(self, name: str, payload: Mapping[str, Any]) -> Event:
        if name == "circuit_breaker_update":
            raise StoreError("The disk is full.")
        return super().append_event(name, payload)


def test_a_breaker_whose_change_cannot_be_kept_is_told_all_the_same(clock: VirtualClock) -> None:
    store = WithoutRoom()
    told: list[int] = []

    def listen(sender: object, event: Event) -> None:
        told.append(event.seq)

    @recoverable(max_retries=0, circuit_breaker_threshold=1, persistence=store, clock=clock)
    def work() -> None:
        raise ConnectionError("gone")

    with circuit_breaker_updated.connected_to(listen), pytest.raises(ConnectionError):
        work()
    assert told == [0]
    let_go(store)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CircuitBreaker(0), "threshold=0 is not usable: it must be a whole number of at least 1"),
        (lambda: CircuitBreaker(5, -1), "timeout=-1 is not usable: it must be a number of at least 0"),
        (lambda: CircuitBreaker(5, float("inf")), "timeout=inf is not usable: .* finite"),
        (lambda: CircuitBreaker(scope=None), "scope=None is not usable: it must be a text"),
        (lambda: CircuitBreaker(failure_rate="half"), "failure_rate='half' is not usable: it must be a number"),
        (lambda: CircuitBreaker(failure_rate=0), "failure_rate=0 is not usable: it must be above 0 and at most 1"),
        (lambda: CircuitBreaker(window_s=0), "window_s=0 is not usable: it must be above 0"),
        (lambda: CircuitBreaker(minimum_calls=0.5), "minimum_calls=0.5 is not usable: it must be a whole number"),
        (lambda: CircuitBreaker(clock=5), "clock=5 is not usable: it must be an object of the class Clock"),
        (lambda: RetryBudget(float("nan")), "capacity=nan is not usable: it must be a number of at least 0"),
        (lambda: RetryBudget(scope=5), "scope=5 is not usable: it must be a text"),
        (lambda: Bulkhead(1.5), "limit=1.5 is not usable: it must be a whole number of at least 1"),
    ],
)
def test_limits_are_checked_when_they_are_made(make: Callable[[], Any], message: str) -> None:
    """What a limit cannot go by is refused, with name, value and what was expected."""
    with pytest.raises(RecoveryConfigError, match=message):
        make()
