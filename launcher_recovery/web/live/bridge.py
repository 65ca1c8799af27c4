"""Forwards stored events to Socket.IO clients, and replays what a client has missed."""

from __future__ import annotations

import functools
import threading
from typing import Any

from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.signals import Event
from launcher_recovery.web.live.audience import MAX_ROOMS, Audience
from launcher_recovery.web.live.pace import Pace
from launcher_recovery.web.live.rooms import Rooms, operation_room, project_room
from launcher_recovery.web.security import Gate

MAX_REPLAY = 500

_LONGEST = 500
_AGAIN_S = 0.1
"""Seconds after which it is looked again whether a client is still behind."""


class Live:
    """The bridge from the outbox to the clients of a Socket.IO server.

    Args:
        integrator: whose events are told.
        socketio: the `flask_socketio.SocketIO`, with its server made.
        gate: says who may hear them.
        is_ours: whether the server serves nobody but recovery.
    """

    def __init__(self, integrator: RecoveryIntegrator, socketio: Any, gate: Gate, *, is_ours: bool = False) -> None:
        self._integrator = integrator
        self._server = socketio.server
        self._audience = Audience(self._server, gate, is_ours)
        self._rooms = Rooms(integrator.persistence)
        self._pace = Pace(integrator.clock.monotonic)
        self._lock = threading.Lock()
        self._is_following_up = False

    def attach(self) -> None:
        """Begin to forward, and answer `subscribe_recovery`."""
        self._audience.attach()
        self._server.on("subscribe_recovery", self.subscribe)
        self._integrator.tail.subscribe(self.forward)

    def forward(self, event: Event) -> None:
        """Send one event to every client that wants to hear it."""
        with self._lock:
            if self._pace.admit(event):
                self._tell(event)
            self._follow_up()

    def subscribe(self, sid: str, request: Any = None, *more: Any) -> dict[str, Any]:
        """Answer a client that has seen everything up to number `since`.

        With `operation_id` or `project` it hears of these, and of those that it named before, alone from now on;
        without either of everything.

        Returns the events after it, the number of the newest, and `reset`: true when some of them are no longer
        kept, so that the client has to fetch the list again.
        """
        asked = request if isinstance(request, dict) else {}
        since = asked.get("since")
        if isinstance(since, bool) or not isinstance(since, int):
            return {"error": 'subscribe_recovery needs {"since": number of the last event seen}'}
        named = {name: asked[name] for name in ("operation_id", "project") if asked.get(name) is not None}
        for name, value in named.items():
            if not isinstance(value, str) or len(value) > _LONGEST:
                return {"error": f"subscribe_recovery takes a text of at most {_LONGEST} characters as {name}"}
        if not self._audience.may_hear(sid):
            return {"error": "subscribe_recovery needs the token of RECOVERY_API_TOKEN"}
        rooms = {operation_room(named["operation_id"])} if "operation_id" in named else set()
        rooms |= {project_room(self._integrator.redactor.text(named["project"]))} if "project" in named else set()
        if not self._audience.join(sid, frozenset(rooms)):
            return {"error": f"subscribe_recovery takes at most {MAX_ROOMS} operations and projects of one client"}
        try:
            return self._missed(sid, since)
        except StoreError as error:
            return {"error": str(error)}

    def _missed(self, sid: str, since: int) -> dict[str, Any]:
        store = self._integrator.persistence
        oldest, newest = store.event_range()
        # One that does not fetch what it is sent is not sent more for the asking.
        is_kept = oldest - 1 <= since <= newest and not self._audience.is_behind(sid)
        events = store.events_since(since, MAX_REPLAY + 1) if is_kept else []
        if not is_kept or len(events) > MAX_REPLAY:
            return {"events": [], "seq": newest, "reset": True}
        rooms = self._audience.rooms_of(sid)
        return {
            "events": [{"event": event.name, "data": event.message()} for event in events if self._is_in(event, rooms)],
            "seq": newest,
            "reset": False,
        }

    def _is_in(self, event: Event, rooms: frozenset[str] | None) -> bool:
        if rooms is None:
            return True
        with self._lock:
            found = self._rooms.of(event)
        return found is None or not rooms.isdisjoint(found)

    def _tell(self, event: Event) -> None:
        self._audience.tell(event, functools.cache(lambda: self._rooms.of(event)))

    def _follow_up(self) -> None:
        """Have what could not be told at once told later, by a thread that ends when there is no more."""
        if not self._is_following_up and self._wait_s() is not None:
            self._is_following_up = True
            threading.Thread(target=self._tell_later, name="recovery-live", daemon=True).start()

    def _wait_s(self) -> float | None:
        """Seconds until something may be told; None: nothing is left to tell."""
        waits = [
            wait for wait in (self._pace.wait_s(), _AGAIN_S if self._audience.catch_up() else None) if wait is not None
        ]
        return min(waits) if waits else None

    def _tell_later(self) -> None:
        while True:
            with self._lock:
                for event in self._pace.due():
                    self._tell(event)
                wait = self._wait_s()
                if wait is None:
                    self._is_following_up = False
                    return
            if self._integrator.tail.wait(wait):
                return
