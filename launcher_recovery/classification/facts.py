"""Reads the facts of an exception that rules look at: types, numbers, texts, HTTP answer, program, host."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from itertools import islice
from urllib.parse import urlsplit

from launcher_recovery.classification.answers import Answer, answer_of, parse_retry_after
from launcher_recovery.classification.attributes import attribute
from launcher_recovery.classification.outputs import Command, Told, command_of, status_in, told_in, types_of
from launcher_recovery.errors import CommandError, FolderGoneError, NoSpaceError, PartInUseError, StoredError, text_of

__all__ = ["Facts", "Link", "chain_of", "parse_retry_after", "read"]

_MAX_CHAIN = 16
_MOST_INNER = 16
_MOST_MESSAGE = 4096
_TAIL = 16_384
_MESSAGE_END = 1024
_FULL_FILE_IN_TEXT = re.compile(r"(?:No space left on device|Disk quota exceeded): '([^'\n]+)'")
_HOST_IN_TEXT = re.compile(r"(?:host='([^']+)'|https?://(?:[^/\s'\"@]{0,500}@)?([^/\s'\":]+))")

# The same classes under other names: as pip carries them, and before or after a package was rearranged.
_SAME = (
    ("pip._vendor.", ""),
    ("huggingface_hub.utils._errors.", "huggingface_hub."),
    ("huggingface_hub.utils._validators.", "huggingface_hub."),
    ("huggingface_hub.errors.", "huggingface_hub."),
    ("aiohttp.client_exceptions.", "aiohttp."),
    ("httpx2.", "httpx."),
    ("httpx._exceptions.", "httpx."),
    ("httpcore2.", "httpcore."),
    ("httpcore._exceptions.", "httpcore."),
    ("psycopg2.errors.", "psycopg.errors."),
    ("psycopg2.", "psycopg."),
    ("billiard.exceptions.", "celery.exceptions."),
    ("torch.cuda.", "torch."),
    ("_pickle.", "pickle."),
    ("safetensors_rust.", "safetensors."),
    ("safetensors._safetensors_rust.", "safetensors."),
)


@dataclass(frozen=True)
class Link:
    """The facts of one exception, or of an error of which the output of a program tells."""

    types: tuple[str, ...]
    message: str = ""
    errno: int | None = None
    winerror: int | None = None
    codes: tuple[str, ...] = ()
    file: str | None = None
    """The name of the file that it is about, without folders and `.exe`."""


@dataclass(frozen=True)
class Facts:
    """The facts of one exception and of those it was caused by, outermost first."""

    links: tuple[Link, ...] = ()
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    url: str | None = None
    expired: bool = False
    retry_after_s: float | None = None
    program: str | None = None
    exit: int | None = None
    output: str | None = None
    """None: it is not about a program."""
    host: str | None = None
    folder: str | None = None
    """Where on the disk it happened, of errors that are about the disk."""
    no_space: NoSpaceError | None = None
    in_use: str | None = None
    """The file that another program writes to."""
    told: Facts | None = field(default=None, repr=False)
    """What the output of the program tells of: exceptions, an HTTP status."""

    @property
    def types(self) -> frozenset[str]:
        """The names of all classes in the chain."""
        return frozenset(name for link in self.links for name in link.types)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error, then its causes and contexts, the exceptions of its group and those inside its arguments; each once,
    at most 16."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue and len(seen) < _MAX_CHAIN:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [arg for arg in islice(current.args, _MOST_INNER) if isinstance(arg, BaseException)]
        for name in ("reason", "original_error", "os_error", "_os_error"):  # where urllib3 and others keep the cause
            kept = attribute(current, name)
            if isinstance(kept, BaseException):
                inner.append(kept)
        group = attribute(current, "exceptions")
        if isinstance(group, tuple):
            inner.extend(item for item in group[:_MOST_INNER] if isinstance(item, BaseException))
        if current.__cause__ is not None:
            inner.append(current.__cause__)
        elif current.__context__ is not None and not current.__suppress_context__:
            inner.append(current.__context__)
        queue.extend(inner)


def read(error: BaseException, now: float) -> Facts:
    """The facts of `error`; `now` (seconds since the epoch) turns a Retry-After date into seconds."""
    links: list[Link] = []
    answer: Answer | None = None
    command: Command | None = None
    folder: str | None = None
    no_space: NoSpaceError | None = None
    in_use: str | None = None
    for item in chain_of(error):
        ran = command_of(item)
        links.append(_link(item, ran))
        command = command or ran
        if answer is None or answer.status is None:
            answer = answer_of(item, now) or answer
        folder = folder or _folder(item)
        if no_space is None and isinstance(item, NoSpaceError):
            no_space = item
        if isinstance(item, PartInUseError):
            in_use = item.path
    answer = answer or Answer()
    texts = [link.message for link in links]
    if command is not None:
        texts.insert(0, command.output)
    host = _host(answer.url, texts)
    return Facts(
        links=tuple(links),
        status=answer.status,
        headers=answer.headers,
        body=answer.body,
        url=answer.url,
        expired=answer.expired,
        retry_after_s=answer.wait_s,
        program=None if command is None else command.program,
        exit=None if command is None else command.exit,
        output=None if command is None else command.output,
        host=host,
        folder=folder,
        no_space=no_space,
        in_use=in_use,
        told=_told(command, links, folder, host),
    )


def _link(error: BaseException, command: Command | None) -> Link:
    """The facts of one exception by itself; what a failed program printed is not among them."""
    types = tuple(_same(f"{cls.__module__}.{cls.__qualname__}") for cls in type(error).__mro__)
    message = ""
    if isinstance(error, StoredError):
        types = (*types, _same(error.type_name))
        message = error.message
    elif command is None:
        message = text_of(error)
    number = attribute(error, "errno")
    # TLS and name-resolution errors keep codes of their own in that attribute (1 is not EPERM there).
    if not isinstance(number, int) or isinstance(error, (ssl.SSLError, socket.gaierror)):
        number = None
    windows = attribute(error, "winerror")
    return Link(
        types=types,
        message=_bounded(message),
        errno=number,
        winerror=windows if isinstance(windows, int) else None,
        codes=_codes(error),
        file=_file(error),
    )


def _same(name: str) -> str:
    for begin, instead in _SAME:
        if name.startswith(begin):
            name = instead + name[len(begin) :]
    return name


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_MESSAGE else f"{text[: _MOST_MESSAGE - _MESSAGE_END]} … {text[-_MESSAGE_END:]}"


def _codes(error: BaseException) -> tuple[str, ...]:
    found = [attribute(error, name) for name in ("sqlite_errorname", "sqlstate", "pgcode")]
    return tuple(code for code in found if isinstance(code, str))


def _file(error: BaseException) -> str | None:
    name = attribute(error, "filename")
    if not isinstance(name, (str, bytes, os.PathLike)):
        return None
    last = re.split(r"[/\\]", os.fsdecode(name))[-1].lower()
    return last[:-4] if last.endswith(".exe") else last


def _told(command: Command | None, links: list[Link], folder: str | None, host: str | None) -> Facts | None:
    """What the output of a program tells of, as the facts of exceptions and of an answer."""
    if command is None:
        # Clients that give up over statuses name the last one in words alone.
        status = next((status for status in map(status_in, (link.message for link in links)) if status), None)
        return None if status is None else Facts(status=status, host=host)
    told = told_in(command.output)
    status = status_in(command.output)
    if not told and status is None:
        return None
    return Facts(links=tuple(_told_link(item) for item in told), status=status, host=host, folder=folder)


def _told_link(told: Told) -> Link:
    types = () if told.type is None else tuple(_same(name) for name in types_of(told.type))
    if told.errno is not None and "builtins.OSError" in types:
        # Python makes the class that goes with the number.
        types = tuple(dict.fromkeys([*types_of(type(OSError(told.errno, "")).__name__), *types]))
    name = re.search(r": '([^'\n]{1,1000})'$", told.message)
    file = None if name is None else re.split(r"[/\\]", name.group(1))[-1].lower()
    return Link(types, _bounded(told.message), told.errno, told.winerror, file=file)


def _folder(error: BaseException) -> str | None:
    if isinstance(error, (NoSpaceError, FolderGoneError)):
        return error.folder
    if isinstance(error, CommandError):
        # As Python programs such as pip write it.
        found = _FULL_FILE_IN_TEXT.search(error.output[-_TAIL:])
        return None if found is None else os.path.dirname(found.group(1)) or None
    if not isinstance(error, OSError) or error.errno not in (ENOSPC, EDQUOT):
        return None
    # Of two files the second is the one that was written. A number is that of an open file, and no name.
    name = error.filename if error.filename2 is None else error.filename2
    return os.path.dirname(os.path.abspath(os.fsdecode(name))) if isinstance(name, (str, bytes, os.PathLike)) else None


def _host(url: str | None, texts: list[str]) -> str | None:
    if url is not None:
        try:
            return urlsplit(url).hostname
        except ValueError:
            return None
    for text in texts:
        match = _HOST_IN_TEXT.search(text)
        if match is not None:
            return match.group(1) or match.group(2)
    return None
