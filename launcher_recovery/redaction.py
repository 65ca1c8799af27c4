"""Takes secrets out of URLs and text before they reach a database, a log, an event or a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

MASK = "***"

# Query parameters that carry credentials or signatures: the pre-signed URLs of AWS (X-Amz-*), Google (X-Goog-*),
# Azure (sig), CloudFront (Policy, Signature, Key-Pair-Id), and what model hubs call their tokens.
_SECRET_PARAMETER = re.compile(
    r"^(x-amz-.*|x-goog-.*|sig|signature|policy|key-pair-id|se|sp|sv|sr|expires|awsaccesskeyid|googleaccessid"
    r"|.*token.*|.*secret.*|.*passw(or)?d.*|pwd|auth(orization)?|.*api[-_]?key.*|key|credentials?|hmac|jwt|session(id)?)$",
    re.IGNORECASE,
)
# Names of JSON members whose value is a secret. Narrower than the above: workflows have members such as
# `token_normalization`, which must be kept.
_SECRET_MEMBER = re.compile(
    r"^(.*[_-])?(token|secret|passw(or)?d|api[-_]?key|authorization|cookie|credentials?)$", re.IGNORECASE
)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>\\]+", re.IGNORECASE)
_TEXT_SECRETS = (
    re.compile(r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token)\s+)?)[^\s'\",;]+"),
    re.compile(r"(?i)(\bbearer\s+)[a-z0-9._~+/=-]{8,}"),
    re.compile(r"(?i)(\b(?:set-)?cookie['\"]?\s*[:=]\s*)[^\r\n'\"]+"),
    re.compile(r"(?i)(\b[\w-]*(?:api[-_]?key|token|secret|passw(?:or)?d)['\"]?\s*[:=]\s*['\"]?)(?!\*\*\*)[^\s'\",;&]+"),
    re.compile(r"()\bhf_[A-Za-z0-9]{16,}\b"),
    re.compile(r"()\bgh[pousr]_[A-Za-z0-9]{16,}\b"),
    re.compile(r"()\bgithub_pat_[A-Za-z0-9_]{16,}\b"),
    re.compile(r"()\bAKIA[0-9A-Z]{16}\b"),
)


def redact_url(url: str) -> str:
    """The URL without user name and password, and with `***` for the values of secret query parameters."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return MASK
    if any(_SECRET_PARAMETER.match(name) for name, _ in query):
        masked = [(name, MASK if _SECRET_PARAMETER.match(name) else value) for name, value in query]
        parts = parts._replace(query=urlencode(masked, safe="*/:"))
    return urlunsplit(parts._replace(netloc=host))


class Redactor:
    """Redacts text and JSON values; further rules are functions from text to text."""

    def __init__(self) -> None:
        self.rules: list[Callable[[str], str]] = []

    def text(self, text: str) -> str:
        """`text` without secrets."""
        text = _URL.sub(lambda match: redact_url(match.group()), text)
        for pattern in _TEXT_SECRETS:
            text = pattern.sub(lambda match: f"{match.group(1)}{MASK}", text)
        for rule in self.rules:
            text = rule(text)
        return text

    def value(self, value: Any) -> Any:
        """A JSON-like value with every string in it redacted, and the values of secret names masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                key: MASK if isinstance(item, (str, bytes)) and _SECRET_MEMBER.match(str(key)) else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, tuple):  # a named tuple as well, whose class cannot be called like `tuple`
            return tuple(self.value(item) for item in value)
        return value
