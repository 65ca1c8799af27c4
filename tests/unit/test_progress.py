"""A progress tracker shows how far work is, and a later attempt or process begins where it was."""

from __future__ import annotations

import pytest

from launcher_recovery import MemoryPersistence, ProgressTracker, recoverable
from launcher_recovery.operation import Operation
from launcher_recovery.owners import let_go
from launcher_recovery.testing import VirtualClock
from tests.unit.kit import Kit


def test_outside_of_an_operation_it_remembers() -> None:
    """Code that reports progress needs no operation around it, for example in a test."""
    tracker = ProgressTracker()
    assert (tracker.done, tracker.total, tracker.fraction) == (0, None, None)
    tracker.update(30)
    tracker.update(60, 100)
    assert tracker.fraction == 0.6
    assert tracker.reached == ["25%", "50%"]
    tracker.update(70, 0)  # a server that does not say how much there is
    assert tracker.total == 100
    assert tracker.milestone("checked") is True
    assert tracker.milestone("checked") is False
    tracker.complete()
    assert (tracker.done, tracker.fraction) == (100, 1.0)
    assert tracker.reached == ["25%", "50%", "checked", "75%", "100%"]


def test_complete_without_a_total() -> None:
    """What is done is then all there was."""
    tracker = ProgressTracker()
    tracker.update(7)
    tracker.complete()
    assert (tracker.done, tracker.total, tracker.reached[-1]) == (7, 7, "100%")
    nothing = ProgressTracker()
    nothing.complete()
    assert nothing.fraction == 1.0


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_milestones_out_of_range(share: float) -> None:
    """A milestone is a share of the total."""
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        ProgressTracker(milestones=[share])


def test_made_outside_and_passed_in(each: Kit) -> None:
    """It finds the operation of the call that uses it; the next call begins anew."""
    tracker = ProgressTracker()

    def handler() -> float:
        began_with = tracker.done
        tracker.update(4, 8)
        tracker.complete()
        return began_with

    for _ in range(2):
        assert each.run(handler) == 0
        progress = each.now.progress
        assert progress is not None
        assert (progress.done, progress.total, progress.unit) == (8, 8, "bytes")


class Killed(BaseException):
    """What ends a process."""


def test_a_new_process_begins_with_the_last_checkpoint(each: Kit) -> None:
    """What was reported after the last milestone may be lost, the milestone is not."""

    def dies() -> None:
        tracker = ProgressTracker()
        tracker.milestone("listed")
        tracker.update(5, 10)
        tracker.update(6, 10)
        raise Killed

    with pytest.raises(Killed):
        each.run(dies)
    again = Operation(each.now, each.lifecycle, each.clock)
    tracker = ProgressTracker(again)
    assert (tracker.done, tracker.total, tracker.reached) == (5, 10, ["listed", "25%", "50%"])


def test_checkpoints_between_milestones_are_throttled(kit: Kit) -> None:
    """Without a milestone one is kept every few seconds, not at every update."""
    clock = VirtualClock()
    kept: list[object] = []

    def handler() -> None:
        tracker = ProgressTracker(interval=5, monotonic=clock.monotonic)
        for done in range(20):
            tracker.update(done)
            clock.advance(1)
            kept.append(kit.now.metadata.get("progress_tracker", {}).get("done"))

    kit.run(handler)
    assert kept[:12] == [None] * 5 + [5] * 5 + [10] * 2


def test_as_an_argument() -> None:
    """A second attempt of the same call goes on with the same tracker."""
    tracker = ProgressTracker()
    seen: list[float] = []

    store = MemoryPersistence()

    @recoverable(persistence=store, clock=VirtualClock())
    def download(progress_tracker: ProgressTracker) -> str:
        seen.append(progress_tracker.done)
        progress_tracker.update(50, 100)
        if len(seen) == 1:
            raise ConnectionError("broken")
        progress_tracker.complete()
        return "done"

    assert download(tracker) == "done"
    let_go(store)
    assert seen == [0, 50]
