"""Error messages in JSON or XML that servers send: what they say, and which HTTP status they amount to."""

from __future__ import annotations

import http
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher_recovery.redaction import Redactor

_LONGEST_QUOTE = 200

_PHRASES = {status.phrase.lower(): status.value for status in http.HTTPStatus if status.value >= 400}
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; R2, Backblaze and Google answer alike.
_S3_CODES = {
    "AccessDenied": 403,
    "AccountProblem": 403,
    "AllAccessDisabled": 403,
    "AuthenticationRequired": 401,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "RequestTimeTooSkewed": 403,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyRequests": 429,
}
_LOGIN = re.compile(
    r"\b(?:logged in|log in|login required|sign in|be authenticated|not authenticated|access token|api key|api token"
    r"|authorization header|gated)\b",
    re.IGNORECASE,
)

_XML = re.compile(r"\s*(?:<\?xml[^>]*\?>\s*)?<Error(?:\s[^>]*)?>")
_XML_CODE = re.compile(r"<Code>([^<]*)</Code>")
_XML_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")

# Where a JSON document says what happened, the most telling first, and what else documents of that kind have.
_SAYING = ("message", "error_description", "detail", "error", "errors", "title", "reason")
_BESIDE = frozenset({
    "code", "data", "description", "documentation_url", "error_code", "errorcode", "instance", "ok", "path",
    "request_id", "requestid", "result", "status", "status_code", "statuscode", "success", "timestamp", "trace_id",
    "traceid", "type", "url",
})  # fmt: skip
_STATUS = ("status", "status_code", "statusCode", "code")


@dataclass(frozen=True)
class ErrorDocument:
    """An error message of a server: what it says, fit to be shown, and the HTTP status that it amounts to, if known.

    `is_nothing_else` is False where the document has members that messages usually do not have.
    """

    message: str
    status: int | None
    is_nothing_else: bool = True


def read(data: bytes) -> ErrorDocument | None:
    """The error message that a whole document in JSON, or the beginning of one in XML, is; None if it is none.

    The XML is that of Amazon S3 and those that copy it; the JSON that of Hugging Face, CivitAI, Google, GitHub,
    FastAPI and RFC 9457.
    """
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    if _XML.match(text):
        return _read_xml(text)
    if not text.lstrip().startswith("{"):
        return None
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _read_json(members) if isinstance(members, dict) else None


def status_of_phrase(text: str) -> int | None:
    """The HTTP status whose reason phrase this is, such as 401 for "Unauthorized"; None for any other text."""
    return _PHRASES.get(text.strip().lower().rstrip(".!"))


def quoted(text: str) -> str:
    """Words of a server, fit to be shown: on one line, without secrets, at most 200 characters."""
    text = Redactor().text(text[: 8 * _LONGEST_QUOTE])
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _LONGEST_QUOTE else f"{line[: _LONGEST_QUOTE - 1]}…"


def _read_xml(text: str) -> ErrorDocument | None:
    code, message = _XML_CODE.search(text), _XML_MESSAGE.search(text)
    if code is None:
        return None
    said = [found[1].strip() for found in (code, message) if found is not None and found[1].strip()]
    return ErrorDocument(quoted(": ".join(said)), _S3_CODES.get(code[1].strip()))


def _read_json(members: Mapping[str, Any]) -> ErrorDocument | None:
    said = [text for text in map(_text, map(members.get, _SAYING)) if text]
    if not said:
        return None
    others = {name.lower() for name in members} - {*_SAYING, *_BESIDE}
    return ErrorDocument(quoted(said[0]), _json_status(members, said), not others)


def _json_status(members: Mapping[str, Any], said: list[str]) -> int | None:
    inner = members.get("error")
    for document in (members, inner if isinstance(inner, dict) else {}):
        for name in _STATUS:
            value = document.get(name)
            if type(value) is int and 400 <= value <= 599:
                return value
    for text in said:
        status = status_of_phrase(text)
        if status is not None:
            return status
    return 401 if any(_LOGIN.search(text) for text in said) else None


def _text(value: Any) -> str | None:
    """The text that a member has, itself or as the first of those inside."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = next((value[name] for name in _SAYING if isinstance(value.get(name), str)), None)
    return value.strip() if isinstance(value, str) else None
