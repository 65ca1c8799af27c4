"""Logging in with a browser: the token is sent once, and a cookie that is no copy of it stands for it from then on."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Blueprint, Response, redirect, request, send_from_directory

from launcher_recovery.web.headers import protect
from launcher_recovery.web.login.page import LANGUAGES, login_page
from launcher_recovery.web.security.cross_site import form_reason
from launcher_recovery.web.security.gate import Gate
from launcher_recovery.web.security.peers import peer_of
from launcher_recovery.web.security.tokens import SESSION_S

COST = 20
"""Usual requests that an attempt with a wrong token counts as: five at once, then one a second."""

_MAX_BODY = 4096
_FORM = "application/x-www-form-urlencoded"
# A path of this server: `//name` and `/\\name` are other servers to a browser.
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,500}")


def create_login(gate: Gate) -> Blueprint:
    """The blueprint of the login page, which leads to the recovery page where no token is needed."""
    login = Blueprint("launcher_recovery_login", __name__, url_prefix="/recovery")

    @login.before_request
    def guard() -> tuple[str, int, dict[str, str]] | None:
        refused = gate.refuse_host(request)
        if refused is not None:
            return _plain(refused.message, refused.status)
        if request.method != "POST":
            return None
        if request.mimetype != _FORM and request.endpoint == f"{login.name}.enter":
            return _plain(f"The content type must be {_FORM}.", 415)
        reason = form_reason(request.headers.get)
        if reason is not None:
            return _plain(reason, 403)
        # Neither length nor transfer encoding means no body (RFC 9112 §6.3).
        is_unknown = request.content_length is None and "Transfer-Encoding" in request.headers
        if is_unknown or (request.content_length or 0) > _MAX_BODY:
            return _plain(f"The form may have at most {_MAX_BODY} bytes, with its length given.", 413)
        return None

    @login.after_request
    def protected(response: Response) -> Response:
        protect(response)
        # A browser tells where a form was sent from only to those whom it tells where links were followed from.
        response.headers["Referrer-Policy"] = "same-origin"
        if request.endpoint != f"{login.name}.style":
            response.headers["Cache-Control"] = "no-store"
        return response

    @login.get("/login.css")
    def style() -> Response:
        return send_from_directory(Path(__file__).parent, "login.css", mimetype="text/css")

    @login.get("/login")
    def form() -> Response:
        following = _following(request.args.get("next"))
        if not gate.token.is_needed or gate.token.is_shown(request.environ):
            return _to(following)
        return Response(login_page(_language(), following), mimetype="text/html")

    @login.post("/login")
    def enter() -> Response:
        following = _following(request.form.get("next"))
        if not gate.token.is_needed:
            return _to(following)
        # Taken before the token is looked at, so that many attempts at once are no way around it.
        refused = gate.refuse_rate(request.environ, COST)
        if refused is not None:
            page = login_page(_language(), following, "often", seconds=refused.params["retry_after"])
            return Response(page, refused.status, refused.headers, mimetype="text/html")
        if not gate.token.is_right(request.form.get("token", "").strip()):
            return Response(login_page(_language(), following, "wrong"), 401, mimetype="text/html")
        gate.rates.give_back(peer_of(request.environ), COST - 1)
        response = _to(following)
        _set_cookie(response, gate.token.cookie, gate.token.open_session(), SESSION_S)
        return response

    @login.post("/logout")
    def leave() -> Response:
        response = _to(f"{request.script_root}/recovery/login")
        if gate.token.is_needed:
            _set_cookie(response, gate.token.cookie, "", 0)
            session = gate.token.session_of(request.environ)
            if session is not None:
                for end in gate.left:
                    end(session)
        return response

    return login


def _plain(message: str, status: int) -> tuple[str, int, dict[str, str]]:
    return message, status, {"Content-Type": "text/plain; charset=utf-8"}


def _to(path: str) -> Response:
    # See Other, so that a form is not sent again to where it leads (RFC 9110 §15.4.4).
    return redirect(path, 303, Response)  # type: ignore[return-value]


def _following(given: str | None) -> str:
    default = f"{request.script_root}/recovery/"
    return given if given is not None and _PATH.fullmatch(given) else default


def _language() -> str:
    spoken = [tag.lower().partition("-")[0] for tag in request.accept_languages.values()]
    return next((name for name in spoken if name in LANGUAGES), "en")


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    # A proxy that speaks https to the browser may tell so; who makes that up harms nobody but himself.
    is_https = request.is_secure or request.headers.get("X-Forwarded-Proto", "").lower().startswith("https")
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=f"{request.script_root}/",
        secure=is_https,
        httponly=True,
        samesite="Strict",
    )
