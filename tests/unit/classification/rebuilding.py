"""Errors that were written down, as exceptions again: types, texts, numbers, HTTP answers, causes.

Classes that Python has are taken as they are; those of packages, which need not be installed, are made by their names.
"""

from __future__ import annotations

import email.message
import importlib
import json
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from launcher_recovery.errors import CommandError

_PYTHON = {
    "_pickle", "asyncio", "builtins", "concurrent", "gzip", "http", "json", "pickle", "shutil", "socket", "sqlite3",
    "ssl", "subprocess", "tarfile", "urllib", "zipfile",
}  # fmt: skip
_ATTRIBUTES = (
    "errno", "winerror", "filename", "returncode", "cmd", "output", "stderr", "sqlite_errorname", "sqlstate", "status",
    "code", "headers",
)  # fmt: skip


def entries(name: str) -> list[dict[str, Any]]:
    """The errors of a file beside this one: how each came about, what it was, and which verdicts are right."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def rebuilt(entry: Mapping[str, Any]) -> BaseException:
    """The error of an entry: that of a program by its output, or an exception."""
    if "command" in entry:
        return CommandError(entry["command"], entry["returncode"], entry["output"])
    return _exception(entry["error"])


def _exception(told: Mapping[str, Any]) -> BaseException:
    if told["type"] == "urllib.error.HTTPError":
        return _http_error(told)
    kind = _kind(told["type"], told.get("bases", []))
    text = told["text"]
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__str__": lambda self: text}
    error: Any = kind.__new__(type(kind.__name__, (kind,), names), *_needed(kind))
    error.args = tuple(_exception(inner) for inner in told.get("inner", ())) or (text,)
    for name in _ATTRIBUTES:
        if name in told:
            try:
                setattr(error, name, told[name])
            except (AttributeError, TypeError):
                error.__dict__[name] = told[name]
    if "exceptions" in told:
        error.exceptions = tuple(_exception(inner) for inner in told["exceptions"])
    if "response" in told:
        answer = told["response"]
        error.response = SimpleNamespace(**{**answer, "content": answer.get("body", "").encode()})
    if "cause" in told:
        error.__cause__ = _exception(told["cause"])
    if "context" in told:
        error.__context__ = _exception(told["context"])
    result: BaseException = error
    return result


def _http_error(told: Mapping[str, Any]) -> BaseException:
    answer = told.get("response") or {"status_code": told["code"], "headers": told.get("headers", {})}
    headers = email.message.Message()
    for name, value in answer["headers"].items():
        headers[name] = value
    url = answer.get("url", "http://hub.example/")
    return urllib.error.HTTPError(url, answer["status_code"], told["text"], headers, None)


def _kind(name: str, bases: list[str]) -> type[BaseException]:
    """The class of that name; one of its own over the nearest class that Python has, where it is of a package."""
    names = [name, *bases]
    known = next((number for number, base in enumerate(names) if _known(base) is not None), None)
    kind = Exception if known is None else _known(names[known])
    assert kind is not None
    for above in reversed(names[:known]):
        module, _, short = above.rpartition(".")
        kind = type(short, (kind,), {"__module__": module, "__qualname__": short})
    return kind


def _known(name: str) -> type[BaseException] | None:
    module, _, short = name.rpartition(".")
    # Groups cannot be made without their members, and are not there on Python 3.10.
    if module.partition(".")[0] not in _PYTHON or short.endswith("ExceptionGroup"):
        return None
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _needed(kind: type[BaseException]) -> tuple[object, ...]:
    return ("utf-8", b"", 0, 1, "") if issubclass(kind, UnicodeDecodeError) else ()
