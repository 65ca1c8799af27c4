"""Whatever its code does, whoever interferes and however often its process dies: the engine ends every operation well.

Each example is a script: what the code of each attempt does, and what happens to the operation while the engine waits.
Everything runs in one thread, on a clock that does not wait.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher_recovery.clock import Wake
from launcher_recovery.engine import Engine
from launcher_recovery.errors import OperationCancelled, RecoveryStateError, StoredError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.persistence.base import Change, Changed, Owner, Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import FINAL, RUNNABLE, RecoveryData, RecoveryState
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.testing import VirtualClock
from tests.torture.kinds import EACH_KIND, KINDS, InOneThread
from tests.torture.model import Walks

S = RecoveryState
LIMIT, DELAY = 3, 7.25
EXAMPLES = {"memory": 100, "sqlite": 60, "resilient": 60, "postgres": 10}
CONTROLS = ("pause", "resume", "cancel", "retry")

ACTIONS = st.one_of(
    st.tuples(st.just("step"), st.sampled_from("abc")),
    st.tuples(st.just("progress"), st.integers(0, 9)),
    st.tuples(st.sampled_from((*CONTROLS, "check", "taken", "time")), st.integers(0, 2)),
)
ENDS = st.sampled_from(("network", "network", "network", "network", "return", "wrong call", "killed", "crashed"))
ATTEMPTS = st.lists(st.tuples(st.lists(ACTIONS, max_size=5), ENDS), max_size=6)
WAITS = st.lists(st.sampled_from((*CONTROLS, "resume", "time", "crashed", "nothing")), max_size=8)


class Killed(BaseException):
    """The process ends, and says so."""


class Crashed(BaseException):
    """The process ends, and says nothing."""


class Script(VirtualClock):
    """One operation, everything that happens to it, and the clock that lets it happen."""

    def __init__(self, store: Store, other_store: Store, attempts: list[Any], waits: list[str]) -> None:
        super().__init__()
        self.store = store
        self.attempts, self.waits = list(attempts), list(waits)
        self.lives = 0
        self.lifecycle = self.process(store)
        self.other = self.process(other_store)
        self.finished: set[str] = set()
        self.by_others: Operation | None = None
        self.results: set[Any] = set()
        self.operation_id = ""
        self.fruitless: dict[int, int] = {}

    def process(self, store: Store) -> Lifecycle:
        self.lives += 1
        owner = Owner(f"process-{self.lives}", "this-host", self.lives, "boot")
        store.heartbeat(owner, self.time())
        return InOneThread(store, owner_id=owner.owner_id, clock=self)

    @property
    def data(self) -> RecoveryData:
        found = self.store.get(self.operation_id)
        assert found is not None
        return found

    # -- what happens -----------------------------------------------------------------------------------

    def control(self, name: str) -> None:
        try:
            getattr(self.other, name)(self.operation_id)
        except RecoveryStateError:
            return

    def take(self) -> None:
        """Another process believes that this one is dead, and begins an attempt of its own."""
        self.other.release_orphans({self.lifecycle.owner_id})
        self.store.heartbeat(Owner(self.lifecycle.owner_id, "this-host", 1, "boot"), self.time())
        if self.data.state in RUNNABLE and (self.data.next_attempt_at is None):
            claimed = self.other.begin_attempt(self.operation_id, LIMIT)
            self.by_others = Operation(claimed, self.other, self)

    def others_end(self) -> None:
        """What the other process runs ends well, if it still has it."""
        live, self.by_others = self.by_others, None
        if live is not None:
            try:
                self.other.succeed(live, "by another")
            except RecoveryStateError:
                return

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        data = self.data
        if data.state is S.RECOVERING:
            assert data.fruitless < LIMIT
            if data.attempt in self.fruitless:
                assert data.fruitless == self.fruitless[data.attempt]
        action = self.waits.pop(0) if self.waits else "on"
        if action == "crashed":
            raise Crashed
        if action == "on" and data.state is S.PAUSED:
            self.control("resume")
        elif action == "on" and data.state is S.IN_PROGRESS:
            self.others_end()
        elif action in CONTROLS:
            self.control(action)
        elif action == "time":
            self.advance(DELAY)
        if wake.is_set():
            return True
        self._jump(1.0 if seconds is None else seconds)
        return False

    # -- the code of the operation -----------------------------------------------------------------------

    def work(self) -> str:
        live = current_operation()
        assert live is not None
        data = self.data
        assert (data.state, data.attempt, data.fence) == (S.IN_PROGRESS, live.attempt, live.data.fence)
        actions, end = self.attempts.pop(0) if self.attempts else ((), "return")
        for name, value in actions:
            self.act(live, name, value)
        if end == "network":
            self.fruitless[live.attempt] = 0 if live.moved else data.fruitless + 1
            raise ConnectionError(f"attempt {live.attempt}")
        if end == "wrong call":
            raise ValueError(f"attempt {live.attempt}")
        if end in ("killed", "crashed"):
            raise Killed if end == "killed" else Crashed
        self.results.add(result := f"by attempt {live.attempt}")
        return result

    def act(self, live: Operation, name: str, value: Any) -> None:
        if name == "step":
            live.step(value, lambda: self.run_step(value))
            self.finished.add(value)
        elif name == "progress":
            live.progress(value, 9)
        elif name == "check":
            live.check()
        elif name == "taken":
            self.take()
        elif name == "time":
            self.advance(value)
        else:
            self.control(name)

    def run_step(self, name: str) -> str:
        assert name not in self.finished, f"step {name} is run again"
        return name

    # -- from the beginning to the end ---------------------------------------------------------------------

    def run(self, is_begun: bool) -> None:
        """Run the operation, which is entered with its first attempt begun, or pending."""
        policy = Policy(max_attempts=LIMIT, strategy=FixedDelayStrategy(DELAY))
        draft = self.lifecycle.draft("work", (), {}, key="key", limit=LIMIT)
        self.operation_id = draft.operation_id
        begun: Operation | None = None
        if is_begun:
            _, begun = self.lifecycle.start(draft)
            assert begun is not None
            Engine(self.lifecycle, self).begin(begun, policy)
        else:
            self.lifecycle.enter(draft)
        for _ in range(40):
            live, begun = begun, None
            try:
                result = Engine(self.lifecycle, self).run(self.data, policy, self.work, live)
            except Killed:
                self.lifecycle = self.process(self.store)
                continue
            except Crashed:
                dead, self.lifecycle = self.lifecycle, self.process(self.store)
                self.lifecycle.release_orphans({dead.owner_id})
                continue
            except OperationCancelled:
                assert self.data.state is S.CANCELLED
            except (ConnectionError, ValueError, StoredError) as error:
                self.check_failure(error)
            else:
                assert (self.data.state, self.data.result) == (S.SUCCESS, result)
                assert result == "by another" or result in self.results
            self.check()
            return
        raise AssertionError("it does not end")

    def check_failure(self, error: Exception) -> None:
        data = self.data
        assert str(data.error).endswith(str(error) if isinstance(error, StoredError) else f": {error}")
        if "ValueError" in str(data.error):
            assert data.state is S.FAILED
        else:
            assert (data.state, data.fruitless) == (S.EXHAUSTED, LIMIT)

    def check(self) -> None:
        data, attempts = self.data, self.store.attempts(self.operation_id)
        assert data.state in FINAL
        assert [one.number for one in attempts] == list(range(1, data.attempt + 1))
        assert all(one.ended_at is not None for one in attempts)
        assert data.fence == data.attempt
        # Code that does not end by itself, or with its process, has not noticed that it was cancelled.
        assert data.owner is None or (data.state is S.CANCELLED and data.owner != self.lifecycle.owner_id)
        assert self.finished <= {step.name for step in self.store.steps(self.operation_id)}
        for one, following in itertools.pairwise(attempts):
            assert one.delay_s in (None, DELAY)
            assert one.ended_at is not None
            assert one.ended_at <= following.started_at
        Walks().follow(self.store.events_since(0))


def only_when_due(store: Store, clock: Script) -> None:
    """Fail when an attempt is begun before its time, or by the engine while it is not the operation's turn."""
    change: Callable[[str, Change], Changed | None] = store.change

    def checked(operation_id: str, given: Change) -> Changed | None:
        before = store.get(operation_id)
        if given.claim and before is not None and before.next_attempt_at is not None and before.state in RUNNABLE:
            assert before.next_attempt_at.timestamp() <= clock.time()
        return change(operation_id, given)

    store.change = checked  # type: ignore[method-assign]


def perform(kind: str, attempts: list[Any], waits: list[str], is_begun: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores = KINDS[kind](Path(folder))
        try:
            script = Script(stores[0], stores[1], attempts, waits)
            only_when_due(stores[0], script)
            script.run(is_begun)
        finally:
            for store in set(stores):
                store.close()


def run(kind: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(attempts=ATTEMPTS, waits=WAITS, is_begun=st.booleans())
    def any_script(attempts: list[Any], waits: list[str], is_begun: bool) -> None:
        perform(kind, attempts, waits, is_begun)

    any_script()


@pytest.mark.parametrize("kind", EACH_KIND)
def test_any_script(kind: str) -> None:
    run(kind, EXAMPLES[kind])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", EACH_KIND)
def test_any_of_many_scripts(kind: str) -> None:
    run(kind, 200 * EXAMPLES[kind])
