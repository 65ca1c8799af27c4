"""The description of the API, for programs and for people."""

from __future__ import annotations

from flask import Response, jsonify, make_response

from launcher_recovery.web.api.description import described, document
from launcher_recovery.web.api.reading import STYLE, page_of
from launcher_recovery.web.headers import protect


@described(None, tag="document")
def openapi() -> Response:
    """The OpenAPI document of the API."""
    return jsonify(document())


@described(None, tag="document", media="text/html")
def docs() -> Response:
    """The same as a page to be read."""
    response = make_response(page_of(document()), 200, {"Content-Type": "text/html; charset=utf-8"})
    protect(response)
    return response


@described(None, tag="document", media="text/css")
def style() -> Response:
    """How that page looks."""
    return make_response(STYLE, 200, {"Content-Type": "text/css; charset=utf-8"})
