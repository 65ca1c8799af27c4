"""What a whole store has to do besides: the rest of the protocol `launcher_recovery.persistence.Store`."""

from __future__ import annotations

from launcher_recovery.testing.conformance.changes import ChangeRules
from launcher_recovery.testing.conformance.events import EventRules
from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.queries import QueryRules
from launcher_recovery.testing.conformance.sharing import SharingRules
from launcher_recovery.testing.conformance.transfers import TransferRules
from launcher_recovery.testing.conformance.upkeep import UpkeepRules


class StoreConformance(
    ChangeRules, QueryRules, EventRules, UpkeepRules, TransferRules, SharingRules, PersistenceConformance
):
    """Tests of a `Store` that has the five async methods, too; see `launcher_recovery.testing.conformance`."""
