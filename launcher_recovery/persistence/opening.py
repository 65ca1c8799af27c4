"""Opens the store that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from launcher_recovery.clock import Clock
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.persistence.base import RenewableStore, Store
from launcher_recovery.persistence.memory import MemoryPersistence

_SQLITE_URL = "sqlite:///"


def open_store(config: RecoveryConfig, clock: Clock, report: Callable[[str, str], None]) -> Store:
    """The store of a host, which goes on in memory while the disk or the server fails.

    One that cannot be opened at all is replaced by one in memory: recovery within this process still works.

    Args:
        config: says which.
        clock: source of time.
        report: called with a code and a sentence when something is wrong that people should know.
    """
    if not config.persistence_enabled:
        return MemoryPersistence()
    from launcher_recovery.persistence.resilient import ResilientPersistence

    try:
        return ResilientPersistence(_open(config, report), clock)
    except StoreError as error:
        report("store", f"{error} Until then nothing is kept over a restart.")
        return MemoryPersistence()


def _open(config: RecoveryConfig, report: Callable[[str, str], None]) -> RenewableStore:
    from launcher_recovery.persistence.encryption import Cipher

    url, key = config.database_url, config.encryption_key
    cipher = None if key is None else Cipher(key)
    if url is not None and not url.startswith(_SQLITE_URL):
        from launcher_recovery.persistence.postgres import PostgresPersistence

        return PostgresPersistence(url, cipher)
    from launcher_recovery.persistence.sqlite import SQLitePersistence

    store = SQLitePersistence(config.persistence_path if url is None else url.removeprefix(_SQLITE_URL), cipher)
    if store.set_aside is not None:
        report(
            "damaged",
            f"The recovery database was damaged: it is kept as {store.set_aside}, and a new one was begun. "
            "What was under way has to be started again where you started it.",
        )
    return store
