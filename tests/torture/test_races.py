"""Many threads pause, resume, cancel and retry the same few running operations: each change has one winner."""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_recovery.engine import Engine
from launcher_recovery.errors import OperationCancelled, RecoveryStateError, StoredError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.base import Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import FINAL, RUNNABLE, RecoveryData, RecoveryState
from launcher_recovery.strategies import FixedDelayStrategy
from tests.support import wait_for
from tests.torture.kinds import EACH_KIND, KINDS
from tests.torture.model import Walks

S = RecoveryState
RACERS, OPERATIONS, CALLERS = 64, 4, 2


@pytest.fixture(params=EACH_KIND)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """As two processes have them open."""
    made = KINDS[request.param](tmp_path)
    yield made
    for store in set(made):
        store.close()


@pytest.fixture(autouse=True)
def _threads_take_turns_quickly() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Race:
    """Some operations, each called by several threads at once, and those who interfere."""

    def __init__(self, stores: tuple[Store, Store], seed: int, rounds: int) -> None:
        self.stores = stores
        self.seed, self.rounds = seed, rounds
        self.lifecycles = [Lifecycle(store, owner_id=f"process-{n}") for n, store in enumerate(stores)]
        self.policy = Policy(max_attempts=10**6, strategy=FixedDelayStrategy(0.002))
        self.is_over = threading.Event()
        self.unexpected: list[BaseException] = []
        self.finished: dict[str, list[int]] = defaultdict(list)
        self.opened = [self.lifecycles[0].open("work", (), {}, key=f"key-{n}") for n in range(OPERATIONS)]
        self.ids = [data.operation_id for data in self.opened]

    def handler(self, rng: random.Random) -> Callable[[], int]:
        def work() -> int:
            live = current_operation()
            assert live is not None
            done = 0
            while not self.is_over.is_set():
                live.progress(done)
                live.step(f"step {done % 3}", lambda: None)
                if rng.random() < 0.1:
                    raise ConnectionError("gone")
                done += 1
            self.finished[live.operation_id].append(live.attempt)
            return live.attempt

        return work

    def call(self, data: RecoveryData, number: int) -> None:
        """As one that joins the operation, and calls again when it was cancelled."""
        rng = random.Random(f"{self.seed} caller {number}")
        engine = Engine(self.lifecycles[0])
        while True:
            try:
                engine.run(data, self.policy, self.handler(rng))
                return
            except (OperationCancelled, StoredError, ConnectionError):
                ended = self.stores[0].get(data.operation_id)
                # It may have been begun again since.
                if self.is_over.is_set() and ended is not None and ended.state in FINAL:
                    return
            except BaseException as error:
                self.unexpected.append(error)
                return

    def interfere(self, number: int) -> None:
        rng = random.Random(f"{self.seed} racer {number}")
        for _ in range(self.rounds):
            lifecycle = rng.choice(self.lifecycles)
            control = rng.choice([lifecycle.pause, lifecycle.resume, lifecycle.resume, lifecycle.retry])
            if rng.random() < 0.1:
                control = lifecycle.cancel
            try:
                control(rng.choice(self.ids))
            except RecoveryStateError:
                continue
            except BaseException as error:
                self.unexpected.append(error)
                return

    def run(self) -> None:
        callers = [
            threading.Thread(target=self.call, args=(data, n * OPERATIONS + m), daemon=True)
            for n in range(CALLERS)
            for m, data in enumerate(self.opened)
        ]
        racers = [threading.Thread(target=self.interfere, args=(n,), daemon=True) for n in range(RACERS)]
        for thread in (*callers, *racers):
            thread.start()
        for thread in racers:
            thread.join(100)
            assert not thread.is_alive(), "a control hangs"
        self.is_over.set()
        wait_for(self.all_ended, 60)
        for thread in callers:
            thread.join(30)
            assert not thread.is_alive(), "a call hangs"

    def all_ended(self) -> bool:
        for operation_id in self.ids:
            try:
                self.lifecycles[0].resume(operation_id)
            except RecoveryStateError:
                continue
        found = [self.stores[0].get(operation_id) for operation_id in self.ids]
        return all(data is not None and data.state in FINAL for data in found)

    def check(self) -> None:
        """What has to hold of the records and of the history."""
        assert self.unexpected == []
        events = self.stores[0].events_since(0, limit=10**6)
        Walks().follow(events)
        walks: dict[str, list[str]] = defaultdict(list)
        for event in events:
            if event.name == "recovery_update":
                walks[event.payload["operation_id"]].append(event.payload["state"])
        may_repeat = {S.IN_PROGRESS.value, *(state.value for state in RUNNABLE)}
        for operation_id in self.ids:
            # Of several who pause or cancel at once, one did it.
            assert all(one != other or one in may_repeat for one, other in itertools.pairwise(walks[operation_id]))
            data = self.stores[0].get(operation_id)
            assert data is not None
            attempts = self.stores[0].attempts(operation_id)
            assert [one.number for one in attempts] == list(range(1, data.attempt + 1))
            assert data.fence == data.attempt
            assert all(one.ended_at is not None for one in attempts)
            assert walks[operation_id].count("in_progress") >= data.attempt
            if data.state is S.SUCCESS:
                assert data.result == data.attempt
                assert attempts[-1].outcome == "success"
                assert data.attempt in self.finished[operation_id]


@pytest.mark.parametrize("seed", [1])
def test_64_threads(stores: tuple[Store, Store], seed: int) -> None:
    race = Race(stores, seed, rounds=20)
    race.run()
    race.check()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_64_threads_for_long(stores: tuple[Store, Store], seed: int) -> None:
    race = Race(stores, seed, rounds=60)
    race.run()
    race.check()


def test_next_attempt_waits_for_the_code_of_the_last_one(stores: tuple[Store, Store]) -> None:
    """Two calls share an operation; it is paused and resumed before the code of the first one looks."""
    lifecycle = Lifecycle(stores[0], owner_id="me")
    data = lifecycle.open("work", (), {}, key="shared")
    begun, go, notes = threading.Event(), threading.Event(), list[str]()

    def work() -> str:
        live = current_operation()
        assert live is not None
        notes.append(f"{live.attempt} begins")
        if live.attempt == 1:
            begun.set()
            assert go.wait(20)
        notes.append(f"{live.attempt} ends")
        return "done"

    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(Engine(lifecycle).run(data, Policy(), work))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    lifecycle.pause(data.operation_id)
    lifecycle.resume(data.operation_id)
    for thread in threads:
        thread.join(0.25)  # it would be over at once
    go.set()
    for thread in threads:
        thread.join(20)
    assert notes == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert results == ["done", "done"]
