"""The launcher's JSON API: projects and models."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pluggy
import requests
from flask import Blueprint, Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from . import demo, imports
from .projects import (
    FAILED,
    READY,
    SETTING_UP,
    ProjectBusyError,
    ProjectStore,
    keep_import,
    kept_import,
    read_state,
    write_state,
)
from .text import LONGEST_NAME, one_line, slug

log = logging.getLogger("sample_launcher")

LARGEST_BODY = 8 << 20
"""Bytes that a request's body may have."""


class RefusedError(Exception):
    """A request that cannot be done; the message is one sentence for people."""

    def __init__(self, status: int, code: str, message: str, **params: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.params = params


def _answer(refused: RefusedError) -> tuple[Response, int]:
    error = {"code": refused.code, "message": str(refused), "params": refused.params}
    return jsonify(success=False, error=error), refused.status


def _body() -> dict[str, Any]:
    if request.mimetype != "application/json":
        given = request.mimetype or "none"
        raise RefusedError(415, "not_json", f"The content type is {given}; send application/json.", content_type=given)
    try:
        value = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        raise RefusedError(400, "malformed_json", "The body is not JSON; send a JSON object.") from None
    if not isinstance(value, dict):
        raise RefusedError(422, "not_an_object", "The body must be a JSON object with a 'name'.")
    return value


def _name(body: dict[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not slug(name) or len(name) > LONGEST_NAME:
        raise RefusedError(
            422,
            "bad_name",
            f"'name' must be a text of 1 to {LONGEST_NAME} characters with a Latin letter or a digit in it.",
        )
    return " ".join(name.split())


def _unknown(project_id: str) -> RefusedError:
    return RefusedError(404, "unknown_project", f"There is no project {project_id!r}.", project_id=project_id)


def create_blueprint(store: ProjectStore, manager: pluggy.PluginManager, hub_url: str | None) -> Blueprint:
    """The routes below /api; `hub_url` is the model hub's address, None when there is none."""
    api = Blueprint("api", __name__, url_prefix="/api")
    api.register_error_handler(RefusedError, _answer)

    def set_up(project_id: str, name: str, folder: Path, import_json: dict[str, Any] | None) -> None:
        try:
            manager.hook.launcher_create_project(
                project_id=project_id,
                name=name,
                import_json=import_json,
                project_folder=str(folder),
                models_folder=str(store.models),
            )
        except Exception as problem:
            line = one_line(problem)
            log.error("Setting up the project %r failed: %s.", project_id, line)
            # A plugin may have failed before the handler that writes the state was reached.
            if (read_state(folder) or {}).get("state") != FAILED and folder.is_dir():
                write_state(folder, state=FAILED, status_message=f"Failed: {line}")
        finally:
            store.release(project_id)

    def start(project_id: str, name: str, folder: Path, import_json: dict[str, Any] | None) -> None:
        """Set up what was claimed, in a thread of its own."""
        threading.Thread(
            target=set_up,
            args=(project_id, name, folder, import_json),
            name=f"set-up-{project_id}",
            daemon=True,
        ).start()

    def begin(name: str, import_json: dict[str, Any] | None) -> tuple[Response, int]:
        project_id = slug(name)
        try:
            folder = store.reserve(project_id, name)
        except FileExistsError:
            message = f"There is a project {project_id!r} already; choose another name."
            raise RefusedError(409, "name_exists", message, project_id=project_id) from None
        # A disk too full for it is too full for the project: that is told by what comes next.
        with suppress(OSError):
            keep_import(folder, import_json)
        store.claim(project_id)
        start(project_id, name, folder, import_json)
        return jsonify(success=True, id=project_id), 202

    @api.get("/projects")
    def list_projects() -> Response:
        return jsonify(success=True, projects=store.all())

    @api.post("/projects")
    def create_project() -> tuple[Response, int]:
        return begin(_name(_body()), None)

    @api.post("/projects/import")
    def import_project() -> tuple[Response, int]:
        body = _body()
        name = _name(body)
        try:
            import_json = imports.check(body.get("import_json"), store.models)
        except imports.ImportRefusedError as problem:
            raise RefusedError(422, problem.code, str(problem)) from None
        return begin(name, import_json)

    @api.get("/projects/demo-import")
    def demo_import() -> Response:
        if hub_url is None:
            message = "The demo needs the model hub, and this launcher was started with --no-hub."
            raise RefusedError(503, "no_hub", message)
        try:
            return jsonify(demo.import_json(hub_url))
        except (requests.RequestException, KeyError, ValueError):
            message = f"The model hub at {hub_url} does not answer; start the launcher again."
            raise RefusedError(503, "hub_gone", message, url=hub_url) from None

    @api.get("/projects/<project_id>")
    def get_project(project_id: str) -> Response:
        project = store.get(project_id)
        if project is None:
            raise _unknown(project_id)
        return jsonify(success=True, project=project)

    @api.post("/projects/<project_id>/retry")
    def retry_project(project_id: str) -> tuple[Response, int]:
        _body()
        project = store.get(project_id)
        if project is None:
            raise _unknown(project_id)
        try:
            store.claim(project_id)
        except ProjectBusyError:
            message = f"The project {project_id!r} is being set up already."
            raise RefusedError(409, "project_busy", message, project_id=project_id) from None
        try:
            folder = store.path(project_id)
            if (read_state(folder) or {}).get("state") == READY:
                message = f"The project {project_id!r} is ready; there is nothing to try again."
                raise RefusedError(409, "project_ready", message, project_id=project_id)
            import_json = kept_import(folder)
            write_state(folder, state=SETTING_UP, status_message="Waiting to start")
        except LookupError:
            store.release(project_id)
            message = f"What the project {project_id!r} was made from is not known any more; import it again."
            raise RefusedError(409, "not_kept", message, project_id=project_id) from None
        except BaseException:
            store.release(project_id)
            raise
        start(project_id, project["name"], folder, import_json)
        return jsonify(success=True, id=project_id), 202

    @api.delete("/projects/<project_id>")
    def delete_project(project_id: str) -> Response:
        try:
            store.delete(project_id)
        except KeyError:
            raise _unknown(project_id) from None
        except ProjectBusyError:
            message = f"The project {project_id!r} is being set up; delete it when that has ended."
            raise RefusedError(409, "project_busy", message, project_id=project_id) from None
        return jsonify(success=True)

    @api.get("/models")
    def list_models() -> Response:
        return jsonify(success=True, models=store.list_models())

    return api


def answer_errors_in_json(app: Flask) -> None:
    """Answer HTTP errors below /api in the API's own form; those of pages stay pages."""

    @app.errorhandler(HTTPException)
    def http_error(problem: HTTPException) -> Any:
        if not request.path.startswith("/api/"):
            return problem
        status = problem.code or 500
        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 500: "internal"}
        sentences = {
            404: "There is nothing at this address.",
            405: f"{request.method} is not possible at this address.",
            413: f"The body is too large; send at most {LARGEST_BODY >> 20} MiB.",
            500: "The launcher made a mistake; its log has the details.",
        }
        message = sentences.get(status, f"{problem.name}.")
        answer = jsonify(success=False, error={"code": codes.get(status, "refused"), "message": message, "params": {}})
        answer.status_code = status
        for name, value in problem.get_headers():
            if name in ("Allow", "Retry-After"):
                answer.headers[name] = value
        return answer
