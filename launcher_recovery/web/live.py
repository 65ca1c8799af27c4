"""Forwards stored events to Socket.IO clients, and replays what a client has missed."""

from __future__ import annotations

from typing import Any

from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.signals import Event

MAX_REPLAY = 500


class Live:
    """The bridge from the outbox to the clients of the host's Socket.IO server."""

    def __init__(self, integrator: RecoveryIntegrator, socketio: Any) -> None:
        self._integrator = integrator
        self._socketio = socketio

    def attach(self) -> None:
        """Begin to forward, and answer `subscribe_recovery`."""
        self._socketio.on("subscribe_recovery")(self.subscribe)
        self._integrator.tail.subscribe(self.forward)

    def forward(self, event: Event) -> None:
        """Send one event to every client."""
        self._socketio.emit(event.name, event.message())

    def subscribe(self, request: Any = None) -> dict[str, Any]:
        """Answer a client that has seen everything up to number `since`.

        Returns the events after it, the number of the newest, and `reset`: true when some of them are no longer
        kept, so that the client has to fetch the list again.
        """
        since = request.get("since") if isinstance(request, dict) else None
        if isinstance(since, bool) or not isinstance(since, int):
            return {"error": 'subscribe_recovery needs {"since": number of the last event seen}'}
        store = self._integrator.persistence
        try:
            oldest, newest = store.event_range()
            is_kept = oldest - 1 <= since <= newest
            events = store.events_since(since, MAX_REPLAY + 1) if is_kept else []
        except StoreError as error:
            return {"error": str(error)}
        if not is_kept or len(events) > MAX_REPLAY:
            return {"events": [], "seq": newest, "reset": True}
        return {
            "events": [{"event": event.name, "data": event.message()} for event in events],
            "seq": newest,
            "reset": False,
        }
