"""Serves the recovery page and its files, with a strict content security policy."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, redirect, request, send_from_directory
from werkzeug.wrappers import Response as Answer

from launcher_recovery.web.headers import protect
from launcher_recovery.web.security import Gate
from launcher_recovery.web.security.gate import LOGIN

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}


def create_pages(gate: Gate) -> Blueprint:
    """The blueprint of /recovery/."""
    pages = Blueprint("launcher_recovery_pages", __name__, url_prefix="/recovery")

    @pages.before_request
    def guard() -> tuple[str, int, dict[str, str]] | None:
        refused = gate.refuse_host(request)
        if refused is None:
            return None
        return refused.message, refused.status, {"Content-Type": "text/plain; charset=utf-8"}

    @pages.get("/")
    def index() -> Answer:
        if gate.token.is_needed and not gate.token.is_shown(request.environ):
            return redirect(f"{request.script_root}{LOGIN}", 303)
        return _send("index.html")

    @pages.get("/<any('banner.js', 'LICENSES.txt'):name>")
    def named(name: str) -> Response:
        return _send(name)

    @pages.get("/assets/<name>")
    def asset(name: str) -> Response:
        response = _send(f"assets/{name}")
        # Its name has a hash of what is in it: another content has another name (RFC 8246).
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    return pages


def _send(name: str) -> Response:
    # Types are given here: the tables of some systems do not know .js, and browsers are told not to guess.
    mimetype = _TYPES.get(Path(name).suffix)
    if mimetype is None:
        abort(404)
    response = send_from_directory(_FOLDER, name, mimetype=mimetype)
    protect(response)
    response.headers["Cache-Control"] = "no-cache"
    return response
