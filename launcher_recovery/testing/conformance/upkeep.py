"""Rules of upkeep: owners, what they left, and what is forgotten."""

from __future__ import annotations

from datetime import timedelta

from launcher_recovery.persistence.base import Change, Owner, OwnerRow, Store
from launcher_recovery.records import FINAL, UNFINISHED, RecoveryState
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import NOW, at_once, claim, made, record, same

S = RecoveryState


class UpkeepRules(PersistenceConformance):
    """Rules of `heartbeat`, `owners`, `forget_owner`, `release_orphans`, `cleanup`, `check` and `close`."""

    def test_owners(self, persistence: Store) -> None:
        """Owners are entered, renewed and removed."""
        owner, other = Owner("a", "host", 1, "t"), Owner("b", "host", 2, "t")
        for one, at in ((owner, 1.0), (other, 2.0), (owner, 3.5)):
            persistence.heartbeat(one, at)
        found = sorted(persistence.owners(), key=lambda row: row.owner.owner_id)
        rule = "heartbeat must enter an owner once, and renew the time of its row"
        same(found, [OwnerRow(owner, 3.5), OwnerRow(other, 2.0)], rule)
        persistence.forget_owner("a")
        persistence.forget_owner("a")
        same(
            persistence.owners(), [OwnerRow(other, 2.0)], "forget_owner must remove that owner; silent for the unknown"
        )

    def test_orphans_are_released(self, persistence: Store) -> None:
        """What dead or unknown owners left is free again; what a living one has, or nobody, or is over, is not."""
        for name in ("alive", "dead"):
            persistence.heartbeat(Owner(name, "host", 1, "t"), 1.0)
        for state in S:
            for owner in ("alive", "dead", "unknown", None):
                persistence.insert(record(f"{state}-{owner}", state=state, owner=owner))
        released = persistence.release_orphans(["dead"], NOW + timedelta(seconds=1))
        expected = {f"{state}-{owner}" for state in UNFINISHED for owner in ("dead", "unknown")}
        names = {changed.data.operation_id for changed in released}
        rule = "release_orphans must release the unfinished operations of dead and unknown owners, and no others"
        same(sorted(names), sorted(expected), rule)
        for changed in released:
            before = changed.data.operation_id.partition("-")[0]
            after = "paused" if before == "paused" else "pending"
            kept = made(persistence.get(changed.data.operation_id), "get")
            rule = f"what was {before} must be {after} and without an owner when it is released"
            same((str(kept.state), kept.owner), (after, None), rule)
            same([event.payload["state"] for event in changed.events], [after], "a release must store its event")
        left = [row.owner.owner_id for row in persistence.owners()]
        same(left, ["alive"], "release_orphans must remove the dead owners")
        same(persistence.release_orphans([], NOW), [], "release_orphans must release nothing twice")

    def test_orphans_lose_their_attempt(self, persistence: Store) -> None:
        """The attempt that was running when its owner died is closed as interrupted."""
        persistence.insert(record())
        claim(persistence)
        persistence.release_orphans([], NOW + timedelta(seconds=5))
        ended = [(attempt.outcome, attempt.ended_at) for attempt in persistence.attempts("a")]
        expected = [("interrupted", NOW + timedelta(seconds=5))]
        same(ended, expected, "release_orphans must end the open attempt with the outcome interrupted")

    def test_orphans_are_released_by_one_of_many(self, persistence: Store) -> None:
        """Of many that look for orphans at once, each is released by exactly one."""
        for number in range(10):
            persistence.insert(record(str(number), state=S.IN_PROGRESS, owner="gone"))
        released = at_once(6, lambda _: persistence.release_orphans([], NOW))
        names = sorted(changed.data.operation_id for each in released for changed in each)
        same(
            names, [str(number) for number in range(10)], "each orphan must be released once, by one of several callers"
        )

    def test_cleanup_forgets_by_age(self, persistence: Store) -> None:
        """What is over and was not touched since is forgotten, with its attempts, steps and events."""
        for state in S:
            persistence.insert(record(state.value, state=state))
        persistence.insert(record("touched", state=S.FAILED, updated_at=NOW + timedelta(seconds=1)))
        persistence.insert(record("worked"))
        claim(persistence, "worked")
        persistence.change("worked", Change({S.IN_PROGRESS}, {"state": S.SUCCESS}, NOW, fence=1))
        same(persistence.cleanup(NOW), 0, "cleanup must not forget what was touched at that time or later")
        same(persistence.cleanup(NOW + timedelta(seconds=1)), len(FINAL) + 1, "cleanup must return how many it forgot")
        left = {data.operation_id for data in persistence.find()}
        expected = {state.value for state in UNFINISHED} | {"touched"}
        same(sorted(left), sorted(expected), "cleanup must forget what is over and was not touched since, nothing else")
        events = persistence.events_of_operation("worked")
        same((persistence.attempts("worked"), events), ([], []), "cleanup must take attempts and events with it")

    def test_cleanup_forgets_by_count(self, persistence: Store) -> None:
        """Of the finished only so many are kept, the ones touched last."""
        for number in range(250):
            updated_at = NOW + timedelta(seconds=number)
            persistence.insert(record(f"{number:03}", state=S.FAILED, updated_at=updated_at))
        persistence.insert(record("living"))
        same(persistence.cleanup(NOW, keep=10), 240, "cleanup must forget the finished beyond `keep`, and count them")
        left = sorted(data.operation_id for data in persistence.find(limit=-1))
        expected = [*(f"{number}" for number in range(240, 250)), "living"]
        same(left, expected, "cleanup must keep the `keep` finished ones that were touched last, and the unfinished")
        same(persistence.cleanup(NOW, keep=10), 0, "cleanup must forget nothing when `keep` are left")

    def test_cleanup_keeps_parts_of_the_living(self, persistence: Store) -> None:
        """What belongs to an unfinished operation is not forgotten before that one ends."""
        persistence.insert(record("parent"))
        long_ago = NOW - timedelta(days=99)
        persistence.insert(record("part", parent_id="parent", state=S.SUCCESS, updated_at=long_ago))
        rule = "cleanup must not forget the parts of an unfinished operation"
        same(persistence.cleanup(NOW), 0, rule)
        same(persistence.cleanup(NOW, keep=0), 0, rule)
        persistence.change("parent", Change({S.PENDING}, {"state": S.CANCELLED}, NOW))
        same(persistence.cleanup(NOW), 1, "cleanup must forget the parts of an operation that is over")
        same(persistence.get("part"), None, "cleanup must forget the parts of an operation that is over")

    def test_check_changes_nothing(self, persistence: Store) -> None:
        """A healthy store passes its check, which leaves nothing behind, and can be closed."""
        persistence.insert(record())
        before = (persistence.find(), persistence.owners(), persistence.event_range())
        persistence.check()
        after = (persistence.find(), persistence.owners(), persistence.event_range())
        same(after, before, "check must leave everything as it is")
        persistence.close()
