"""Whatever is done to operations, in whatever order and by whom: they are where the table of transitions puts them.

Each example is a random sequence of calls through several lifecycles (processes) on one store, beside a simple model.
After every call the whole store is compared with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import OperationCancelled, OperationPaused, RecoveryStateError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import Owner, Store
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.testing import VirtualClock
from tests.torture.kinds import EACH_KIND, KINDS, InOneThread, run_examples
from tests.torture.model import Expected, Model, Walks, is_runnable, may

S = RecoveryState

EXAMPLES = {"memory": 80, "sqlite": 15, "resilient": 10, "postgres": 6}

KEYS = st.sampled_from([None, "a", "b"])
SECONDS = st.floats(0, 7 * 86400, allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


class SettableClock(VirtualClock):
    """A clock that somebody may set: its time of day jumps, and what is monotonic does not."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0.0

    def time(self) -> float:
        return super().time() + self.shift


class Process:
    """One that runs operations: its identity, and its way to the store."""

    def __init__(self, number: int, store: Store, clock: SettableClock) -> None:
        self.owner = Owner(f"process-{number}", "this-host", number, f"boot/{number}")
        self.lifecycle = InOneThread(store, owner_id=self.owner.owner_id, clock=clock)
        store.heartbeat(self.owner, clock.time())


class Operations(RuleBasedStateMachine):
    """Calls in random order; a subclass says on which store."""

    kind = ""

    operations = Bundle("operations")
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SettableClock()
        self.stores = self.open_stores(Path(self.folder.name))
        self.model = Model()
        self.walks = Walks()
        self.started = 0
        self.begun: list[tuple[int, Operation]] = []
        self.processes = [self.start(0), self.start(1)]
        self.expected_events = 0

    def open_stores(self, folder: Path) -> tuple[Store, Store]:
        return KINDS[self.kind](folder)

    def start(self, place: int) -> Process:
        self.started += 1
        return Process(self.started, self.stores[place], self.clock)

    def teardown(self) -> None:
        for store in set(self.stores):
            store.close()
        self.folder.cleanup()

    @property
    def now(self) -> datetime:
        return to_datetime(self.clock.time())

    def moment(self) -> None:
        """No two calls are made at the same moment."""
        self.clock.advance(1.25)

    # -- what is compared -----------------------------------------------------------------------------

    @invariant()
    def is_as_expected(self) -> None:
        for store in set(self.stores):
            self.model.check(store)

    @invariant()
    def events_are_a_legal_walk(self) -> None:
        events = self.stores[0].events_since(self.walks.seq)
        assert len(events) == self.expected_events, [event.payload.get("state") for event in events]
        self.walks.follow(events)
        self.expected_events = 0

    def changed(self, one: Expected, **fields: Any) -> None:
        """The operation changes, with one event, and a second one when it ends."""
        for name, value in fields.items():
            setattr(one, name, value)
        one.updated_at = self.now
        self.expected_events += 1 if one.is_unfinished else 2

    def refused(self, one: Expected, call: Callable[[], object]) -> None:
        """The call says in which state the operation is instead."""
        with pytest.raises(RecoveryStateError) as caught:
            call()
        assert caught.value.state in (one.state.value, None)

    def known(self, operation_id: str) -> Expected | None:
        """The operation, unless it was forgotten since."""
        return self.model.operations.get(operation_id)

    # -- calls ----------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.operations) < 4)
    @rule(target=operations, who=st.integers(0, 1), key=KEYS, revive=st.booleans(), parent=st.none() | operations)
    def open(self, who: int, key: str | None, revive: bool, parent: str | None) -> str:
        self.moment()
        lifecycle = self.processes[who].lifecycle
        before = None if key is None else self.model.with_key(key)
        data = lifecycle.open("work", (1,), {}, key=key, parent_id=parent, limit=3, revive=revive)
        self.entered(data, lifecycle, before, parent, revive)
        return data.operation_id

    @precondition(lambda self: len(self.model.operations) < 4)
    @rule(target=operations, who=st.integers(0, 1), key=KEYS, revive=st.booleans(), parent=st.none() | operations)
    def start_first(self, who: int, key: str | None, revive: bool, parent: str | None) -> str:
        """Enter it with its first attempt begun, unless it joins or revives another one."""
        self.moment()
        lifecycle = self.processes[who].lifecycle
        before = None if key is None else self.model.with_key(key)
        draft = lifecycle.draft("work", (1,), {}, key=key, parent_id=parent, limit=3)
        data, live = lifecycle.start(draft, revive)
        is_new = self.entered(data, lifecycle, before, parent, revive)
        assert (live is not None) is is_new
        if live is not None:
            one = self.model.operations[data.operation_id]
            one.state, one.attempt, one.fence = S.IN_PROGRESS, 1, 1
            one.outcomes.append(None)
            self.begun.append((who, live))
        return data.operation_id

    @precondition(lambda self: self.begun)
    @rule(target=handles)
    def first_handle(self) -> tuple[int, Operation]:
        return self.begun.pop()

    def around(self, operation_id: str) -> list[str]:
        """An operation and those around it, from the inside outwards."""
        found = [operation_id]
        while (one := self.known(found[-1])) is not None and one.parent_id is not None:
            found.append(one.parent_id)
        return found

    def entered(
        self, data: RecoveryData, lifecycle: Lifecycle, before: Expected | None, parent: str | None, revive: bool
    ) -> bool:
        """Whether the call has an operation of its own; `before` is what had its key."""
        if before is not None and before.is_unfinished:
            assert data.operation_id == before.operation_id
            return False
        if before is not None and revive and before.state is not S.SUCCESS:
            assert data.operation_id == before.operation_id
            self.begun_again(before, before.owner or lifecycle.owner_id)
            if parent is not None and before.operation_id not in self.around(parent):
                before.parent_id = parent
            return False
        assert data.operation_id not in self.model.operations
        one = Expected(data.operation_id, data.key, parent, lifecycle.owner_id, self.now, self.now)
        self.model.operations[one.operation_id] = one
        self.expected_events += 1
        return True

    @rule(target=handles, who=st.integers(0, 1), operation_id=operations)
    def begin(self, who: int, operation_id: str) -> tuple[int, Operation]:
        self.moment()
        lifecycle, one = self.processes[who].lifecycle, self.known(operation_id)
        if one is None or not is_runnable(one) or one.owner not in (None, lifecycle.owner_id):
            with pytest.raises(RecoveryStateError) as caught:
                lifecycle.begin_attempt(operation_id, 3)
            assert caught.value.state == (None if one is None else one.state.value)
            gone = RecoveryData(operation_id, "work", state=S.IN_PROGRESS, fence=-1)
            return who, Operation(gone, lifecycle, self.clock)
        data = lifecycle.begin_attempt(operation_id, 3)
        one.outcomes.append(None)
        self.changed(one, state=S.IN_PROGRESS, attempt=one.attempt + 1, fence=one.fence + 1, owner=lifecycle.owner_id)
        one.next_attempt_at = one.waiting_for = None
        live = Operation(data, lifecycle, self.clock)
        lifecycle.attach(live)
        return who, live

    @rule(target=handles, who=st.integers(0, 1), operation_id=operations)
    def begin_somehow(self, who: int, operation_id: str) -> tuple[int, Operation]:
        """Whatever is in the way: so that many claims follow each other, and old ones are there to try again."""
        one = self.known(operation_id)
        if one is not None and one.state is S.IN_PROGRESS:
            self.pause(who, operation_id)
        if one is not None and one.state is S.PAUSED:
            self.resume(who, operation_id)
        if one is not None and not one.is_unfinished:
            self.retry(who, operation_id, is_alone=False)
        if one is not None and one.owner is not None:  # it is left to that process, if it lives
            owners = [process.owner.owner_id for process in self.processes]
            if one.owner in owners:
                who = owners.index(one.owner)
            else:
                self.nobody_died(who)
        return self.begin(who, operation_id)

    def claimed(self, live: Operation) -> Expected | None:
        """The operation, if it is still in progress under this claim."""
        one = self.known(live.operation_id)
        is_ours = one is not None and one.state is S.IN_PROGRESS and one.fence == live.data.fence
        return one if is_ours else None

    def void(self, call: Callable[[], object]) -> None:
        with pytest.raises(RecoveryStateError):
            call()

    @rule(
        handle=handles,
        target_state=st.sampled_from([S.RECOVERING, S.FAILED, S.EXHAUSTED]),
        delay=SECONDS,
        waiting_for=st.sampled_from(WaitingFor),
        fruitless=st.integers(0, 3),
    )
    def fail(
        self,
        handle: tuple[int, Operation],
        target_state: RecoveryState,
        delay: float,
        waiting_for: WaitingFor,
        fruitless: int,
    ) -> None:
        self.moment()
        live = handle[1]
        is_retried = target_state is S.RECOVERING

        def call() -> RecoveryData:
            return live._keeper.end_attempt(  # type: ignore[attr-defined]
                live,
                target_state,
                ConnectionError("gone"),
                category="network",
                explanation="It broke.",
                fix=None,
                fruitless=fruitless,
                limit=3,
                delay=delay if is_retried else None,
                waiting_for=waiting_for if is_retried else None,
            )

        one = self.claimed(live)
        if one is None:
            self.void(call)
            return
        call()
        one.end_attempt("failed" if is_retried else target_state.value)
        one.watermark = live.data.watermark
        self.changed(one, state=target_state, fruitless=fruitless)
        if is_retried:
            one.next_attempt_at, one.waiting_for = to_datetime(self.clock.time() + delay), waiting_for
        else:
            one.owner, one.completed_at = None, self.now

    @rule(handle=handles, result=JSON)
    def succeed(self, handle: tuple[int, Operation], result: Any) -> None:
        self.moment()
        live = handle[1]
        one = self.claimed(live)
        if one is None:
            self.void(lambda: live._keeper.succeed(live, result))  # type: ignore[attr-defined]
            return
        live._keeper.succeed(live, result)  # type: ignore[attr-defined]
        one.end_attempt("success")
        self.changed(one, state=S.SUCCESS, owner=None, completed_at=self.now, result=result)
        one.watermark = live.data.watermark

    @rule(handle=handles)
    def give_back(self, handle: tuple[int, Operation]) -> None:
        self.moment()
        live = handle[1]
        one = self.claimed(live)
        if one is None:
            self.void(lambda: live._keeper.give_back(live))  # type: ignore[attr-defined]
            return
        live._keeper.give_back(live)  # type: ignore[attr-defined]
        one.end_attempt("interrupted")
        self.changed(one, state=S.PENDING, owner=None)

    @rule(handle=handles, name=st.sampled_from("xyz"), result=JSON)
    def step(self, handle: tuple[int, Operation], name: str, result: Any) -> None:
        self.moment()
        live = handle[1]
        ran: list[str] = []

        def work() -> Any:
            ran.append(name)
            return result

        one, known = self.claimed(live), self.known(live.operation_id)
        kept = None if known is None else known.steps.get(name, ran)
        if known is not None and kept is not ran:
            assert live.step(name, work) == kept
            assert ran == []
        elif one is None:
            with pytest.raises((RecoveryStateError, OperationPaused, OperationCancelled)):
                live.step(name, work)
        else:
            assert live.step(name, work) == result
            assert ran == [name]
            one.steps[name] = result
            one.updated_at = self.now

    @rule(handle=handles, done=st.floats(0, 1e12), is_resumed=st.booleans())
    def progress(self, handle: tuple[int, Operation], done: float, is_resumed: bool) -> None:
        self.moment()
        live = handle[1]
        one = self.claimed(live)
        try:
            if is_resumed:
                live.resume_at(done, None, "bytes")
            else:
                live.progress(done, None, "bytes")
        except (RecoveryStateError, OperationPaused, OperationCancelled):
            assert one is None
        if one is not None:
            self.changed(one, done=done, watermark=live.data.watermark)

    @rule(handle=handles, value=JSON)
    def save_metadata(self, handle: tuple[int, Operation], value: Any) -> None:
        self.moment()
        live = handle[1]
        live.metadata["value"] = value
        live.save_metadata()
        one = self.claimed(live)
        if one is not None:
            one.metadata = {"value": value}

    @rule(handle=handles)
    def check(self, handle: tuple[int, Operation]) -> None:
        """Code that asks learns that it was paused, cancelled, or taken over."""
        live = handle[1]
        live.wake.set()
        one, known = self.claimed(live), self.known(live.operation_id)
        if one is not None or known is None:
            live.check()
        else:
            wanted = {S.PAUSED: OperationPaused, S.CANCELLED: OperationCancelled}.get(known.state, RecoveryStateError)
            with pytest.raises(wanted):
                live.check()

    # -- a person's controls --------------------------------------------------------------------------

    def controlled(self, operation_id: str, target: RecoveryState, call: Callable[[], object]) -> list[Expected]:
        """What the control is about: the operation, and its unfinished parts."""
        one = self.known(operation_id)
        if one is None:
            with pytest.raises(RecoveryStateError, match="there is no operation"):
                call()
            return []
        if one.state is not target and not may(one.state, target):
            self.refused(one, call)
            return []
        call()
        return [one, *self.model.parts(operation_id)]

    @rule(who=st.integers(0, 1), operation_id=operations)
    def pause(self, who: int, operation_id: str) -> None:
        self.moment()
        lifecycle = self.processes[who].lifecycle
        for one in self.controlled(operation_id, S.PAUSED, lambda: lifecycle.pause(operation_id)):
            if one.state is not S.PAUSED:
                one.end_attempt("paused")
                self.changed(one, state=S.PAUSED, next_attempt_at=None, waiting_for=None)

    @rule(who=st.integers(0, 1), operation_id=operations)
    def cancel(self, who: int, operation_id: str) -> None:
        self.moment()
        lifecycle = self.processes[who].lifecycle
        for one in self.controlled(operation_id, S.CANCELLED, lambda: lifecycle.cancel(operation_id)):
            if one.state is not S.CANCELLED:
                one.end_attempt("cancelled")
                self.changed(one, state=S.CANCELLED, next_attempt_at=None, waiting_for=None)
                one.completed_at = self.now
            self.disowned(one, lifecycle)

    def disowned(self, one: Expected, lifecycle: Lifecycle) -> None:
        """The process gives it up, unless one of its calls is about it; that is no news, if it is not pending."""
        is_owner = one.owner == lifecycle.owner_id and one.state is not S.IN_PROGRESS
        if not is_owner or lifecycle.is_live(one.operation_id):
            return
        if is_runnable(one):
            self.changed(one, state=S.PENDING, owner=None)
        else:
            one.owner, one.updated_at = None, self.now

    @rule(who=st.integers(0, 1), operation_id=operations)
    def resume(self, who: int, operation_id: str) -> None:
        self.moment()
        lifecycle, one = self.processes[who].lifecycle, self.known(operation_id)
        if one is None or not one.is_unfinished:
            self.void(lambda: lifecycle.resume(operation_id))
            return
        lifecycle.resume(operation_id)
        for each in [one, *self.model.parts(operation_id)]:
            if each.state is S.PAUSED:
                self.changed(each, state=S.PENDING)

    @rule(who=st.integers(0, 1), operation_id=operations, is_alone=st.booleans())
    def retry(self, who: int, operation_id: str, is_alone: bool) -> None:
        """It takes what it is part of along, unless it is begun again alone."""
        self.moment()
        lifecycle, one = self.processes[who].lifecycle, self.known(operation_id)
        call = lifecycle.begin_again if is_alone else lifecycle.retry
        if one is None:
            self.void(lambda: call(operation_id))
            return
        if not is_runnable(one) and not self.can_begin_again(one):
            self.refused(one, lambda: call(operation_id))
            return
        call(operation_id)
        if is_runnable(one):
            self.changed(one, next_attempt_at=self.now)
        else:
            self.begun_again(one, one.owner)
        parent = None if is_alone or one.parent_id is None else self.known(one.parent_id)
        while parent is not None and self.can_begin_again(parent):
            self.begun_again(parent, parent.owner)
            parent = None if parent.parent_id is None else self.known(parent.parent_id)

    def can_begin_again(self, one: Expected) -> bool:
        return not one.is_unfinished and one.state is not S.SUCCESS and not self.is_taken(one)

    def is_taken(self, one: Expected) -> bool:
        latest = None if one.key is None else self.model.with_key(one.key)
        return latest is not None and latest.is_unfinished and latest is not one

    def begun_again(self, one: Expected, owner: str | None) -> None:
        self.changed(one, state=S.PENDING, owner=owner, fruitless=0, watermark=0.0)
        one.next_attempt_at = one.waiting_for = one.completed_at = None

    @rule(who=st.integers(0, 1), operation_id=operations, seconds=st.none() | SECONDS)
    def hold(self, who: int, operation_id: str, seconds: float | None) -> None:
        self.moment()
        lifecycle, one = self.processes[who].lifecycle, self.known(operation_id)
        if one is None or not is_runnable(one):
            self.void(lambda: lifecycle.hold(operation_id, seconds, WaitingFor.SLOT, "Others go first."))
            return
        lifecycle.hold(operation_id, seconds, WaitingFor.SLOT, "Others go first.")
        due = None if seconds is None else to_datetime(self.clock.time() + seconds)
        self.changed(one, next_attempt_at=due, waiting_for=WaitingFor.SLOT)

    # -- what happens to processes, and to time ---------------------------------------------------------

    @rule(who=st.integers(0, 1), is_known=st.booleans())
    def crash(self, who: int, is_known: bool) -> None:
        """A process dies, the other one takes what it left; the dead one's handles still try to write."""
        self.moment()
        dead = self.processes[who].owner.owner_id
        self.processes[who] = self.start(who)
        other = self.processes[1 - who].lifecycle
        if not is_known:  # it took itself out, and left operations nevertheless
            other.store.forget_owner(dead)
        self.release(other, {dead} if is_known else set())
        assert {row.owner.owner_id for row in other.store.owners()} == self.living

    @property
    def living(self) -> set[str]:
        return {process.owner.owner_id for process in self.processes}

    def release(self, lifecycle: Lifecycle, dead: set[str]) -> None:
        freed = lifecycle.release_orphans(dead)
        expected = self.model.release(dead, self.living, self.now)
        assert sorted(data.operation_id for data in freed) == sorted(expected)
        self.expected_events += len(expected)

    @rule(who=st.integers(0, 1))
    def nobody_died(self, who: int) -> None:
        """What is freed was over when its process died, and has been begun again since."""
        self.moment()
        self.release(self.processes[who].lifecycle, set())

    @rule(handle=consumes(handles))
    def detach(self, handle: tuple[int, Operation]) -> None:
        handle[1]._keeper.detach(handle[1])  # type: ignore[attr-defined]

    @rule(handle=consumes(handles))
    def leave(self, handle: tuple[int, Operation]) -> None:
        """A call is over: what it still runs goes back, and its process gives up what it has."""
        self.moment()
        live = handle[1]
        lifecycle: Lifecycle = live._keeper  # type: ignore[assignment]
        one, had_turn = self.known(live.operation_id), lifecycle._handles.has_turn(live)
        lifecycle.leave(live)
        if one is not None and had_turn and one.state is S.IN_PROGRESS and one.owner == lifecycle.owner_id:
            one.end_attempt("interrupted")
            self.changed(one, state=S.PENDING, owner=None)
        elif one is not None:
            self.disowned(one, lifecycle)

    @rule(who=st.integers(0, 1), age=st.floats(0, 7200), keep=st.none() | st.integers(0, 3))
    def cleanup(self, who: int, age: float, keep: int | None) -> None:
        self.moment()
        older_than = self.now - timedelta(seconds=age)
        forgotten = self.processes[who].lifecycle.store.cleanup(older_than, keep=keep)
        assert forgotten == self.model.cleanup(older_than, keep)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]) | st.floats(-3600, 3600))
    def clock_is_set(self, seconds: float) -> None:
        self.clock.shift += seconds


def run(kind: str, examples: int, steps: int, *phases: Phase) -> None:
    machine = type("Operations", (Operations,), {"kind": kind})
    run_examples(machine, examples, steps, *phases)


@pytest.mark.parametrize("kind", EACH_KIND)
def test_any_sequence_of_calls(kind: str) -> None:
    """A seeded sample of sequences, the same in every run."""
    run(kind, EXAMPLES[kind], 40, Phase.generate)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", EACH_KIND)
def test_any_long_sequence_of_calls(kind: str) -> None:
    run(kind, 25 * EXAMPLES[kind], 100, Phase.generate, Phase.shrink)
