"""A real Flask app with recovery attached, and a client of it that need not wait."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask
from flask_socketio import SocketIO
from werkzeug.test import TestResponse

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.web import init_app
from tests.support import Ticking

BASE = "/api/recovery"
SENT = {"X-Launcher-Recovery": "1"}
PAGE = "<!DOCTYPE html><title>The launcher</title>"


class Site:
    """A host with recovery, and a client of it.

    Args:
        store: where its state is kept; None: in memory, as on a disk.
        settings: of `RecoveryConfig`.
    """

    def __init__(self, store: SQLitePersistence | MemoryPersistence | None = None, **settings: Any) -> None:
        self.clock = Ticking()
        self.store = SQLitePersistence(":memory:") if store is None else store
        config = RecoveryConfig(enabled=True, **settings)
        self.integrator = RecoveryIntegrator(config, persistence=self.store, clock=self.clock)
        self.lifecycle = self.integrator.lifecycle
        self.app = Flask("host")
        socketio = SocketIO(self.app, async_mode="threading")
        # As the real launcher does: whatever is unknown is its page, and fine.
        self.app.errorhandler(404)(lambda error: (PAGE, 200))
        self.app.errorhandler(405)(lambda error: (PAGE, 200))
        init_app(self.app, self.integrator, socketio)
        self.client = self.app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(BASE + path, **options)

    def post(self, path: str, body: Any = "{}", **headers: str) -> TestResponse:
        given = {"Content-Type": "application/json", **SENT}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.client.post(BASE + path, data=body, headers={k: v for k, v in given.items() if v})

    def send(self, path: str, body: dict[str, Any] | None = None, method: str = "POST", **headers: str) -> TestResponse:
        """A request as a program makes it, with a JSON body."""
        given = {"Content-Type": "application/json", **SENT, **headers}
        return self.client.open(BASE + path, method=method, data=json.dumps(body or {}), headers=given)

    def begin(self, name: str = "m.pt", **more: Any) -> RecoveryData:
        arguments = {"url": f"http://h/{name}", "destination": f"/models/{name}"}
        options = {"kind": "download", "key": f"download:{name}", "project": "p", "title": name, **more}
        return self.lifecycle.open("launcher_download", (), arguments, **options)

    def attempt(self, data: RecoveryData) -> Operation:
        return Operation(self.lifecycle.begin_attempt(data.operation_id, 4), self.lifecycle, self.clock)

    def fail(self, live: Operation, state: RecoveryState, delay: float | None = None) -> None:
        self.lifecycle.end_attempt(
            live,
            state,
            ConnectionResetError("broken by http://u:secret@h/"),
            category="network",
            explanation="The connection to h broke off.",
            fix="check_connection",
            fruitless=1,
            limit=4,
            delay=delay,
            waiting_for=None if delay is None else WaitingFor.BACKOFF,
        )

    def in_state(self, state: str) -> str:
        """The id of a new operation in that state."""
        data = self.begin(f"{state}.pt")
        if state == "paused":
            self.lifecycle.pause(data.operation_id)
        elif state == "cancelled":
            self.lifecycle.cancel(data.operation_id)
        elif state != "pending":
            live = self.attempt(data)
            if state == "success":
                self.lifecycle.succeed(live, "/models/x")
            elif state != "in_progress":
                self.fail(live, RecoveryState(state), 30 if state == "recovering" else None)
        return data.operation_id


def error_of(answer: TestResponse) -> tuple[int, str]:
    """Status and code of an error, which is JSON with a sentence and never cached."""
    body = answer.get_json()
    assert body["success"] is False
    assert set(body) == {"success", "error"}
    assert set(body["error"]) == {"code", "message", "params"}
    assert body["error"]["message"].endswith((".", "}."))
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, body["error"]["code"]
