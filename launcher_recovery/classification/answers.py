"""What an HTTP answer says: status, headers, the beginning of its body, how long to wait, whether its link is over."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from launcher_recovery.classification.attributes import attribute

_YEAR_S = 366 * 86400.0
# What is larger is a moment (seconds since 1970), not a number of seconds from now.
_FIRST_MOMENT = 1_000_000_000
_MOST_HEADERS = 100
_BODY_CHARS = 1024
_LONGEST_VALUE = 2048
_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-after")
_SECONDS_LEFT = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d{1,9})\b")


@dataclass(frozen=True)
class Answer:
    """The facts of one HTTP answer."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in small letters."""
    body: str = ""
    """The first KiB."""
    url: str | None = None
    wait_s: float | None = None
    """How long it asks to wait, in seconds."""
    expired: bool = False
    """Its address is signed for a time, which is over."""


def answer_of(error: BaseException, now: float) -> Answer | None:
    """The answer that is with `error` itself, wherever its class keeps it; None without one."""
    response = attribute(error, "response")
    status = _status(error, response)
    headers = _headers(attribute(response, "headers") or attribute(error, "headers"))
    if status is None and not headers:
        return None
    url = _address(response) or _address(error)
    asked_at = _moment(headers.get("date")) or now
    return Answer(
        status=status,
        headers=headers,
        body=_body(response),
        url=url,
        wait_s=_wait(headers, status, asked_at),
        expired=url is not None and _is_over(url, asked_at),
    )


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3: seconds or a date), at most a year; None without one."""
    if not value:
        return None
    value = value.strip()
    if value.isdecimal():
        return min(float(value), _YEAR_S)
    moment = _moment(value)
    return None if moment is None else min(max(0.0, moment - now), _YEAR_S)


def _moment(value: str | None) -> float | None:
    try:
        return None if not value else parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _status(error: BaseException, response: Any) -> int | None:
    if type(error).__module__ == "aiohttp.http_exceptions":
        return None  # it says 400 of what it could not read itself
    # Others have numbers of their own there, such as the exit status of a program; that of an answer that is fine, to
    # which something happened later, is no error.
    for owner, name, lowest in (
        (response, "status_code", 100),
        (error, "status_code", 100),
        (error, "code", 100),
        (response, "status", 400),
        (error, "status", 400),
    ):
        value = attribute(owner, name)
        if isinstance(value, int) and lowest <= value <= 599:
            return int(value)
    return None


def _headers(given: Any) -> dict[str, str]:
    """Headers by their names in small letters; names count in any case (RFC 9110 §5.1), also in a plain dict."""
    items = attribute(given, "items")
    try:
        pairs = list(itertools.islice(items(), _MOST_HEADERS))
        return {key.lower(): str(value)[:_LONGEST_VALUE] for key, value in reversed(pairs) if isinstance(key, str)}
    except Exception:  # it is none of the mappings that clients have
        return {}


def _body(response: Any) -> str:
    """The beginning of a body that has been read already; one that has not is left to its owner."""
    content = attribute(response, "_content")  # of requests, where False says that it has not been read
    if content is None:
        content = attribute(response, "content")
    if isinstance(content, bytes):
        return content[:_BODY_CHARS].decode("utf-8", "replace")
    return content[:_BODY_CHARS] if isinstance(content, str) else ""


def _address(owner: Any) -> str | None:
    url = attribute(owner, "url")
    return None if url is None else str(url)[: 4 * _LONGEST_VALUE] or None


def _wait(headers: Mapping[str, str], status: int | None, now: float) -> float | None:
    told = parse_retry_after(headers.get("retry-after"), now)
    if told is not None or status not in (403, 429):
        return told
    # The limit may be another one than what was reached, as long as something is left of it.
    left = headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining") or "0"
    if left.strip() not in ("0", "-1"):
        return None
    for name in _RESETS:
        try:
            number = float(headers.get(name, ""))
        except ValueError:
            continue
        return min(max(0.0, number - now if number >= _FIRST_MOMENT else number), _YEAR_S)
    # IETF draft-ietf-httpapi-ratelimit-headers, as Hugging Face sends it: "api";r=0;t=55
    match = _SECONDS_LEFT.search(headers.get("ratelimit", ""))
    return None if match is None else min(float(match.group(1)), _YEAR_S)


def _is_over(url: str, now: float) -> bool:
    try:
        asked = parse_qs(urlsplit(url).query, max_num_fields=200)
    except ValueError:
        return False
    given = {name.lower(): values[0] for name, values in asked.items()}
    for vendor in ("x-amz-", "x-goog-"):
        if vendor + "date" in given and given.get(vendor + "expires", "").isdecimal():
            began = _stamp(given[vendor + "date"], "%Y%m%dT%H%M%SZ")
            return began is not None and began + float(given[vendor + "expires"]) < now
    if given.get("expires", "").isdecimal() and "signature" in given:  # CloudFront, Google, S3 of old
        return float(given["expires"]) < now
    if "sig" in given and "se" in given:  # Azure
        ends = _stamp(given["se"], "%Y-%m-%dT%H:%M:%SZ")
        return ends is not None and ends < now
    return False


def _stamp(value: str, form: str) -> float | None:
    try:
        return datetime.strptime(value, form).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
