"""What describes and checks the requests of the API: spectree with models of pydantic, and the OpenAPI document.

Answers are described, but not checked when they are given: a mistake in a description must not take an answer away. The
tests check them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from flask import Flask, make_response, request
from pydantic import ValidationError
from spectree import Response as Described
from spectree import SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin

from launcher_recovery import __version__
from launcher_recovery.web.api.answers import ApiError
from launcher_recovery.web.api.models.base import Answer, Failure, Request
from launcher_recovery.web.api.routes import PREFIX, ROUTES
from launcher_recovery.web.security import HEADER, Access

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN = 20
_INTRODUCTION = (
    f"What recovery does, and the controls of it. Requests that change something need the header `{HEADER}: 1` and "
    "a JSON body, `{}` at least. Where an access token is set (`RECOVERY_API_TOKEN`) every request needs it; where "
    'none is, what is marked "trusted" is for programs and browsers of the launcher\'s own machine alone. '
    "Times are ISO 8601 in UTC."
)


class _Backend(FlaskPlugin):
    def validate_response(self, resp: Any, *ignored: Any) -> tuple[Any, None]:
        return make_response(resp), None


def _refuse(asked: Any, response: Any, error: Any, *ignored: Any) -> None:
    if isinstance(error, ValidationError):
        raise refusal_of(error)


def refusal_of(error: ValidationError) -> ApiError:
    """What is wrong with a request, as an answer; of several faults the first.

    The sentence says what was given, and what the description of that field in its model is.
    """
    first = error.errors(include_url=False, include_context=False)[0]
    model = _MODELS[error.title]
    name = str(first["loc"][0]) if first["loc"] else ""
    known = model.model_fields.get(name)
    if known is None:
        names = ", ".join(model.model_fields) or "none"
        return ApiError(
            422, "unknown_field", f"{name[:64]} is not known here: the fields are {names}.", field=name[:64]
        )
    shown = " is missing" if first["type"] == "missing" else f"={_shown(first['input'])} is not usable"
    return ApiError(422, f"bad_{name}", f"{name}{shown}: it must be {known.description}.", field=name)


def _shown(value: Any) -> str:
    # In a query everything is text, in a body it makes a difference.
    return (value if isinstance(value, str) and request.method == "GET" else json.dumps(value, default=str))[:_SHOWN]


SPEC = SpecTree(
    backend=cast(Any, _Backend),
    before=_refuse,
    validation_error_model=Failure,
    naming_strategy=lambda model: str(model.__name__),
    nested_naming_strategy=lambda parent, child: child,
    mode="strict",
    title="Recovery",
    version=__version__,
    description=_INTRODUCTION,
    security_schemes=[
        SecurityScheme(name="token", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer")),
    ],
)

_MODELS: dict[str, type[Request]] = {}


def described(answer: type[Answer] | None, *, tag: str, media: str = "application/json") -> Callable[[F], F]:
    """Decorator of a view: its request is checked by the models in its annotations, and the document has it.

    Args:
        answer: the model of a success; None: something that is not JSON of a model.
        tag: under which the document has it.
        media: the media type of a success.
    """

    def decorate(view: F) -> F:
        for name, model in view.__annotations__.items():
            if name in ("query", "json"):
                found = view.__globals__[model] if isinstance(model, str) else model
                _MODELS[found.__name__] = found
        response = Described("HTTP_200") if answer is None else Described(HTTP_200=answer)
        checked = SPEC.validate(resp=response, tags=[tag])(view)
        checked.media = media
        return cast(F, checked)

    return decorate


@functools.cache
def document() -> Mapping[str, Any]:
    """The OpenAPI document (version 3.1) of every route."""
    from launcher_recovery.web.api import view_of

    app = Flask(__name__)  # of its own, so that the host's routes do not matter
    views = {}
    for route in ROUTES:
        views[route.endpoint] = view_of(route)
        app.add_url_rule(f"{PREFIX}{route.rule}", route.endpoint, views[route.endpoint], methods=[route.method])
    with app.app_context():
        found = cast("dict[str, Any]", SPEC.spec)
    found["security"] = [{}, {"token": []}]
    failure = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}}
    header = {"name": HEADER, "in": "header", "required": True, "schema": {"type": "string", "const": "1"}}
    for route in ROUTES:
        path = PREFIX + route.rule.replace("<", "{").replace(">", "}")
        entry = found["paths"][path][route.method.lower()]
        entry["summary"] += " (trusted)" if route.access is Access.TRUSTED else ""
        entry["responses"]["default"] = {"description": "It was refused, or failed.", **failure}
        media = getattr(views[route.endpoint], "media", "application/json")
        content = entry["responses"]["200"].pop("content", {}).values()
        schema = next(iter(content), {"schema": {"type": "object" if media == "application/json" else "string"}})
        entry["responses"]["200"]["content"] = {media: schema}
        if route.access is not Access.READ:
            entry["parameters"].append(header)
    return found
