"""The states and their table, and the handle that code inside an operation has."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from launcher_recovery import OperationCancelled, OperationPaused, RecoveryStateError, RecoveryTimeoutError
from launcher_recovery.classification import Retry
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation, current_operation, running
from launcher_recovery.policy import Policy
from launcher_recovery.records import FINAL, RUNNABLE, TRANSITIONS, UNFINISHED, RecoveryState, sources_of
from tests.unit.kit import Kit, says

TABLE = {
    "pending": "in_progress paused cancelled",
    "in_progress": "success recovering failed exhausted paused cancelled pending",
    "recovering": "in_progress paused cancelled failed exhausted pending",
    "paused": "pending cancelled",
    "failed": "pending",
    "exhausted": "pending",
    "cancelled": "pending",
    "success": "",
}


def started(kit: Kit, **given: Any) -> Operation:
    """The handle of an operation whose first attempt runs."""
    data = kit.lifecycle.begin_attempt(kit.open(**given).operation_id, 4)
    live = Operation(data, kit.lifecycle, kit.clock)
    kit.lifecycle.attach(live)
    return live


@pytest.mark.parametrize("source", RecoveryState)
@pytest.mark.parametrize("target", RecoveryState)
def test_table_of_transitions_is_the_documented_one(source: RecoveryState, target: RecoveryState) -> None:
    """Each of the 64 pairs of states is legal exactly if the design's table says so."""
    legal = target.value in TABLE[source.value].split()
    assert (target in TRANSITIONS[source]) is legal
    assert (source in sources_of(target)) is legal


def test_groups_of_states() -> None:
    """Final and unfinished states are the two halves of all; an attempt may begin from two of them."""
    assert {str(state) for state in FINAL} == {"success", "failed", "exhausted", "cancelled"}
    assert {str(state) for state in UNFINISHED} == {"pending", "in_progress", "recovering", "paused"}
    assert {str(state) for state in RUNNABLE} == {"pending", "recovering"}


def test_no_operation_outside_of_one(kit: Kit) -> None:
    """Outside of an operation there is no handle; inside there is, also within one nested; then the outer is back."""
    assert current_operation() is None
    outer, inner = started(kit), started(kit)
    with running(outer):
        assert current_operation() is outer
        with running(inner):
            assert current_operation() is inner
        assert current_operation() is outer
    assert current_operation() is None


def test_handle_is_carried_by_a_copied_context(kit: Kit) -> None:
    """A thread that is given a copy of the context sees the operation; a bare thread does not."""
    seen: list[Any] = []

    def handler() -> None:
        context = contextvars.copy_context()
        for target in (lambda: seen.append(current_operation()), lambda: context.run(lambda: seen.append(current()))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    def current() -> str:
        operation = current_operation()
        return "" if operation is None else operation.operation_id

    kit.run(handler)
    assert seen == [None, kit.data.operation_id]


def test_handle_tells_id_attempt_and_history(kit: Kit) -> None:
    """Inside an attempt the handle has the id, the number of the attempt from 1, and the attempts so far."""
    seen = []

    def handler() -> str:
        operation = current_operation()
        assert operation is not None
        seen.append((operation.operation_id, operation.attempt, [item.outcome for item in operation.history]))
        if operation.attempt == 1:
            raise ConnectionError("gone")
        return "done"

    assert kit.run(handler) == "done"
    assert seen == [(kit.data.operation_id, 1, [None]), (kit.data.operation_id, 2, ["failed", None])]


def test_check_returns_while_nothing_happened(kit: Kit) -> None:
    """`check` is silent while the operation runs, also after a change that leaves it to this call."""
    live = started(kit)
    live.check()
    live.wake.set()
    live.check()
    assert not live.wake.is_set()


@pytest.mark.parametrize(("control", "expected"), [("pause", OperationPaused), ("cancel", OperationCancelled)])
def test_check_raises_what_a_person_asked_for(kit: Kit, control: str, expected: type[Exception]) -> None:
    """After a pause or cancel every `check` raises, also the second one in the clean-up of the handler."""
    live = started(kit, title="model.bin")
    getattr(kit.lifecycle, control)(live.operation_id)
    for _ in range(2):
        with pytest.raises(expected, match=r"model\.bin was"):
            live.check()


def test_check_raises_when_taken_over(kit: Kit) -> None:
    """When another process claimed the operation, `check` names its state."""
    live = started(kit, title="model.bin")
    kit.lifecycle.release_orphans({"me"})
    with pytest.raises(RecoveryStateError, match=r"model\.bin is no longer run by this call, it is pending") as caught:
        live.check()
    assert caught.value.state == "pending"


async def test_check_of_a_deleted_operation_is_silent(kit: Kit) -> None:
    """Code goes on when its record was deleted; the engine finds out when it ends."""
    live = started(kit)
    await kit.store.delete(live.operation_id)
    live.wake.set()
    live.check()


def test_check_raises_when_the_time_is_over(kit: Kit) -> None:
    """`check` raises at the very moment at which the attempt's time is over, not before."""
    live = started(kit, title="model.bin")
    live.attempt_ends_at = kit.clock.monotonic() + 5
    kit.clock.advance(4.999)
    live.check()
    kit.clock.advance(0.001)
    with pytest.raises(RecoveryTimeoutError, match=r"attempt 1 of model\.bin"):
        live.check()
    with pytest.raises(TimeoutError):
        live.check_time()


def test_a_wait_lasts_as_long_as_it_should(kit: Kit) -> None:
    """`wait` waits, also when a change wakes it that leaves the operation to this call."""
    live = started(kit)
    live.wait(3)
    live.wait(0)
    live.wake.set()
    live.wait(4)
    assert kit.clock.slept == 7


@pytest.mark.parametrize(("control", "expected"), [("pause", OperationPaused), ("cancel", OperationCancelled)])
def test_a_wait_ends_with_what_a_person_asked_for(kit: Kit, control: str, expected: type[Exception]) -> None:
    """A pause or cancel ends a wait at once, also one that was asked for before it began."""
    live = started(kit)
    original = kit.clock.wait

    def wait(wake: Any, seconds: float | None) -> bool:
        getattr(kit.lifecycle, control)(live.operation_id)
        return original(wake, seconds)

    kit.clock.wait = wait  # type: ignore[method-assign]
    with pytest.raises(expected):
        live.wait(3600)
    kit.clock.wait = original  # type: ignore[method-assign]
    with pytest.raises(expected):
        live.wait(3600)
    assert kit.clock.slept == 0


def test_a_wait_ends_when_the_time_is_over(kit: Kit) -> None:
    """No longer than the attempt may take is waited."""
    live = started(kit)
    live.attempt_ends_at = kit.clock.monotonic() + 5
    with pytest.raises(RecoveryTimeoutError):
        live.wait(3600)
    assert kit.clock.slept == 5


def test_movement_without_a_figure_is_told_once(kit: Kit) -> None:
    """`has_moved` makes the attempt one that moved, and is told on the first time only."""
    live = started(kit)
    told: list[bool] = []
    live.on_moved = lambda: told.append(live.moved)
    live.has_moved()
    live.has_moved()
    assert told == [True]
    assert live.data.watermark == 0


def test_progress_counts_only_beyond_the_furthest(each: Kit) -> None:
    """Only what lies beyond the furthest point ever reached, over attempts and restarts, is movement."""
    live = started(each)
    live.progress(10, 100, "bytes")
    assert live.moved
    each.lifecycle.release_orphans({"me"})
    data = each.lifecycle.begin_attempt(live.operation_id, 4)
    again = Operation(data, each.lifecycle, each.clock)
    assert data.watermark == 10
    for done in (0, 5, 10):
        again.progress(done, 100, "bytes")
    assert not again.moved
    again.progress(11, 100, "bytes")
    assert again.moved
    assert again.data.watermark == 11


def test_resume_point_is_no_progress(each: Kit) -> None:
    """What was there when an attempt began is shown as resumed, and counts neither as movement nor as watermark."""
    live = started(each)
    live.resume_at(40, 100, "bytes")
    assert not live.moved
    kept = each.record(live.operation_id)
    assert kept.progress is not None
    assert (kept.progress.done, kept.progress.resumed, kept.progress.unit) == (40, 40, "bytes")
    assert kept.watermark == 0


def test_progress_raises_like_check(kit: Kit) -> None:
    """`progress` notices a cancel, so that code which reports needs no `check` of its own."""
    live = started(kit)
    kit.lifecycle.cancel(live.operation_id)
    with pytest.raises(OperationCancelled):
        live.progress(1)


def test_progress_notices_that_its_claim_is_gone(each: Kit) -> None:
    """Progress of a call that lost its claim is not kept, and the call is told."""
    live = started(each)
    each.lifecycle.detach(live)
    each.lifecycle.cancel(live.operation_id)
    with pytest.raises(OperationCancelled):
        live.progress(7)
    assert each.record(live.operation_id).progress is None


def test_step_is_run_once(each: Kit) -> None:
    """A finished step is skipped in later attempts, and gives its kept result, None and falsy ones too."""
    calls: list[str] = []

    def step(name: str, result: Any) -> Any:
        operation = current_operation()
        assert operation is not None
        return operation.step(name, lambda: calls.append(name) or result)

    results = []

    def handler() -> None:
        results.append((step("none", None), step("zero", 0), step("tuple", (1, "two"))))
        if len(results) == 1:
            raise ConnectionError("gone")

    each.run(handler)
    assert results == [(None, 0, (1, "two"))] * 2
    assert calls == ["none", "zero", "tuple"]
    assert [item.name for item in each.store.steps(each.data.operation_id)] == calls


def test_step_whose_result_is_a_secret(each: Kit) -> None:
    """It is not written down, not even in its name; later attempts here get it, a later process runs it again."""
    calls: list[str] = []
    secret = {"address": "https://h/x?sig=SECRET", "token": "SECRET"}

    def handler() -> Any:
        found = here().step("sign https://h/x?sig=SECRET", lambda: calls.append("ran") or secret)
        if here().attempt == 1:
            found["token"] = "changed by the one who got it"
            raise ConnectionError("gone")
        return found["token"] == "SECRET"

    def here() -> Operation:
        found = current_operation()
        assert found is not None
        return found

    assert each.run(handler) is True
    assert calls == ["ran"]
    assert each.store.steps(each.data.operation_id) == []
    again = started(each, key="again")
    later = Lifecycle(each.store, owner_id="me", clock=each.clock)
    again.step("sign", lambda: secret)
    anew = Operation(again.data, later, each.clock)
    assert anew.step("sign", lambda: "ran again") == "ran again"
    later.detach(anew)
    assert again.step("sign", lambda: "never") == secret
    each.lifecycle.cancel(again.operation_id)
    with pytest.raises(RecoveryStateError, match="step sign of work ended after the operation was taken away"):
        again.finish_step("sign", secret)
    each.lifecycle.detach(again)
    kept = again.kept_step("sign")
    assert kept is not None
    assert kept.result == "ran again"


def test_step_is_run_again_when_its_result_is_no_longer_good(each: Kit) -> None:
    """A step whose kept result is refused by `still_valid` runs again, and its new result is kept."""
    live = started(each)
    assert live.step("clone", lambda: "old") == "old"
    assert live.step("clone", lambda: "new", lambda result: result == "new") == "new"
    assert live.step("clone", lambda: "newest", lambda result: result == "new") == "new"


def test_step_counts_as_movement(kit: Kit) -> None:
    """An attempt that finished a step does not count as fruitless."""
    live = started(kit)
    live.step("clone", lambda: 1)
    assert live.moved


def test_step_does_not_begin_once_cancelled(kit: Kit) -> None:
    """A step that has not begun does not begin after a cancel; one that ended after it is not kept."""
    live = started(kit)

    def cancel() -> None:
        kit.lifecycle.cancel(live.operation_id)

    with pytest.raises(RecoveryStateError, match="step late of work ended after the operation was taken away"):
        live.step("late", cancel)
    with pytest.raises(OperationCancelled):
        live.step("never", lambda: pytest.fail("the step ran"))
    assert kit.store.steps(live.operation_id) == []


def test_metadata_is_there_in_the_next_attempt(each: Kit) -> None:
    """Metadata that was saved is there after a restart, without the secrets in it."""
    live = started(each)
    live.metadata["etag"] = "abc"
    live.metadata["token"] = "hf_" + "x" * 30
    live.save_metadata()
    each.lifecycle.release_orphans({"me"})
    again = each.lifecycle.begin_attempt(live.operation_id, 4)
    assert again.metadata == {"etag": "abc", "token": "***"}
    live.metadata["etag"] = "late"
    live.save_metadata()
    assert each.record(live.operation_id).metadata["etag"] == "abc"


def test_nested_operations_have_their_own_handles(kit: Kit) -> None:
    """An operation within another has its own handle, and afterwards the outer one is current again."""
    seen = []

    def note() -> None:
        operation = current_operation()
        assert operation is not None
        seen.append(operation.data.title)

    def outer() -> None:
        note()
        kit.engine.run(kit.open(title="inner"), Policy(classify=says(retry=Retry.NO)), note)
        note()

    kit.run(outer, title="outer")
    assert seen == ["outer", "inner", "outer"]
