"""The application: Flask, Socket.IO, the plugin manager and the page, put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pluggy
from flask import Flask, Response, make_response, render_template
from flask_socketio import SocketIO

from . import plugins
from .api import LARGEST_BODY, answer_errors_in_json, create_blueprint
from .projects import ProjectStore

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


class Launcher(NamedTuple):
    """A launcher that is ready to serve."""

    app: Flask
    socketio: SocketIO
    plugin_manager: pluggy.PluginManager


def has_recovery_page(app: Flask) -> bool:
    """Whether some plugin put a page at /recovery/."""
    return any(rule.rule in ("/recovery", "/recovery/") for rule in app.url_map.iter_rules())


def create_app(
    data_dir: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    hub_url: str | None = None,
    load_plugins: bool = True,
) -> Launcher:
    """Make a launcher.

    Arguments: `data_dir` for projects and models; `config` for Flask's configuration, set before any plugin
    sees it; `hub_url`, where the model hub is, None for no demo; `load_plugins`, whether installed plugins
    are loaded. Raises OSError when the data folder cannot be used.
    """
    store = ProjectStore(Path(data_dir).resolve())
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.config["RECOVERY_ALLOWED_ROOTS"] = [str(store.models), str(store.folder)]
    # Its hub is on this machine, which what an import asks for may not be otherwise.
    if hub_url is not None:
        app.config["RECOVERY_ALLOW_PRIVATE_ADDRESSES"] = True
    app.config.update(config or {})
    socketio = SocketIO(app, async_mode="threading")

    def changed(project_id: str) -> None:
        socketio.emit("projects_changed", {"id": project_id})

    manager = plugins.create_manager(changed, load_plugins, store)
    answer_errors_in_json(app)
    app.register_blueprint(create_blueprint(store, manager, hub_url))

    @app.get("/")
    def page() -> Response:
        body = render_template("index.html", recovery=has_recovery_page(app), hub_url=hub_url)
        response = make_response(body)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    plugins.start(manager, app, socketio)
    return Launcher(app, socketio, manager)
