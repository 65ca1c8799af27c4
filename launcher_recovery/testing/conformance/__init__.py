"""A pytest suite that tells whether a store of one's own does what launcher-recovery needs of it.

A store with the five async methods of `StatePersistence`:

    import pytest
    from launcher_recovery.testing.conformance import PersistenceConformance

    class TestMyStore(PersistenceConformance):
        @pytest.fixture
        def persistence(self, tmp_path):
            return MyStore(tmp_path / "recovery")

A store that is a whole `launcher_recovery.persistence.Store` takes `StoreConformance` instead. Each test gets a store
of its own, empty. Two methods may be overridden: `reopen(persistence)` gives a new object on the place of one that is
given up, as after a restart; `another(persistence)` gives a second one beside it, as in another process.

A test whose store hangs fails after `time_limit_s` seconds, 60 unless the class says otherwise.

Nothing else than pytest is needed: the async methods are run by `asyncio.run`, each test in an event loop of its own,
and they have to bear that, as the engine calls them from loops of its own, too.
"""

from __future__ import annotations

try:
    import pytest  # noqa: F401
except ImportError as error:
    raise ImportError("launcher_recovery.testing.conformance is a suite for pytest: pip install pytest") from error

from launcher_recovery.testing.conformance.persistence import PersistenceConformance
from launcher_recovery.testing.conformance.store import StoreConformance

__all__ = ["PersistenceConformance", "StoreConformance"]
