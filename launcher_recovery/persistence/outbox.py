"""Tails the outbox: every stored event, of this and of other processes, in order and once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence.base import Store
from launcher_recovery.signals import Event

logger = logging.getLogger("launcher_recovery")

_WAIT_S = 1.0


class OutboxTail:
    """Hands each event of a store to the subscribers, from a daemon thread, between `start` and `stop`.

    Begins behind the newest event at `start`; what came before is read by `Store.events_since`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._subscribers: list[Callable[[Event], None]] = []
        self._stop = threading.Event()
        self._seq = 0
        self._thread = threading.Thread(target=self._run, name="recovery-outbox", daemon=True)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Call `subscriber` with each event from now on; what it raises is logged."""
        self._subscribers.append(subscriber)

    def start(self) -> None:
        """Begin."""
        self._seq = self._store.event_range()[1]
        self._thread.start()

    def stop(self) -> None:
        """End; returns when no subscriber is called any more."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def wait(self, seconds: float) -> bool:
        """Wait; less, and True, when it is stopped."""
        return self._stop.wait(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._store.wait_for_events(self._seq, _WAIT_S):
                    self._deliver()
            except StoreError as error:
                logger.warning("events cannot be read at the moment: %s", error)
                self._stop.wait(_WAIT_S)
            except Exception:  # a store of one's own may raise anything
                logger.exception("events cannot be read at the moment")
                self._stop.wait(_WAIT_S)

    def _deliver(self) -> None:
        events = self._store.events_since(self._seq)
        if not events:  # they were forgotten before they were read: numbers that nobody has any more are passed over
            newest = self._store.event_range()[1]
            events = self._store.events_since(self._seq)
            self._seq = self._seq if events else max(self._seq, newest)
        for event in events:
            self._seq = event.seq
            for subscriber in self._subscribers:
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("a subscriber of the outbox raised: %r", subscriber)
