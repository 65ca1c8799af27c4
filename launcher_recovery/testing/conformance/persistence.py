"""What every store has to do: the five async methods, and carrying the engine with them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest

from launcher_recovery import owners, stores
from launcher_recovery.decorator import recoverable
from launcher_recovery.persistence.base import Store
from launcher_recovery.persistence.codec import error_to_stored
from launcher_recovery.records import FINAL, UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.stores import MirroredStore, store_for
from launcher_recovery.testing.conformance.samples import (
    NOW,
    VALUES,
    PatientClock,
    at_once,
    ending_after,
    full_record,
    record,
    require,
    same,
    same_record,
)

T = TypeVar("T")
S = RecoveryState


class PersistenceConformance:
    """Tests of a store with the five methods of `StatePersistence`; see `launcher_recovery.testing.conformance`."""

    @pytest.fixture
    def persistence(self) -> Any:
        """The store under test, empty; to be overridden."""
        pytest.fail(f"{type(self).__name__} needs a fixture `persistence` that gives an empty store")

    time_limit_s = 60.0
    """After so many seconds a test fails; where there are no signals, as on Windows, only those of the engine do."""

    @pytest.fixture(autouse=True)
    def _in_time(self) -> Iterator[None]:
        with ending_after(self.time_limit_s):
            yield

    def reopen(self, persistence: Any) -> Any:
        """A new object on the place of `persistence`, which is not used any more, as after a restart.

        Default: the same object. What has to be closed of the old one is closed here; the new one is closed by the
        suite if it has a method `close`.
        """
        return persistence

    def another(self, persistence: Any) -> Any:
        """A second object on the place of `persistence`, used beside it; None (the default) when there is no such
        thing."""
        return None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one of the async methods from a plain test."""
        return asyncio.run(work)

    def _save_all(self, persistence: Any, records: Iterable[RecoveryData]) -> None:
        async def work() -> None:
            for data in records:
                await persistence.save(data)

        self.run(work())

    @contextmanager
    def _reopened(self, persistence: Any) -> Iterator[Any]:
        with _closed_afterwards(self.reopen(persistence), persistence) as again:
            yield again

    @contextmanager
    def _beside(self, persistence: Any) -> Iterator[Any]:
        other = self.another(persistence)
        if other is None:
            pytest.skip("`another` gives no second object on the same place")
        with _closed_afterwards(other, persistence):
            yield other

    def _silent(self, work: Coroutine[Any, Any, T], rule: str) -> T:
        try:
            return self.run(work)
        except Exception as error:
            raise AssertionError(f"{rule}: it raised {error!r}") from error

    # -- save and load ------------------------------------------------------------------------------

    def test_a_record_comes_back_whole(self, persistence: Any) -> None:
        """Every field of a record is kept, with its type."""
        for data in (full_record(), record("plain")):
            self.run(persistence.save(data))
            loaded = self.run(persistence.load(data.operation_id))
            same_record(loaded, data, "load must give every field as it was saved")

    @pytest.mark.parametrize("name", VALUES)
    def test_values_keep_their_type(self, persistence: Any, name: str) -> None:
        """Arguments, metadata and results come back with the types that they had."""
        value = VALUES[name]
        data = record(args=(value,), kwargs={"value": value}, metadata={"value": value}, result=value)
        self.run(persistence.save(data))
        loaded = self.run(persistence.load("a"))
        hint = "(launcher_recovery.persistence.codec writes them as text)"
        same_record(loaded, data, f"args, kwargs, metadata and result must keep values and their types {hint}")

    def test_errors_keep_what_they_say(self, persistence: Any) -> None:
        """An error comes back with the name of its type, its message and its traceback."""
        try:
            raise ConnectionError("gone: ü\udce9")
        except ConnectionError as error:
            raised = error
        self.run(persistence.save(record(error=raised)))
        loaded = self.run(persistence.load("a"))
        require(isinstance(loaded.error, Exception), f"error must come back as an exception, not {loaded.error!r}")
        stored = error_to_stored(loaded.error)
        same(stored.type_name, "ConnectionError", "error must keep the name of its type")
        same(stored.message, "gone: ü\udce9", "error must keep its message")
        require("raise ConnectionError" in stored.traceback, "error must keep its traceback as text")

    def test_save_replaces(self, persistence: Any) -> None:
        """Saving the same operation again replaces its record, and leaves the others alone."""
        for data in (record(), record("b"), record(state=S.RECOVERING, attempt=2, metadata={"n": 1})):
            self.run(persistence.save(data))
        rule = "save must replace the record of the same operation_id"
        same_record(self.run(persistence.load("a")), record(state=S.RECOVERING, attempt=2, metadata={"n": 1}), rule)
        same(self._listed(persistence, S.PENDING), ["b"], rule)
        same(self._listed(persistence, S.RECOVERING), ["a"], rule)

    def test_what_is_kept_is_a_copy(self, persistence: Any) -> None:
        """Changing a record after it was saved, or one that was loaded, changes nothing that is kept."""
        data = record(metadata={"list": [1]})
        self.run(persistence.save(data))
        data.metadata["list"].append(2)
        data.state = S.FAILED
        first = self.run(persistence.load("a"))
        same_record(first, record(metadata={"list": [1]}), "save must keep a copy of the record, deep in its values")
        first.metadata["list"].append(2)
        first.attempt = 9
        again = self.run(persistence.load("a"))
        same_record(again, record(metadata={"list": [1]}), "load must give a copy of the record, deep in its values")

    def test_unknown_operations(self, persistence: Any) -> None:
        """What is unknown loads as None."""
        self.run(persistence.save(record()))
        rule = "load must give None for an unknown operation"
        same(self._silent(persistence.load("nowhere"), rule), None, rule)

    def test_delete(self, persistence: Any) -> None:
        """A deleted record is gone, and no other; deleting what is unknown does nothing."""
        for operation_id in ("a", "b"):
            self.run(persistence.save(record(operation_id)))
        self.run(persistence.delete("a"))
        same(self.run(persistence.load("a")), None, "load must give None for a deleted operation")
        same(self._listed(persistence, S.PENDING), ["b"], "delete must remove that record and no other")
        for operation_id in ("a", "nowhere"):
            self._silent(persistence.delete(operation_id), "delete must be silent for an unknown operation")

    # -- lists and cleanup --------------------------------------------------------------------------

    def _listed(self, persistence: Any, state: RecoveryState) -> list[str]:
        return [data.operation_id for data in self.run(persistence.list_by_state(state))]

    def test_list_by_state(self, persistence: Any) -> None:
        """All records of one state come, however many, the oldest first."""
        ages = [(number * 7) % 120 for number in range(120)]
        failed = [record(f"{age:03}", created_at=NOW - timedelta(seconds=age), state=S.FAILED) for age in ages]
        others = [record(state.value, state=state) for state in S if state not in (S.FAILED, S.PAUSED)]
        self._save_all(persistence, failed + others)
        listed = self._listed(persistence, S.FAILED)
        same(sorted(listed), [f"{number:03}" for number in range(120)], "list_by_state must give all of that state")
        oldest_first = [f"{number:03}" for number in reversed(range(120))]
        same(listed, oldest_first, "list_by_state must give the oldest first (by created_at)")
        same(self._listed(persistence, S.PENDING), ["pending"], "list_by_state must give only records of that state")
        same(self._listed(persistence, S.PAUSED), [], "list_by_state must give an empty list when there is none")
        [data] = self.run(persistence.list_by_state(S.CANCELLED))
        same_record(data, record("cancelled", state=S.CANCELLED), "list_by_state must give whole records")

    def test_cleanup_by_age(self, persistence: Any) -> None:
        """Only what was not touched for the days given is forgotten, however many, and the number is returned."""
        now = datetime.now(timezone.utc)
        old, made_at = now - timedelta(days=8), now - timedelta(days=99)
        times = {f"old{number}": old for number in range(320)} | {"newer": now - timedelta(days=6)}
        self._save_all(
            persistence,
            [record(name, created_at=made_at, updated_at=at, state=S.SUCCESS) for name, at in times.items()],
        )
        age = "cleanup_old must go by updated_at and the days given"
        same(self.run(persistence.cleanup_old(days=9)), 0, age)
        same(self.run(persistence.cleanup_old()), 320, "cleanup_old must return how many it forgot, 7 days by default")
        same(self._listed(persistence, S.SUCCESS), ["newer"], age)
        same(self.run(persistence.cleanup_old(days=1)), 1, age)

    def test_cleanup_keeps_the_unfinished(self, persistence: Any) -> None:
        """What is not over is never forgotten; all that is over can be."""
        old = datetime.now(timezone.utc) - timedelta(days=99)
        for state in S:
            over = old if state in FINAL else None
            self.run(persistence.save(record(state.value, state=state, updated_at=old, completed_at=over)))
        self.run(persistence.cleanup_old())
        for state in S:
            kept = [state.value] if state in UNFINISHED else []
            same(
                self._listed(persistence, state),
                kept,
                f"cleanup_old must forget what is over and nothing else, {state} is {'' if kept else 'not '}to be kept",
            )

    # -- several at once, and restarts --------------------------------------------------------------

    def test_many_calls_in_one_loop(self, persistence: Any) -> None:
        """Calls that overlap in one event loop all have their effect."""

        async def work() -> list[RecoveryData | None]:
            await asyncio.gather(*(persistence.save(record(str(number))) for number in range(30)))
            return list(await asyncio.gather(*(persistence.load(str(number)) for number in range(30))))

        for number, data in enumerate(self.run(work())):
            same_record(data, record(str(number)), "saves and loads that overlap must all have their effect")

    def test_many_threads(self, persistence: Any) -> None:
        """Calls of several threads, each with an event loop of its own, all have their effect."""

        def work(position: int) -> None:
            for number in range(5):
                self.run(persistence.save(record(f"{position}-{number}", metadata={"n": number})))

        at_once(6, work)
        expected = sorted(f"{position}-{number}" for position in range(6) for number in range(5))
        found = sorted(self._listed(persistence, S.PENDING))
        same(found, expected, "saves of several threads and event loops must all have their effect")

    def test_reopening_keeps_everything(self, persistence: Any) -> None:
        """A new object on the same place has all that was kept."""
        for data in (full_record(), record(), record("gone")):
            self.run(persistence.save(data))
        self.run(persistence.delete("gone"))
        with self._reopened(persistence) as again:
            rule = "a store that is opened again must have all that was saved"
            same_record(self.run(again.load("full")), full_record(), rule)
            same(self._listed(again, S.PENDING), ["a"], rule)

    def test_another_object_sees_everything(self, persistence: Any) -> None:
        """Two objects on one place see at once what the other one does."""
        with self._beside(persistence) as other:
            rule = "two objects on one place must see what the other one did"
            self.run(persistence.save(record()))
            same_record(self.run(other.load("a")), record(), rule)
            self.run(other.save(record(state=S.FAILED)))
            same(self._listed(persistence, S.FAILED), ["a"], rule)
            self.run(persistence.delete("a"))
            same(self.run(other.load("a")), None, rule)

    # -- the engine ---------------------------------------------------------------------------------

    @contextmanager
    def _carrying(self, persistence: Any) -> Iterator[Store]:
        """The store as the engine uses it in a new process: nothing of it is in memory."""
        store = store_for(persistence)
        if isinstance(store, MirroredStore):
            store = MirroredStore(persistence)
        try:
            yield store
        finally:
            owners.let_go(store)
            stores.stop()

    def test_engine_keeps_a_success(self, persistence: Any) -> None:
        """A call that fails twice and then works is in the store, with its arguments, attempts and result."""
        left = [ConnectionError("gone"), ConnectionError("gone")]

        async def fetch(name: str, *, parts: tuple[int, ...]) -> dict[str, Any]:
            if left:
                raise left.pop()
            return {"name": name, "parts": parts}

        with self._carrying(persistence) as store:
            rule = "a recovered call must return"
            fetched = recoverable(persistence=store, clock=PatientClock(rule))(fetch)
            same(self.run(fetched("a", parts=(1, 2))), {"name": "a", "parts": (1, 2)}, rule)
        found = self.run(persistence.list_by_state(S.SUCCESS))
        same(len(found), 1, "a recovered call must leave one record in the state success")
        kept = (found[0].attempt, found[0].args, found[0].kwargs, found[0].result)
        expected = (3, ("a",), {"parts": (1, 2)}, {"name": "a", "parts": (1, 2)})
        same(kept, expected, "a recovered call must leave its attempts, arguments and result")

    def test_engine_keeps_a_failure(self, persistence: Any) -> None:
        """A call that gives up raises its own error, which is in the store."""

        def fetch() -> None:
            raise ConnectionError("gone")

        clock = PatientClock("a call that gives up must raise its own error")
        with self._carrying(persistence) as store, pytest.raises(ConnectionError):
            recoverable(persistence=store, max_retries=1, clock=clock)(fetch)()
        found = self.run(persistence.list_by_state(S.EXHAUSTED))
        same([data.attempt for data in found], [2], "a call that gives up must leave one record, exhausted")
        stored = error_to_stored(found[0].error)
        same(
            (stored.type_name, stored.message), ("ConnectionError", "gone"), "a call that gives up must leave its error"
        )

    def test_engine_goes_on_after_a_restart(self, persistence: Any) -> None:
        """What a process left that was killed is taken over by the same call in a new process."""

        def fetch(name: str) -> str:
            return name

        fetch.__qualname__ = "fetch"
        name = f"{fetch.__module__}.fetch"
        data = record(args=("model",), key=f"{name}:model", attempt=1, fence=1, state=S.IN_PROGRESS, owner="gone")
        self.run(persistence.save(replace(data, function_name=name)))
        with self._reopened(persistence) as again:
            with self._carrying(again) as store:
                rule = "an interrupted call must return after a restart"
                fetched: Any = recoverable(persistence=store, key=lambda name: name, clock=PatientClock(rule))(fetch)
                same(fetched("model"), "model", rule)
            loaded = self.run(again.load("a"))
            rule = "an interrupted operation must be taken over after a restart, not begun anew"
            same((loaded.state, loaded.attempt, loaded.result), (S.SUCCESS, 2, "model"), rule)

    def test_engine_finds_a_result_after_a_restart(self, persistence: Any) -> None:
        """What ended well is not done again by a new process that asks for the same key."""
        calls: list[str] = []

        def fetch(name: str) -> tuple[str, int]:
            calls.append(name)
            return (name, len(calls))

        rule = "the result of a finished operation must be found by its key after a restart"
        options: dict[str, Any] = {"key": lambda name: name, "reuse_result": True, "clock": PatientClock(rule)}
        with self._carrying(persistence) as store:
            recoverable(persistence=store, **options)(fetch)("model")
        with self._reopened(persistence) as again, self._carrying(again) as store:
            found = recoverable(persistence=store, **options)(fetch)("model")
            same(found, ("model", 1), rule)


@contextmanager
def _closed_afterwards(opened: Any, first: Any) -> Iterator[Any]:
    try:
        yield opened
    finally:
        if opened is not first and hasattr(opened, "close"):
            owners.let_go(opened)
            opened.close()
