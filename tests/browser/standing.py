"""Operations as they may stand in the store, and a server of the pages that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import RecoveryState, WaitingFor
from launcher_recovery.web import init_app
from tests.support import let_go


class Recovery:
    """Recovery of one launcher, whose operations a test begins and ends."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.store = SQLitePersistence(folder / "recovery.db")
        given = {"enabled": True, "allow_private_addresses": True, **settings}
        config = RecoveryConfig(persistence_path=str(folder / "recovery.db"), **given)
        self.integrator = RecoveryIntegrator(config, persistence=self.store)
        self.app = Flask("host")
        init_app(self.app, self.integrator, SocketIO(self.app, async_mode="threading"))
        self.integrator.load()
        self.integrator.tail.start()
        self.url = ""

    def close(self) -> None:
        self.integrator.stop()
        let_go(self.store)
        self.store.close()

    def begin(self, kind: str, title: str, parent: Operation | None = None, *, project: str = "p") -> Operation:
        """One that runs."""
        lifecycle = self.integrator.lifecycle
        destination = str(self.folder / "models" / title)
        data = lifecycle.open(
            f"launcher_{kind}", (), {"url": f"https://files.example/{title}", "destination": destination},
            kind=kind, key=f"{kind}:{title}", project=project, title=title,
            parent_id=None if parent is None else parent.operation_id,
        )  # fmt: skip
        return self.attempt(data.operation_id)

    def attempt(self, operation_id: str) -> Operation:
        """The next attempt of one."""
        lifecycle = self.integrator.lifecycle
        return Operation(lifecycle.begin_attempt(operation_id, 4), lifecycle, self.integrator.clock)

    def succeed(self, live: Operation) -> None:
        self.integrator.lifecycle.succeed(live, "/models/x")

    def fail(self, live: Operation, explanation: str, fix: str | None) -> None:
        self.integrator.lifecycle.end_attempt(
            live, RecoveryState.FAILED, _raised(), category="not_found", explanation=explanation, fix=fix,
            fruitless=1, limit=1,
        )  # fmt: skip

    def wait(self, live: Operation, explanation: str, delay: float, why: WaitingFor = WaitingFor.BACKOFF) -> None:
        """It failed, and is tried again in so many seconds."""
        self.integrator.lifecycle.end_attempt(
            live, RecoveryState.RECOVERING, ConnectionResetError("broken"), category="network",
            explanation=explanation, fix="check_connection", fruitless=1, limit=4, delay=delay, waiting_for=why,
        )  # fmt: skip


def _raised() -> OSError:
    """An error with a traceback, as it has where it is caught."""
    try:
        raise OSError("it broke")
    except OSError as error:
        return error
