"""The clients of a Socket.IO server: who may hear, what each wants to hear, and what waits for one that is slow.

Engine.IO keeps what a client has not fetched yet in a queue without end. So a client that falls behind is told no
more; of what it misses the latest of each operation is kept for it, and when that gets long as well, its connection is
closed: it comes back when it can, and asks for what it has missed by number.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from launcher_recovery.signals import Event
from launcher_recovery.web.security import Gate

MAX_QUEUED = 500
"""Packets in a client's queue from which on it has fallen behind."""
MAX_KEPT = 1000
"""Events kept for a client that has; with more its connection is closed."""
MAX_ROOMS = 100
"""Rooms of one client."""

logger = logging.getLogger("launcher_recovery")

_FEW = 10
_NAMESPACE = "/"


class _Client:
    """What is known of one client."""

    def __init__(self, may_hear: bool, session: str | None = None) -> None:
        self.may_hear = may_hear
        self.session = session
        self.rooms: frozenset[str] | None = None
        """None: it wants to hear everything."""
        self.kept: OrderedDict[tuple[Any, ...], Event] = OrderedDict()


class Audience:
    """All clients.

    Args:
        server: the `socketio.Server`.
        gate: says who may hear.
        is_ours: whether the server serves nobody but recovery; otherwise clients without the token stay connected.
    """

    def __init__(self, server: Any, gate: Gate, is_ours: bool) -> None:
        self._server = server
        self._gate = gate
        self._is_ours = is_ours
        self._lock = threading.RLock()
        self._clients: dict[str, _Client] = {}
        # Those that are behind.
        self._late: set[str] = set()

    def attach(self) -> None:
        """Look at who connects, where a token is needed; the host's own handler is called as ever."""
        if not self._gate.token.is_needed:
            return
        host = self._server.handlers.get(_NAMESPACE, {}).get("connect")

        def connect(sid: str, environ: Mapping[str, Any], auth: Any = None) -> Any:
            self._enter(sid, environ, auth)
            return None if host is None else host(sid, environ, auth)

        self._server.on("connect", connect, namespace=_NAMESPACE)
        self._gate.left.append(self._leave)

    def _enter(self, sid: str, environ: Mapping[str, Any], auth: Any) -> None:
        given = auth.get("token") if isinstance(auth, Mapping) else None
        may_hear = self._gate.token.is_shown(environ) or (isinstance(given, str) and self._gate.token.is_right(given))
        if not may_hear and (self._is_ours or given is not None):
            from socketio.exceptions import ConnectionRefusedError  # loaded by the server anyway

            raise ConnectionRefusedError("This needs the token of RECOVERY_API_TOKEN.")
        with self._lock:
            self._clients[sid] = _Client(may_hear, self._gate.token.session_of(environ))

    def _leave(self, session: str) -> None:
        """Close the connections of a browser that logs out."""
        with self._lock:
            found = [sid for sid, client in self._clients.items() if client.session == session]
        for sid in found:
            self._server.disconnect(sid)

    def may_hear(self, sid: str) -> bool:
        """Whether a client has shown the token, if one is needed."""
        with self._lock:
            return self._client(sid).may_hear

    def is_behind(self, sid: str) -> bool:
        """Whether a client has much to fetch still."""
        with self._lock:
            eio_sid = self._server.manager.eio_sid_from_sid(sid, _NAMESPACE)
            return bool(self._client(sid).kept) or self._queued(eio_sid) > _FEW

    def join(self, sid: str, rooms: frozenset[str]) -> bool:
        """Have a client hear these rooms besides those that it joined before; without any, everything.

        Returns:
            False when these are too many.
        """
        with self._lock:
            client = self._client(sid)
            joined = (client.rooms or frozenset()) | rooms if rooms else None
            if joined is not None and len(joined) > MAX_ROOMS:
                return False
            client.rooms = joined
            return True

    def rooms_of(self, sid: str) -> frozenset[str] | None:
        """The rooms that a client hears; None: everything."""
        with self._lock:
            return self._client(sid).rooms

    def tell(self, event: Event, rooms: Callable[[], frozenset[str] | None]) -> None:
        """Send an event to those who want to hear it, and may.

        Args:
            rooms: finds the rooms that it belongs to; None: it is for everybody.
        """
        with self._lock:
            present = list(self._server.manager.get_participants(_NAMESPACE, None))
            if len(self._clients) > len(present):
                sids = {sid for sid, _ in present}
                self._clients = {sid: client for sid, client in self._clients.items() if sid in sids}
            for sid, eio_sid in present:
                client = self._client(sid)
                if not client.may_hear or not _wants(client, rooms):
                    continue
                if client.kept or self._queued(eio_sid) >= MAX_QUEUED:
                    self._keep(sid, eio_sid, event)
                else:
                    self._send(sid, event)

    def catch_up(self) -> bool:
        """Send what was kept for clients that are no longer behind.

        Returns:
            Whether somebody still is.
        """
        with self._lock:
            present = dict(self._server.manager.get_participants(_NAMESPACE, None)) if self._late else {}
            self._late &= present.keys()
            for sid in [sid for sid in self._late if self._queued(present[sid]) <= _FEW]:
                client = self._clients[sid]
                events = sorted(client.kept.values(), key=lambda event: event.seq)
                client.kept = OrderedDict((_key(event), event) for event in events[MAX_QUEUED:])
                for event in events[:MAX_QUEUED]:
                    self._send(sid, event)
                if not client.kept:
                    self._late.remove(sid)
            return bool(self._late)

    def _keep(self, sid: str, eio_sid: str, event: Event) -> None:
        kept = self._clients[sid].kept
        kept[_key(event)] = event
        self._late.add(sid)
        socket = self._server.eio.sockets.get(eio_sid)
        if len(kept) > MAX_KEPT and socket is not None:
            kept.clear()
            # Without waiting for it to fetch what is in its queue, and not here, since the host may be told of it.
            self._server.start_background_task(socket.close, wait=False)

    def _client(self, sid: str) -> _Client:
        found = self._clients.get(sid)
        if found is None:
            token = self._gate.token
            may_hear = not token.is_needed or token.is_shown(self._server.get_environ(sid, _NAMESPACE) or {})
            found = self._clients[sid] = _Client(may_hear)
        return found

    def _queued(self, eio_sid: str) -> int:
        socket = self._server.eio.sockets.get(eio_sid)
        return 0 if socket is None else int(socket.queue.qsize())

    def _send(self, sid: str, event: Event) -> None:
        # Each process of the host tells its own clients, also where Socket.IO has a queue between them.
        try:
            self._server.emit(event.name, event.message(), to=sid, namespace=_NAMESPACE, ignore_queue=True)
        except Exception as error:  # it may have gone in this very moment, which is not the others' business
            logger.debug("an event could not be sent to a client: %s", error)


def _wants(client: _Client, rooms: Callable[[], frozenset[str] | None]) -> bool:
    if client.rooms is None:
        return True
    found = rooms()
    return found is None or not client.rooms.isdisjoint(found)


def _key(event: Event) -> tuple[Any, ...]:
    """What a later event takes the place of."""
    about = event.payload
    return (event.name, about.get("operation_id"), about.get("scope"), about.get("operation_type"))
