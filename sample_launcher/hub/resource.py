"""A file on offer as the server sees it: size, validators and bytes, wherever they come from."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from . import content
from .shelf import Model

_FIRST = 1_767_225_600
"""2026-01-01, in seconds: the date of a first version; each later one is a day younger."""

_DAY = 86_400


@dataclass(frozen=True)
class Resource:
    """One version of a file; `rate` in bytes a second or None; `read(start, length)` gives the bytes."""

    size: int
    etag: str
    modified: str
    content_type: str
    rate: int | None
    read: Callable[[int, int], Iterator[memoryview]]


def _etag(*parts: object) -> str:
    return '"' + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24] + '"'


def of_model(model: Model, version: int) -> Resource:
    """A version of a model."""
    return Resource(
        size=model.size,
        etag=_etag(model.name, model.size, version),
        modified=formatdate(_FIRST + version * _DAY, usegmt=True),
        content_type="application/octet-stream",
        rate=model.rate,
        read=lambda start, length: content.read(model.name, version, model.size, start, length),
    )


def of_file(file: Path, version: int) -> Resource:
    """A small file of the site; a later version has other validators and the same bytes."""
    data = file.read_bytes()

    def read(start: int, length: int) -> Iterator[memoryview]:
        yield memoryview(data)[start : start + length]

    return Resource(
        size=len(data),
        etag=_etag(hashlib.sha256(data).hexdigest(), version),
        modified=formatdate(_FIRST + version * _DAY, usegmt=True),
        content_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
        rate=None,
        read=read,
    )
