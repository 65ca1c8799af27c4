"""What the engine works with: a whole store that may fail goes on in memory, one of five methods is mirrored there."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from datetime import datetime
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from launcher_recovery import checks
from launcher_recovery.clock import Clock
from launcher_recovery.errors import text_of
from launcher_recovery.owners import OWNER
from launcher_recovery.persistence.base import Change, Changed, RenewableStore, StatePersistence, Store
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.persistence.resilient import ResilientPersistence
from launcher_recovery.records import UNFINISHED, Progress, RecoveryData, RecoveryState, Transfer

logger = logging.getLogger("launcher_recovery")

# A store that takes longer is left to finish by itself; the operation goes on.
_PATIENCE_S = 10.0
_NEEDED = ("insert", "change", "get", "latest_with_key", "save_progress", "finish_step", "release_orphans")
_TRANSFER = "transfer"
_FIVE = ("save", "load", "delete", "list_by_state", "cleanup_old")


class _LoopThread:
    """An event loop in a daemon thread, for the async methods of stores; made anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(target=self._loop.run_forever, name="recovery-store", daemon=True)
                self._thread.start()
            return self._loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop()).result(_PATIENCE_S)

    def stop(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_PATIENCE_S)
            if not self._thread.is_alive():  # else a store blocks it, and it ends with the process
                loop.close()


_thread = _LoopThread()


def stop() -> None:
    """End the thread in which stores of one's own are called; the next call begins a new one."""
    _thread.stop()


class MirroredStore(MemoryPersistence):
    """A store in memory of which every change is saved to a simpler one, from which it begins.

    Leases and compare-and-set hold within this process only. A simpler store that fails never fails a call: it
    is logged once, and tried again with the next change. Transfers are saved to it as finished operations of a kind of
    their own, which are not among the operations here.
    """

    def __init__(self, inner: StatePersistence) -> None:
        super().__init__()
        self._inner = inner
        self._has_failed = False
        self._is_loaded = False
        self._loading = threading.Lock()
        self._order: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        # Others do not see this memory, so that there is nobody to prove again and again that this process lives.
        self.heartbeat(OWNER, time.time())

    def after_fork(self, in_child: bool) -> None:
        super().after_fork(in_child)
        if in_child:
            self._loading = threading.Lock()

    def insert(self, data: RecoveryData) -> Changed | None:
        self._load_unfinished()
        return self._mirrored(super().insert(data))

    def change(self, operation_id: str, change: Change) -> Changed | None:
        self._load_one(operation_id)
        return self._mirrored(super().change(operation_id, change))

    def get(self, operation_id: str) -> RecoveryData | None:
        self._load_one(operation_id)
        return super().get(operation_id)

    def latest_with_key(self, key: str) -> RecoveryData | None:
        self._load_unfinished()
        return super().latest_with_key(key)

    def update_metadata(self, operation_id: str, fence: int, metadata: Mapping[str, Any]) -> bool:
        done = super().update_metadata(operation_id, fence, metadata)
        data = super().get(operation_id) if done else None
        if data is not None:
            self._save(data)
        return done

    def save_progress(
        self, operation_id: str, fence: int, progress: Progress, watermark: float, at: datetime
    ) -> Changed | None:
        return self._mirrored(super().save_progress(operation_id, fence, progress, watermark, at))

    def release_orphans(self, dead: Collection[str], at: datetime, limit: int | None = None) -> list[Changed]:
        self._load_unfinished()
        released = super().release_orphans(dead, at, limit)
        for changed in released:
            self._save(changed.data)
        return released

    def transfer(self, destination: str) -> Transfer | None:
        self._load_unfinished()
        return super().transfer(destination)

    def keep_transfer(self, transfer: Transfer, operation_id: str | None = None, fence: int | None = None) -> bool:
        self._load_unfinished()
        is_kept = super().keep_transfer(transfer, operation_id, fence)
        if is_kept:
            self._save(_record_of(transfer))
        return is_kept

    def forget_transfer(self, destination: str) -> None:
        self._load_unfinished()
        super().forget_transfer(destination)
        self._try(self._in_order(lambda: self._inner.delete(_id_of(destination))))

    def transfers_of(self, content: str) -> list[Transfer]:
        self._load_unfinished()
        return super().transfers_of(content)

    def partials(self) -> list[Transfer]:
        self._load_unfinished()
        return super().partials()

    def published(self, older_than: datetime) -> list[str]:
        self._load_unfinished()
        return super().published(older_than)

    def _mirrored(self, changed: Changed | None) -> Changed | None:
        if changed is not None:
            self._save(changed.data)
        return changed

    def _save(self, data: RecoveryData) -> None:
        self._try(self._in_order(lambda: self._inner.save(data)))

    async def _in_order(self, work: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        if self._order is None or self._order[0] is not loop:  # the first time, and in a forked child
            self._order = (loop, asyncio.Lock())
        async with self._order[1]:
            await work()

    def _load_one(self, operation_id: str) -> None:
        if super().get(operation_id) is None:
            self._enter(self._try(self._inner.load(operation_id)))

    def _load_unfinished(self) -> None:
        with self._loading:
            if self._is_loaded:
                return
            self._is_loaded = True
            for state in (*UNFINISHED, RecoveryState.SUCCESS):
                for data in self._try(self._inner.list_by_state(state)) or ():
                    self._enter(data)

    def _enter(self, data: RecoveryData | None) -> None:
        if data is None:
            return
        with self._changed:
            if data.kind == _TRANSFER:
                transfer = Transfer(**data.metadata)
                self._transfers.setdefault(transfer.destination, transfer)
            else:
                self._operations.setdefault(data.operation_id, data)

    def _try(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            result = _thread.run(work)
        except Exception as error:
            if not self._has_failed:
                kind = type(self._inner).__qualname__
                logger.warning(
                    "the store %s failed (%s: %s); operations go on without it",
                    kind,
                    type(error).__name__,
                    text_of(error),
                )
            self._has_failed = True
            return None
        self._has_failed = False
        return result


def _id_of(destination: str) -> str:
    return f"{_TRANSFER}-{hashlib.sha256(destination.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _record_of(transfer: Transfer) -> RecoveryData:
    at = transfer.updated_at
    return RecoveryData(
        _id_of(transfer.destination),
        _TRANSFER,
        kind=_TRANSFER,
        state=RecoveryState.SUCCESS,
        metadata={**vars(transfer), "journal": dict(transfer.journal)},
        created_at=at,
        updated_at=at,
        completed_at=at,
        title=os.path.basename(transfer.destination),
    )


_mirrors: WeakKeyDictionary[StatePersistence, MirroredStore] = WeakKeyDictionary()
# By the id of the store, which lives as long as what stands before it; with the store as key it would live for ever.
_resilient: WeakValueDictionary[int, ResilientPersistence] = WeakValueDictionary()
_lock = threading.Lock()


def store_for(persistence: Store | StatePersistence, clock: Clock | None = None) -> Store:
    """What the engine can work with: a store that can do everything, else its mirror in memory.

    One that may fail and be opened again goes on in memory while it does; all calls go on together.

    Args:
        clock: tells the first of them when to try again.

    Raises:
        RecoveryConfigError: it is no store, such as the path of one or a class.
    """
    if all(
        getattr(type(persistence), name, None) not in (None, getattr(StatePersistence, name, None)) for name in _NEEDED
    ):
        return _going_on(cast(Store, persistence), clock)
    if isinstance(persistence, type) or not all(callable(getattr(persistence, name, None)) for name in _FIVE):
        is_path = isinstance(persistence, (str, os.PathLike))
        example = f"SQLitePersistence({str(persistence)!r})" if is_path else 'SQLitePersistence("recovery.db")'
        raise checks.refused("persistence", persistence, f"a store, such as {example}")
    simple = cast(StatePersistence, persistence)
    with _lock:
        if simple not in _mirrors:
            _mirrors[simple] = MirroredStore(simple)
        return _mirrors[simple]


def _going_on(store: Store, clock: Clock | None) -> Store:
    if not (hasattr(store, "reopen") and hasattr(store, "take_over")):
        return store
    with _lock:
        found = _resilient.get(id(store))
        if found is None:
            found = _resilient[id(store)] = ResilientPersistence(cast(RenewableStore, store), clock)
        return found
