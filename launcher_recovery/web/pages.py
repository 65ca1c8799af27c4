"""Serves the recovery page and its files, with a strict content security policy."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, request, send_from_directory

from launcher_recovery.web.security import HostNames

_FOLDER = Path(__file__).parent / "ui"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def create_pages(names: HostNames) -> Blueprint:
    """The blueprint of /recovery/."""
    pages = Blueprint("launcher_recovery_pages", __name__, url_prefix="/recovery")

    @pages.before_request
    def guard() -> tuple[str, int, dict[str, str]] | None:
        if names.accepts(request.host):
            return None
        return names.refusal(request.host), 403, {"Content-Type": "text/plain; charset=utf-8"}

    @pages.get("/")
    def index() -> Response:
        return _send("index.html")

    @pages.get("/banner.js")
    def banner() -> Response:
        return _send("banner.js")

    @pages.get("/assets/<name>")
    def asset(name: str) -> Response:
        return _send(name)

    return pages


def _send(name: str) -> Response:
    # Types are given here: the tables of some systems do not know .js, and browsers are told not to guess.
    mimetype = _TYPES.get(Path(name).suffix)
    if mimetype is None:
        abort(404)
    response = send_from_directory(_FOLDER, name, mimetype=mimetype)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
