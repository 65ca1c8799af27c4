"""Rules of transfers: what is kept of downloaded files, for whom, and how it is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from launcher_recovery.persistence.base import Change, Store, keeps_transfers
from launcher_recovery.records import RecoveryState, Transfer
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.samples import NOW, claim, record, require, same

S = RecoveryState

_CONTENT = "sha256:" + "0f" * 32
_METHODS = ("transfer", "keep_transfer", "forget_transfer", "transfers_of", "partials", "published")


def sample(destination: str = "/models/a", age_s: float = 0, **given: Any) -> Transfer:
    """A transfer with a partial, kept so many seconds before `NOW`."""
    about: dict[str, Any] = {"journal": {}, "partial": f"{destination}.part", "content": None, "size": None, **given}
    return Transfer(destination, updated_at=NOW - timedelta(seconds=age_s), **about)


def published(destination: str, age_s: float = 0, **given: Any) -> Transfer:
    """A transfer whose file was published."""
    return sample(destination, age_s, **{"partial": None, "content": _CONTENT, **given})


class TransferRules(PersistenceConformance):
    """Rules of `transfer`, `keep_transfer`, `forget_transfer`, `transfers_of`, `partials` and `published`."""

    @pytest.fixture
    def transfers(self, persistence: Store) -> Store:
        """The store, provided that it keeps transfers."""
        if not keeps_transfers(persistence):
            pytest.skip("it has no `keep_transfer`, so what is known of a partial file is gone with its process")
        return persistence

    def test_transfers_come_back_whole(self, transfers: Store) -> None:
        """Every field of a transfer is kept, found by its destination, whatever characters that has."""
        missing = [name for name in _METHODS if not callable(getattr(transfers, name, None))]
        require(not missing, f"a store that has `keep_transfer` must have {', '.join(missing)} as well")
        journal = {
            "version": 1,
            "hashes": "q83vEjRWeJA=" * 7000,
            "synced": [True, False, None, 0.5, 2**53, "ü 🧩"],
            "validators": {"etag": '"x"', "more": {}},
        }
        whole = sample("/models/ü 🧩 ' \" % .safetensors", journal=journal, content=_CONTENT, size=2**40)
        not_utf_8 = sample("/models/caf\udce9", journal={"name": "caf\udce9"})
        for transfer in (whole, not_utf_8, published("/models/b"), sample("/models/" + "long/" * 800)):
            same(transfers.keep_transfer(transfer), True, "keep_transfer without an operation must be done")
            rule = "transfer must give every field as it was kept, with its type"
            same(transfers.transfer(transfer.destination), transfer, rule)
        same(transfers.transfer("/models/c"), None, "transfer must give None for an unknown destination")

    def test_transfers_are_replaced(self, transfers: Store) -> None:
        """What is kept of a destination takes the place of what was, and leaves the others alone."""
        before, other = sample(journal={"old": 1}, size=5), sample("/models/b", 1)
        after = published("/models/a", journal={"new": 2})
        for transfer in (before, other, after):
            transfers.keep_transfer(transfer)
        rule = "keep_transfer must replace what was kept of the destination"
        same(transfers.transfer("/models/a"), after, rule)
        same(transfers.partials(), [other], rule)
        same(transfers.transfers_of(_CONTENT), [after], rule)

    def test_transfers_are_copies(self, transfers: Store) -> None:
        """Changing a journal that was kept, or given out, changes nothing that is kept."""
        given: dict[str, Any] = {"list": [1]}
        transfers.keep_transfer(sample(journal=given))
        given["list"].append(2)
        rule = "keep_transfer, transfer and partials must take and give copies, deep ones"
        for found in (transfers.transfer("/models/a"), *transfers.partials()):
            same(found, sample(journal={"list": [1]}), rule)
            assert found is not None
            found.journal["list"].append(3)
        same(transfers.transfer("/models/a"), sample(journal={"list": [1]}), rule)

    def test_transfers_belong_to_a_claim(self, transfers: Store) -> None:
        """Under an operation a transfer is kept only while that is in progress under the fence."""
        kept, late = sample(journal={"n": 1}), sample(journal={"n": 2})
        rule = "keep_transfer must be refused, and keep nothing, "
        same(transfers.keep_transfer(late, "a", 1), False, rule + "for an unknown operation")
        transfers.insert(record())
        same(transfers.keep_transfer(late, "a", 0), False, rule + "unless the operation is in progress")
        claim(transfers)
        for fence in (0, 2):
            same(transfers.keep_transfer(late, "a", fence), False, rule + "under another fence")
        same(transfers.transfer("/models/a"), None, rule + "then")
        before = transfers.event_range()
        same(transfers.keep_transfer(kept, "a", 1), True, "keep_transfer must be done under the running claim")
        same(transfers.event_range(), before, "keep_transfer must store no event")
        transfers.change("a", Change({S.IN_PROGRESS}, {"state": S.PAUSED}, NOW))
        same(transfers.keep_transfer(late, "a", 1), False, rule + "unless the operation is in progress")
        same(transfers.transfer("/models/a"), kept, rule + "then")

    def test_transfers_are_forgotten(self, transfers: Store) -> None:
        """Nothing is kept any more of a destination that was forgotten; forgetting what is unknown does nothing."""
        for name in ("a", "b"):
            transfers.keep_transfer(sample(f"/models/{name}"))
        for destination in ("/models/a", "/models/a", "/nowhere"):
            try:
                transfers.forget_transfer(destination)
            except Exception as error:
                rule = "forget_transfer must be silent for an unknown destination"
                raise AssertionError(f"{rule}: it raised {error!r}") from error
        rule = "forget_transfer must remove what is kept of that destination and nothing else"
        same(transfers.transfer("/models/a"), None, rule)
        same(transfers.partials(), [sample("/models/b")], rule)

    def test_transfers_of_a_content(self, transfers: Store) -> None:
        """Published files are found by their content, the newest first; partials and other contents are not."""
        found = [published(f"/models/{name}", age, journal={"n": age}) for name, age in (("b", 2), ("c", 5), ("a", 9))]
        others = [sample("/models/p", content=_CONTENT), published("/models/o", content="md5:" + "0f" * 16)]
        others.append(published("/models/n", content=None))
        for transfer in (found[1], *others, found[0], found[2]):
            transfers.keep_transfer(transfer)
        rule = "transfers_of must give the published files with that content and no others, newest first"
        same(transfers.transfers_of(_CONTENT), found, rule)
        same(transfers.transfers_of("sha256:00"), [], "transfers_of must give an empty list when there is none")

    def test_partials(self, transfers: Store) -> None:
        """Transfers with a partial are listed, the oldest first."""
        found = [sample(f"/models/{name}", age, journal={"n": age}) for name, age in (("b", 9), ("c", 5), ("a", 2))]
        for transfer in (found[1], published("/models/p"), found[2], found[0]):
            transfers.keep_transfer(transfer)
        same(transfers.partials(), found, "partials must give the transfers with a partial and no others, oldest first")

    def test_published(self, transfers: Store) -> None:
        """Published files of which nothing was kept since are listed, the oldest first."""
        for transfer in (
            published("/models/new", 4),
            published("/models/then", 5),
            published("/models/old", 6, content=None),
            published("/models/oldest", 7),
            sample("/models/p", 9),
        ):
            transfers.keep_transfer(transfer)
        found = transfers.published(NOW - timedelta(seconds=5))
        rule = "published must give the destinations of published files that were kept before that time, oldest first"
        same(found, ["/models/oldest", "/models/old"], rule)

    def test_transfers_outlive_operations(self, transfers: Any) -> None:
        """What is kept of a file is not forgotten with the operation that downloaded it."""
        transfers.insert(record())
        claim(transfers)
        transfers.keep_transfer(published("/models/a"), "a", 1)
        transfers.keep_transfer(sample("/models/b"), "a", 1)
        transfers.change("a", Change({S.IN_PROGRESS}, {"state": S.SUCCESS, "completed_at": NOW}, NOW, fence=1))
        transfers.cleanup(NOW + timedelta(days=1), keep=0)
        self.run(transfers.delete("a"))
        left = (transfers.transfer("/models/a"), transfers.partials())
        same(left, (published("/models/a"), [sample("/models/b")]), "cleanup and delete must leave transfers alone")

    def test_reopening_keeps_transfers(self, transfers: Any) -> None:
        """Transfers are there after a restart, in all ways to find them."""
        partial, whole = sample(journal={"n": 1}), published("/models/b", journal={"n": 2})
        for transfer in (partial, whole, replace(partial, destination="/models/c")):
            transfers.keep_transfer(transfer)
        transfers.forget_transfer("/models/c")
        with self._reopened(transfers) as again:
            rule = "a store that is opened again must have the transfers"
            same(again.transfer("/models/a"), partial, rule)
            same((again.partials(), again.transfers_of(_CONTENT)), ([partial], [whole]), rule)

    def test_another_object_sees_transfers(self, transfers: Any) -> None:
        """Two objects on one place have the same transfers, and one claim counts for both."""
        with self._beside(transfers) as other:
            transfers.insert(record())
            claim(transfers)
            rule = "two objects on one place must see each other's transfers at once"
            same(other.keep_transfer(sample(), "a", 1), True, rule)
            same(transfers.transfer("/models/a"), sample(), rule)
            other.change("a", Change({S.IN_PROGRESS}, {"state": S.CANCELLED}, NOW))
            late = published("/models/a")
            same(
                transfers.keep_transfer(late, "a", 1),
                False,
                "keep_transfer must be refused when another took the claim",
            )
            transfers.forget_transfer("/models/a")
            same(other.transfer("/models/a"), None, rule)
