"""Rules of reading: keys, pages, and totals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from launcher_recovery.clock import to_datetime
from launcher_recovery.persistence.base import Change, Store
from launcher_recovery.records import UNFINISHED, Activity, RecoveryState
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import NOW, claim, made, record, same

S = RecoveryState


class QueryRules(PersistenceConformance):
    """Rules of `latest_with_key`, `find` and `counts`."""

    def test_latest_with_key(self, persistence: Store) -> None:
        """The unfinished operation of a key is its latest, else the newest, of equally old ones the last entered."""

        def latest() -> str:
            return made(persistence.latest_with_key("k"), "latest_with_key must find the record").operation_id

        same(persistence.latest_with_key("k"), None, "latest_with_key must give None for an unknown key")
        for name, age in (("a", 10), ("b", 5), ("c", 5), ("d", 7)):
            persistence.insert(record(name, key="k", state=S.FAILED, created_at=NOW - timedelta(seconds=age)))
        persistence.insert(record("x", key="other"))
        same(latest(), "c", "latest_with_key must give the newest, of equally old ones the one that was entered last")
        persistence.insert(record("e", key="k", created_at=NOW - timedelta(seconds=99)))
        same(latest(), "e", "latest_with_key must give the unfinished one, however old")

    def _ten(self, persistence: Store) -> None:
        for number in range(10):
            given: dict[str, Any] = {"kind": "download" if number % 2 else "install_node"}
            given |= {"project": "p" if number < 3 else None, "parent_id": "0" if number < 9 else None}
            # Two each were made at the same moment.
            persistence.insert(record(str(number), created_at=NOW + timedelta(seconds=number // 2), **given))

    def test_find(self, persistence: Store) -> None:
        """Records are found by state, kind, project and parent, newest first."""
        self._ten(persistence)

        def ids(**given: Any) -> str:
            return "".join(data.operation_id for data in persistence.find(**given))

        same(ids(), "9876543210", "find must give the newest first, of equally old ones the larger operation_id")
        same(ids(limit=3), "987", "find must give at most `limit`")
        same(ids(limit=-1, states={S.PENDING}), "9876543210", "find must give all with limit=-1")
        same(ids(states={S.PAUSED}), "", "find must give only records of `states`")
        same(ids(states=set()), "", "find must give nothing for no states")
        same(ids(parent_id="nobody"), "", "find must give only records of `parent_id`")
        same(ids(parent_id="0"), "876543210", "find must give only records of `parent_id`")
        same(ids(kind="download"), "97531", "find must give only records of `kind`")
        same(ids(project="p"), "210", "find must give only records of `project`")
        same(ids(text="P"), "210", "find must give only records in whose fields `text` is, in any case")
        same(ids(text="oRk"), "9876543210", "find must look for `text` in the name of the function")
        same(ids(text="w_rk") + ids(text="%"), "", "find must take what `text` says as it is")
        same(ids(text="1"), "1", "find must look for `text` in the id as well")
        all_of_them = ids(project="p", kind="download", parent_id="0", states=UNFINISHED)
        same(all_of_them, "1", "find must give only records for which all conditions hold")

    def test_find_in_pages(self, persistence: Store) -> None:
        """Page by page everything is found, without gap or double, also among records of the same moment."""
        self._ten(persistence)
        seen, before = "", None
        for _ in range(9):
            page = persistence.find(before=before, limit=3)
            if not page:
                break
            seen += "".join(data.operation_id for data in page)
            before = (page[-1].created_at.timestamp(), page[-1].operation_id)
        same(seen, "9876543210", "find must give with `before` what comes after that record, without gap or double")

    def test_activity(self, persistence: Store) -> None:
        """What attempts did by spans of time, of those that have ended since."""
        same(persistence.activity(0, 60), [], "activity must give nothing of an empty store")
        begins = NOW.timestamp() // 60 * 60
        for number, (outcome, resumed) in enumerate((("failed", 5.0), ("failed", None), ("success", 2.5))):
            persistence.insert(record(outcome + str(number)))
            claim(persistence, outcome + str(number))
            at = to_datetime(begins + 61 + number)
            ended = {"outcome": outcome, "resumed": resumed}
            change = Change({S.IN_PROGRESS}, {"state": S.PENDING}, at, attempt=ended)
            persistence.change(outcome + str(number), change)
        persistence.insert(record("running"))
        claim(persistence, "running")
        expected = [Activity(begins + 60, {"failed": 2, "success": 1}, 7.5)]
        same(persistence.activity(begins, 60), expected, "activity must count the attempts that ended, by outcome")
        later = [Activity(begins + 60, {"success": 1}, 2.5)]
        same(persistence.activity(begins + 63, 60), later, "activity must leave out what ended before `since`")

    def test_counts(self, persistence: Store) -> None:
        """Totals by state, of what recovered and how long that took, and of attempts beyond the first."""
        names = {*(state.value for state in S), "recovered", "attempts", "recovery_seconds"}
        counts = persistence.counts()
        same(set(counts), names, "counts must have an entry for each state, recovered, attempts and recovery_seconds")
        same([name for name, total in counts.items() if total], [], "counts must be 0 in an empty store")
        for name, attempts in (("once", 1), ("thrice", 3)):
            persistence.insert(record(name))
            for attempt in range(attempts):
                claim(persistence, name)
                if attempt < attempts - 1:
                    persistence.change(name, Change({S.IN_PROGRESS}, {"state": S.PENDING}, NOW))
            done = {"state": S.SUCCESS, "completed_at": NOW + timedelta(seconds=3)}
            persistence.change(name, Change({S.IN_PROGRESS}, done, NOW + timedelta(seconds=3)))
        persistence.insert(record("failed", state=S.FAILED, attempt=5))
        persistence.insert(record("waiting"))
        found = {name: float(total) for name, total in persistence.counts().items() if total}
        expected = {"success": 2, "pending": 1, "failed": 1, "recovered": 1, "attempts": 6, "recovery_seconds": 3}
        rule = (
            "counts must count the recovered (ended well after more than one attempt) and all attempts after the first"
        )
        same(dict(sorted(found.items())), {name: float(total) for name, total in sorted(expected.items())}, rule)
