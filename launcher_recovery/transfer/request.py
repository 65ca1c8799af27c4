"""One HTTP request for the rest of a file, and the checks of its answer (RFC 9110 §13 and §14)."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from launcher_recovery.errors import IntegrityError, LoginRequiredError, UnexpectedContentError
from launcher_recovery.redaction import redact_url

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
_READ_SIZE = 1 << 20
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")
_WHOLE_RANGE = re.compile(r"^bytes \*/(\d+)$")


@dataclass(frozen=True)
class Validators:
    """What identifies one version of a file on a server; `size` is in bytes."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None

    @property
    def condition(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date; weak ETags must not be used for it (§13.1.5)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_file(self, other: Validators) -> bool:
        """Whether nothing that both know differs."""
        pairs = ((self.etag, other.etag), (self.last_modified, other.last_modified), (self.size, other.size))
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)


@dataclass(frozen=True)
class Answer:
    """An open response whose body begins at byte `start` of the file."""

    response: requests.Response
    start: int
    validators: Validators

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives; a body shorter than announced raises, after all that came was handed out.

        Raises:
            requests.ConnectionError: it broke, or ended early.
            IntegrityError: more arrived than was announced.
        """
        where = redact_url(self.response.url)
        received = 0
        expected = None if self.validators.size is None else self.validators.size - self.start
        while expected is None or received < expected:
            try:
                data = self._read()
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                # Said again with the address, which those below do not know.
                cause = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
                message = f"the connection to {where} broke after {received} bytes: {cause}"
                raise requests.ConnectionError(message) from error
            if not data:
                break
            received += len(data)
            yield data
        if expected is not None and received < expected:
            raise requests.ConnectionError(f"{where} closed the connection {expected - received} bytes before the end")
        if expected is not None and received > expected:
            raise IntegrityError(f"{where} sent {received - expected} bytes more than announced")

    def _read(self) -> bytes:
        raw: Any = self.response.raw
        # read1 returns what one read of the socket gave: nothing that has arrived is lost when the next one fails.
        data = raw.read1(_READ_SIZE) if hasattr(raw, "read1") else raw.read(1 << 16)
        return bytes(data)


class NotThatFile(Exception):
    """The server no longer has the file that the partial belongs to; begin again."""


def ask(session: requests.Session, url: str, start: int, known: Validators, *, trust_range: bool) -> Answer | None:
    """Ask for the file from byte `start`.

    Args:
        known: validators of the version of which `start` bytes are there.
        trust_range: go on without a condition, because a checksum is going to prove the whole.

    Returns:
        The answer, whose `start` is 0 when the server sends the whole file; None when nothing is missing.

    Raises:
        NotThatFile: the range cannot be had, or is one of another version.
        requests.RequestException: no answer, or one that is an error.
        UnexpectedContentError: the answer is not a file.
    """
    headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if not trust_range and known.condition is not None:
            headers["If-Range"] = known.condition
    response = session.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    try:
        return _examine(response, start, known, trust_range)
    except BaseException:
        response.close()
        raise


def _examine(response: requests.Response, start: int, known: Validators, trust_range: bool) -> Answer | None:
    if response.status_code == 416 and start:
        whole = _WHOLE_RANGE.match(response.headers.get("Content-Range", ""))
        if whole is not None and int(whole.group(1)) == start:
            response.close()
            return None
        raise NotThatFile
    response.raise_for_status()
    _refuse_what_is_no_file(response)
    validators = Validators(response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if response.status_code == 206:
        content_range = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if content_range is None or int(content_range.group(1)) != start:
            raise NotThatFile
        total = content_range.group(3)
        validators = Validators(validators.etag, validators.last_modified, None if total == "*" else int(total))
        expected = Validators(size=known.size) if trust_range else known
        if not expected.same_file(validators):
            raise NotThatFile
        size = validators.size if validators.size is not None else known.size
        return Answer(response, start, Validators(validators.etag, validators.last_modified, size))
    length = response.headers.get("Content-Length")
    size = int(length) if length is not None and length.isdigit() else None
    return Answer(response, 0, Validators(validators.etag, validators.last_modified, size))


def _refuse_what_is_no_file(response: requests.Response) -> None:
    where = redact_url(response.url)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise UnexpectedContentError(f"{where} is sent with Content-Encoding {encoding}, which was not asked for")
    if response.status_code not in (200, 206):
        raise UnexpectedContentError(f"{where} answered with status {response.status_code} instead of a file")
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type in ("text/html", "application/xhtml+xml"):
        raise LoginRequiredError(f"{where} answered with {content_type} instead of a file")
    if content_type == "multipart/byteranges":
        raise UnexpectedContentError(f"{where} answered with {content_type} instead of a file")
