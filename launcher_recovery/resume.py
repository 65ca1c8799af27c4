"""Runs again what has no living process: after a crash, after a restart, and when a person retries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.errors import RecoveryError, StoreError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import dead_owners
from launcher_recovery.persistence.base import Retention
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.signals import Event

logger = logging.getLogger("launcher_recovery")

_SWEEP_S = 15.0
_CLEANUP_S = 3600.0
_AT_ONCE = 64


class Resumer:
    """Dispatches pending operations that nobody owns, each in a thread of its own.

    Args:
        lifecycle: where operations change.
        rerun: by kind, what runs an operation again from its record; other kinds are left to other processes.
        clock: source of time.
        retention: how long what is over is kept; None: the sweep cleans nothing up.
        clean_up: called when it cleans up, with the time since which nothing may have been done about what goes.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        rerun: dict[str, Callable[[RecoveryData], object]],
        clock: Clock | None = None,
        retention: Retention | None = None,
        clean_up: Callable[[datetime], object] = lambda older_than: None,
    ) -> None:
        self._lifecycle = lifecycle
        self._rerun = rerun
        self._clock = clock or Clock()
        self._retention = retention
        self._clean_up_besides = clean_up
        self._cleaned_at: float | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._dispatched: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="recovery-resumer", daemon=True)

    def start(self) -> None:
        """Sweep now and from time to time, from a daemon thread."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing any more; what runs goes on."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.sweep()
            except StoreError as error:
                logger.warning("interrupted operations cannot be looked for at the moment: %s", error)
            except Exception:  # of a store of one's own, or what cleans up besides
                logger.exception("interrupted operations cannot be looked for at the moment")
            self._stop.wait(_SWEEP_S)

    def sweep(self) -> None:
        """Take over what dead processes left, and dispatch everything that waits for somebody."""
        store = self._lifecycle.store
        dead = dead_owners(store.owners(), self._clock.time())
        taken_over: set[str] = set()
        # A few at a time: the first ones run while the others are taken over, and others may write in between.
        while released := self._lifecycle.release_orphans(dead, _AT_ONCE):
            for data in released:
                logger.info("%s was interrupted and goes on", data.title, extra={"operation_id": data.operation_id})
                taken_over.add(data.operation_id)
                self.dispatch(data)
        # Oldest first: an operation is older than those inside it.
        for data in reversed(store.find(states={RecoveryState.PENDING}, limit=-1)):
            if data.operation_id not in taken_over:
                self.dispatch(data)
        self._clean_up()

    def _clean_up(self) -> None:
        now = self._clock.monotonic()
        if self._retention is None or (self._cleaned_at is not None and now - self._cleaned_at < _CLEANUP_S):
            return
        self._cleaned_at = now
        older_than = to_datetime(self._clock.time()) - self._retention.age
        kept = {"keep": self._retention.keep, "max_bytes": self._retention.max_bytes}
        self._lifecycle.store.cleanup(older_than, **kept)
        self._clean_up_besides(older_than)

    def on_event(self, event: Event) -> None:
        """Subscriber of the outbox: dispatch what became pending without an owner."""
        if event.payload.get("state") == RecoveryState.PENDING.value:
            data = self._lifecycle.store.get(event.payload["operation_id"])
            if data is None:
                return
            if not self._lifecycle.may_run(data):
                # Cancelled, its owner died, and now a person retries: nobody has missed the owner so far.
                self._lifecycle.look_for_the_dead()
            self.dispatch(data)

    def dispatch(self, data: RecoveryData) -> None:
        """Run `data` again, unless it is not pending, somebody owns it, or the operation around it will call it."""
        if data.state is not RecoveryState.PENDING or data.owner is not None or self._stop.is_set():
            return
        if data.kind not in self._rerun or self._parent_is_unfinished(data):
            return
        with self._lock:
            if data.operation_id in self._dispatched or self._lifecycle.is_live(data.operation_id):
                return
            self._dispatched.add(data.operation_id)
        name = f"recovery-{data.operation_id[-8:]}"
        threading.Thread(target=self._execute, args=(data,), name=name, daemon=True).start()

    def _parent_is_unfinished(self, data: RecoveryData) -> bool:
        if data.parent_id is None:
            return False
        parent = self._lifecycle.store.get(data.parent_id)
        return parent is not None and parent.state in UNFINISHED

    def _execute(self, data: RecoveryData) -> None:
        try:
            self._rerun[data.kind](data)
        except RecoveryError as error:
            logger.warning("%s did not work out: %s", data.title, error)
        except Exception as error:
            logger.warning("%s failed: %s: %s", data.title, type(error).__name__, error)
        finally:
            with self._lock:
                self._dispatched.discard(data.operation_id)
