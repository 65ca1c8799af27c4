"""The hub's own JSON interface below /_hub: counts, what is on offer, faults, ending."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .shelf import Model

if TYPE_CHECKING:
    from .server import Hub

LISTED_SHA256 = 4 << 30
"""The largest model, in bytes, whose SHA-256 the list of all models computes; ask for it alone otherwise."""

Answer = tuple[int, dict[str, Any]]


def _error(status: int, message: str) -> Answer:
    return status, {"error": message}


def _model(hub: Hub, model: Model, always: bool) -> dict[str, Any]:
    known = always or model.size <= LISTED_SHA256
    return {
        "name": model.name,
        "size": model.size,
        "rate": model.rate,
        "sha256": hub.sha256(model.name) if known else None,
        "url": hub.model_url(model.name),
    }


def _read(body: bytes) -> dict[str, Any]:
    value = json.loads(body or b"null")
    if not isinstance(value, dict):
        raise TypeError(f"The body must be a JSON object, not {type(value).__name__}.")
    return value


def _put_model(hub: Hub, name: str, body: bytes) -> Answer:
    value = _read(body)
    unknown = sorted(set(value) - {"size", "faults", "rate"})
    if unknown:
        raise TypeError(f"There is no field {unknown[0]!r}; give size, faults and rate.")
    known = hub.shelf.model(f"/models/{name}") is not None
    hub.add_model(name, value.get("size"), value.get("faults"), value.get("rate"))
    model = hub.shelf.model(f"/models/{name}")
    # Hashing gigabytes is left to whoever asks for the hash.
    size = model.size if model else 0
    return (200 if known else 201), {"name": name, "size": size, "url": hub.model_url(name)}


def _put_faults(hub: Hub, body: bytes) -> Answer:
    value = _read(body)
    path = value.get("path")
    if not isinstance(path, str) or not path.startswith("/") or path.startswith("/_hub"):
        raise TypeError(f"'path' is {path!r}; give a path of the hub such as /models/x or /git/x.")
    hub.arm(path, value.get("faults"))
    return 200, {"path": path}


def _adopt(hub: Hub, body: bytes) -> Answer:
    pid = _read(body).get("pid")
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 1:
        raise TypeError(f"'pid' is {pid!r}; give the id of the process that looks after the hub.")
    return 200, {"adopted": hub.adopt(pid)}


def _get(hub: Hub, path: str) -> Answer | None:
    if path == "/_hub/stats":
        return 200, {"hub": "sample_launcher", "pid": os.getpid(), "url": hub.url, **hub.all_stats()}
    if path.startswith("/_hub/stats/"):
        counts = hub.shelf_stats(unquote(path[len("/_hub/stats/") :]))
        return (200, counts) if counts else _error(404, "Nothing of that name is on offer or was asked for.")
    if path == "/_hub/models":
        return 200, {"models": [_model(hub, model, always=False) for model in hub.shelf.models()]}
    if path.startswith("/_hub/models/"):
        model = hub.shelf.model(unquote(path[len("/_hub") :]))
        return (200, _model(hub, model, always=True)) if model else _error(404, "There is no such model.")
    return None


def answer(hub: Hub, method: str, path: str, body: bytes) -> Answer:
    """Do what a request below /_hub asks for: the status and the JSON object to answer with."""
    try:
        done: Answer | None = None
        if method in ("GET", "HEAD"):
            done = _get(hub, path)
        elif method == "POST" and path == "/_hub/reset":
            hub.reset()
            done = 200, {"reset": True}
        elif method == "POST" and path == "/_hub/shutdown":
            hub.ask_to_end()
            done = 200, {"ending": True}
        elif method == "POST" and path == "/_hub/adopt":
            done = _adopt(hub, body)
        elif method == "PUT" and path == "/_hub/faults":
            done = _put_faults(hub, body)
        elif method == "PUT" and path.startswith("/_hub/models/"):
            done = _put_model(hub, unquote(path[len("/_hub/models/") :]), body)
        return done or _error(404, f"The hub has nothing at {method} {path}.")
    except json.JSONDecodeError as problem:
        return _error(400, f"The body is not JSON: {problem}.")
    except (ValueError, TypeError) as problem:
        return _error(422, str(problem))
