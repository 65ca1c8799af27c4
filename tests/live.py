"""A host with recovery that serves live events, and Socket.IO clients of it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import socketio
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryData
from launcher_recovery.web import init_app

KIND = OperationKind("download", "launcher_download", key=str, title=str)
EVENTS = ("recovery_update", "recovery_completed", "circuit_breaker_update")
OPTIONS = {"Host", "Origin"}


class Client:
    """A Socket.IO client that keeps what it was sent."""

    def __init__(self, url: str, transports: list[str], auth: Any = None, **headers: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        # For WebSocket, Host and Origin are no further headers, but options instead of the usual ones.
        options = {name.lower(): headers.pop(name) for name in OPTIONS & headers.keys() if transports == ["websocket"]}
        self.socket = socketio.Client(reconnection=False, websocket_extra_options=options)
        for name in EVENTS:
            self.socket.on(name, lambda data, name=name: self.events.append((name, data)))
        try:
            self.socket.connect(url, transports=transports, headers=headers, auth=auth, wait_timeout=20)
        except BaseException:
            self._close(self.socket.eio.ws)
            raise

    def leave(self) -> None:
        ws = self.socket.eio.ws
        if ws is not None:
            # It would wait for an answer that the thread that reads has had already.
            ws.close = functools.partial(ws.close, timeout=0)
        self.socket.disconnect()
        self._close(ws)

    def _close(self, ws: Any) -> None:
        """Close what the client leaves open when its server ends the connection, or refuses it."""
        if ws is not None:
            ws.shutdown()
        if self.socket.eio.http is not None:
            self.socket.eio.http.close()

    def of(self, name: str) -> list[dict[str, Any]]:
        return [data for event, data in list(self.events) if event == name]

    def subscribe(self, *request: Any) -> Any:
        return self.socket.call("subscribe_recovery", *request, timeout=20)


class Server:
    """A host with recovery on a free port of this machine."""

    def __init__(
        self, path: Path, prepare: Callable[[SocketIO], object] = lambda socketio: None, **settings: Any
    ) -> None:
        self.path = path
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(
                initial_delay=0.01,
                max_delay=0.01,
                circuit_breaker_threshold=2,
                circuit_breaker_timeout=0.05,
                **settings,
            ),
            persistence=SQLitePersistence(path),
        )
        app = Flask("host")
        self.socketio = SocketIO(app, async_mode="threading")
        prepare(self.socketio)
        self.gate = init_app(app, self.integrator, self.socketio)
        self.integrator.load()
        self.integrator.start()
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self._clients: list[Client] = []

    def connect(self, *transports: str, auth: Any = None, **headers: str) -> Client:
        client = Client(self.url, list(transports) or ["websocket"], auth, **headers)
        self._clients.append(client)
        return client

    def run(self, failures: int = 0, progress: bool = False, **more: Any) -> RecoveryData:
        """An operation that fails so often before it succeeds."""
        data = self.integrator.lifecycle.open(
            "launcher_download",
            (),
            {"url": "http://h/m.pt"},
            **{"kind": "download", "project": "p", "title": "m.pt", **more},
        )
        left = [ConnectionResetError("broken")] * failures

        def handler() -> str:
            operation = current_operation()
            assert operation is not None
            if progress:
                operation.progress(1, 2)
            if left:
                raise left.pop()
            return "done"

        self.integrator.engine.run(data, self.integrator.policy_for(KIND, data, "h"), handler)
        return data

    def close(self) -> None:
        for client in self._clients:
            client.leave()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.integrator.stop()
