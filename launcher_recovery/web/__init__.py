"""Attaches the API, the live events and the page to a Flask app."""

from __future__ import annotations

from typing import Any

from flask import Flask

from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.web.api import create_api
from launcher_recovery.web.banner import Banner
from launcher_recovery.web.live import Live
from launcher_recovery.web.login import create_login
from launcher_recovery.web.pages import create_pages
from launcher_recovery.web.security import Gate, SocketGuard


def init_app(app: Flask, integrator: RecoveryIntegrator, socketio: Any, *, banner: bool = False) -> Gate:
    """Attach to `app`, before it serves its first request.

    Args:
        integrator: started.
        socketio: the host's `flask_socketio.SocketIO`, already bound to `app`; None: there are no live events.
        banner: whether the host's own pages get the bar that says what goes on.

    Returns:
        What lets requests in.

    Raises:
        RecoveryConfigError: the file with the token cannot be used.
    """
    gate = Gate(integrator.config, integrator.clock)
    app.register_blueprint(create_api(gate))
    app.register_blueprint(create_login(gate))
    app.register_blueprint(create_pages(gate))
    if socketio is not None:
        Live(integrator, socketio, gate).attach()
        # Flask-SocketIO takes `path` out of its options, its middleware knows it.
        path = getattr(getattr(socketio, "sockio_mw", None), "engineio_path", "/socket.io/")
        setattr(app, "wsgi_app", SocketGuard(app.wsgi_app, path, gate))
    if banner:
        app.after_request(Banner(gate.names).put)
    app.extensions["launcher_recovery"] = integrator
    app.extensions["launcher_recovery_gate"] = gate
    return gate
