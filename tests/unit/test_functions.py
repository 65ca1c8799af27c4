"""Functions of `apply_to_operation` in the modes `observe` and `off`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, StoreError, current_operation
from launcher_recovery.handles import handles_of
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.records import RecoveryData
from launcher_recovery.testing import VirtualClock

Make = Callable[..., RecoveryIntegrator]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RecoveryIntegrator] = []

    def build(**settings: Any) -> RecoveryIntegrator:
        integrator = RecoveryIntegrator(
            RecoveryConfig(**settings), persistence=MemoryPersistence(), clock=VirtualClock()
        )
        made.append(integrator)
        return integrator

    yield build
    for integrator in made:
        integrator.stop()


class Work:
    """A function and a coroutine function that fail or return, and note in which operation."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.seen: list[RecoveryData | None] = []

    def work(self, *given: Any) -> Any:
        operation = current_operation()
        self.seen.append(None if operation is None else operation.data)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    async def call(self, integrator: RecoveryIntegrator, kind: str) -> Any:
        async def work_async(*given: Any) -> Any:
            return self.work(*given)

        if kind == "sync":
            return integrator.apply_to_operation(self.work)("a")
        return await integrator.apply_to_operation(work_async)("a")


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
async def test_observe_calls_once_and_records_what_would_have_been_done(make: Make, kind: str) -> None:
    """The error of the one call is raised as it is; the record says what recovery would have made of it."""
    integrator, error = make(mode="observe"), ConnectionError("gone")
    work = Work(error)
    with pytest.raises(ConnectionError) as caught:
        await work.call(integrator, kind)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    (data,) = integrator.persistence.find()
    assert [seen and seen.operation_id for seen in work.seen] == [data.operation_id]
    assert (data.state, data.attempt, data.max_attempts, data.category) == ("failed", 1, 1, "network")
    assert (data.metadata["observed"], data.kind, data.args) == (True, "function", ("a",))
    assert data.metadata["would"].startswith("yes: ")
    assert len(handles_of(integrator.persistence)._by_operation) == 0


@both
async def test_observe_records_a_success(make: Make, kind: str) -> None:
    """What is returned is given on, and kept."""
    integrator = make(mode="observe")
    assert await Work({"n": 1}).call(integrator, kind) == {"n": 1}
    (data,) = integrator.persistence.find()
    assert (data.state, data.result, data.metadata) == ("success", {"n": 1}, {"observed": True})


@both
@pytest.mark.parametrize("settings", [{"mode": "off"}, {"rollout": "0"}, {"mode": "observe", "rollout": "0"}])
async def test_off_leaves_functions_alone(make: Make, kind: str, settings: dict[str, Any]) -> None:
    """They are called once, outside of any operation, and nothing is recorded."""
    integrator = make(**settings)
    work = Work(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await work.call(integrator, kind)
    assert work.seen == [None]
    assert integrator.persistence.find() == []


def test_mode_is_decided_when_a_call_begins(make: Make) -> None:
    """A new mode counts for the next call of a function that was decorated before."""
    integrator = make(max_retries=2, mode="off")
    calls: list[int] = []

    @integrator.apply_to_operation
    def work() -> None:
        calls.append(1)
        raise ConnectionError("gone")

    for mode, expected in (("off", 1), ("recover", 3), ("observe", 1)):
        integrator.update_config({"mode": mode})
        calls.clear()
        with pytest.raises(ConnectionError):
            work()
        assert len(calls) == expected


@both
async def test_observed_call_that_is_ended_from_outside(make: Make, kind: str) -> None:
    """It is not left in progress, nor for others to run."""
    integrator = make(mode="observe")
    ended = KeyboardInterrupt() if kind == "sync" else asyncio.CancelledError()
    with pytest.raises(type(ended)):
        await Work(ended).call(integrator, kind)
    (data,) = integrator.persistence.find()
    assert (data.state, data.attempt) == ("cancelled", 1)
    assert len(handles_of(integrator.persistence)._by_operation) == 0


@both
@pytest.mark.parametrize("failing", ["insert", "change", "update_metadata"])
async def test_store_that_fails_harms_no_observed_call(
    make: Make, kind: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be recorded is not; the function's result and error are its own."""
    integrator = make(mode="observe")

    def fail(*given: Any) -> Any:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(integrator.persistence, failing, fail)
    with pytest.raises(ConnectionError):
        await Work(ConnectionError("gone")).call(integrator, kind)
    assert await Work("fine").call(integrator, kind) == "fine"
    ended = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await Work(ended).call(integrator, kind)


@both
async def test_what_the_code_puts_into_the_metadata_harms_nothing(make: Make, kind: str) -> None:
    """Metadata that cannot be kept is not; how the call ended is."""
    integrator = make(mode="observe")

    class Odd(Work):
        def work(self, *given: Any) -> Any:
            operation = current_operation()
            assert operation is not None
            operation.metadata["odd"] = object()
            return super().work(*given)

    with pytest.raises(ConnectionError):
        await Odd(ConnectionError("gone")).call(integrator, kind)
    assert [data.state for data in integrator.persistence.find()] == ["failed"]


async def test_observed_call_knows_what_is_around_it(make: Make) -> None:
    """An observed call inside another one is its part."""
    integrator = make(mode="observe")
    inner = integrator.apply_to_operation(lambda: 1)
    assert integrator.apply_to_operation(lambda: inner())() == 1
    around, part = sorted(integrator.persistence.find(), key=lambda data: data.parent_id is not None)
    assert part.parent_id == around.operation_id
