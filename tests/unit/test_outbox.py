"""The tail of the outbox: every event, in order and once, whoever made it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence, StatePersistence, StoreError
from launcher_recovery.persistence import MemoryPersistence, Store, outbox
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.persistence.statements import PlannedEvent
from launcher_recovery.signals import Event
from tests.unit.kit import Kit

NAME = "circuit_breaker_update"


class Collected:
    """Events as a subscriber gets them; `until(n)` waits until n of them are there."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.seqs.append(event.seq)
            self._more.notify_all()

    def until(self, count: int) -> list[int]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.seqs) >= count, 20)
            return self.seqs


@pytest.fixture
def tail(store: Store) -> Iterator[OutboxTail]:
    made = OutboxTail(store)
    yield made
    made.stop()


def test_delivers_what_comes_after_the_start(store: Store, tail: OutboxTail) -> None:
    """Subscribers get every event after `start`, in order; none from before."""
    store.append_event(NAME, {})
    first, second = Collected(), Collected()
    tail.subscribe(first)
    tail.subscribe(second)
    tail.start()
    for _ in range(20):
        store.append_event(NAME, {})
    assert first.until(20) == second.until(20) == list(range(2, 22))


def test_delivers_what_other_connections_write_in_one_go(tmp_path: Path) -> None:
    """More events than fit into one read, written elsewhere at once, all arrive, without a further change."""
    store, other = SQLitePersistence(tmp_path / "recovery.db"), SQLitePersistence(tmp_path / "recovery.db")
    tail, seen = OutboxTail(store), Collected()
    tail.subscribe(seen)
    tail.start()
    other._write(lambda: [other._store_event(PlannedEvent(NAME, {}, "{}"), None) for _ in range(1200)])
    assert seen.until(1200) == list(range(1, 1201))
    tail.stop()
    for item in (store, other):
        item.close()


async def test_events_that_were_forgotten_are_passed_over(each: Kit) -> None:
    """Numbers that belong to no event any more do not keep the tail busy; what comes after them arrives."""
    tail, seen = OutboxTail(each.store), Collected()
    tail.subscribe(seen)
    each.run(lambda: None)
    assert isinstance(each.store, StatePersistence)
    await each.store.delete(each.data.operation_id)
    assert each.store.wait_for_events(0, 0)
    tail._deliver()
    assert seen.seqs == []
    assert not each.store.wait_for_events(tail._seq, 0)
    each.store.append_event(NAME, {})
    tail._deliver()
    assert seen.seqs == [5]


def test_subscriber_that_raises(store: Store, tail: OutboxTail, caplog: pytest.LogCaptureFixture) -> None:
    """A broken subscriber is logged, and harms neither the others nor later events."""

    def broken(event: Event) -> None:
        raise RuntimeError("broken subscriber")

    seen = Collected()
    tail.subscribe(broken)
    tail.subscribe(seen)
    tail.start()
    store.append_event(NAME, {})
    store.append_event(NAME, {})
    assert seen.until(2) == [1, 2]
    assert "broken subscriber" in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError("the disk is full"), "events cannot be read at the moment: the disk is full"),
        (KeyError("a fault of the store"), "KeyError: 'a fault of the store'"),
    ],
)
def test_store_that_fails_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    """When events cannot be read, for whatever reason, the tail says so and tries again; nothing is lost."""
    monkeypatch.setattr(outbox, "_WAIT_S", 0)

    class Flaky(MemoryPersistence):
        failures = 2

        def wait_for_events(self, seq: int, timeout: float) -> bool:
            if self.failures:
                self.failures -= 1
                raise error
            return super().wait_for_events(seq, 0.05)

    store = Flaky()
    tail, seen = OutboxTail(store), Collected()
    tail.subscribe(seen)
    tail.start()
    store.append_event(NAME, {})
    assert seen.until(1) == [1]
    assert said in caplog.text
    tail.stop()


def test_stop(store: Store, tail: OutboxTail) -> None:
    """After `stop` nobody is called; a subscriber may stop the tail itself; stopping twice, or unstarted, is fine."""
    seen = Collected()
    tail.subscribe(seen)
    tail.subscribe(lambda event: tail.stop())
    tail.start()
    store.append_event(NAME, {})
    seen.until(1)
    tail._thread.join(20)
    assert not tail._thread.is_alive()
    store.append_event(NAME, {})
    tail.stop()
    assert seen.seqs == [1]
    OutboxTail(store).stop()
