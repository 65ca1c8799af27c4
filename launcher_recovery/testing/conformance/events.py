"""Rules of the outbox: how events are numbered, kept and waited for."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from launcher_recovery.persistence.base import Change, Store
from launcher_recovery.records import Progress, RecoveryState
from launcher_recovery.signals import Event
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import NOW, at_once, claim, made, record, require, same

S = RecoveryState
_NAME = "circuit_breaker_update"
_PATIENCE_S = 60.0


class EventRules(PersistenceConformance):
    """Rules of `events_since`, `events_of_operation`, `event_range`, `append_event` and `wait_for_events`."""

    def test_events_of_a_whole_operation(self, persistence: Store) -> None:
        """Every state change has its event, in order; the last one has another that tells the end."""
        low, high = persistence.event_range()
        same(low, high + 1, "event_range must be (n + 1, n) when there are no events")
        changes = [persistence.insert(record()), claim(persistence)]
        done = Change({S.IN_PROGRESS}, {"state": S.SUCCESS, "result": 1}, NOW + timedelta(seconds=2), fence=1)
        changes.append(persistence.change("a", done))
        events = persistence.events_since(high)
        names = [event.name for event in events]
        same(names, ["recovery_update"] * 3 + ["recovery_completed"], "every state change must store its events")
        returned = [event for changed in changes for event in made(changed, "a change must return").events]
        same(returned, events, "a change must return the events as they are stored, with their numbers")
        _ascending(events)
        message = events[3].payload
        same((message["success"], message["total_attempts"]), (True, 1), "events must keep their payload")
        same(
            persistence.event_range(), (events[0].seq, events[3].seq), "event_range must give the oldest and the newest"
        )

    def test_events_since(self, persistence: Store) -> None:
        """Events are read from any number on, in order, and no more than asked for."""
        events = [persistence.append_event(_NAME, {"n": number, "text": "🧩\udce9"}) for number in range(5)]
        _ascending(events)
        same(persistence.events_since(0), events, "events_since must give all above the number, in order")
        same(persistence.events_since(events[1].seq), events[2:], "events_since must give those above the number only")
        same(persistence.events_since(0, limit=2), events[:2], "events_since must give the first `limit` of them")
        same(persistence.events_since(events[4].seq), [], "events_since must give an empty list at the end")

    def test_events_of_operation(self, persistence: Store) -> None:
        """The latest events of one operation are given, in order, and those of no other."""
        for name in ("a", "b"):
            persistence.insert(record(name))
            claim(persistence, name)
        persistence.append_event(_NAME, {})
        events = [event for event in persistence.events_since(0) if event.payload.get("operation_id") == "a"]
        same(len(events), 2, "every state change must store its event")
        same(
            persistence.events_of_operation("a"),
            events,
            "events_of_operation must give all of that operation, in order",
        )
        latest = persistence.events_of_operation("a", limit=1)
        same(latest, events[1:], "events_of_operation must give the latest `limit` of them")
        same(persistence.events_of_operation("nowhere"), [], "events_of_operation must be empty for the unknown")

    def test_progress_replaces_progress(self, persistence: Store) -> None:
        """Of the progress events of an operation only the latest is kept; state changes are all kept."""
        for name in ("a", "b"):
            persistence.insert(record(name))
            claim(persistence, name)
        for done in (1, 2, 3):
            for name in ("a", "b"):
                made(persistence.save_progress(name, 1, Progress(done), done, NOW), "save_progress must be done")
        for name in ("a", "b"):
            events = persistence.events_of_operation(name)
            kept = [event.payload["progress"] and event.payload["progress"]["done"] for event in events]
            same(kept, [None, None, 3], "of progress events only the latest must be kept, and every state change")
        _ascending(persistence.events_since(0))
        newest = persistence.event_range()[1]
        same(persistence.events_since(0)[-1].seq, newest, "a progress event must have a new number")

    def test_deleting_takes_all_that_belongs(self, persistence: Any) -> None:
        """A deleted operation leaves no attempt, step or event, and its numbers are never given again."""
        persistence.insert(record())
        claim(persistence)
        newest = persistence.event_range()[1]
        self.run(persistence.delete("a"))
        left = (persistence.get("a"), persistence.attempts("a"), persistence.events_of_operation("a"))
        same(left, (None, [], []), "delete must take the attempts and events of the operation with it")
        same(
            persistence.event_range(), (newest + 1, newest), "event_range must be (n + 1, n) when none is kept any more"
        )
        number = persistence.append_event(_NAME, {}).seq
        require(number > newest, f"numbers of events must never be given again: {number} is not above {newest}")

    def test_numbers_of_many_threads(self, persistence: Store) -> None:
        """Whoever reads all above the last number that it has seen misses nothing, while many threads write."""
        read: list[int] = []
        is_over = threading.Event()

        def follow() -> None:
            while True:
                was_over = is_over.wait(0.001)  # in between the writers have their turn
                read.extend(event.seq for event in persistence.events_since(read[-1] if read else 0))
                if was_over:
                    return

        def write(number: int) -> None:
            for part in range(5):
                persistence.insert(record(f"{number}-{part}"))
                claim(persistence, f"{number}-{part}")

        reader = threading.Thread(target=follow, daemon=True)
        reader.start()
        try:
            at_once(6, write)
        finally:
            is_over.set()
            reader.join(_PATIENCE_S)
        stored = [event.seq for event in persistence.events_since(0)]
        same(len(set(stored)), 60, "every event must have a number of its own")
        rule = "an event must not appear below a number that was there to be read before it"
        require(read == stored, f"{rule}: the reader missed {sorted(set(stored) - set(read))}")

    def test_wait_for_events(self, persistence: Store) -> None:
        """A wait ends with True when there is an event above the number, else with False after its time."""
        newest = persistence.event_range()[1]
        same(persistence.wait_for_events(newest, 0), False, "wait_for_events must be False when there is none")
        first = persistence.append_event(_NAME, {}).seq
        same(persistence.wait_for_events(newest, _PATIENCE_S), True, "wait_for_events must be True when there is one")
        same(persistence.wait_for_events(first, 0), False, "wait_for_events must be False when there is none above")
        results: list[bool] = []
        waiter = threading.Thread(target=lambda: results.append(persistence.wait_for_events(first, _PATIENCE_S)))
        waiter.start()
        persistence.append_event(_NAME, {})
        waiter.join(_PATIENCE_S * 2)
        same(results, [True], "wait_for_events must end when another thread stores an event")

    def test_another_object_gets_the_events(self, persistence: Store) -> None:
        """What one object stores ends the wait of another one on the same place; their numbers are one row."""
        with self._beside(persistence) as other:
            first = persistence.append_event(_NAME, {})
            same(
                other.wait_for_events(first.seq - 1, _PATIENCE_S),
                True,
                "wait_for_events must see other objects' events",
            )
            second = other.append_event(_NAME, {})
            same(
                persistence.events_since(first.seq - 1),
                [first, second],
                "two objects must number their events in one row",
            )
            claims = at_once(
                6, lambda number: (other if number % 2 else persistence).insert(record(str(number), key="k"))
            )
            won = [changed for changed in claims if changed is not None]
            same(len(won), 1, "of several inserts of one key by two objects exactly one must enter its record")


def _ascending(events: list[Event]) -> None:
    numbers = [event.seq for event in events]
    same(numbers, sorted(set(numbers)), "numbers of events must grow")
