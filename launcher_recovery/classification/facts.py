"""Reads the facts of an exception that rules look at: types, errno, HTTP answer, process result, host."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from errno import EDQUOT, ENOSPC
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.errors import CommandError, FolderGoneError, NoSpaceError, PartInUseError, StoredError

_MAX_CHAIN = 16
_YEAR_S = 366 * 86400.0
_FULL_FILE_IN_TEXT = re.compile(r"(?:No space left on device|Disk quota exceeded): '([^'\n]+)'")
_HOST_IN_TEXT = re.compile(r"(?:host='([^']+)'|https?://(?:[^/\s'\"@]*@)?([^/\s'\":]+))")


@dataclass(frozen=True)
class Facts:
    """The facts of one exception and of those it was caused by, outermost first."""

    types: frozenset[str]
    errnos: tuple[int, ...]
    status: int | None
    retry_after_s: float | None
    returncode: int | None
    text: str
    host: str | None
    folder: str | None = None
    """Where on the disk it happened, of errors that are about the disk."""
    no_space: NoSpaceError | None = None
    in_use: str | None = None
    """The file that another program writes to."""


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error, then its causes and contexts and the exceptions inside its arguments; each once, at most 16."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue and len(seen) < _MAX_CHAIN:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [arg for arg in current.args if isinstance(arg, BaseException)]
        reason = getattr(current, "reason", None)  # urllib3's MaxRetryError keeps the cause there
        if isinstance(reason, BaseException):
            inner.append(reason)
        if current.__cause__ is not None:
            inner.append(current.__cause__)
        elif current.__context__ is not None and not current.__suppress_context__:
            inner.append(current.__context__)
        queue.extend(inner)


def read(error: BaseException, now: float) -> Facts:
    """The facts of `error`; `now` (seconds since the epoch) turns a Retry-After date into seconds."""
    types: set[str] = set()
    errnos: list[int] = []
    response: Any = None
    headers: Any = None
    status: int | None = None
    returncode: int | None = None
    texts: list[str] = []
    folder: str | None = None
    no_space: NoSpaceError | None = None
    in_use: str | None = None
    for item in chain_of(error):
        types.update(f"{cls.__module__}.{cls.__qualname__}" for cls in type(item).__mro__)
        if isinstance(item, StoredError):
            types.add(item.type_name)
        number = getattr(item, "errno", None)
        # TLS and name-resolution errors keep codes of their own in that attribute (1 is not EPERM there).
        if isinstance(number, int) and not isinstance(item, (ssl.SSLError, socket.gaierror)):
            errnos.append(number)
        if response is None:
            response = getattr(item, "response", None)
        if status is None:
            status = _status(item)
        if headers is None:  # urllib and others give them with the error itself
            headers = getattr(item, "headers", None)
        if isinstance(item, CommandError):
            returncode = item.returncode
            texts.append(item.output)
        texts.append(str(item))
        folder = folder or _folder(item)
        if no_space is None and isinstance(item, NoSpaceError):
            no_space = item
        if isinstance(item, PartInUseError):
            in_use = item.path
    text = "\n".join(texts)
    return Facts(
        types=frozenset(types),
        errnos=tuple(errnos),
        status=status,
        retry_after_s=parse_retry_after(_header(getattr(response, "headers", headers), "retry-after"), now),
        returncode=returncode,
        text=text,
        host=_host(response, text),
        folder=folder,
        no_space=no_space,
        in_use=in_use,
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status of the answer that is one error by itself, wherever its class keeps it."""
    response = getattr(error, "response", None)
    for owner, name in ((response, "status_code"), (error, "status_code"), (error, "code")):
        value = getattr(owner, name, None)
        # Others have numbers of their own there, such as the exit status of a program.
        if isinstance(value, int) and 100 <= value <= 599:
            return int(value)
    return None


def _folder(error: BaseException) -> str | None:
    if isinstance(error, (NoSpaceError, FolderGoneError)):
        return error.folder
    if isinstance(error, CommandError):
        # As Python programs such as pip write it.
        found = _FULL_FILE_IN_TEXT.search(error.output)
        return None if found is None else os.path.dirname(found.group(1)) or None
    if not isinstance(error, OSError) or error.errno not in (ENOSPC, EDQUOT):
        return None
    # Of two files the second is the one that was written. A number is that of an open file, and no name.
    name = error.filename if error.filename2 is None else error.filename2
    return os.path.dirname(os.path.abspath(os.fsdecode(name))) if isinstance(name, (str, bytes, os.PathLike)) else None


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3: seconds or a date), at most a year; None without one."""
    if not value:
        return None
    value = value.strip()
    if value.isdecimal():
        return min(float(value), _YEAR_S)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), _YEAR_S)
    except (TypeError, ValueError, OverflowError):
        return None


def _header(headers: Any, name: str) -> str | None:
    """A header by its name in lower case; names count in any case (RFC 9110 §5.1), also in a plain dict."""
    if not callable(getattr(headers, "items", None)):
        return None
    for key, value in headers.items():
        if isinstance(key, str) and key.lower() == name:
            return str(value)
    return None


def _host(response: Any, text: str) -> str | None:
    url = getattr(response, "url", None)
    if isinstance(url, str) and url:
        return urlsplit(url).hostname
    match = _HOST_IN_TEXT.search(text)
    return None if match is None else match.group(1) or match.group(2)
