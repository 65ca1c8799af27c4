"""What operations have to be after any sequence of calls, in a few simple lines: the measure of the state machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from launcher_recovery.persistence.base import Store
from launcher_recovery.records import FINAL, RUNNABLE, TRANSITIONS, UNFINISHED, RecoveryState, WaitingFor, sources_of
from launcher_recovery.signals import Event

S = RecoveryState


@dataclass
class Expected:
    """One operation as it should be; `moments` are by the name of the record's field."""

    operation_id: str
    key: str | None
    parent_id: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime
    state: RecoveryState = S.PENDING
    attempt: int = 0
    fence: int = 0
    fruitless: int = 0
    watermark: float = 0.0
    done: float | None = None
    next_attempt_at: datetime | None = None
    waiting_for: WaitingFor | None = None
    result: Any = None
    completed_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    outcomes: list[str | None] = field(default_factory=list)
    steps: dict[str, Any] = field(default_factory=dict)

    @property
    def is_unfinished(self) -> bool:
        return self.state in UNFINISHED

    def end_attempt(self, outcome: str) -> None:
        if self.outcomes and self.outcomes[-1] is None:
            self.outcomes[-1] = outcome

    def check(self, store: Store) -> None:
        """Fail unless the store has just this."""
        data = store.get(self.operation_id)
        assert data is not None, f"{self.operation_id} is lost"
        names = {each.name for each in dataclasses.fields(self)} - {"done", "outcomes", "steps"}
        pairs = {name: (getattr(data, name), getattr(self, name)) for name in names}
        differs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        assert differs == {}, f"is and should be: {differs}"
        assert (None if data.progress is None else data.progress.done) == self.done
        attempts = store.attempts(self.operation_id)
        assert [one.number for one in attempts] == list(range(1, self.attempt + 1))
        assert [one.outcome for one in attempts] == self.outcomes
        assert [one.ended_at is None for one in attempts] == [outcome is None for outcome in self.outcomes]
        assert {step.name: step.result for step in store.steps(self.operation_id)} == self.steps


class Model:
    """All operations, in the order in which they were entered."""

    def __init__(self) -> None:
        self.operations: dict[str, Expected] = {}

    def with_key(self, key: str) -> Expected | None:
        """The unfinished one, else the newest; of several made at one moment the one that was entered last."""
        found = [one for one in self.operations.values() if one.key == key]
        return max(reversed(found), key=lambda one: (one.is_unfinished, one.created_at), default=None)

    def parts(self, operation_id: str) -> list[Expected]:
        """The unfinished ones inside it, and those inside of them."""
        inner = [one for one in self.operations.values() if one.parent_id == operation_id and one.is_unfinished]
        return [found for one in inner for found in (one, *self.parts(one.operation_id))]

    def release(self, dead: set[str], living: set[str], at: datetime) -> list[str]:
        """What the dead and the unknown left becomes free; which ones those are."""
        freed = []
        for one in self.operations.values():
            if not one.is_unfinished or one.owner is None or (one.owner in living and one.owner not in dead):
                continue
            one.owner, one.updated_at = None, at
            if one.state in (S.IN_PROGRESS, S.RECOVERING):
                one.state = S.PENDING
            one.end_attempt("interrupted")
            freed.append(one.operation_id)
        return freed

    def cleanup(self, older_than: datetime, keep: int | None) -> int:
        """Forget the old, then the oldest that are too many; how many those are."""
        finished = [one for one in self.operations.values() if not one.is_unfinished]
        free = sorted((one for one in finished if not self._is_part(one)), key=lambda one: one.updated_at)
        too_many = 0 if keep is None else len(finished) - keep
        gone = [one for number, one in enumerate(free) if number < too_many or one.updated_at < older_than]
        for one in gone:
            del self.operations[one.operation_id]
        return len(gone)

    def _is_part(self, one: Expected) -> bool:
        parent = None if one.parent_id is None else self.operations.get(one.parent_id)
        return parent is not None and parent.is_unfinished

    def check(self, store: Store, with_counts: bool = True) -> None:
        """Fail unless the store has just these, and at most one unfinished one for a key."""
        for one in self.operations.values():
            one.check(store)
        found = store.find(limit=-1)
        assert {data.operation_id for data in found} == self.operations.keys()
        unfinished = store.find(states=UNFINISHED, limit=-1)
        expected = {one.operation_id for one in self.operations.values() if one.is_unfinished}
        assert {data.operation_id for data in unfinished} == expected
        keys = [data.key for data in unfinished if data.key is not None]
        assert len(keys) == len(set(keys))
        for key in {one.key for one in self.operations.values() if one.key is not None}:
            latest, wanted = store.latest_with_key(key), self.with_key(key)
            assert latest is not None
            assert wanted is not None
            assert latest.operation_id == wanted.operation_id
        if with_counts:
            self._check_counts(store)

    def _check_counts(self, store: Store) -> None:
        all_of_them = list(self.operations.values())
        recovered = [one for one in all_of_them if one.state is S.SUCCESS and one.attempt > 1]
        seconds = sum((one.completed_at - one.created_at).total_seconds() for one in recovered if one.completed_at)
        totals = dict(store.counts())
        assert abs(totals.pop("recovery_seconds") - seconds) < 0.001
        assert totals == {
            **{state.value: sum(one.state is state for one in all_of_them) for state in RecoveryState},
            "recovered": len(recovered),
            "attempts": sum(max(0, one.attempt - 1) for one in all_of_them),
        }


class Walks:
    """The walk of each operation through the states, as its stored events tell it."""

    def __init__(self) -> None:
        self.seq = 0
        self._at: dict[str, tuple[RecoveryState, int]] = {}

    def follow(self, events: Iterable[Event]) -> None:
        """Fail when a number does not grow, a step is not in the table, or an attempt has a wrong number."""
        for event in events:
            assert event.seq > self.seq, f"{event.seq} after {self.seq}"
            self.seq = event.seq
            payload = event.payload
            operation_id = payload.get("operation_id")
            if event.name == "recovery_update":
                self._step(operation_id, S(payload["state"]), payload["attempt"])
            elif event.name == "recovery_completed":
                state, attempt = self._at[operation_id]
                assert state in FINAL
                assert (payload["final_state"], payload["total_attempts"]) == (state.value, attempt)
                assert payload["success"] is (state is S.SUCCESS)

    def _step(self, operation_id: str, state: RecoveryState, attempt: int) -> None:
        before, number = self._at.get(operation_id, (None, 0))
        self._at[operation_id] = (state, attempt)
        if before is None:
            assert (state, attempt) in ((S.PENDING, 0), (S.IN_PROGRESS, 1))
        elif state is before:  # progress, another due time, or another owner
            assert state in UNFINISHED
            assert attempt == number
        else:
            assert state in TRANSITIONS[before], f"{before} -> {state}"
            assert attempt == number + (state is S.IN_PROGRESS)


def may(state: RecoveryState, target: RecoveryState) -> bool:
    return state in sources_of(target)


def is_runnable(one: Expected) -> bool:
    return one.state in RUNNABLE
