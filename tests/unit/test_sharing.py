"""Breakers and retry budgets that processes share: counted together, kept over restarts, one probe for all."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    MemoryPersistence,
    RecoveryConfig,
    RecoveryConfigError,
    RecoveryIntegrator,
    SQLitePersistence,
    StoreError,
    recoverable,
    shared_breaker,
    shared_budget,
)
from launcher_recovery.clock import Wake
from launcher_recovery.kinds import OperationKind
from launcher_recovery.owners import OWNER, start_time
from launcher_recovery.persistence.base import Owner, Store
from launcher_recovery.policy import Policy
from launcher_recovery.rows import Row
from launcher_recovery.sharing import SharedRow
from launcher_recovery.signals import Event, circuit_breaker_updated
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.testing import VirtualClock
from tests.support import wait_for
from tests.unit.kit import Kit, says


class Settable(VirtualClock):
    """A clock whose wall time can be set."""

    off = 0.0

    def time(self) -> float:
        return super().time() + self.off


@pytest.fixture
def clock() -> Settable:
    return Settable()


@pytest.fixture
def breaker(store: Store, clock: Settable) -> Callable[..., CircuitBreaker]:
    """Makes the breaker of one process after the other: three failures open it for 60 seconds."""

    def make(**settings: Any) -> CircuitBreaker:
        return shared_breaker(store, "hub", 3, 60, **{"clock": clock, **settings})

    return make


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(3):
        breaker.failure()
    assert breaker.state is CircuitState.OPEN
    return breaker


# -- the breaker ---------------------------------------------------------------------------------------


def test_failures_of_all_are_counted(breaker: Callable[..., CircuitBreaker]) -> None:
    """Two failures here and one there open it for both; one success anywhere begins the count anew."""
    one, other = breaker(), breaker()
    one.failure()
    one.failure()
    other.success()
    one.failure()
    other.failure()
    assert (one.acquire(), other.acquire()) == (0, 0)
    one.failure()
    assert (one.acquire(), other.acquire()) == (60, 60)
    assert (other.state, other.failure_count, other.last_failure_time) == ("open", 3, one.last_failure_time)


def test_each_scope_and_type_has_its_own(store: Store, clock: Settable) -> None:
    """Another scope or another kind of operation is another breaker."""
    opened(shared_breaker(store, "hub", 3, operation_type="download", clock=clock))
    for scope, kind in (("hub", "install_node"), ("mirror", "download")):
        assert shared_breaker(store, scope, operation_type=kind, clock=clock).acquire() == 0
    assert shared_breaker(store, "hub", operation_type="download", clock=clock).acquire() == 300


def test_one_probe_for_all(breaker: Callable[..., CircuitBreaker], clock: Settable) -> None:
    """When its time is over one of them gets the probe's place; its answer counts for all."""
    one, other = opened(breaker()), breaker()
    clock.advance(60)
    assert (other.acquire("probe"), one.acquire("late"), other.acquire("more")) == (0, 60, 60)
    assert one.state is CircuitState.HALF_OPEN
    one.failure("old")
    one.release("old")
    other.release("more")
    assert one.acquire("late") == 60
    clock.advance(10)
    other.failure("probe")
    assert (one.acquire("late"), one.state) == (60, CircuitState.OPEN)
    clock.advance(60)
    assert one.acquire("probe") == 0
    one.release("probe")
    assert other.acquire("next") == 0
    wake = Wake()
    one.tell(wake)
    other.success("next")
    assert not wake.is_set()
    one.refresh()
    assert (wake.is_set(), one.state, one.failure_count, one.acquire()) == (True, CircuitState.CLOSED, 0, 0)


def test_change_is_told_to_all(breaker: Callable[..., CircuitBreaker], store: Store, clock: Settable) -> None:
    """Every change of state is an event in the store, made by who made the change, and nobody else."""
    seen: list[str] = []

    def receiver(sender: object, event: Event) -> None:
        seen.append(event.payload["state"])

    with circuit_breaker_updated.connected_to(receiver):
        one, other = opened(breaker()), breaker()
        clock.advance(60)
        other.acquire()
        one.refresh()
        other.success()
        one.refresh()
    events = [event.payload for event in store.events_since(0)]
    assert seen == [payload["state"] for payload in events] == ["open", "half_open", "closed"]
    assert (events[0]["scope"], events[0]["operation_type"], events[0]["failure_count"]) == ("hub", "function", 3)
    assert [payload["timeout_remaining"] for payload in events] == [60, 60, 0]


def test_event_that_cannot_be_kept_harms_nothing(
    breaker: Callable[..., CircuitBreaker],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A disk that is full for an event is no reason for an operation to fail."""

    def full(name: str, payload: Any) -> Event:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(store, "append_event", full)
    opened(breaker())
    assert "The disk is full." in caplog.text


def test_restart_finds_it_open(tmp_path: Path) -> None:
    """A new process finds the breaker open for what remains of its time."""
    path = tmp_path / "recovery.db"
    first = SQLitePersistence(path)
    opened(shared_breaker(first, "hub", 3, 60, clock=VirtualClock(1000)))
    first.close()
    second = SQLitePersistence(path)
    later = shared_breaker(second, "hub", 3, 60, clock=VirtualClock(1020))
    assert (later.acquire(), later.state, later.failure_count) == (40, CircuitState.OPEN, 3)
    second.close()


def test_clock_that_is_set_back(breaker: Callable[..., CircuitBreaker], clock: Settable) -> None:
    """A process that lives waits as long as it was told, one that begins later no longer than the timeout."""
    living = opened(breaker())
    clock.advance(20)
    clock.off = -3600
    new = breaker()
    assert (living.acquire(), new.acquire()) == (40, 60)
    clock.advance(40)
    assert (new.acquire(), living.acquire("probe")) == (20, 0)


def test_clock_that_is_set_ahead(breaker: Callable[..., CircuitBreaker], clock: Settable) -> None:
    """The probe goes sooner, once."""
    living = opened(breaker())
    clock.off = 3600
    assert (breaker().acquire("probe"), living.acquire()) == (0, 60)


def test_new_processes_after_the_clock_was_set_back(breaker: Callable[..., CircuitBreaker], clock: Settable) -> None:
    """To one new process after the other the opening lies ahead: they count from the first one's look."""
    opened(breaker())
    clock.off = -3600
    assert breaker().acquire() == 60
    clock.advance(45)
    assert breaker().acquire() == 15
    clock.advance(15)
    assert breaker().acquire() == 0


def test_probe_of_a_dead_process(breaker: Callable[..., CircuitBreaker], store: Store, clock: Settable) -> None:
    """The probe of a process that is gone is replaced at once, that of a living one when it is silent for a timeout."""
    parent = Owner("parent", OWNER.host, os.getppid(), start_time(os.getppid()) or "")

    def probe_of(owner: Owner) -> None:
        store.heartbeat(owner, clock.time())
        row = {**store.shared("breakers")[0], "probe_owner": owner.owner_id, "generation": 99}
        store.share("breakers", ("hub", "function"), lambda known: {**row, "opened_at": clock.time()})

    one = opened(breaker())
    clock.advance(60)
    assert one.acquire("mine") == 0
    probe_of(parent)
    assert breaker().acquire() == 60
    clock.advance(60)
    one.refresh()
    assert one.acquire("mine") == 0
    wake = Wake()
    waiting = breaker()
    waiting.tell(wake)
    probe_of(Owner("dead", OWNER.host, parent.pid, "another/start"))
    assert not wake.is_set()
    waiting.refresh()
    assert (wake.is_set(), waiting.is_open(), waiting.acquire()) == (True, False, 0)


def test_shared_failure_rate(breaker: Callable[..., CircuitBreaker], clock: Settable) -> None:
    """The calls of all count for the share of failures; what is older than the window does not."""
    rate = {"failure_rate": 0.5, "window_s": 30, "minimum_calls": 4}
    one, other = breaker(**rate), breaker(**rate)
    one.failure()
    clock.advance(31)
    one.failure()
    other.success()
    one.failure()
    other.success()
    assert one.acquire() == 0
    other.failure()
    assert one.acquire() == 60


# The others go on in memory by themselves.
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_store_that_fails(
    breaker: Callable[..., CircuitBreaker],
    store: Store,
    clock: Settable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the store fails each process goes on with what it knew; it is said once."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise StoreError("The disk is gone.")

    one = breaker()
    one.failure()
    one.failure()
    with monkeypatch.context() as patch:
        for name in ("share", "shared", "heartbeat", "append_event"):
            patch.setattr(store, name, fail)
        with caplog.at_level(logging.WARNING, "launcher_recovery"):
            one.failure()
            assert one.acquire() == 60
            clock.advance(60)
            assert (one.acquire("probe"), one.acquire()) == (0, 60)
        assert caplog.text.count("what is known of hub is not shared with other processes for now") == 1
        budget = shared_budget(store, "hub", 7, clock=clock)
        assert (budget.take(), budget.take()) == (5, None)
    assert one.acquire() == 0, "the store says closed"


# The others go on in memory by themselves.
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_owners_that_cannot_be_read(
    breaker: Callable[..., CircuitBreaker], store: Store, clock: Settable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a process lives that nobody can ask about is left open: its probe has its time."""

    def fail() -> Any:
        raise StoreError("The disk is gone.")

    opened(breaker())
    row = {**store.shared("breakers")[0], "state": "half_open", "probe_owner": "unknown"}
    store.share("breakers", ("hub", "function"), lambda known: row)
    monkeypatch.setattr(store, "owners", fail)
    assert breaker().acquire() == 60


def test_scope_is_needed() -> None:
    """Without a name nobody could find what is shared."""
    for make in (shared_breaker, shared_budget):
        with pytest.raises(RecoveryConfigError, match="scope='' is not usable"):
            make(MemoryPersistence(), "")


def test_store_that_cannot_share(clock: Settable) -> None:
    """A complete store of somebody's own that cannot share leaves breaker and budget to this process."""

    class Own(MemoryPersistence):
        share = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name in ("share", "shared"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    own = Own()
    assert not shared_breaker(own, "hub", clock=clock).is_shared
    assert shared_budget(own, "hub", clock=clock).take() == 5
    integrator = RecoveryIntegrator(RecoveryConfig(), persistence=own, clock=clock)
    assert integrator.guards.breakers() == []
    integrator.stop()


def test_rows_that_nobody_touches_are_forgotten(breaker: Callable[..., CircuitBreaker], store: Store) -> None:
    """Clean-up forgets closed breakers and budgets that are old, one that is open a day later."""
    closed = shared_breaker(store, "closed", clock=VirtualClock(1000))
    closed.failure()
    opened(shared_breaker(store, "open", 3, clock=VirtualClock(1000)))
    shared_budget(store, "old", clock=VirtualClock(1000)).take()
    shared_budget(store, "new", clock=VirtualClock(5000)).take()

    def left(seconds: float) -> list[str]:
        store.cleanup(datetime.fromtimestamp(seconds, timezone.utc))
        return [row["scope"] for table in ("breakers", "budgets") for row in store.shared(table)]

    assert sorted(left(1000)) == ["closed", "new", "old", "open"]
    assert left(2000) == ["open", "new"]
    assert left(2000 + 86400) == []


def test_what_changed_since_the_look_counts(tmp_path: Path) -> None:
    """Between the look that finds something to do and its transaction, another one may have been there."""
    store = SQLitePersistence(tmp_path / "recovery.db")
    seen: list[float | None] = []

    def change(row: Row | None) -> Row | None:
        seen.append(None if row is None else row["tokens"])
        if len(seen) == 1:
            store.share("budgets", ("hub",), lambda other: {"tokens": 6.0, "next_probe_at": None, "updated_at": 1.0})
        return {"tokens": (seen[-1] or 1) * 2, "next_probe_at": None, "updated_at": 1.0}

    kept = store.share("budgets", ("hub",), change)
    assert kept is not None
    assert (seen, kept["tokens"], store.shared("budgets", ("hub",))) == ([None, 6], 12, [kept])
    once = iter([{"tokens": 1.0, "next_probe_at": None, "updated_at": 1.0}])
    assert store.share("budgets", ("hub",), lambda row: next(once, None)) == kept, "it is as it is meanwhile"
    store.close()


# -- the budget ----------------------------------------------------------------------------------------


def test_budget_of_all(store: Store, clock: Settable) -> None:
    """All pay from one bucket, and the success of one gives to all; a new process finds what is left."""
    one, other = (shared_budget(store, "hub", 12, clock=clock) for _ in range(2))
    assert (one.take(), other.take(), one.take(), one.tokens) == (5, 5, None, 2)
    other.succeeded(5)
    assert (one.take(), shared_budget(store, "hub", 12, clock=clock).take()) == (5, None)
    for _ in range(20):
        other.succeeded(0)
    assert (other.tokens, one.take(timed_out=True)) == (12, 10)
    assert shared_budget(store, "mirror", 12, clock=clock).take() == 5


def test_one_probe_an_interval_for_all(store: Store, clock: Settable) -> None:
    """Of all that wait for an empty bucket one goes in each interval, wherever the clock is set meanwhile."""
    one, other = (shared_budget(store, "hub", 1, probe_interval=30, clock=clock) for _ in range(2))
    assert (one.take(), other.take(), one.admit(), other.admit()) == (None, None, 30, 30)
    clock.advance(30)
    assert (one.admit(), other.admit()) == (0, 30)
    clock.off = -3600
    assert (other.admit(), one.admit()) == (0, 30)


# -- functions, engine, host ---------------------------------------------------------------------------


def test_functions_with_one_scope_share(store: Store, clock: Settable) -> None:
    """Two functions with the same scope and store have one breaker; without a scope each has its own."""
    calls: list[str] = []
    settings: dict[str, Any] = {"max_retries": 0, "circuit_breaker_threshold": 2, "circuit_breaker_timeout": 50}

    def made(name: str, scope: str) -> Callable[[], None]:
        @recoverable(**settings, circuit_breaker_scope=scope, persistence=store, clock=clock)
        def work() -> None:
            calls.append(name)
            raise ConnectionError(name)

        return work

    one, other, alone = made("one", "hub"), made("other", "hub"), made("alone", "")
    for work in (one, other):
        with pytest.raises(ConnectionError):
            work()
    clock.advance(20)
    with pytest.raises(CircuitBreakerOpenError, match="hub has failed 2 times in a row") as caught:
        one()
    assert caught.value.timeout_remaining == 30
    with pytest.raises(ConnectionError):
        alone()
    assert calls == ["one", "other", "alone"]
    assert len(store.find()) == 3, "what is refused at entry leaves no record"


async def test_coroutines_wait_for_a_shared_breaker(each: Kit) -> None:
    """Under the launcher's policy a coroutine waits for a shared breaker and pays from a shared budget."""
    breaker = shared_breaker(each.store, "hub", 2, 60, clock=each.clock)
    budget = shared_budget(each.store, "hub", clock=each.clock)
    policy = Policy(breaker=breaker, budget=budget, wait_for_breaker=True, max_attempts=9, classify=says())
    left = [ConnectionError(), ConnectionError(), ConnectionError()]

    async def work() -> str:
        if left:
            raise left.pop()
        return "done"

    assert policy.is_shared
    assert await each.run_async(work, policy) == "done"
    assert each.clock.slept > 100
    assert (breaker.state, budget.tokens) == (CircuitState.CLOSED, 490)


@pytest.mark.parametrize(("deadline", "expected"), [(200, [0, 60]), (50, [0])])
def test_operation_waits_on_when_another_process_was_the_probe(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, deadline: float, expected: list[float]
) -> None:
    """The interval's one retry from an empty budget went to another process: it waits for the next, or gives up."""
    one, other = (shared_budget(kit.store, "hub", 1, probe_interval=30, clock=kit.clock) for _ in range(2))
    policy = Policy(
        budget=one,
        wait_for_breaker=True,
        max_attempts=2,
        deadline=deadline,
        strategy=FixedDelayStrategy(1),
        classify=says(),
    )
    seen: list[float] = []
    probes: list[float] = []
    wait = kit.clock.wait

    def wait_and_probe(wake: Wake, seconds: float | None) -> bool:
        woken = wait(wake, seconds)
        if kit.clock.monotonic() >= 30 and not probes:
            probes.append(other.admit())
        return woken

    def work() -> None:
        seen.append(kit.clock.monotonic())
        raise ConnectionError("gone")

    monkeypatch.setattr(kit.clock, "wait", wait_and_probe)
    with pytest.raises(ConnectionError, match="gone"):
        kit.run(work, policy)
    assert (seen, probes) == (expected, [0])


async def test_function_asks_a_breaker_made_elsewhere(store: Store, clock: Settable) -> None:
    """A function without a store of its own asks a shared breaker before every call, not only after one that failed."""
    breaker = shared_breaker(store, "hub", 3, 60, clock=clock)
    budget = shared_budget(store, "hub", 7, clock=clock)
    left = [ConnectionError()]

    @recoverable(circuit_breaker=breaker, budget=budget, clock=clock)
    async def work() -> str:
        if left:
            raise left.pop()
        return "done"

    assert await work() == "done"
    assert store.shared("budgets")[0]["tokens"] == 7
    opened(shared_breaker(store, "hub", 3, 60, clock=clock))
    with pytest.raises(CircuitBreakerOpenError):
        await work()


KIND = OperationKind("download", "launcher_download", key=str, title=str)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[[], RecoveryIntegrator]]:
    """Makes the integrator of one process after the other, on one database."""
    made: list[RecoveryIntegrator] = []

    def make() -> RecoveryIntegrator:
        config = RecoveryConfig(
            persistence_path=str(tmp_path / "recovery.db"), circuit_breaker_threshold=2, circuit_breaker_timeout=500
        )
        made.append(RecoveryIntegrator(config))
        return made[-1]

    yield make
    for integrator in made:
        integrator.stop()


def test_hosts_show_the_breakers_of_others(host: Callable[[], RecoveryIntegrator]) -> None:
    """The status of one process has the breakers that another one opened."""
    one, other = host(), host()
    for _ in range(2):
        one.guards.breaker("h", "download").failure()
    (shown,) = other.status()["breakers"]
    assert (shown["scope"], shown["operation_type"], shown["state"]) == ("h", "download", "open")
    assert 490 < shown["timeout_remaining"] <= 500
    assert one.guards.budget("h").take() == 5
    assert other.guards.budget("h").take() == 5
    assert one.guards.budget("h").admit() == 0
    assert other.persistence.shared("budgets")[0]["tokens"] == 485


def test_operation_goes_on_when_another_process_closes_the_breaker(
    host: Callable[[], RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that waits for a breaker is woken by the outbox, not by its next look a long time later."""
    monkeypatch.setattr("launcher_recovery.engine._POLL_S", 100)
    one, other = host(), host()
    one.start()
    for _ in range(2):
        other.guards.breaker("h", "download").failure()
    data = one.lifecycle.open("launcher_download", (), {}, kind="download")
    done: list[str] = []
    policy = one.policy_for(KIND, data, "h")
    thread = threading.Thread(target=lambda: done.append(one.engine.run(data, policy, lambda: "done")))
    thread.start()
    wait_for(lambda: one.persistence.find()[0].waiting_for == "breaker")
    other.guards.breaker("h", "download").success()
    thread.join(30)
    assert done == ["done"]


def test_failing_list_of_breakers(
    host: Callable[[], RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that cannot be read leaves the breakers that this process knows."""

    def fail(table: str, key: Any = None) -> Any:
        raise StoreError("The disk is gone.")

    integrator = host()
    integrator.guards.breaker("h", "download").failure()
    monkeypatch.setattr(integrator.persistence, "shared", fail)
    assert [item.failure_count for item in integrator.guards.breakers()] == [1]
    assert "the circuit breakers of other processes cannot be looked at: The disk is gone." in caplog.text


# -- real processes ------------------------------------------------------------------------------------

PRELUDE = """
import json, os, sys, threading, urllib.request
from launcher_recovery import CircuitBreakerOpenError, SQLitePersistence, recoverable, shared_breaker, shared_budget
from launcher_recovery.testing import VirtualClock

path, *given = sys.argv[1:]
store = SQLitePersistence(path)

def tell(value):
    print(json.dumps(value), flush=True)

def wait_for_go():
    tell("ready")
    sys.stdin.readline()
"""


class Process:
    """Another process that runs a piece of code."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def heard(self) -> Any:
        """What it tells next."""
        assert self.popen.stdout is not None
        return json.loads(self.popen.stdout.readline())

    def go(self) -> None:
        """Let it go on."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def process(code: str, *arguments: object) -> Process:
        started.append(Process(code, *arguments))
        return started[-1]

    yield process
    for one in started:
        one.end()


@pytest.fixture
def dead_host() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers everything with 503, and what was asked."""
    asked: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/model", asked
    server.shutdown()
    thread.join()
    server.server_close()


MANY = """
url, guard = given
limits = {"budget": shared_budget(store, "hub")}
if guard == "breaker":
    limits = {"circuit_breaker_threshold": 5, "circuit_breaker_scope": "hub", "persistence": store}

@recoverable(max_retries=5, clock=VirtualClock(), **limits)
def work():
    with urllib.request.urlopen(url) as answer:
        return answer.read()

wait_for_go()
refused = 0
for number in range(250):
    try:
        work()
    except CircuitBreakerOpenError:
        refused += 1
    except OSError:
        pass
tell(refused)
"""


@pytest.mark.parametrize(("guard", "least", "most"), [("budget", 1001, 1100), ("breaker", 5, 5 + 4)])
def test_dead_host_gets_little_more_than_one_try_each(
    start: Callable[..., Process],
    dead_host: tuple[str, list[str]],
    tmp_path: Path,
    guard: str,
    least: int,
    most: int,
) -> None:
    """A thousand operations of four processes make at most 1.1 times the traffic of one try each; with a breaker only
    what opens it, and what is on its way then."""
    url, asked = dead_host
    path = tmp_path / "recovery.db"
    SQLitePersistence(path).close()
    processes = [start(MANY, path, url, guard) for _ in range(4)]
    assert [process.heard() for process in processes] == ["ready"] * 4
    for process in processes:
        process.go()
    refused = sum(process.heard() for process in processes)
    assert least <= len(asked) <= most
    assert refused == 0 if guard == "budget" else refused >= 1000 - most


PROBE = """
breaker = shared_breaker(store, "hub", 3, 3600)
barrier = threading.Barrier(8)
waits = []

def ask():
    barrier.wait(30)
    waits.append(breaker.acquire(object()))

threads = [threading.Thread(target=ask) for _ in range(8)]
wait_for_go()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
tell(waits)
sys.stdin.readline()
tell(breaker.acquire(object()))
"""


def test_one_probe_of_many_threads_and_processes(start: Callable[..., Process], tmp_path: Path) -> None:
    """Eight threads in each of two processes ask at the same moment: exactly one may go. When its process is killed,
    the other process gets the place at once."""
    path = tmp_path / "recovery.db"
    store = SQLitePersistence(path)
    opened(shared_breaker(store, "hub", 3, 3600, clock=VirtualClock(time.time() - 3601)))
    processes = [start(PROBE, path) for _ in range(2)]
    assert [process.heard() for process in processes] == ["ready"] * 2
    for process in processes:
        process.go()
    waits = [process.heard() for process in processes]
    assert sorted(len(told) for told in waits) == [8, 8]
    assert [wait > 3000 for wait in sorted(waits[0] + waits[1])] == [False] + [True] * 15
    with_probe, without = processes if 0 in waits[0] else processes[::-1]
    with_probe.popen.kill()
    with_probe.popen.wait()
    without.go()
    assert without.heard() == 0
    store.close()


FORKED = """
breaker = shared_breaker(store, "hub", 1000000)
stop = threading.Event()

def fail():
    while not stop.is_set():
        breaker.failure()

threads = [threading.Thread(target=fail) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(8):
    pid = os.fork()
    if pid == 0:
        breaker.failure()
        os._exit(0 if breaker.acquire() == 0 else 1)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
before = breaker.failure_count
breaker.failure()
tell([codes, breaker.failure_count - before])
"""


@pytest.mark.parametrize("in_child", [False, True])
def test_nobody_is_in_it_during_a_fork(store: Store, clock: Settable, in_child: bool) -> None:
    """A fork waits until nobody looks or changes, and both sides can go on."""
    row = SharedRow(store, "budgets", ("hub",), clock)
    free: list[bool] = []

    def look() -> None:
        free.append(row.turn.acquire(blocking=False))
        if free[-1]:
            row.turn.release()

    row.before_fork()
    together = [threading.Thread(target=look) for _ in range(2)]
    together[0].start()
    together[0].join()
    row.after_fork(in_child)
    together[1].start()
    together[1].join()
    assert free == [False, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forks_while_it_is_in_use(start: Callable[..., Process], tmp_path: Path) -> None:
    """A child that is forked while threads use the breaker can use it as well."""
    assert start(FORKED, tmp_path / "recovery.db").heard() == [[0] * 8, 1]
