"""Rules of the rows that all processes share: circuit breakers, retry budgets, and settings that are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from launcher_recovery.persistence.base import KEYS, LINGERING_S, Store, beneath
from launcher_recovery.rows import Row
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import NOW, at_once, same

_AT = NOW.timestamp()
_BREAKER = {
    "state": "open",
    "failure_count": 2,
    "last_failure_time": 1.5,
    "opened_at": 2.5,
    "generation": 3,
    "probe_owner": None,
    "recent": [[1.5, True]],
}
_SAMPLES: dict[str, dict[str, Any]] = {
    "breakers": _BREAKER,
    "budgets": {"tokens": 4.5, "next_probe_at": None},
    "settings": {"kept": {"max_retries": 5, "timeout": None, "concurrency": {"download": [3, None]}}},
}


def _key(table: str, scope: str) -> tuple[str, ...]:
    return tuple({"scope": scope, "operation_type": "download"}[column] for column in KEYS[table])


def _put(store: Store, table: str, scope: str = "a", at: float = _AT, **more: Any) -> Row:
    """The row that is kept, with its key."""
    row = {**_SAMPLES[table], "updated_at": at, **more}
    store.share(table, _key(table, scope), lambda known: row)
    return {**row, **dict(zip(KEYS[table], _key(table, scope), strict=True))}


class SharingRules(PersistenceConformance):
    """Rules of `share` and `shared`."""

    @pytest.fixture
    def sharing(self, persistence: Store) -> Store:
        """The store, provided that it keeps what processes share."""
        if not hasattr(beneath(persistence), "share"):
            pytest.skip("it has no `share`, so each process has circuit breakers and settings of its own")
        return persistence

    @pytest.mark.parametrize("table", KEYS)
    def test_shared_rows_are_kept(self, sharing: Store, table: str) -> None:
        """A row comes back as it was kept, by its key and among all."""
        key = _key(table, "a")
        same(sharing.shared(table), [], "shared must give nothing of an empty store")
        same(sharing.shared(table, key), [], "shared must give nothing for an unknown key")
        seen: list[Row | None] = []
        same(sharing.share(table, key, seen.append), None, "share must give None when there is no row")
        same(set(map(str, seen)), {"None"}, "share must call `change` with None when there is no row")
        first, other = _put(sharing, table), _put(sharing, table, "b")
        same(sharing.shared(table, key), [first], "shared must give the row of the key as it was kept")
        rows = sorted(sharing.shared(table), key=lambda row: str(row["scope"]))
        same(rows, [first, other], "shared must give all rows of the table without a key")
        same(sharing.share(table, key, lambda row: None), first, "share must leave a row as `change` says")
        second = {**first, "updated_at": _AT + 1}
        same(sharing.share(table, key, lambda row: second), second, "share must give the row as it is then")
        same(sharing.shared(table, key), [second], "share must replace the row of the key")

    def test_shared_rows_are_changed_in_one_go(self, sharing: Store) -> None:
        """Of several that change a row at once, none is lost."""
        _put(sharing, "budgets", tokens=0.0)

        def add(row: Row | None) -> Row | None:
            return None if row is None else {**row, "tokens": row["tokens"] + 1}

        at_once(8, lambda number: sharing.share("budgets", ("a",), add))
        tokens = [row["tokens"] for row in sharing.shared("budgets", ("a",))]
        same(tokens, [8.0], "share must read, change and keep a row in one go, whoever else does so")

    def test_cleanup_forgets_shared_rows(self, sharing: Store) -> None:
        """Rows that were not touched since are forgotten, of open breakers a day later; settings never are."""
        for table in KEYS:
            _put(sharing, table, "old", _AT - LINGERING_S - 1)
            _put(sharing, table, "young")
        _put(sharing, "breakers", "open")
        _put(sharing, "breakers", "closed", state="closed")
        sharing.cleanup(NOW)
        sharing.cleanup(NOW + timedelta(seconds=1))
        left = {table: sorted(str(row["scope"]) for row in sharing.shared(table)) for table in KEYS}
        expected = {"breakers": ["open", "young"], "budgets": [], "settings": ["old", "young"]}
        rule = "cleanup must forget breakers and budgets that were not touched since, open breakers a day later"
        same(left, expected, f"{rule}, and no settings")

    def test_reopening_keeps_shared_rows(self, sharing: Store) -> None:
        """What is shared is there after a restart."""
        rows = {table: [_put(sharing, table)] for table in KEYS}
        with self._reopened(sharing) as again:
            found = {table: again.shared(table) for table in KEYS}
            same(found, rows, "what share has kept must be there after a restart")

    def test_another_object_sees_shared_rows(self, sharing: Store) -> None:
        """What is shared here is seen by others."""
        with self._beside(sharing) as other:
            rows = {table: [_put(sharing, table)] for table in KEYS}
            found = {table: other.shared(table) for table in KEYS}
            same(found, rows, "what share has kept must be seen by others")
