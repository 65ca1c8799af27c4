"""Arguments, results and errors as JSON text, with a small explicit set of types; never pickle."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from launcher_recovery.errors import StoredError

_TAG = "$type"
_EMPTY = "{}"
_TRACEBACK_FRAMES = 12
# Far below what Python can recurse, so that whatever is accepted here can be read, copied and redacted as well.
_MAX_DEPTH = 100
_PLAIN = frozenset((type(None), bool, int, str, float))


class NotStorableError(TypeError):
    """A value has a type that is not kept; the message names it."""


def _pack(value: Any, path: str, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, str)) or type(value) is float:
        return value
    if depth >= _MAX_DEPTH:
        raise NotStorableError("value is nested too deeply or contains itself")
    depth += 1
    if isinstance(value, list):
        return _pack_items(value, path, depth)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NotStorableError(f"{path} is a dict with keys that are not text")
        packed = {key: _pack(item, f"{path}.{key}", depth) for key, item in value.items()}
        return {_TAG: "dict", "value": packed} if _TAG in packed else packed
    if isinstance(value, tuple):
        return {_TAG: "tuple", "value": _pack_items(value, path, depth)}
    if isinstance(value, PurePath):
        return {_TAG: "path", "value": str(value)}
    if isinstance(value, datetime):
        return {_TAG: "datetime", "value": value.isoformat()}
    if isinstance(value, bytes):
        return {_TAG: "bytes", "value": base64.b64encode(value).decode("ascii")}
    raise NotStorableError(f"{path} is of type {type(value).__qualname__}, which is not kept in the store")


def _pack_items(items: Iterable[Any], path: str, depth: int) -> list[Any]:
    return [
        item if type(item) in _PLAIN else _pack(item, f"{path}[{index}]", depth) for index, item in enumerate(items)
    ]


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: _unpack(item) for key, item in value.items()}
    inner = value["value"]
    if tag == "tuple":
        return tuple(map(_unpack, inner))
    if tag == "path":
        return Path(inner)
    if tag == "datetime":
        return datetime.fromisoformat(inner)
    if tag == "bytes":
        return base64.b64decode(inner)
    return {key: _unpack(item) for key, item in inner.items()}


def dumps(value: Any) -> str:
    """JSON text of `value`.

    Raises:
        NotStorableError: it contains something other than None, bool, int, float, str, bytes, list, tuple, dict
            with text keys, datetime or a path, or is nested more than 100 deep.
    """
    if value == {}:  # as metadata and keyword arguments mostly are
        return _EMPTY
    packed = _pack(value, "value")
    try:
        return dumps_plain(packed)
    except ValueError as error:  # a number with more digits than Python turns into text
        raise NotStorableError(f"value cannot be written as JSON: {error}") from error


# `json.dumps` with arguments makes an encoder at each call. No value gets here that contains itself.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_encode_escaped = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


def dumps_plain(value: Any) -> str:
    """JSON text of what is known to hold nothing but JSON's own types; `loads` reads it."""
    text = _encode(value)
    # File names that are not UTF-8 hold lone surrogates, which no database takes unless they are escaped.
    return text if _is_encodable(text) else _encode_escaped(value)


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def loads(text: str | None) -> Any:
    """The value of `dumps`; None for None."""
    if text is None:
        return None
    return {} if text == _EMPTY else _unpack(_decode(text))


def error_to_stored(error: BaseException) -> StoredError:
    """The error as it is kept: type name, message, and the last frames of its traceback."""
    if isinstance(error, StoredError):
        return error
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[-_TRACEBACK_FRAMES:])
    return StoredError(type(error).__qualname__, str(error), "".join(frames))


def dump_error(error: Exception | None) -> str | None:
    """JSON text of an error (None for None)."""
    if error is None:
        return None
    stored = error_to_stored(error)
    return dumps({"type": stored.type_name, "message": stored.message, "traceback": stored.traceback})


def load_error(text: str | None) -> StoredError | None:
    """The error of `dump_error`."""
    if text is None:
        return None
    value = loads(text)
    return StoredError(value["type"], value["message"], value["traceback"])
