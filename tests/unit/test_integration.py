"""The integrator puts the parts together: figures, settings, controls, breakers, and a store that cannot be used."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import integration
from launcher_recovery.classification import ErrorCategory, Retry, Verdict
from launcher_recovery.clock import Wake
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import CircuitBreakerOpenError, RecoveryConfigError, RecoveryStateError, StoreError
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.signals import Event
from launcher_recovery.strategies import FixedDelayStrategy
from tests import postgres
from tests.support import Ticking, recovery_threads, wait_for

KIND = OperationKind("download", "launcher_download", key=str, title=str)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr("launcher_recovery.persistence.outbox._WAIT_S", 0.005)
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    yield
    integration.set_recovery_integrator(None)


@pytest.fixture
def make() -> Iterator[Callable[..., RecoveryIntegrator]]:
    """Makes integrators on a clock that does not wait; each is stopped at the end."""
    made: list[RecoveryIntegrator] = []

    def integrator(**settings: Any) -> RecoveryIntegrator:
        config = RecoveryConfig(**{"persistence_enabled": False, **settings})
        made.append(RecoveryIntegrator(config, clock=Ticking()))
        return made[-1]

    yield integrator
    for item in made:
        item.stop()


def opened(integrator: RecoveryIntegrator, **more: Any) -> RecoveryData:
    return integrator.lifecycle.open("launcher_download", (), {"url": "u"}, kind="download", title="m.pt", **more)


def run(integrator: RecoveryIntegrator, failures: int = 0, error: Exception | None = None, **more: Any) -> RecoveryData:
    """An operation that fails so often and then succeeds."""
    data = opened(integrator, **more)
    left = [error or ConnectionResetError("broken")] * failures

    def handler() -> str:
        if left:
            raise left.pop()
        return "done"

    try:
        integrator.engine.run(data, integrator.policy_for(KIND, data, None), handler)
    except (ConnectionResetError, ValueError):
        assert failures
    found = integrator.persistence.get(data.operation_id)
    assert found is not None
    return found


# -- figures ------------------------------------------------------------------------------------------


def test_the_status_of_an_integrator_that_did_nothing(make: Callable[..., RecoveryIntegrator]) -> None:
    status = make(mode="observe", modes={"download": "off"}, rollout=25).status()
    names = status.pop("extensions")
    assert {"git", "http", "workflow", "workflow_tables"} <= set(names)
    assert status == {
        "enabled": False,
        "mode": "observe",
        "modes": {"download": "off"},
        "rollout": {"*": 25.0},
        "persistence_enabled": False,
        "max_retries": 3,
        "circuit_breaker_threshold": 5,
        "active_operations": 0,
        "total_operations": 0,
        "recovered_operations": 0,
        "failed_operations": 0,
        "average_recovery_time": 0.0,
        "retry_attempts": 0,
        "breakers": [],
        "problems": [],
    }


@pytest.mark.parametrize("durable", [False, True])
def test_the_figures_count_what_happened(make: Callable[..., RecoveryIntegrator], durable: bool) -> None:
    integrator = make(persistence_enabled=durable, initial_delay=40, max_delay=40)
    run(integrator)
    recovered = [run(integrator, failures=2), run(integrator, failures=1)]
    run(integrator, failures=9)
    run(integrator, failures=1, error=ValueError("never"))
    opened(integrator)
    integrator.cancel(opened(integrator).operation_id)
    integrator.pause(opened(integrator).operation_id)
    status = integrator.status()
    figures = {name: status[name] for name in status if name.endswith(("_operations", "_attempts", "_enabled"))}
    assert figures == {
        "persistence_enabled": durable,
        "active_operations": 2,
        "total_operations": 8,
        "recovered_operations": 2,
        "failed_operations": 2,
        "retry_attempts": 2 + 1 + 7,
    }
    took = [(item.completed_at - item.created_at).total_seconds() for item in recovered if item.completed_at]
    assert status["average_recovery_time"] == pytest.approx(sum(took) / 2, abs=0.001)
    assert sum(took) > 0


def test_problems_of_the_integrator_and_of_extensions_are_in_the_status(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    class Bad:
        @hookimpl
        def recovery_settled(self) -> None:
            raise RuntimeError("not today")

    integrator = make()
    integrator.report_problem("plugin", "It cannot be.")
    integrator.extensions.register(Bad(), "bad")
    run(integrator)
    run(integrator)
    assert integrator.status()["problems"] == [
        {"code": "plugin", "message": "It cannot be."},
        {"code": "extension", "message": "extension bad failed in recovery_settled: RuntimeError: not today"},
    ]


# -- settings -----------------------------------------------------------------------------------------


def test_settings_are_merged_or_replaced_and_hold_from_the_next_operation_on(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    integrator = make(max_delay=5, initial_delay=5)
    assert run(integrator, failures=99).attempt == 8
    integrator.update_config({"max_retries": 3, "mode": "observe"})
    assert run(integrator, failures=99).attempt == 4
    assert (integrator.config.max_delay, integrator.config.mode) == (5, "observe")
    integrator.update_config(RecoveryConfig(max_retries=1))
    with pytest.raises(RecoveryConfigError, match="config=5 is not usable: it must be a RecoveryConfig, or a mapping"):
        integrator.update_config(5)  # type: ignore[arg-type]
    assert run(integrator, failures=99).attempt == 2
    assert (integrator.config.max_delay, integrator.config.mode) == (60, "recover")
    assert integrator.strategy.max_delay == 60
    assert integrator.strategy.jitter is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"mode": "observe", "max_retries": -1},
            "max_retries=-1 is not usable: it must be a whole number of at",
        ),
        ({"mode": "observe", "timeout": "soon"}, "timeout='soon' is not usable"),
        ({"mode": "observe", "max_retires": 2}, "'max_retires' is not a setting; did you mean max_retries?"),
        ({"mode": "observe", "sources": {}}, "'sources' is not a setting"),
        ({"mode": "observe", 5: 5}, "5 is not a setting"),
        ({"mode": "observe", "rollout": {5: 5}}, "rollout={5: 5} is not usable"),
        ({"mode": "observe", "max_retries": float("inf")}, "max_retries=inf is not usable"),
        ({"mode": "observe", "timeout": 10**400}, "is not usable: it must be a number of seconds"),
    ],
)
def test_settings_are_put_in_force_whole_or_not_at_all(
    make: Callable[..., RecoveryIntegrator], changes: dict[Any, Any], words: str
) -> None:
    integrator = make()
    before = integrator.config
    with pytest.raises(RecoveryConfigError) as raised:
        integrator.update_config(changes)
    assert words in str(raised.value)
    assert integrator.config is before


def test_new_settings_hold_for_breakers_that_exist(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    breaker = integrator.guards.breaker("h", "download")
    integrator.update_config({"circuit_breaker_threshold": 2, "circuit_breaker_timeout": 7})
    breaker.failure()
    assert not breaker.is_open()
    breaker.failure()
    assert breaker.is_open()
    assert 6 < breaker.timeout_remaining <= 7


def test_the_patience_of_the_launchers_operations(make: Callable[..., RecoveryIntegrator]) -> None:
    class Opinions:
        @hookimpl
        def recovery_choose_strategy(self, operation: RecoveryData) -> FixedDelayStrategy | None:
            return FixedDelayStrategy(3) if operation.title == "mine" else None

        @hookimpl
        def recovery_classify(self, error: BaseException, operation: RecoveryData | None) -> Verdict | None:
            if operation is None or operation.title != "mine":
                return None
            return Verdict(ErrorCategory.INTERNAL, Retry.NO, "mine", "Mine.")

    integrator = make(timeout=4, deadline=5)
    integrator.extensions.register(Opinions(), "opinions")
    data = opened(integrator)
    policy = integrator.policy_for(KIND, data, None)
    assert (policy.max_attempts, policy.unknown_attempts, policy.timeout, policy.deadline) == (8, 2, 4, 5)
    assert (policy.wait_for_breaker, policy.breaker) == (True, None)
    assert policy.classify(ConnectionResetError()).category == "network"
    assert policy.strategy.calculate_delay(1) <= 1
    mine = integrator.policy_for(KIND, replace(data, title="mine"), "h")
    assert mine.strategy.calculate_delay(1) == 3
    assert mine.classify(ConnectionResetError()).rule == "mine"
    assert mine.breaker is integrator.guards.breaker("h", "download")
    assert make(max_retries=0).policy_for(KIND, data, None).max_attempts == 1


# -- functions ----------------------------------------------------------------------------------------


def test_a_function_gets_the_settings_the_store_and_the_clock(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make(max_retries=2, initial_delay=10, backoff_factor=3)
    calls: list[int] = []

    @integrator.apply_to_operation
    def fetch(number: int) -> int:
        calls.append(number)
        if len(calls) < 3:
            raise ConnectionResetError
        return number + 1

    assert fetch(4) == 5
    assert calls == [4, 4, 4]
    (data,) = integrator.persistence.find()
    assert (data.kind, data.state, data.attempt, data.result) == ("function", "success", 3, 5)
    assert data.function_name.endswith("fetch")
    assert isinstance(integrator.clock, Ticking)
    assert integrator.clock.slept == pytest.approx(10 + 30, abs=0.1)


def test_a_coroutine_function_stays_one(make: Callable[..., RecoveryIntegrator]) -> None:
    calls: list[int] = []

    async def fetch() -> str:
        calls.append(1)
        if len(calls) < 2:
            raise ConnectionResetError
        return "there"

    integrator = make()
    assert asyncio.run(integrator.apply_to_operation(fetch)()) == "there"
    assert integrator.persistence.counts()["recovered"] == 1


# -- controls -----------------------------------------------------------------------------------------


def ended(integrator: RecoveryIntegrator, parent: RecoveryData | None = None, failures: int = 99) -> RecoveryData:
    return run(integrator, failures, parent_id=None if parent is None else parent.operation_id)


def states(integrator: RecoveryIntegrator, *operations: RecoveryData) -> list[str]:
    found = [integrator.persistence.get(item.operation_id) for item in operations]
    return [item.state.value for item in found if item is not None]


def test_retrying_a_part_takes_along_those_around_it_that_ended_as_well(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    integrator = make()
    outer = ended(integrator)
    middle = ended(integrator, outer)
    inner, other = ended(integrator, middle), ended(integrator, middle)
    assert integrator.retry(inner.operation_id).operation_id == inner.operation_id
    assert states(integrator, outer, middle, inner, other) == ["pending", "pending", "pending", "exhausted"]


def test_a_part_that_is_retried_is_pending_only_when_what_is_around_it_is(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    """Else whoever looks in between, in another process, would run the part by itself."""
    integrator = make()
    outer = ended(integrator)
    middle = ended(integrator, outer)
    inner = ended(integrator, middle)
    seq = integrator.persistence.event_range()[1]
    integrator.retry(inner.operation_id)
    told = [event.payload["operation_id"] for event in integrator.persistence.events_since(seq)]
    assert told == [outer.operation_id, middle.operation_id, inner.operation_id]


def test_a_part_that_the_one_around_it_has_begun_by_then_is_retried(
    make: Callable[..., RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    integrator = make()
    outer = ended(integrator)
    inner = ended(integrator, outer)
    begin_again = integrator.lifecycle.begin_again

    def faster(operation_id: str) -> RecoveryData:
        begun = begin_again(operation_id)
        if operation_id == outer.operation_id:
            begin_again(inner.operation_id)
            integrator.lifecycle.begin_attempt(inner.operation_id, 1)
        return begun

    monkeypatch.setattr(integrator.lifecycle, "begin_again", faster)
    assert integrator.retry(inner.operation_id).state.value == "in_progress"
    assert states(integrator, outer, inner) == ["pending", "in_progress"]
    with pytest.raises(RecoveryStateError, match="in_progress"):
        integrator.retry(inner.operation_id)


def test_a_part_of_what_is_not_wanted_any_more_is_not_run_by_itself(
    make: Callable[..., RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a project which was deleted: who runs it cancels it at once."""
    integrator = make()
    outer = ended(integrator)
    inner = ended(integrator, outer)
    begin_again = integrator.lifecycle.begin_again

    def not_wanted(operation_id: str) -> RecoveryData:
        begun = begin_again(operation_id)
        if operation_id == outer.operation_id:
            integrator.cancel(operation_id)
        return begun

    monkeypatch.setattr(integrator.lifecycle, "begin_again", not_wanted)
    assert integrator.retry(inner.operation_id).state.value == "cancelled"
    assert states(integrator, outer, inner) == ["cancelled", "cancelled"]


def test_retrying_leaves_alone_what_is_around_it_and_did_not_fail(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    good = ended(integrator, failures=0)
    running = opened(integrator)
    outside = ended(integrator, good), ended(integrator, running), run(integrator, 99, parent_id="forgotten")
    before = integrator.persistence.get(running.operation_id)
    for part in outside:
        integrator.retry(part.operation_id)
    assert integrator.persistence.get(running.operation_id) == before
    assert states(integrator, good, running, *outside) == ["success", "pending", "pending", "pending", "pending"]
    with pytest.raises(RecoveryStateError):
        integrator.retry(good.operation_id)
    with pytest.raises(RecoveryStateError, match="there is no operation nobody"):
        integrator.retry("nobody")


def test_retrying_leaves_alone_what_cannot_be_run_from_its_record(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    outer = ended(integrator)
    data = integrator.lifecycle.open("f", (object(),), {}, parent_id=outer.operation_id)
    integrator.cancel(data.operation_id)
    part = ended(integrator, data)
    integrator.retry(part.operation_id)
    assert states(integrator, outer, data, part) == ["exhausted", "cancelled", "pending"]


def test_pause_resume_and_cancel_reach_the_parts(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    outer = opened(integrator)
    part = opened(integrator, parent_id=outer.operation_id)
    inner = opened(integrator, parent_id=part.operation_id)
    over = ended(integrator, outer)
    all_of_them = (outer, part, inner, over)
    assert integrator.pause(outer.operation_id).state is RecoveryState.PAUSED
    assert states(integrator, *all_of_them) == ["paused", "paused", "paused", "exhausted"]
    integrator.resume(outer.operation_id)
    assert states(integrator, *all_of_them) == ["pending", "pending", "pending", "exhausted"]
    integrator.cancel(part.operation_id)
    assert states(integrator, *all_of_them) == ["pending", "cancelled", "cancelled", "exhausted"]
    integrator.cancel(outer.operation_id)
    with pytest.raises(RecoveryStateError):
        integrator.pause(over.operation_id)


def test_a_part_that_ended_meanwhile_does_not_disturb_a_control(
    make: Callable[..., RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    integrator = make()
    outer = opened(integrator)
    over, other = ended(integrator, outer), opened(integrator, parent_id=outer.operation_id)
    parts = {outer.operation_id: [over, other]}
    monkeypatch.setattr(integrator.persistence, "find", lambda parent_id, **more: parts.get(parent_id, []))
    integrator.pause(outer.operation_id)
    assert states(integrator, outer, over, other) == ["paused", "exhausted", "paused"]


# -- breakers -----------------------------------------------------------------------------------------


def test_there_is_one_breaker_for_each_scope_and_kind_and_its_changes_are_told(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    integrator = make(circuit_breaker_threshold=2, circuit_breaker_timeout=60)
    breaker = integrator.guards.breaker("h", "download")
    assert integrator.guards.breaker("h", "download") is breaker
    assert integrator.guards.breaker("h", "install_node") is not breaker
    assert integrator.guards.breaker("g", "download") is not breaker
    breaker.failure()
    assert integrator.status()["breakers"] == []
    breaker.failure()
    (shown,) = integrator.status()["breakers"]
    remaining = shown.pop("timeout_remaining")
    assert 59 < remaining <= 60
    assert shown.pop("timestamp").endswith("+00:00")
    assert shown == {"scope": "h", "operation_type": "download", "state": "open", "failure_count": 2}
    breaker.success()
    assert integrator.status()["breakers"] == []
    events = integrator.persistence.events_since(0)
    assert [event.name for event in events] == ["circuit_breaker_update"] * 2
    assert [(event.payload["scope"], event.payload["state"]) for event in events] == [("h", "open"), ("h", "closed")]
    assert events[1].payload["timeout_remaining"] == 0


def test_a_host_that_fails_again_and_again_is_left_alone_and_tried_again_later(
    make: Callable[..., RecoveryIntegrator],
) -> None:
    integrator = make(circuit_breaker_threshold=2, circuit_breaker_timeout=500, max_delay=1)
    data = opened(integrator)
    seen: list[tuple[str | None, float]] = []

    def handler() -> str:
        stored = integrator.persistence.get(data.operation_id)
        seen.append((stored and stored.state.value, integrator.clock.time()))
        if len(seen) < 4:
            raise ConnectionResetError
        return "done"

    assert integrator.engine.run(data, integrator.policy_for(KIND, data, "h"), handler) == "done"
    waits = [later[1] - earlier[1] for earlier, later in itertools.pairwise(seen)]
    assert waits[0] < 2
    assert [wait > 490 for wait in waits] == [False, True, True]
    told = [
        event.payload["state"]
        for event in integrator.persistence.events_since(0)
        if event.name == "circuit_breaker_update"
    ]
    assert told == ["open", "half_open", "open", "half_open", "closed"]


def test_a_breakers_change_that_cannot_be_kept_harms_nothing(
    make: Callable[..., RecoveryIntegrator], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(name: str, payload: Any) -> Event:
        raise StoreError("The disk is full.")

    integrator = make(circuit_breaker_threshold=1)
    monkeypatch.setattr(integrator.persistence, "append_event", full)
    integrator.guards.breaker("h", "download").failure()
    assert "a circuit breaker's change could not be kept: The disk is full." in caplog.text


# -- the store ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a database at all, but a letter", "is not a SQLite database"), (None, "is a folder")],
)
def test_a_store_that_cannot_be_opened_is_told_and_recovery_works_in_memory(
    make: Callable[..., RecoveryIntegrator], tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "letter.txt"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    integrator = make(persistence_enabled=True, persistence_path=str(path))
    assert isinstance(integrator.persistence, MemoryPersistence)
    status = integrator.status()
    assert status["persistence_enabled"] is False
    (problem,) = status["problems"]
    assert problem["code"] == "store"
    assert words in problem["message"]
    assert problem["message"].endswith("Until then nothing is kept over a restart.")
    assert run(integrator, failures=1).state is RecoveryState.SUCCESS
    assert (path.read_bytes() if path.is_file() else list(path.iterdir())) == (content or [])


def test_a_store_of_ones_own_is_used(tmp_path: Path) -> None:
    store = MemoryPersistence()
    integrator = RecoveryIntegrator(RecoveryConfig(), persistence=store)
    assert integrator.persistence is store
    assert not (tmp_path / "recovery.db").exists()


def test_a_database_that_breaks_later_is_told_and_operations_go_on(
    make: Callable[..., RecoveryIntegrator], tmp_path: Path
) -> None:
    path = tmp_path / "mine" / "r.db"
    integrator = make(persistence_enabled=True, persistence_path=str(path))
    assert integrator.store_problem is None
    with sqlite3.connect(path) as other:
        other.executescript("DROP TABLE recovery_outbox; DROP TABLE recovery_data;")
    other.close()
    data = opened(integrator)
    found = integrator.persistence.get(data.operation_id)
    assert found is not None
    assert found.state is RecoveryState.PENDING
    [problem] = integrator.status()["problems"]
    assert problem["code"] == "store"
    assert "r.db cannot be used" in problem["message"]
    with pytest.raises(StoreError, match=r"r\.db cannot be used"):
        integrator.persistence.check()


def test_a_damaged_database_is_kept_and_told(make: Callable[..., RecoveryIntegrator], tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    SQLitePersistence(path).close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 20_000)
    integrator = make(persistence_enabled=True, persistence_path=str(path))
    [problem] = integrator.status()["problems"]
    assert problem["code"] == "damaged"
    [kept] = tmp_path.glob("r.db.corrupt-*")
    assert str(kept) in problem["message"]
    assert opened(integrator).state is RecoveryState.PENDING


@postgres.needs_server
def test_state_is_kept_on_a_server(make: Callable[..., RecoveryIntegrator], postgres_url: str, tmp_path: Path) -> None:
    integrator = make(persistence_enabled=True, database_url=postgres_url)
    assert integrator.is_durable
    assert run(integrator, failures=1).state is RecoveryState.SUCCESS
    assert postgres.rows(postgres_url, "SELECT state FROM recovery_data") == [("success",)]
    assert not (tmp_path / "recovery.db").exists()
    assert postgres_url not in str(integrator.status())


def test_a_file_may_be_given_as_a_url(make: Callable[..., RecoveryIntegrator], tmp_path: Path) -> None:
    integrator = make(persistence_enabled=True, database_url=f"sqlite:///{tmp_path}/url.db")
    assert integrator.is_durable
    assert (tmp_path / "url.db").exists()


def test_a_server_that_cannot_be_reached_is_told(make: Callable[..., RecoveryIntegrator]) -> None:
    pytest.importorskip("psycopg")
    integrator = make(persistence_enabled=True, database_url="postgresql://ann:h4nter2@127.0.0.1:1/state")
    assert not integrator.is_durable
    [problem] = integrator.status()["problems"]
    assert "The recovery database state on 127.0.0.1 cannot be used" in problem["message"]
    assert "h4nter2" not in str(integrator.status())
    assert run(integrator, failures=1).state is RecoveryState.SUCCESS


# -- running ------------------------------------------------------------------------------------------


def test_start_enters_the_process_and_stop_takes_it_out(
    make: Callable[..., RecoveryIntegrator], tmp_path: Path
) -> None:
    integrator = make(persistence_enabled=True)
    integrator.load()
    integrator.start(lambda data: None)
    assert [row.owner for row in integrator.persistence.owners()] == [OWNER]
    assert recovery_threads() == ["recovery-heartbeat", "recovery-outbox", "recovery-resumer"]
    integrator.stop()
    assert recovery_threads() == []
    reopened = SQLitePersistence(tmp_path / "recovery.db")
    assert reopened.owners() == []
    reopened.close()


@pytest.mark.parametrize("rerun", [None, lambda data: None])
def test_start_forgets_what_ended_long_ago(
    make: Callable[..., RecoveryIntegrator], rerun: Callable[[RecoveryData], object] | None
) -> None:
    """At once, or where operations are resumed with the first sweep, in its thread."""
    integrator = make(retention_days=2)
    old = run(integrator)
    assert isinstance(integrator.clock, Ticking)
    integrator.clock.advance(2 * 86_400 + 60)
    fresh = run(integrator)
    integrator.load()
    integrator.start(rerun)
    wait_for(lambda: integrator.persistence.get(old.operation_id) is None)
    assert integrator.persistence.get(fresh.operation_id) is not None


def test_what_is_retried_is_run_again_in_this_process(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    integrator.load()
    again: list[str] = []
    integrator.start(lambda data: again.append(data.operation_id))
    data = ended(integrator)
    integrator.retry(data.operation_id)
    wait_for(lambda: data.operation_id in again)


def test_without_somebody_to_run_it_what_is_retried_waits(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make()
    integrator.load()
    seen: list[Event] = []
    integrator.start()
    integrator.tail.subscribe(seen.append)
    data = ended(integrator)
    integrator.retry(data.operation_id)
    wait_for(lambda: seen and seen[-1].payload.get("state") == "pending")
    assert states(integrator, data) == ["pending"]


def test_a_change_made_by_another_process_wakes_the_call_here(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make(persistence_enabled=True)
    data = opened(integrator)
    live = Operation(data, integrator.lifecycle, integrator.clock)
    integrator.lifecycle.attach(live)
    live.watch()
    live.wake.clear()
    elsewhere = SQLitePersistence(integrator.persistence.store.path)
    RecoveryIntegrator(RecoveryConfig(), persistence=elsewhere).cancel(data.operation_id)
    elsewhere.close()
    assert live.wake.wait(30)
    integrator.lifecycle.detach(live)


# -- the one of this process --------------------------------------------------------------------------


def test_there_is_one_integrator_in_a_process_made_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., RecoveryIntegrator], tmp_path: Path
) -> None:
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "6")
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "env.db"))
    first = integration.get_recovery_integrator()
    assert first is integration.get_recovery_integrator()
    assert first.config.max_retries == 6
    assert (tmp_path / "env.db").is_file()
    integration.update_config({"max_retries": 7})
    assert first.config.max_retries == 7
    first.stop()
    attached = make()
    integration.set_recovery_integrator(attached)
    assert integration.get_recovery_integrator() is attached
    integration.update_config(RecoveryConfig(mode="off"))
    assert attached.config.mode == "off"


def delays(integrator: RecoveryIntegrator) -> list[float | None]:
    (data,) = integrator.persistence.find()
    return [attempt.delay_s for attempt in integrator.persistence.attempts(data.operation_id)]


def test_new_delays_count_for_what_runs_already(make: Callable[..., RecoveryIntegrator]) -> None:
    """A function that was made recoverable, and is being tried, waits as the settings say by then."""
    integrator = make(initial_delay=1, max_retries=3)
    calls = itertools.count(1)

    def work() -> str:
        number = next(calls)
        integrator.update_config({"initial_delay": 10.0 * number, "backoff_factor": 1})
        if number < 3:
            raise ConnectionError("broken")
        return "done"

    assert integrator.apply_to_operation(work)() == "done"
    assert delays(integrator) == [10.0, 20.0, None]


def test_new_delays_count_for_the_launchers_operations_too(make: Callable[..., RecoveryIntegrator]) -> None:
    """The launcher policy draws its jitter from the settings in force."""
    integrator = make(initial_delay=1)
    data = opened(integrator)
    policy = integrator.policy_for(KIND, data, None)
    integrator.update_config({"initial_delay": 0})
    assert policy.strategy.calculate_delay(1) == integrator.strategy.calculate_delay(5) == 0.0


def changing(integrator: RecoveryIntegrator, data: RecoveryData, changes: dict[str, Any]) -> RecoveryData:
    """The record of an operation that fails always, after settings were changed in its second attempt."""
    calls = itertools.count(1)

    def handler() -> None:
        if next(calls) == 2:
            integrator.update_config(changes)
        raise ConnectionError("broken")

    with pytest.raises(ConnectionError):
        integrator.engine.run(data, integrator.rules_for(KIND, data, None), handler)
    found = integrator.persistence.get(data.operation_id)
    assert found is not None
    return found


def test_fewer_or_more_retries_count_for_what_runs_already(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make(max_retries=2)
    assert changing(integrator, opened(integrator), {"max_retries": 4}).attempt == 5
    assert changing(integrator, opened(integrator), {"max_retries": 2}).attempt == 3


def test_a_new_timeout_counts_from_the_next_attempt_on(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make(max_retries=2, initial_delay=1)
    limits: list[float | None] = []

    def handler() -> None:
        operation = current_operation()
        assert operation is not None
        limits.append(operation.seconds_left())
        integrator.update_config({"timeout": 50.0 * len(limits)})
        raise ConnectionError("broken")

    with pytest.raises(ConnectionError):
        integrator.apply_to_operation(handler)()
    assert limits == [None, pytest.approx(50, abs=1), pytest.approx(100, abs=1)]


def test_a_new_deadline_counts_for_the_next_decision(make: Callable[..., RecoveryIntegrator]) -> None:
    integrator = make(initial_delay=100, max_delay=100)
    found = changing(integrator, opened(integrator), {"deadline": 1.0})
    assert (found.state, found.attempt) == ("exhausted", 2)


def test_a_deadline_ends_a_wait_that_goes_past_it(make: Callable[..., RecoveryIntegrator]) -> None:
    """Whoever shortens the deadline need not wait for the wait; what the call raises is what went wrong."""
    integrator = make(initial_delay=100, backoff_factor=1, max_retries=3)

    class Changing(Ticking):
        def wait(self, wake: Wake, seconds: float | None) -> bool:
            if self.slept > 50:
                integrator.update_config({"deadline": 60.0})
            return super().wait(wake, seconds)

    integrator.clock = integrator.lifecycle.clock = Changing()
    with pytest.raises(ConnectionError, match="broken") as caught:
        integrator.apply_to_operation(broken)()
    (data,) = integrator.persistence.find()
    assert (data.state, data.attempt, data.owner, data.next_attempt_at) == ("exhausted", 1, None, None)
    (note,) = getattr(caught.value, "__notes__", ())
    assert " after 1 attempt and 5" in note
    assert str(data.error) == "ConnectionError: broken"
    assert integrator.clock.slept < 60


def broken() -> None:
    raise ConnectionError("broken")


def test_a_function_has_a_breaker_as_configured(make: Callable[..., RecoveryIntegrator]) -> None:
    """It opens after so many failures, is shown with the others, and follows the settings."""
    integrator = make(max_retries=0, circuit_breaker_threshold=2, circuit_breaker_timeout=7)
    recovered = integrator.apply_to_operation(broken)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            recovered()
    with pytest.raises(CircuitBreakerOpenError) as refused:
        recovered()
    assert 6 < refused.value.timeout_remaining <= 7
    (shown,) = integrator.status()["breakers"]
    assert (shown["scope"], shown["operation_type"]) == (f"{__name__}.broken", "function")
    integrator.update_config({"circuit_breaker_timeout": 0})
    with pytest.raises(ConnectionError):
        recovered()
