"""Guards the path of Socket.IO: who may connect, and how many WebSockets there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from launcher_recovery.web.security.gate import Gate, Refusal
from launcher_recovery.web.security.names import same_site

MAX_WEBSOCKETS = 50
"""WebSockets at a time; each holds a thread of the server. Those beyond it stay with polling."""

_STATUS = {403: "403 FORBIDDEN", 429: "429 TOO MANY REQUESTS", 503: "503 SERVICE UNAVAILABLE"}


class SocketGuard:
    """WSGI middleware that applies the checks to the Socket.IO path, and to nothing else.

    Socket.IO's own check of the Origin cannot do it: for a rebound name the Origin fits the Host, and it wants equal
    ports.

    Args:
        application: what it stands before.
        path: of Socket.IO.
        gate: says who may connect.
    """

    def __init__(self, application: Callable[..., Any], path: str, gate: Gate) -> None:
        self._application = application
        self._path = path
        self._gate = gate
        self._lock = threading.Lock()
        self._websockets = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if not environ.get("PATH_INFO", "").startswith(self._path):
            return self._application(environ, start_response)
        refusal = self._refuse(environ)
        if refusal is not None:
            return _answer(refusal, start_response)
        if str(environ.get("HTTP_UPGRADE", "")).lower() != "websocket":
            return self._application(environ, start_response)
        return self._upgrade(environ, start_response)

    def _upgrade(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            if self._websockets >= MAX_WEBSOCKETS:
                # A client that has begun with polling goes on with it when its probe fails.
                message = f"There are {MAX_WEBSOCKETS} WebSockets already: stay with polling."
                return _answer(Refusal(503, "too_many_websockets", message), start_response)
            self._websockets += 1
        try:
            # This call lasts as long as the WebSocket is open.
            found: Iterable[bytes] = self._application(environ, start_response)
            return found
        finally:
            with self._lock:
                self._websockets -= 1

    def _refuse(self, environ: Mapping[str, Any]) -> Refusal | None:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._gate.names.accepts(host):
            return Refusal(403, "forbidden", self._gate.names.refusal(host))
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not same_site(str(origin), host):
            return Refusal(403, "forbidden", f"Live events are not given to pages of {str(origin)[:100]}.")
        is_new = "sid=" not in str(environ.get("QUERY_STRING", ""))
        return self._gate.refuse_rate(environ) if is_new else None


def _answer(refusal: Refusal, start_response: Callable[..., Any]) -> list[bytes]:
    error = {"code": refusal.code, "message": refusal.message, "params": refusal.params}
    start_response(_STATUS[refusal.status], [("Content-Type", "application/json"), *refusal.headers.items()])
    return [json.dumps({"success": False, "error": error}).encode()]
