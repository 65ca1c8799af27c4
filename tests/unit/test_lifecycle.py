"""Every change of an operation: which are legal, who wins a race, what is kept, and who is told."""

from __future__ import annotations

import threading
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from launcher_recovery import OperationCancelled, RecoveryConfigError, RecoveryStateError, StoreError
from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import StoredError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.meter import Meter
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.records import (
    FINAL,
    TRANSITIONS,
    UNFINISHED,
    Progress,
    RecoveryData,
    RecoveryState,
    WaitingFor,
    priority_of,
)
from launcher_recovery.signals import Event, recovery_updated
from tests.unit.kit import Kit

S = RecoveryState
Point = namedtuple("Point", "x y")


def shown(data: RecoveryData) -> dict[str, Any]:
    """The fields as they can be compared."""
    return {**vars(data), "error": repr(data.error)}


def live_of(kit: Kit, data: RecoveryData) -> Operation:
    live = Operation(data, kit.lifecycle, kit.clock)
    kit.lifecycle.attach(live)
    return live


def fail(kit: Kit, live: Operation, target: RecoveryState, **given: Any) -> RecoveryData:
    arguments: dict[str, Any] = {
        "category": "network",
        "explanation": "It broke.",
        "fix": "check_connection",
        "fruitless": 1,
        "limit": 4,
        **({"delay": 5.0, "waiting_for": WaitingFor.BACKOFF} if target is S.RECOVERING else {}),
        **given,
    }
    return kit.lifecycle.end_attempt(live, target, ConnectionError("gone"), **arguments)


def bring_to(kit: Kit, state: RecoveryState, **given: Any) -> Operation:
    """The handle of an operation that has got to `state` by legal changes."""
    live = live_of(kit, kit.open(**given))
    if state in (S.PENDING, S.PAUSED, S.CANCELLED):
        if state is S.PAUSED:
            live.data = kit.lifecycle.pause(live.operation_id)
        elif state is S.CANCELLED:
            live.data = kit.lifecycle.cancel(live.operation_id)
        return live
    live.data = kit.lifecycle.begin_attempt(live.operation_id, 4)
    if state is S.SUCCESS:
        live.data = kit.lifecycle.succeed(live, "result")
    elif state is not S.IN_PROGRESS:
        live.data = fail(kit, live, state)
    return live


def go_to(kit: Kit, live: Operation, target: RecoveryState) -> RecoveryData:
    """Ask for `target` in the way that leads there."""
    lifecycle, operation_id = kit.lifecycle, live.operation_id
    if target is S.PENDING:
        if live.data.state is S.PAUSED:
            return lifecycle.resume(operation_id)
        released = lifecycle.release_orphans({"me"}) if live.data.state in UNFINISHED else []
        return released[0] if released else lifecycle.retry(operation_id)
    if target is S.IN_PROGRESS:
        return lifecycle.begin_attempt(operation_id, 4)
    if target is S.SUCCESS:
        return lifecycle.succeed(live, "late")
    if target is S.PAUSED:
        return lifecycle.pause(operation_id)
    if target is S.CANCELLED:
        return lifecycle.cancel(operation_id)
    if live.data.state is S.RECOVERING:  # e.g. when its deadline passes while it waits
        return lifecycle._change(operation_id, {S.RECOVERING}, {"state": target})
    return fail(kit, live, target)


# Asking again for what is so already is fine: (from, asked for).
IDEMPOTENT = {(S.PAUSED, S.PAUSED), (S.CANCELLED, S.CANCELLED), (S.PENDING, S.PENDING)}


@pytest.mark.parametrize("source", S)
@pytest.mark.parametrize("target", S)
def test_every_change_is_made_or_refused_as_the_table_says(
    each: Kit, source: RecoveryState, target: RecoveryState
) -> None:
    """Each of the 64 changes through the lifecycle and store happens exactly if it is legal, else nothing changes."""
    live = bring_to(each, source)
    before, events = each.record(live.operation_id), len(each.events())
    if target in TRANSITIONS[source]:
        assert go_to(each, live, target).state is target
        assert each.record(live.operation_id).state is target
        assert len(each.events()) > events
    elif (source, target) in IDEMPOTENT:
        assert go_to(each, live, target).state is target
    else:
        with pytest.raises(RecoveryStateError) as caught:
            go_to(each, live, target)
        assert caught.value.state == source.value
        assert str(source) in str(caught.value)
        assert shown(each.record(live.operation_id)) == shown(before)
        assert len(each.events()) == events


@pytest.mark.parametrize("target", S)
@pytest.mark.parametrize("source", S)
def test_store_is_asked_only_for_legal_changes(each: Kit, source: RecoveryState, target: RecoveryState) -> None:
    """Even when every state is expected, the lifecycle narrows it down to those the table allows."""
    live = bring_to(each, source)
    if target in TRANSITIONS[source]:
        assert each.lifecycle._change(live.operation_id, S, {"state": target}).state is target
    else:
        with pytest.raises(RecoveryStateError, match=f"work cannot be [a-z ]+ now: its state is {source}"):
            each.lifecycle._change(live.operation_id, S, {"state": target})


@pytest.mark.parametrize("control", ["pause", "resume", "cancel", "retry"])
def test_controls_of_an_unknown_operation_say_so(each: Kit, control: str) -> None:
    """What does not exist cannot be controlled, and the message says that."""
    with pytest.raises(RecoveryStateError, match="there is no operation nowhere") as caught:
        getattr(each.lifecycle, control)("nowhere")
    assert caught.value.state is None


def race(count: int, contender: Any) -> list[Any]:
    """What `contender(number)` returned or raised in each of `count` threads that began together."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait(10)
        try:
            results[number] = contender(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_exactly_one_claims(each: Kit) -> None:
    """Of many threads that claim one operation at once, one wins, and the others get a clear error."""
    operation_id = each.open().operation_id
    results = race(8, lambda number: each.lifecycle.begin_attempt(operation_id, 4))
    winners = [item for item in results if isinstance(item, RecoveryData)]
    assert [item.attempt for item in winners] == [1]
    assert sum(isinstance(item, RecoveryStateError) for item in results) == 7
    assert each.record(operation_id).fence == 1
    assert len(each.store.attempts(operation_id)) == 1


def test_exactly_one_ends_it(each: Kit) -> None:
    """When success, failure and cancel race, one of them is kept, and the others are refused."""
    live = bring_to(each, S.IN_PROGRESS)
    ways = [
        lambda: each.lifecycle.succeed(live, 1),
        lambda: fail(each, live, S.FAILED),
        lambda: fail(each, live, S.RECOVERING),
        lambda: each.lifecycle.cancel(live.operation_id),
    ]
    results = race(4, lambda number: ways[number]())
    ended = [item.state for item in results if isinstance(item, RecoveryData)]
    # Cancelling what waits is legal too: then both happened, in that order.
    assert ended in ([each.record(live.operation_id).state], [S.RECOVERING, S.CANCELLED])
    assert sum(isinstance(item, RecoveryStateError) for item in results) == 4 - len(ended)


def test_exactly_one_call_begins_the_operation_of_a_key(each: Kit) -> None:
    """Of calls with one key at once, one makes the operation, and all others join it."""
    results = race(8, lambda number: each.open(key="download:a", revive=number % 2 == 0))
    assert len({item.operation_id for item in results}) == 1
    assert len(each.store.find()) == 1


def test_exactly_one_retries(each: Kit) -> None:
    """When a failed operation is retried, or called again with `revive`, by many at once, it begins again once."""
    live = bring_to(each, S.FAILED, key="k")
    race(8, lambda n: each.open(key="k", revive=True) if n % 2 else each.lifecycle.retry(live.operation_id))
    assert [item.operation_id for item in each.store.find()] == [live.operation_id]
    pending = [event.payload for event in each.events() if event.payload.get("state") == "pending"]
    # Made, and begun again; those who came later than that hurried it along.
    assert [payload["next_attempt_at"] for payload in pending].count(None) == 2


def test_calls_without_a_key_are_separate(each: Kit) -> None:
    """Two calls without a key are two operations."""
    assert each.open().operation_id != each.open().operation_id


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_key_of_an_unfinished_operation_is_joined(each: Kit, state: RecoveryState) -> None:
    """As long as an operation is unfinished, whatever its state, a call with its key is the same operation."""
    live = bring_to(each, state, key="k")
    assert each.open(key="k").operation_id == live.operation_id
    assert each.open(key="k", revive=True).operation_id == live.operation_id
    assert each.record(live.operation_id).state is state


@pytest.mark.parametrize("state", [S.FAILED, S.EXHAUSTED, S.CANCELLED, S.SUCCESS])
def test_key_of_a_finished_operation_is_free(each: Kit, state: RecoveryState) -> None:
    """A call with the key of an operation that is over begins a new one."""
    live = bring_to(each, state, key="k")
    again = each.open(key="k")
    assert again.operation_id != live.operation_id
    # Also when both were made in the same moment, or the clock was set back: it is the unfinished one that is joined.
    assert each.open(key="k").operation_id == again.operation_id
    each.clock.advance(-100)
    assert each.open(key="k").operation_id == again.operation_id


@pytest.mark.parametrize("state", [S.FAILED, S.EXHAUSTED, S.CANCELLED])
def test_revive_continues_what_failed(each: Kit, state: RecoveryState) -> None:
    """`revive` goes on with the latest operation of that key that failed, with a fresh count and what it knows."""
    live = bring_to(each, state, key="k", kwargs={"url": "old"})
    attempt = live.data.attempt
    each.clock.advance(60)
    again = each.open(key="k", kwargs={"url": "new"}, revive=True, limit=3)
    assert again.operation_id == live.operation_id
    assert again.state is S.PENDING
    assert again.kwargs == {"url": "new"}
    assert again.owner == "me"
    assert (again.attempt, again.fruitless, again.max_attempts) == (attempt, 0, attempt + 3)
    assert again.begun_at == to_datetime(each.clock.time())


@pytest.mark.parametrize("key", ["k", None])
def test_revive_does_not_repeat_a_success(each: Kit, key: str | None) -> None:
    """What ended well, or has no key, is not revived: a new operation begins."""
    live = bring_to(each, S.SUCCESS, key=key)
    assert each.open(key=key, revive=True).operation_id != live.operation_id


def test_retry_is_refused_while_the_same_is_under_way(each: Kit) -> None:
    """A failed operation is not begun again while another with its key runs; the message says which."""
    old = bring_to(each, S.FAILED, key="k", title="model.bin")
    new = each.open(key="k")
    with pytest.raises(RecoveryStateError, match=f"the same is under way in operation {new.operation_id}") as caught:
        each.lifecycle.retry(old.operation_id)
    assert caught.value.state == "failed"
    assert each.record(old.operation_id).state is S.FAILED
    each.lifecycle.cancel(new.operation_id)
    assert each.lifecycle.retry(old.operation_id).state is S.PENDING


def test_retry_begins_afresh(each: Kit) -> None:
    """A retry clears count, watermark, due time and owner, so that any process can take it, and keeps the number."""
    live = bring_to(each, S.IN_PROGRESS)
    live.progress(50)
    fail(each, live, S.EXHAUSTED)
    assert each.record(live.operation_id).watermark == 50
    data = each.lifecycle.retry(live.operation_id)
    assert shown(data) == shown(each.record(live.operation_id))
    assert (data.state, data.attempt, data.fruitless, data.watermark) == (S.PENDING, 1, 0, 0)
    assert (data.owner, data.completed_at, data.max_attempts) == (None, None, None)
    assert each.lifecycle.begin_attempt(live.operation_id, 4).attempt == 2


@pytest.mark.parametrize("state", [S.PENDING, S.RECOVERING])
def test_retry_ends_a_wait(each: Kit, state: RecoveryState) -> None:
    """A retry of what waits makes it due now and wakes the call; the state stays."""
    live = bring_to(each, state)
    live.wake.clear()
    data = each.lifecycle.retry(live.operation_id)
    assert (data.state, data.next_attempt_at) == (state, to_datetime(each.clock.time()))
    assert live.wake.is_set()


def test_retry_needs_what_it_was_called_with(each: Kit) -> None:
    """What could not be kept cannot be begun again from outside, and the message says why; a new call can."""
    live = bring_to(each, S.FAILED, key="k", kwargs={"callback": print})
    with pytest.raises(RecoveryStateError, match="what it was called with could not be kept") as caught:
        each.lifecycle.retry(live.operation_id)
    assert caught.value.state == "failed"
    again = each.open(key="k", kwargs={"url": "x"}, revive=True)
    assert again.operation_id == live.operation_id
    assert again.resumable


@pytest.mark.parametrize("state", [S.PENDING, S.IN_PROGRESS, S.RECOVERING])
def test_resume_of_what_is_not_paused_changes_nothing(each: Kit, state: RecoveryState) -> None:
    """Resuming what goes on anyhow is fine."""
    live = bring_to(each, state)
    assert each.lifecycle.resume(live.operation_id).state is state


def test_pause_and_cancel_end_the_attempt(each: Kit) -> None:
    """The running attempt is recorded as paused or cancelled, and its due time is gone."""
    live = bring_to(each, S.IN_PROGRESS)
    each.lifecycle.pause(live.operation_id)
    each.lifecycle.resume(live.operation_id)
    each.lifecycle.begin_attempt(live.operation_id, 4)
    data = each.lifecycle.cancel(live.operation_id)
    assert [item.outcome for item in each.store.attempts(live.operation_id)] == ["paused", "cancelled"]
    assert all(item.ended_at is not None for item in each.store.attempts(live.operation_id))
    assert (data.owner, data.completed_at) == ("me", to_datetime(each.clock.time()))
    each.lifecycle.leave(live)
    assert each.record(live.operation_id).owner is None
    waiting = bring_to(each, S.RECOVERING)
    paused = each.lifecycle.pause(waiting.operation_id)
    assert (paused.next_attempt_at, paused.waiting_for) == (None, None)


def test_failed_attempt_is_kept(each: Kit) -> None:
    """What failed, why, what helps and when it goes on is in the record, in the attempt and in the event."""
    live = bring_to(each, S.RECOVERING)
    data = each.record(live.operation_id)
    assert (data.category, data.explanation, data.fix) == ("network", "It broke.", "check_connection")
    assert isinstance(data.error, StoredError)
    assert (data.error.type_name, str(data.error)) == ("ConnectionError", "ConnectionError: gone")
    assert data.next_attempt_at == to_datetime(each.clock.time()) + timedelta(seconds=5)
    assert (data.waiting_for, data.fruitless, data.max_attempts) == (WaitingFor.BACKOFF, 1, 4)
    [attempt] = each.store.attempts(live.operation_id)
    assert (attempt.number, attempt.outcome, attempt.category, attempt.delay_s) == (1, "failed", "network", 5)
    assert attempt.error == "ConnectionError: gone"
    payload = each.events()[-1].payload
    assert (payload["state"], payload["error"], payload["fix"]) == ("recovering", "ConnectionError: gone", data.fix)
    assert (payload["waiting_for"], payload["actions"]) == ("backoff", ["pause", "retry", "cancel"])
    again = each.lifecycle.begin_attempt(live.operation_id, 4)
    assert (again.error, again.category, again.explanation, again.fix) == (None, None, None, None)
    assert (again.next_attempt_at, again.waiting_for, again.max_attempts) == (None, None, 4)


@pytest.mark.parametrize("state", [S.FAILED, S.EXHAUSTED])
def test_final_failure_lets_go(each: Kit, state: RecoveryState) -> None:
    """An operation that is over has no owner and no due time, and has an end."""
    live = bring_to(each, state)
    data = each.record(live.operation_id)
    assert (data.owner, data.next_attempt_at, data.completed_at) == (None, None, to_datetime(each.clock.time()))
    assert [item.outcome for item in each.store.attempts(live.operation_id)] == [state.value]
    assert [event.name for event in each.events()][-2:] == ["recovery_update", "recovery_completed"]


def test_lost_claim_cannot_write(each: Kit) -> None:
    """A call that lost its claim to another process can neither end the attempt nor report."""
    live = bring_to(each, S.IN_PROGRESS)
    each.lifecycle.release_orphans({"me"})
    taken = each.lifecycle.begin_attempt(live.operation_id, 4)
    for way in (lambda: each.lifecycle.succeed(live, 1), lambda: fail(each, live, S.RECOVERING)):
        with pytest.raises(RecoveryStateError, match="in_progress"):
            way()
    assert not each.store.update_metadata(live.operation_id, live.data.fence, {"a": 1})
    with pytest.raises(RecoveryStateError):
        each.lifecycle.finish_step(live, "s", 1)
    assert not each.lifecycle.is_claimed(live)
    assert each.lifecycle.is_claimed(Operation(taken, each.lifecycle, each.clock))
    assert [item.outcome for item in each.store.attempts(live.operation_id)] == ["interrupted", None]


def test_hold_puts_off_what_has_not_begun(each: Kit) -> None:
    """An operation that may not begin yet gets a due time and a reason; one that runs is not held."""
    data = each.lifecycle.hold(each.open().operation_id, 30, WaitingFor.BREAKER, "It is left alone.")
    assert (data.state, data.waiting_for, data.explanation) == (S.PENDING, WaitingFor.BREAKER, "It is left alone.")
    assert data.next_attempt_at == to_datetime(each.clock.time() + 30)
    running = bring_to(each, S.IN_PROGRESS)
    with pytest.raises(RecoveryStateError, match="work cannot be changed now: its state is in_progress"):
        each.lifecycle.hold(running.operation_id, 30, WaitingFor.BREAKER, "")


# -- what is kept -------------------------------------------------------------------------------------


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


UNSTORABLE = [print, {1, 2}, object(), {1: "number as key"}, loop(), deep(200), 10**5000, threading.Lock()]


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: type(value).__name__)
def test_unstorable_arguments_make_it_not_resumable(each: Kit, value: Any) -> None:
    """An argument that cannot be kept never fails the call; the operation says that it cannot be resumed."""
    for given in ({"args": (value,)}, {"kwargs": {"x": value, "y": 1}}):
        data = each.open(**given)
        assert (data.args, data.kwargs, data.resumable) == ((), {}, False)
        assert each.record(data.operation_id).resumable is False


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: type(value).__name__)
def test_unstorable_result_is_not_kept(each: Kit, value: Any) -> None:
    """A result that cannot be kept never fails the call, which gets it all the same."""
    assert each.run(lambda: value) is value
    assert each.now.state is S.SUCCESS
    assert each.now.result is None


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        urlsplit("https://host/path"),
        Path("/models/a.bin"),
        "caf\udce9.bin",
        {"$type": "tuple", "value": [1]},
        deep(50),
        float("inf"),
        "emoji 🧩 and \0",
    ],
    ids=repr,
)
def test_storable_arguments_come_back(each: Kit, value: Any) -> None:
    """Named tuples, paths, file names that are not UTF-8 and what looks like our own marks are kept as they are."""
    data = each.open(args=(value,), kwargs={"x": value}, key="k")
    kept = each.record(data.operation_id)
    assert kept.resumable
    assert kept.args == (value,)
    assert kept.kwargs == {"x": value}
    assert each.run(lambda: value) == value
    assert each.now.result == value


def test_text_that_no_database_takes_is_kept_readable(each: Kit) -> None:
    """Lone surrogates in title, key, error and explanation are escaped rather than failing the call."""

    def handler() -> None:
        raise ValueError("no such file: caf\udce9.bin")

    with pytest.raises(ValueError, match="no such file"):
        each.run(handler, title="caf\udce9.bin", key="download:caf\udce9.bin")
    assert each.now.title == r"caf\udce9.bin"
    assert each.now.error is not None
    assert r"caf\udce9.bin" in str(each.now.error)


def test_title_defaults_to_the_function(kit: Kit) -> None:
    """Without a title the name of the function is shown."""
    assert kit.open(function_name="pkg.fetch").title == "pkg.fetch"


def test_long_error_is_trimmed(each: Kit) -> None:
    """An error text of megabytes is kept to a length that a page can show."""

    def handler() -> None:
        raise ValueError("x" * 1_000_000)

    with pytest.raises(ValueError, match="xxx"):
        each.run(handler)
    assert len(str(each.now.error)) < 5000


# -- progress -----------------------------------------------------------------------------------------


def test_progress_is_kept_at_most_five_times_a_second(kit: Kit) -> None:
    """Reports within a fifth of a second of the last one kept are not kept; the last value is, at the end."""
    live = bring_to(kit, S.IN_PROGRESS)
    kept = []
    for done in range(1, 11):
        live.progress(done, 10)
        kept.append(kit.record(live.operation_id).progress)
        kit.clock.advance(0.125)
    assert [item.done for item in kept if item] == [1, 1, 3, 3, 5, 5, 7, 7, 9, 9]
    kit.lifecycle.succeed(live, None)
    final = kit.record(live.operation_id).progress
    assert final == Progress(10, 10, "steps")


def test_rate_and_remaining_time(kit: Kit) -> None:
    """Speed is that of the last seconds, in units a second; the remaining time follows from it."""
    live = bring_to(kit, S.IN_PROGRESS)
    live.progress(0, 1000, "bytes")
    first = kit.record(live.operation_id).progress
    assert first is not None
    assert (first.rate, first.eta_s) == (None, None)
    for done in (100, 200, 300):
        kit.clock.advance(1)
        live.progress(done, 1000, "bytes", "reading")
    assert kit.record(live.operation_id).progress == Progress(300, 1000, "bytes", 100, 7, 0, "reading")
    for done in (300, 300, 300, 300, 300):
        kit.clock.advance(1)
        live.progress(done, 1000, "bytes")
    stalled = kit.record(live.operation_id).progress
    assert stalled is not None
    assert (stalled.rate, stalled.eta_s) == (0, None)


def test_rate_is_never_negative() -> None:
    """A count that goes backwards, as after a restart from zero, is no negative speed."""
    meter = Meter()
    assert meter.report(100, None, "bytes", None, 0.0).rate is None
    assert meter.report(100, None, "bytes", None, 0.0).rate is None
    assert meter.report(10, None, "bytes", None, 1.0).rate == 0


def test_resumed_part_is_told_with_later_progress(kit: Kit) -> None:
    """After a resume every report says how much was there already."""
    live = bring_to(kit, S.IN_PROGRESS)
    live.resume_at(400, 1000, "bytes")
    kit.clock.advance(1)
    live.progress(500, 1000, "bytes")
    kept = kit.record(live.operation_id).progress
    assert kept is not None
    assert (kept.done, kept.resumed) == (500, 400)


def test_progress_that_cannot_be_kept_harms_nothing(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """When the store fails in the middle, the work goes on and the log says so."""
    live = bring_to(kit, S.IN_PROGRESS, title="model.bin")

    class Full(MemoryPersistence):
        def save_progress(self, *args: Any) -> None:
            raise StoreError("the disk is full")

    kit.lifecycle.store = Full()
    kit.lifecycle.report_progress(live, 1, None, "steps", None)
    assert "progress of model.bin could not be kept: the disk is full" in caplog.text


# -- who is told --------------------------------------------------------------------------------------


def test_change_wakes_every_call_about_it(each: Kit) -> None:
    """Each change wakes the calls of this process that are about the operation, whichever lifecycle made it."""
    live, other = bring_to(each, S.IN_PROGRESS), bring_to(each, S.IN_PROGRESS)
    joined = live_of(each, live.data)
    for handle in (live, joined, other):
        handle.wake.clear()
    Lifecycle(each.store, owner_id="other", clock=each.clock).pause(live.operation_id)
    assert (live.wake.is_set(), joined.wake.is_set(), other.wake.is_set()) == (True, True, False)


def test_calls_of_another_store_are_not_woken(kit: Kit) -> None:
    """Operations of one store are nothing to another, even with the same id."""
    live = bring_to(kit, S.IN_PROGRESS)
    live.wake.clear()
    Lifecycle(MemoryPersistence(), owner_id="me").notify(live.operation_id)
    assert not live.wake.is_set()
    assert kit.lifecycle.is_live(live.operation_id)


def test_detached_calls_are_not_woken(kit: Kit) -> None:
    """A call that ended is not woken any more; detaching twice is fine; the operation is live until the last."""
    live = bring_to(kit, S.IN_PROGRESS)
    joined = live_of(kit, live.data)
    live.wake.clear()
    kit.lifecycle.detach(live)
    kit.lifecycle.detach(live)
    assert kit.lifecycle.is_live(live.operation_id)
    kit.lifecycle.notify(live.operation_id)
    assert (live.wake.is_set(), joined.wake.is_set()) == (False, True)
    kit.lifecycle.detach(joined)
    assert not kit.lifecycle.is_live(live.operation_id)


def test_signals_come_after_the_change_was_stored(each: Kit) -> None:
    """A receiver finds in the store what its event says."""
    seen = []

    def receiver(sender: object, event: Event) -> None:
        seen.append((event.payload["state"], each.record(event.payload["operation_id"]).state.value))

    with recovery_updated.connected_to(receiver, each.lifecycle):
        bring_to(each, S.SUCCESS)
    assert seen == [("pending", "pending"), ("in_progress", "in_progress"), ("success", "success")]


def test_orphans_are_pending_again(each: Kit) -> None:
    """What a dead process ran or let wait is pending without owner; what was paused stays so; the rest is untouched."""
    states = [S.PENDING, S.IN_PROGRESS, S.RECOVERING, S.PAUSED, S.FAILED, S.SUCCESS]
    lives = {state: bring_to(each, state) for state in states}
    before = each.record(lives[S.RECOVERING].operation_id)
    released = each.lifecycle.release_orphans({"me"})
    assert len(released) == 4
    after = {state: each.record(live.operation_id) for state, live in lives.items()}
    assert [after[state].state for state in states] == [*[S.PENDING] * 3, S.PAUSED, S.FAILED, S.SUCCESS]
    assert {data.owner for data in after.values()} == {None}
    assert after[S.RECOVERING].next_attempt_at == before.next_attempt_at
    assert [item.outcome for item in each.store.attempts(lives[S.IN_PROGRESS].operation_id)] == ["interrupted"]
    assert each.lifecycle.release_orphans({"me"}) == []
    assert each.store.owners() == []


# -- beginning with the first attempt -----------------------------------------------------------------


def started(kit: Kit, **about: Any) -> tuple[RecoveryData, Operation | None]:
    return kit.lifecycle.start(kit.lifecycle.draft("work", (1,), {}, limit=4, **about))


def test_a_call_is_entered_with_its_first_attempt(each: Kit) -> None:
    """One write: the record is in progress, claimed, and has its attempt; it ends as any other."""
    data, live = started(each)
    assert live is not None
    assert shown(each.record(data.operation_id)) == shown(data) == shown(live.data)
    assert (data.state, data.attempt, data.fence, data.owner, data.max_attempts) == (S.IN_PROGRESS, 1, 1, "me", 4)
    [attempt] = each.store.attempts(data.operation_id)
    assert (attempt.number, attempt.started_at, attempt.ended_at) == (1, data.updated_at, None)
    assert [event.payload["state"] for event in each.events()] == ["in_progress"]
    live.check()
    each.lifecycle.succeed(live, 2)
    [attempt] = each.store.attempts(data.operation_id)
    assert (attempt.outcome, each.record(data.operation_id).result) == ("success", 2)


def test_who_cancels_a_call_from_its_first_event_on_reaches_it(each: Kit) -> None:
    def cancel(sender: object, event: Event) -> None:
        if event.payload["state"] == "in_progress":
            each.lifecycle.cancel(event.payload["operation_id"])

    with recovery_updated.connected_to(cancel, each.lifecycle):
        live = started(each)[1]
    assert live is not None
    with pytest.raises(OperationCancelled):
        live.check()


def test_a_call_that_joins_begins_no_attempt(each: Kit) -> None:
    data, live = started(each, key="k")
    joined, none = started(each, key="k")
    assert (joined.operation_id, none) == (data.operation_id, None)
    assert len(each.store.attempts(data.operation_id)) == 1
    assert live is not None
    each.lifecycle.detach(live)
    assert not each.lifecycle.is_live(data.operation_id)


def test_a_call_that_continues_what_failed_begins_no_attempt(each: Kit) -> None:
    failed = bring_to(each, S.FAILED, key="k")
    revived, none = each.lifecycle.start(each.lifecycle.draft("work", (2,), {}, key="k"), revive=True)
    assert (revived.operation_id, revived.state, revived.args) == (failed.operation_id, S.PENDING, (2,))
    assert none is None


def test_a_call_that_cannot_be_entered_leaves_no_handle(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def insert(data: RecoveryData) -> None:
        seen.append(data.operation_id)
        raise StoreError("the disk is gone")

    monkeypatch.setattr(kit.store, "insert", insert)
    with pytest.raises(StoreError):
        started(kit)
    assert not kit.lifecycle.is_live(seen[0])


def test_progress_of_code_that_lost_its_claim_is_not_that_of_the_next_attempt(each: Kit) -> None:
    """What still runs after a pause reports to nobody, also when the next attempt in this process reports nothing."""
    old = Operation(each.lifecycle.begin_attempt(each.open().operation_id, 3), each.lifecycle, each.clock)
    each.lifecycle.attach(old)
    old.progress(2, 10)
    each.lifecycle.pause(old.operation_id)
    each.lifecycle.resume(old.operation_id)
    new = Operation(each.lifecycle.begin_attempt(old.operation_id, 3), each.lifecycle, each.clock)
    with pytest.raises(RecoveryStateError):
        old.progress(9, 10)
    progress = each.lifecycle.succeed(new, None).progress
    assert progress is not None
    assert progress.done == 2


def test_step_touches_its_operation(each: Kit) -> None:
    """A record says when it last changed, in every store alike."""
    live = Operation(each.lifecycle.begin_attempt(each.open().operation_id, 3), each.lifecycle, each.clock)
    each.clock.advance(5)
    live.step("clone", lambda: None)
    assert each.record(live.operation_id).updated_at.timestamp() == each.clock.time()


def test_attempts_keep_their_errors(each: Kit) -> None:
    """Of each failed attempt the message, the type and the last frames of its error are kept, one after the other."""
    rest = iter([ConnectionError("gone"), TimeoutError("slow"), None])

    def handler() -> None:
        error = next(rest)
        if error:
            raise error

    each.run(handler)
    first, second, last = each.attempts
    assert (first.error_type, second.error_type, last.error_type) == ("ConnectionError", "TimeoutError", None)
    assert (first.error, second.error, last.error) == ("ConnectionError: gone", "TimeoutError: slow", None)
    for attempt in (first, second):
        assert attempt.traceback is not None
        assert "in handler" in attempt.traceback
    assert last.traceback is None


@pytest.mark.parametrize("state", list(S))
def test_priority_can_be_set_until_it_is_over(each: Kit, state: RecoveryState) -> None:
    """It is kept beside what else is among the metadata, with an event, and the calls that wait are woken."""
    live = bring_to(each, state)
    live.wake.clear()
    before = len(each.events())
    if state not in UNFINISHED:
        with pytest.raises(RecoveryStateError, match=f"its state is {state}"):
            each.lifecycle.set_priority(live.operation_id, 5)
        return
    assert each.lifecycle.set_priority(live.operation_id, -5).metadata == {"priority": -5}
    found = each.record(live.operation_id)
    assert (found.state, found.metadata, priority_of(found)) == (state, {"priority": -5}, -5)
    assert live.wake.is_set()
    assert len(each.events()) == before + 1


@pytest.mark.parametrize("state", list(S))
def test_metadata_can_be_set_unless_it_runs(each: Kit, state: RecoveryState) -> None:
    """Beside the rest, without secrets; what is over is not told to be complete once more, and can be made runnable."""
    live = bring_to(each, state)
    before = [event.name for event in each.events()]
    given = {"note": "token=hunter2hunter2"}
    if state is S.IN_PROGRESS:
        with pytest.raises(RecoveryStateError, match="its state is in_progress"):
            each.lifecycle.amend(live.operation_id, given)
        return
    each.lifecycle.amend(live.operation_id, {"other": 1})
    each.lifecycle.amend(live.operation_id, given, resumable=False)
    found = each.record(live.operation_id)
    assert (found.state, found.metadata["note"], found.metadata["other"]) == (state, "token=***", 1)
    assert not found.resumable
    assert each.lifecycle.amend(live.operation_id, {}, resumable=True).resumable
    if state in FINAL:
        assert [event.name for event in each.events()] == before


@pytest.mark.parametrize("value", [1.5, "5", None, True])
def test_priority_is_a_whole_number(kit: Kit, value: Any) -> None:
    """Everything else is refused by name, and what somebody else put there counts as 0."""
    data = kit.open()
    with pytest.raises(RecoveryConfigError, match=r"priority=.* is not usable: it must be a whole number"):
        kit.lifecycle.set_priority(data.operation_id, value)
    data.metadata["priority"] = value
    assert priority_of(data) == 0


def test_priority_that_is_set_while_it_runs_stays(each: Kit) -> None:
    """Neither does it undo what the running code has kept, nor does that undo it."""
    live = live_of(each, each.open())
    live.data = each.lifecycle.begin_attempt(live.operation_id, 4)
    live.metadata["etag"] = "x"
    live.save_metadata()
    other = Lifecycle(each.store, owner_id="other", clock=each.clock)
    other.set_priority(live.operation_id, 7)
    live.check()
    live.metadata["etag"] = "y"
    live.save_metadata()
    assert each.record(live.operation_id).metadata == {"etag": "y", "priority": 7}
    fail(each, live, S.RECOVERING)
    again = each.lifecycle.begin_attempt(live.operation_id, 4)
    assert (again.metadata, priority_of(again)) == ({"etag": "y", "priority": 7}, 7)


def test_explanation_of_a_wait_can_be_told_anew(each: Kit) -> None:
    """Nothing else changes, so that who ends the wait at that moment is obeyed; what does not wait has none."""
    live = bring_to(each, S.RECOVERING)
    each.lifecycle.retry(live.operation_id)
    before = each.record(live.operation_id)
    each.lifecycle.explain(live.operation_id, "5 MB are missing. https://h/?token=secret12345")
    after = each.record(live.operation_id)
    assert after.explanation is not None
    assert after.explanation.startswith("5 MB are missing. ")
    assert "secret12345" not in after.explanation
    assert shown(after) == {**shown(before), "explanation": after.explanation}
    with pytest.raises(RecoveryStateError):
        each.lifecycle.explain(bring_to(each, S.PENDING).operation_id, "5 MB are missing.")


def test_an_operation_that_is_begun_again_from_within_its_own_part_does_not_become_a_part_of_that(kit: Kit) -> None:
    outer = kit.open(key="outer")
    part = kit.open(key="part", parent_id=outer.operation_id)
    kit.lifecycle.cancel(outer.operation_id)
    for around in (part.operation_id, outer.operation_id):
        draft = kit.lifecycle.draft("work", (), {}, key="outer", parent_id=around)
        again = kit.lifecycle.enter(draft, revive=True)
        assert (again.operation_id, again.parent_id) == (outer.operation_id, None)
        kit.lifecycle.cancel(outer.operation_id)
    other = kit.open(key="other")
    draft = kit.lifecycle.draft("work", (), {}, key="outer", parent_id=other.operation_id)
    assert kit.lifecycle.enter(draft, revive=True).parent_id == other.operation_id
