"""What an import file may say, checked before anything is made.

The format: {"format": "sample_launcher", "comfyui"?: {"url", "ref"?}, "nodes": [{"url", "ref"?, "name"?}], "models":
[{"url", "path", "sha256"?, "size"?}], "workflow": {...}}; a model's path is relative to the models folder. With
"comfyui" the project gets a ComfyUI of its own, and its nodes go into that.

Files of ComfyUI Launcher (launcher.json) are handed on as they are: a plugin may know that format, the launcher itself
does not.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .handlers import LAUNCHER_JSON, default_node_name

FORMAT = "sample_launcher"
_NODE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class ImportRefusedError(ValueError):
    """An import file says what it must not; `code` names the rule, the message is one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(value: object, models: Path) -> dict[str, Any]:
    """Return `value` when it is a good import file for the models folder `models`.

    Raises ImportRefusedError.
    """
    if not isinstance(value, dict):
        raise ImportRefusedError("bad_import", f"'import_json' must be a JSON object, not {_kind(value)}.")
    if value.get("format") == LAUNCHER_JSON and isinstance(value.get("snapshot_json"), dict):
        return value
    if value.get("format") != FORMAT:
        raise ImportRefusedError(
            "bad_format", f"'import_json' must have the format {FORMAT!r}, not {_short(value.get('format'))}."
        )
    if value.get("comfyui") is not None:
        _check_repository(value["comfyui"], "'comfyui'", "bad_comfyui")
    names: set[str] = set()
    for number, node in enumerate(_list(value, "nodes"), start=1):
        name = _check_node(node, f"Node {number}")
        if name in names:
            raise ImportRefusedError("bad_node", f"Two nodes are named {name!r}; give one another 'name'.")
        names.add(name)
    paths: set[str] = set()
    for number, model in enumerate(_list(value, "models"), start=1):
        path = _check_model(model, f"Model {number}", models)
        if path in paths:
            raise ImportRefusedError("bad_model_path", f"Two models have the path {path!r}; give one another.")
        paths.add(path)
    if not isinstance(value.get("workflow"), dict):
        raise ImportRefusedError(
            "bad_workflow", f"'workflow' must be a JSON object, not {_kind(value.get('workflow'))}."
        )
    return value


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise ImportRefusedError("bad_import", f"'{key}' must be a list, not {_kind(found)}.")
    return found


def _check_node(node: object, what: str) -> str:
    node = _check_repository(node, what, "bad_node")
    name = node.get("name")
    name = default_node_name(node["url"]) if name is None else name
    if not isinstance(name, str) or not _NODE_NAME.fullmatch(name):
        raise ImportRefusedError(
            "bad_node", f"{what} has the name {_short(name)}; use letters, digits, dots, dashes, underscores."
        )
    return name


def _check_repository(value: object, what: str, code: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImportRefusedError(code, f"{what} must be a JSON object, not {_kind(value)}.")
    _check_url(value.get("url"), what, f"{code}_url")
    ref = value.get("ref")
    if ref is not None and not (isinstance(ref, str) and re.fullmatch(r"[^\s\x00-\x1f-][^\s\x00-\x1f]{0,199}", ref)):
        raise ImportRefusedError(code, f"{what} has the ref {_short(ref)}; give a branch, tag or commit.")
    return value


def _check_model(model: object, what: str, models: Path) -> str:
    if not isinstance(model, dict):
        raise ImportRefusedError("bad_model", f"{what} must be a JSON object, not {_kind(model)}.")
    _check_url(model.get("url"), what, "bad_model_url")
    path = _check_path(model.get("path"), what, models)
    sha256, size = model.get("sha256"), model.get("size")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise ImportRefusedError("bad_sha256", f"{what} has the sha256 {_short(sha256)}; give 64 hex digits.")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise ImportRefusedError(
            "bad_size", f"{what} has the size {_short(size)}; give a whole number of bytes, at least 0."
        )
    return path


def _check_url(url: object, what: str, code: str) -> None:
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isprintable() and " " not in url else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ImportRefusedError(code, f"{what} has the URL {_short(url)}; give one that is http:// or https://.")


def _check_path(path: object, what: str, models: Path) -> str:
    message = f"{what} has the path {_short(path)}; give one inside the models folder, such as loras/a.pt."
    refused = ImportRefusedError("bad_model_path", message)
    if not isinstance(path, str) or not path.isprintable() or "\\" in path or path.endswith("/"):
        raise refused
    pure = PurePosixPath(path)
    # "C:x" is another drive on Windows.
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or ":" in path:
        raise refused
    try:
        root = models.resolve()
        target = (models / pure).resolve()
        outside = root not in target.parents or target.is_dir()
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    if outside or any(len(part.encode()) > 255 for part in pure.parts):
        raise refused
    return pure.as_posix()


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"
