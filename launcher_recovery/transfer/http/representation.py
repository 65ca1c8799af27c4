"""Which version of a thing a server sends, and whether an answer goes on with the same one (RFC 9110 §8, §13, §14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(r"^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$")


@dataclass(frozen=True)
class Representation:
    """One version, in one encoding.

    Args:
        condition: the validator for If-Range: a strong ETag, else a date that is as good as one.
        encoding: of its Content-Encoding, in lower case; empty when there is none.
        size: bytes as they are sent, so with that encoding; None: unknown.
    """

    condition: str
    encoding: str = ""
    size: int | None = None


@dataclass(frozen=True)
class Rest:
    """An answer that goes on: it ends before byte `end` of the `representation`."""

    end: int
    representation: Representation


def sent_with(headers: Mapping[str, str]) -> Representation | None:
    """What an answer with status 200 is one of; None: nothing would prove that further bytes belong to it.

    Args:
        headers: those of the answer, by names in any case.
    """
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    encoding = _encoding(headers) or ""
    etag = headers.get("ETag", "").strip()
    # A weak one says that two versions mean the same, not that their bytes are the same (§8.8.1, §13.1.5).
    condition = etag if etag.startswith('"') else None
    if condition is None and not encoding:  # the same date goes with every encoding
        condition = _strong_date(headers)
    if condition is None:
        return None
    return Representation(condition, encoding, _length(headers))


def rest_of(status: int, headers: Mapping[str, str], start: int, known: Representation) -> Rest | None:
    """What an answer to a request for all bytes from `start` on brings; None when it does not go on with `known`.

    The answer has to repeat the validator: a server that overlooks If-Range is not to mix two versions.
    """
    match = _CONTENT_RANGE.match(headers.get("Content-Range", "").strip())
    if status != 206 or match is None:
        return None
    first, last = int(match.group(1)), int(match.group(2))
    size = known.size if match.group(3) == "*" else int(match.group(3))
    if first != start or last < first or size != (known.size or size) or (size is not None and last >= size):
        return None
    length = _length(headers)
    if length is not None and length != last + 1 - first:
        return None
    name = "ETag" if known.condition.startswith('"') else "Last-Modified"
    if headers.get(name, "").strip() != known.condition:
        return None
    if _encoding(headers) not in (None, known.encoding):
        return None
    return Rest(last + 1, replace(known, size=size))


def _encoding(headers: Mapping[str, str]) -> str | None:
    """Content-Encoding; None when the header is not there, which a 206 may leave out (§15.3.7)."""
    found = headers.get("Content-Encoding")
    if found is None:
        return None
    found = found.strip().lower()
    return "" if found == "identity" else found


def _strong_date(headers: Mapping[str, str]) -> str | None:
    """Last-Modified, if the file cannot have changed a second time within the same second (§8.8.2.2)."""
    modified = headers.get("Last-Modified", "").strip()
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= 1 else None


def _length(headers: Mapping[str, str]) -> int | None:
    """Content-Length, where it is what counts."""
    values = {value.strip() for value in headers.get("Content-Length", "").split(",")}
    if headers.get("Transfer-Encoding") or len(values) != 1:
        return None
    value = values.pop()
    return int(value) if value.isdecimal() and len(value) <= 18 else None
