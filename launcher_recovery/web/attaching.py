"""Attaches everything to the app of a launcher that knows nothing of it, and so has no Socket.IO server for it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.web import init_app
from launcher_recovery.web.live import Live
from launcher_recovery.web.security import Gate, SocketGuard

_PATH = "/socket.io/"


def attach(app: Flask, integrator: RecoveryIntegrator) -> str:
    """Attach the API, the page, live events, and the bar in the pages of the launcher itself.

    The app then serves as it ever did, by `app.run()` or any other server.

    Args:
        app: must not have handled a request.
        integrator: started.

    Returns:
        What is missing all the same, as words; empty: nothing.

    Raises:
        RecoveryStateError: it has handled one.
        RecoveryConfigError: the file with the token cannot be used.
    """
    if "launcher_recovery" in app.extensions:
        return ""  # the launcher does it itself
    if getattr(app, "_got_first_request", False):  # then Flask takes no more routes
        raise RecoveryStateError("its app has handled requests before it was woven")
    socketio = app.extensions.get("socketio")
    gate = init_app(app, integrator, socketio, banner=True)
    if socketio is not None:
        return ""
    if importlib.util.find_spec("flask_socketio") is None:
        return "there are no live events without Flask-SocketIO: pip install 'launcher-recovery[web]'"
    setattr(app, "wsgi_app", SocketGuard(LiveOnDemand(app, integrator, gate), _PATH, gate))
    return ""


class LiveOnDemand:
    """WSGI middleware with a Socket.IO server that is made for the first who asks for it: loading it takes longer than
    all else, and most starts of a launcher are not watched.

    Args:
        app: whose `wsgi_app` it stands before.
        integrator: whose events are sent.
        gate: says who may hear them.
    """

    def __init__(self, app: Flask, integrator: RecoveryIntegrator, gate: Gate) -> None:
        self._app = app
        self._application = app.wsgi_app
        self._integrator = integrator
        self._gate = gate
        self._lock = threading.Lock()
        self._server: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if not environ.get("PATH_INFO", "").startswith(_PATH):
            return self._application(environ, start_response)
        with self._lock:
            if self._server is None:
                self._server = self._serve()
        # The key is the one by which Flask-SocketIO finds the app.
        return self._server.handle_request({**environ, "flask.app": self._app}, start_response)

    def _serve(self) -> Any:
        from flask_socketio import SocketIO

        # An empty list: the guard stands before it, which unlike Socket.IO's own check works behind a proxy that drops
        # the port, and refuses foreign names that point here.
        socketio = SocketIO(async_mode="threading", cors_allowed_origins=[])
        socketio.init_app(None)
        Live(self._integrator, socketio, self._gate, is_ours=True).attach()
        return socketio.server
