"""The REST API below /api/recovery."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from launcher_recovery import __version__
from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.config import KINDS
from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.signals import RecoveryUpdate
from launcher_recovery.web.security import MAX_BODY, HostNames, cross_site_reason

PREFIX = "/api/recovery"
MAX_PAGE = 200
MOST_IMPORTANT = 1_000_000
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, message: str, **params: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.params = params


def operation_json(data: RecoveryData) -> dict[str, Any]:
    """An operation as the API shows it."""
    return {**asdict(RecoveryUpdate.of(data)), "metadata": data.metadata, "owner": data.owner}


def create_api(integrator: RecoveryIntegrator, names: HostNames) -> Blueprint:
    """The blueprint of the API."""
    api = Blueprint("launcher_recovery_api", __name__, url_prefix=PREFIX)
    store = integrator.persistence

    def answer(**content: Any) -> Response:
        return jsonify({"success": True, **content})

    def stamp() -> dict[str, Any]:
        return {"seq": store.event_range()[1], "now": to_iso(to_datetime(integrator.clock.time()))}

    def known(operation_id: str) -> RecoveryData:
        data = store.get(operation_id)
        if data is None:
            raise ApiError(
                404,
                "unknown_operation",
                f"There is no operation {operation_id[:64]}.",
                operation_id=operation_id[:64],
            )
        return data

    @api.before_request
    def guard() -> None:
        if not names.accepts(request.host):
            raise ApiError(403, "forbidden_host", names.refusal(request.host))
        if request.endpoint == f"{api.name}.unknown":
            _refuse_unknown()
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        if request.mimetype != "application/json":
            raise ApiError(
                415,
                "not_json",
                f"The request has the content type {request.mimetype or 'none'!r}, but application/json is needed.",
            )
        reason = cross_site_reason(request.headers.get)
        if reason is not None:
            raise ApiError(403, "forbidden", reason)
        # Neither length nor transfer encoding means no body (RFC 9112 §6.3).
        unknown = request.content_length is None and "Transfer-Encoding" in request.headers
        if unknown or (request.content_length or 0) > MAX_BODY:
            raise ApiError(413, "too_large", f"The body may have at most {MAX_BODY} bytes, with its length given.")

    @api.errorhandler(ApiError)
    def refused(error: ApiError) -> tuple[Response, int]:
        response, status = _error(error.status, error.code, error.message, **error.params)
        if status == 405:
            response.headers["Allow"] = error.params["allowed"]  # RFC 9110 §15.5.6
        return response, status

    @api.errorhandler(RecoveryStateError)
    def conflict(error: RecoveryStateError) -> tuple[Response, int]:
        return _error(409, "conflict", _sentence(str(error)), state=error.state)

    @api.errorhandler(StoreError)
    def store_failed(error: StoreError) -> tuple[Response, int]:
        return _error(503, "store", str(error))

    @api.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return _error(error.code or 500, error.name.lower().replace(" ", "_"), error.description or error.name)

    @api.after_request
    def never_cached(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.before_app_request
    def unusual_method() -> Response | None:
        # One that no route takes, such as TRACE, does not reach the blueprint; the host would answer it.
        if request.url_rule is not None or not request.path.startswith(f"{PREFIX}/"):
            return None
        try:
            if not names.accepts(request.host):
                raise ApiError(403, "forbidden_host", names.refusal(request.host))
            _refuse_unknown()
        except ApiError as error:
            response, status = refused(error)
            response.status_code = status
            return never_cached(response)

    @api.get("/status")
    def status() -> Response:
        return answer(recovery={**integrator.status(), "version": __version__, **stamp()})

    @api.get("/health")
    def health() -> tuple[Response, int]:
        problem = next((found for found in integrator.problems if found["code"] == "store"), None)
        try:
            store.check()
        except StoreError as error:
            problem = {"code": "store", "message": str(error)}
        if problem is not None:
            return _error(503, problem["code"], problem["message"])
        return answer(persistence_healthy=True), 200

    @api.get("/operations")
    def operations() -> Response:
        limit = _limit(request.args.get("limit"))
        # Before the list is read: what happens meanwhile is told once more, and not lost.
        at = stamp()
        found = store.find(
            states=_states(request.args.getlist("state")),
            kind=_kind(request.args.get("kind")),
            project=request.args.get("project"),
            before=_cursor(request.args.get("before")),
            limit=limit + 1,
        )
        following = _to_cursor(found[limit - 1]) if len(found) > limit else None
        return answer(operations=[operation_json(data) for data in found[:limit]], next=following, **at)

    @api.get("/operations/<operation_id>")
    def operation(operation_id: str) -> Response:
        at = stamp()
        data = known(operation_id)
        attempts = [
            {**asdict(item), "started_at": to_iso(item.started_at), "ended_at": to_iso(item.ended_at)}
            for item in store.attempts(operation_id)
        ]
        steps = [{"name": item.name, "finished_at": to_iso(item.finished_at)} for item in store.steps(operation_id)]
        events = [
            {"seq": event.seq, "event": event.name, "data": event.payload}
            for event in store.events_of_operation(operation_id)
        ]
        detail = {**operation_json(data), "attempts": attempts, "steps": steps, "events": events}
        return answer(operation=detail, **at)

    @api.get("/operations/<operation_id>/advice")
    def advice(operation_id: str) -> Response:
        language = _language(request.args.get("language"))
        known(operation_id)
        found = integrator.fixes.advice(operation_id, language)
        return answer(advice=[asdict(one) for one in found], language=language)

    def control(path: str, change: Callable[[str], RecoveryData], done: str) -> None:
        def view(operation_id: str) -> Response:
            _body()
            known(operation_id)
            data = change(operation_id)
            return answer(message=done.format(data.title), operation=operation_json(data))

        api.post(f"/operations/<operation_id>/{path}", endpoint=path)(view)

    control("pause", integrator.pause, "{} is paused.")
    control("resume", integrator.resume, "{} goes on.")
    control("cancel", integrator.cancel, "{} was cancelled.")

    @api.post("/operations/<operation_id>/retry")
    def retry(operation_id: str) -> Response:
        _body()
        known(operation_id)
        data = integrator.retry(operation_id)
        return answer(
            message=f"{data.title} is tried again.",
            retry_id=data.operation_id,
            operation=operation_json(data),
        )

    @api.post("/operations/<operation_id>/priority")
    def priority(operation_id: str) -> Response:
        wanted = _priority(_body())
        known(operation_id)
        data = integrator.set_priority(operation_id, wanted)
        return answer(message=f"{data.title} has the priority {wanted} now.", operation=operation_json(data))

    # The host's own error handlers may turn what is unknown into a page with status 200.
    @api.route("/", defaults={"path": ""}, methods=_METHODS)
    @api.route("/<path:path>", methods=_METHODS)
    def unknown(path: str) -> Response:
        raise ApiError(404, "not_found", f"There is nothing at {PREFIX}/{path[:100]}.")

    return api


def _refuse_unknown() -> NoReturn:
    """404, or 405 when the path is known with other methods."""
    adapter = current_app.url_map.bind("")
    allowed = set()
    for method in ("GET", "POST"):
        try:
            endpoint, _ = adapter.match(request.path, method=method)
        except (NotFound, MethodNotAllowed, HTTPException):
            continue
        if not str(endpoint).endswith(".unknown"):
            allowed.add(method)
    if not allowed:
        raise ApiError(404, "not_found", f"There is nothing at {request.path[:100]}.")
    methods = ", ".join(sorted(allowed))
    message = f"{request.path[:100]} takes {methods}, not {request.method}."
    raise ApiError(405, "method_not_allowed", message, allowed=methods)


def _error(status: int, code: str, message: str, **params: Any) -> tuple[Response, int]:
    return jsonify({"success": False, "error": {"code": code, "message": message, "params": params}}), status


def _sentence(text: str) -> str:
    # Not capitalised: it begins with the name of a file or project.
    return text if text.endswith(".") else f"{text}."


def _body() -> dict[str, Any]:
    raw = request.get_data(cache=False)
    try:
        body = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        raise ApiError(400, "malformed_json", "The body is not JSON: send an object, such as {}.") from None
    if not isinstance(body, dict):
        raise ApiError(422, "not_an_object", "The body must be a JSON object, such as {}.")
    return body


def _priority(body: dict[str, Any]) -> int:
    value = body.get("priority")
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_IMPORTANT:
        shown = f"={json.dumps(value)[:20]} is not usable" if "priority" in body else " is missing"
        expected = f"a whole number from {-MOST_IMPORTANT} to {MOST_IMPORTANT}, and the higher goes first"
        raise ApiError(422, "bad_priority", f"priority{shown}: it must be {expected}.")
    return value


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_PAGE:
        raise ApiError(422, "bad_limit", f"limit={text[:20]} is not usable: it must be from 1 to {MAX_PAGE}.")
    return int(text)


def _states(texts: list[str]) -> list[RecoveryState] | None:
    named = [part for text in texts for part in text.split(",") if part]
    values = [state.value for state in RecoveryState]
    for text in named:
        if text not in values:
            raise ApiError(422, "bad_state", f"state={text[:20]} is not a state: use {', '.join(values)}.")
    return [RecoveryState(text) for text in named] or None


def _kind(text: str | None) -> str | None:
    if text is not None and not text.isidentifier():
        raise ApiError(422, "bad_kind", f"kind={text[:20]} is not a kind: use one such as {', '.join(KINDS)}.")
    return text


def _language(text: str | None) -> str:
    # BCP 47 as browsers have it; what is no language at all is a mistake of the caller.
    if text is not None and re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}", text) is None:
        raise ApiError(422, "bad_language", f"language={text[:20]} is not usable: use one such as en or zh-CN.")
    from launcher_recovery.fixes.words import spoken  # with all the texts, which most starts do without

    return spoken(text or "en")


def _to_cursor(data: RecoveryData) -> str:
    text = json.dumps([data.created_at.timestamp(), data.operation_id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _cursor(text: str | None) -> tuple[float, str] | None:
    if text is None:
        return None
    try:
        created, operation_id = json.loads(base64.urlsafe_b64decode(text))
        return float(created), str(operation_id)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ApiError(422, "bad_cursor", "before is not usable: it must be the `next` of an earlier answer.") from None
