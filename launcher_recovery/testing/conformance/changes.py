"""Rules of writing: compare and set, keys, and what belongs to a claim."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from launcher_recovery.errors import StoredError, StoreError
from launcher_recovery.persistence.base import Change, Changed, Store
from launcher_recovery.records import UNFINISHED, Progress, RecoveryState, StepRecord
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import (
    NOW,
    VALUES,
    at_once,
    claim,
    full_record,
    made,
    record,
    require,
    same,
    same_record,
)

S = RecoveryState
LATER = NOW + timedelta(seconds=9)


class ChangeRules(PersistenceConformance):
    """Rules of `insert`, `change`, `attempts`, `steps` and of what is written under a claim."""

    # -- insert and keys ----------------------------------------------------------------------------

    def test_insert(self, persistence: Store) -> None:
        """A new record is kept whole, with its event, and the same id is not entered twice."""
        changed = made(persistence.insert(full_record()), "insert must enter a new record")
        same_record(changed.data, full_record(), "insert must return the record")
        same_record(persistence.get("full"), full_record(), "get must give what insert entered")
        states = [event.payload["state"] for event in changed.events]
        same(states, ["recovering"], "insert must return the event that it stored")
        same(persistence.events_since(0), list(changed.events), "insert must store its event with the record")
        again = persistence.insert(replace(full_record(), key=None, title="another"))
        same(again, None, "insert must return None for an operation_id that is known")
        same_record(persistence.get("full"), full_record(), "insert must not replace a record")
        same(persistence.get("nowhere"), None, "get must give None for an unknown operation")

    def test_key_belongs_to_one_unfinished_operation(self, persistence: Store) -> None:
        """A key is taken by at most one unfinished operation; what is over does not take it."""
        made(persistence.insert(record("a", key="k")), "insert must enter a new record")
        for state in S:
            entered = persistence.insert(record(f"b-{state}", key="k", state=state)) is not None
            rule = f"insert of {state}: the key of an unfinished operation must be taken for the unfinished only"
            same(entered, state not in UNFINISHED, rule)
        for name in ("c", "d"):
            made(persistence.insert(record(name)), "operations without a key must not be in each other's way")

    def test_save_respects_the_key(self, persistence: Any) -> None:
        """Saving a second unfinished operation of a key is refused; the same one, and what is over, is not."""
        self.run(persistence.save(record("a", key="k")))
        self.run(persistence.save(record("a", key="k", attempt=1)))
        self.run(persistence.save(record("c", key="k", state=S.FAILED)))
        try:
            self.run(persistence.save(record("b", key="k")))
        except StoreError as error:
            require("'k'" in str(error), f"save must name the key that is taken, and says: {error}")
        else:
            pytest.fail("save must raise StoreError for a second unfinished operation of a key")
        same(persistence.get("b"), None, "save must keep nothing of what it refuses")

    def test_key_is_won_by_one_of_many(self, persistence: Store) -> None:
        """Of many that enter an operation of one key at once, exactly one does."""
        entered = at_once(8, lambda number: persistence.insert(record(str(number), key="k")))
        winners = [changed for changed in entered if changed is not None]
        same(len(winners), 1, "of several inserts of one key at once exactly one must enter its record")
        same(len(persistence.find()), 1, "of several inserts of one key at once exactly one must enter its record")

    # -- change -------------------------------------------------------------------------------------

    def test_change_compares_the_state(self, persistence: Store) -> None:
        """A change is made only from an expected state; it returns the record as it is kept, and its events."""
        persistence.insert(record())
        fields = {"state": S.IN_PROGRESS, "owner": "me"}
        same(persistence.change("nowhere", Change(set(S), fields, NOW)), None, "change must give None for the unknown")
        refused = persistence.change("a", Change({S.RECOVERING, S.PAUSED}, fields, NOW))
        same(refused, None, "change must be refused from a state that is not expected")
        same_record(persistence.get("a"), record(), "a change that is refused must change nothing")
        changed = made(persistence.change("a", Change({S.PENDING}, fields, LATER)), "change must be made")
        expected = record(state=S.IN_PROGRESS, owner="me", updated_at=LATER)
        same_record(changed.data, expected, "change must return the record as it is now")
        same_record(persistence.get("a"), expected, "change must keep the fields, and its time as updated_at")
        same([event.payload["state"] for event in changed.events], ["in_progress"], "change must return its event")
        same(persistence.events_since(0)[1:], list(changed.events), "change must store its event, once")

    def test_change_keeps_every_field(self, persistence: Store) -> None:
        """Whatever field is changed comes back as it was given."""
        persistence.insert(record("full"))
        constant = ("operation_id", "function_name", "created_at", "updated_at")
        fields = {name: value for name, value in vars(full_record()).items() if name not in constant}
        made(persistence.change("full", Change({S.PENDING}, fields, LATER)), "change must be made")
        expected = replace(full_record(), function_name="work", updated_at=LATER)
        same_record(persistence.get("full"), expected, "change must keep every field that it is given")

    def test_change_compares_the_fence(self, persistence: Store) -> None:
        """A change under another claim than the running one is refused; one without a fence is not."""
        persistence.insert(record())
        same(
            (claim(persistence).data.attempt, claim_of(persistence)), (1, 1), "a claim must add 1 to attempt and fence"
        )
        for fence in (0, 2):
            refused = persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.SUCCESS}, NOW, fence=fence))
            same(refused, None, "change must be refused under another fence than that of the record")
        made(
            persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.PENDING}, NOW, fence=1)),
            "change must be made under the fence of the record",
        )
        same(claim_of(persistence), 1, "a change that is no claim must leave the fence as it is")
        same(
            (claim(persistence).data.attempt, claim_of(persistence)), (2, 2), "a claim must add 1 to attempt and fence"
        )
        made(
            persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, NOW)),
            "change without a fence must be made, whatever the fence of the record",
        )

    def test_change_of_the_owner_alone_is_no_news(self, persistence: Store) -> None:
        """When an owner is taken out, nobody is told that the operation ended or paused once more."""
        for state in (S.PAUSED, S.CANCELLED, S.PENDING):
            persistence.insert(record(state.value, state=state, owner="me"))
            changed = made(persistence.change(state.value, Change({state}, {"owner": None}, LATER)), "must be made")
            same((changed.data.state, changed.data.owner), (state, None), "change must take the owner out")
            told = [event.payload["state"] for event in changed.events]
            expected = ["pending"] if state is S.PENDING else []
            same(told, expected, "change of the owner alone must tell of what is pending, and of nothing else")

    def test_change_sets_metadata_beside_the_rest(self, persistence: Store) -> None:
        """What a person sets among the metadata leaves alone what the running code has kept there meanwhile."""
        persistence.insert(record(metadata={"etag": "x", "priority": 1}))
        claim(persistence)
        fence = claim_of(persistence)
        same(
            persistence.update_metadata("a", fence, {"etag": "y", "priority": 1}), True, "update_metadata must be made"
        )
        changed = made(
            persistence.change("a", Change({S.IN_PROGRESS}, {}, LATER, metadata={"priority": 5})), "change must be made"
        )
        expected = {"etag": "y", "priority": 5}
        rule = "change must set what its `metadata` names, and leave the rest of the record's metadata as it is"
        same(changed.data.metadata, expected, rule)
        same(made(persistence.get("a"), "get must give the record").metadata, expected, rule)
        same([event.payload["state"] for event in changed.events], ["in_progress"], "change must return its event")
        given = {"list": [1]}
        persistence.change("a", Change({S.IN_PROGRESS}, {}, LATER, metadata=given))
        given["list"].append(2)
        kept = made(persistence.get("a"), "get must give the record").metadata
        same(kept, {**expected, "list": [1]}, "change must keep a copy of what it is given")

    def test_change_needs_the_key(self, persistence: Store) -> None:
        """An operation does not become unfinished again while another one has its key."""
        persistence.insert(record("old", key="k", state=S.FAILED))
        persistence.insert(record("new", key="k"))
        again = Change({S.FAILED}, {"state": S.PENDING}, NOW)
        events = persistence.event_range()
        rule = "change must be refused when it takes the key of another unfinished operation"
        same(persistence.change("old", again), None, rule)
        same(persistence.event_range(), events, "a change that is refused must store no event")
        persistence.change("new", Change({S.PENDING}, {"state": S.CANCELLED}, NOW))
        made(persistence.change("old", again), "change must be made when the key is free again")

    def test_claim_is_won_by_one_of_many(self, persistence: Store) -> None:
        """Of many that claim an operation at once, exactly one gets it."""
        for name in ("a", "b", "c"):
            persistence.insert(record(name))

            def take(number: int, name: str = name) -> Changed | None:
                fields = {"state": S.IN_PROGRESS, "owner": str(number)}
                return persistence.change(name, Change({S.PENDING}, fields, NOW, claim=True))

            won = [changed for changed in at_once(8, take) if changed is not None]
            same(len(won), 1, "of several claims at once exactly one must be made")
            same_record(persistence.get(name), won[0].data, "the claim that was made must be the one that is kept")
            same(len(persistence.attempts(name)), 1, "of several claims at once exactly one must begin an attempt")

    def test_what_is_given_out_is_a_copy(self, persistence: Store) -> None:
        """Changing what a store was given, or has given, changes nothing that is kept."""
        given = record(metadata={"list": [1]})
        persistence.insert(given)
        given.metadata["list"].append(2)
        fields: dict[str, Any] = {"state": S.RECOVERING, "result": [1]}
        changed = made(persistence.change("a", Change({S.PENDING}, fields, NOW)), "change must be made")
        fields["result"].append(2)
        for data in (changed.data, persistence.get("a"), *persistence.find()):
            assert data is not None
            data.metadata["list"].append(3)
            data.attempt = 9
        expected = record(metadata={"list": [1]}, state=S.RECOVERING, result=[1])
        same_record(persistence.get("a"), expected, "insert, change, get and find must take and give copies, deep ones")

    # -- what belongs to a claim --------------------------------------------------------------------

    def test_attempts(self, persistence: Store) -> None:
        """Every claim begins an attempt, and the change that ends it says how it ended."""
        same(persistence.attempts("a"), [], "attempts must be an empty list when none began")
        persistence.insert(record())
        claim(persistence)
        ended = {"outcome": "failed", "category": "network", "error": "ConnectionError: gone", "delay_s": 2.5}
        ended |= {"error_type": "ConnectionError", "traceback": "  File ...", "resumed": 7.0}
        persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.PENDING}, LATER, fence=1, attempt=ended))
        claim(persistence, at=LATER)
        first, second = _two(persistence.attempts("a"), "attempts must give one for each claim, oldest first")
        same((first.number, second.number), (1, 2), "attempts must be numbered from 1, oldest first")
        same((first.started_at, first.ended_at), (NOW, LATER), "an attempt must have the times of its two changes")
        kept = {name: getattr(first, name) for name in ended}
        same(kept, ended, "an attempt must keep how it ended")
        same(
            (second.started_at, second.ended_at, second.outcome), (LATER, None, None), "a running attempt must be open"
        )
        persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, LATER))
        same(persistence.attempts("a")[1].ended_at, None, "a change without `attempt` must leave the attempt open")

    def test_what_belongs_to_a_claim(self, persistence: Store) -> None:
        """Metadata, progress and steps are kept only for the claim that runs."""
        persistence.insert(record())
        step = StepRecord("clone", NOW, {"ref": "x"})

        def written(fence: int) -> tuple[bool, bool, bool]:
            metadata = persistence.update_metadata("a", fence, {"n": fence})
            progress = persistence.save_progress("a", fence, Progress(1, 2), 1, LATER)
            return (metadata, progress is not None, persistence.finish_step("a", fence, step))

        rule = "update_metadata, save_progress and finish_step must be refused "
        for fence in (0, 1):
            same(written(fence), (False, False, False), rule + "unless the operation is in progress")
        claim(persistence)
        for fence in (0, 2):
            same(written(fence), (False, False, False), rule + "under another fence")
        loaded = made(persistence.get("a"), "get")
        same((loaded.metadata, loaded.progress), ({}, None), rule + "and then keep nothing")
        same(persistence.steps("a"), [], rule + "and then keep nothing")
        same(written(1), (True, True, True), "what is written under the running claim must be kept")
        same(persistence.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, NOW)) is None, False, "change")
        same(written(1), (False, False, False), rule + "unless the operation is in progress")

    def test_metadata(self, persistence: Store) -> None:
        """Metadata replaces what was there, with its types, and makes no event."""
        persistence.insert(record(metadata={"old": 1}))
        claim(persistence)
        before = persistence.event_range()
        same(persistence.update_metadata("a", 1, dict(VALUES)), True, "update_metadata must be done under the claim")
        loaded = made(persistence.get("a"), "get")
        same(loaded.metadata, dict(VALUES), "update_metadata must keep all values and replace what was there")
        same(persistence.event_range(), before, "update_metadata must store no event")

    def test_progress(self, persistence: Store) -> None:
        """Progress, watermark and time are kept."""
        persistence.insert(record())
        claim(persistence)
        progress = Progress(1, 2.5, "bytes", 3.5, None, 5, "six 🧩")
        changed = made(persistence.save_progress("a", 1, progress, 12345678901.0, LATER), "save_progress must be done")
        loaded = made(persistence.get("a"), "get")
        kept = (loaded.progress, loaded.watermark, loaded.updated_at)
        same(kept, (progress, 12345678901.0, LATER), "save_progress must keep progress, watermark and time")
        same_record(changed.data, loaded, "save_progress must return the record as it is now")

    def test_steps(self, persistence: Store) -> None:
        """Finished steps are kept with their results, oldest first; finishing one again replaces it."""
        persistence.insert(record())
        claim(persistence)
        for number, name in enumerate(VALUES):
            at = NOW + timedelta(seconds=number)
            same(persistence.finish_step("a", 1, StepRecord(name, at, VALUES[name])), True, "finish_step must be done")
        steps = [StepRecord(name, NOW + timedelta(seconds=number), VALUES[name]) for number, name in enumerate(VALUES)]
        same(persistence.steps("a"), steps, "steps must give all, with the values of their results, oldest first")
        same(persistence.load_step("a", "bytes"), steps[list(VALUES).index("bytes")], "load_step must give the step")
        same(persistence.load_step("a", "other"), None, "load_step must give None for an unknown step")
        same(persistence.load_step("c", "bytes"), None, "load_step must give only steps of that operation")
        persistence.insert(record("b"))
        claim(persistence, "b")
        persistence.finish_step("b", 1, StepRecord("only", NOW, "kept"))
        many = {one: [*steps] for one, steps in persistence.steps_of_many(["a", "b", "nobody"]).items() if steps}
        without = {"a": [replace(step, result=None) for step in steps], "b": [StepRecord("only", NOW)]}
        same(many, without, "steps_of_many must give the steps of each, oldest first, without their results")
        again = StepRecord("bytes", LATER, "again")
        persistence.finish_step("a", 1, again)
        same(persistence.load_step("a", "bytes"), again, "finish_step must replace the step of the same name")
        same(len(persistence.steps("a")), len(VALUES), "finish_step must replace the step of the same name")

    def test_reopening_keeps_all_that_belongs(self, persistence: Any) -> None:
        """Attempts, steps, metadata, errors and numbers of events are there after a restart."""
        error = StoredError("ConnectionError", "gone", "  File ...")
        persistence.insert(record(key="k"))
        claim(persistence)
        step = StepRecord("clone", NOW, ("x", b"\0"))
        persistence.finish_step("a", 1, step)
        persistence.update_metadata("a", 1, {"etag": "x"})
        fields = {"state": S.RECOVERING, "error": error}
        change = Change({S.IN_PROGRESS}, fields, LATER, fence=1, attempt={"outcome": "failed", "error": "gone"})
        before = made(persistence.change("a", change), "change must be made").data
        attempts, newest = persistence.attempts("a"), persistence.event_range()[1]
        rule = "a store that is opened again must have "
        with self._reopened(persistence) as again:
            same_record(again.get("a"), before, rule + "the record")
            same(again.attempts("a"), attempts, rule + "the attempts")
            same(again.steps("a"), [step], rule + "the steps")
            same(again.insert(record("b", key="k")), None, rule + "the keys")
            number = again.append_event("circuit_breaker_update", {}).seq
            require(number > newest, f"{rule}the events: {number} must be above {newest}, which was given")


def claim_of(persistence: Store) -> int:
    """The fence of the operation."""
    return made(persistence.get("a"), "get").fence


def _two(found: list[Any], rule: str) -> list[Any]:
    same(len(found), 2, rule)
    return found
