"""One HTTP request for a range of a file, its redirects, and the checks of its answer (RFC 9110 §13 to §15)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL
from urllib3.exceptions import LocationParseError

from launcher_recovery.errors import AddressExpiredError, RefusedError, UnexpectedContentError
from launcher_recovery.redaction import Redactor, redact_url
from launcher_recovery.secret_names import is_signature_parameter
from launcher_recovery.transfer.content import error_documents
from launcher_recovery.transfer.healing.own import ours
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.sources.source import HeldError, Source, same_origin

CONNECT_TIMEOUT_S = 10.0
FIRST_BYTE_TIMEOUT_S = 30.0
MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$")
_WHOLE_RANGE = re.compile(r"^bytes \*/(\d{1,18})$")
_MESSAGE_BYTES = 8192


@dataclass(frozen=True)
class Answer:
    """An open response whose body begins at byte `start` of the file.

    `end` is where it ends (exclusive), None when that was not told; `is_whole` says that it is all of the file, and
    not the range that was asked for. Without a response nothing is missing behind `start`.
    """

    response: requests.Response | None
    start: int
    end: int | None
    validators: Validators
    is_whole: bool

    def close(self) -> None:
        if self.response is not None:
            self.response.close()


class NotThatFile(Exception):
    """The server gives no range of the file that the partial belongs to; ask for the whole."""


class FileChangedError(NotThatFile):
    """The server has another version of the file than the one that the partial belongs to.

    Args:
        size: bytes of that, when it is another number; else None.
    """

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size


def ask(
    session: requests.Session, source: Source, start: int, end: int | None, known: Validators, *, trust_range: bool
) -> Answer:
    """Ask for bytes `start` to `end` (exclusive; None: all that follow) of a file.

    Args:
        known: validators of the version of which bytes are there already, as this source told them.
        trust_range: go on without a condition, because a checksum is going to prove the whole.

    Returns:
        The answer; it begins at 0 when the server sends the whole file instead.

    Raises:
        NotThatFile: the range cannot be had, or (`FileChangedError`) is one of another version.
        requests.RequestException: no answer, or one that is an error; `HeldError`: it is not the time to ask.
        AddressExpiredError: the address is signed, and no longer valid.
        UnexpectedContentError: the answer is not a file.
    """
    headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if start and not trust_range and known.condition is not None:
            headers["If-Range"] = known.condition
    response = _get(session, source, headers, may_downgrade=trust_range)
    try:
        return _examine(response, source, start, end, known, trust_range)
    except BaseException:
        response.close()
        raise


# -- redirects ----------------------------------------------------------------------------------------


class _MisledError(InvalidURL):
    """A server sends one to an address that cannot be asked."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{redact_url(url)} redirects to an address that is not usable: {why}")


def _get(session: requests.Session, source: Source, headers: Mapping[str, str], may_downgrade: bool) -> Any:
    """The answer behind all redirects. Where they led last time is asked first, the address itself if that fails."""
    resolved = source.resolved
    if resolved is not None:
        response = _send(session, source, resolved, headers)
        if response.status_code not in _REDIRECTS and response.status_code < 400:
            return response
        # A signed address may have expired; the one that was given leads to a new one.
        if response.status_code not in _REDIRECTS and response.status_code not in (400, 401, 403, 404, 410):
            return response
        response.close()
        source.resolved = None
        return _follow(session, source, headers, may_downgrade)
    response = _follow(session, source, headers, may_downgrade)
    if response.status_code in (401, 403) and not same_origin(source.resolved or source.url, source.url):
        # Whoever was asked for the file does not refuse it: where that led may have come out of a cache.
        response.close()
        response = _follow(session, source, headers, may_downgrade)
    return response


def _follow(session: requests.Session, source: Source, headers: Mapping[str, str], may_downgrade: bool) -> Any:
    """The answer behind the redirects that begin at the address itself."""
    url, led_by = source.url, ""
    seen = {url}
    for _ in range(MOST_REDIRECTS + 1):
        try:
            response = _send(session, source, url, headers)
        except (InvalidURL, InvalidSchema) as error:
            if not led_by or isinstance(error, (InvalidProxyURL, _MisledError)):
                raise
            raise _MisledError(led_by, str(error)) from error
        location = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or not location:
            source.resolved = None if url == source.url else url
            return response
        source.told(response.headers, url)
        response.close()
        target = _target(url, location)
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http" and not may_downgrade:
            raise UnexpectedContentError(
                f"{redact_url(url)} redirects to an address without encryption, where anybody on the way could change "
                "the file; it is not followed without a checksum of the file"
            )
        if target in seen:
            raise requests.TooManyRedirects(f"{redact_url(url)} redirects in a circle")
        if source.is_held(target):
            source.resolved = target  # which says whom to wait for, and is asked first afterwards
            raise HeldError(f"the server to which {redact_url(url)} redirects is to be left alone")
        seen.add(target)
        url, led_by = target, url
    raise requests.TooManyRedirects(f"{redact_url(source.url)} redirects more than {MOST_REDIRECTS} times")


def _target(url: str, location: str) -> str:
    """Where the answer of an address sends one."""
    with suppress(UnicodeError):
        # Headers are read as Latin-1, and many servers write UTF-8 there.
        location = location.encode("latin-1").decode()
    return urljoin(url, location)


def _send(session: requests.Session, source: Source, url: str, headers: Mapping[str, str]) -> requests.Response:
    given: dict[str, Any] = dict(headers)
    options: dict[str, Any] = {}
    if same_origin(url, source.url):
        given = {**source.headers, **given}
        if session.auth is None and any(name.lower() == "authorization" for name in source.headers):
            options["auth"] = _as_it_is  # else requests puts what a .netrc has in its place
    else:
        # What the caller's session would send with everything is for the given address alone.
        secret = ("authorization", "cookie", "proxy-authorization")
        given.update({name: None for name in session.headers if name.lower() in secret or name.lower()[:2] == "x-"})
        if session.auth is not None:
            options["auth"] = _as_it_is
    timeout = (CONNECT_TIMEOUT_S, FIRST_BYTE_TIMEOUT_S)
    try:
        with ours():
            return session.get(url, headers=given, stream=True, timeout=timeout, allow_redirects=False, **options)
    except RefusedError:
        raise
    except requests.RequestException as error:
        raise _without_secrets(error, url) from error.__cause__ or error.__context__
    except LocationParseError as error:  # urllib3 finds some out no sooner than when it connects
        raise _without_secrets(InvalidURL(str(error)), url) from error
    except ValueError as error:  # requests looks at where a redirect leads also when it is not to follow it
        raise _MisledError(url, "it cannot be read") from error


def _as_it_is(request: Any) -> Any:
    """Authenticates nobody."""
    return request


def _without_secrets(error: requests.RequestException, url: str) -> requests.RequestException:
    """The error as it may be told: requests puts the whole address into its text."""
    where = redact_url(url)
    text = str(error)
    told = Redactor().text(text)
    parts = urlsplit(url)
    if parts.query:
        told = told.replace(f"{parts.path}?{parts.query}", urlsplit(where).path)
    if told == text:
        return error
    return type(error)(f"{where}: {told}")


# -- the answer ---------------------------------------------------------------------------------------


def _examine(
    response: requests.Response, source: Source, start: int, end: int | None, known: Validators, trust_range: bool
) -> Answer:
    if response.status_code == 416:
        return _nothing_there(response, start, known)
    if response.status_code >= 400:
        raise _error_of(response, source)
    if response.status_code not in (200, 206):
        raise UnexpectedContentError(
            f"{redact_url(response.url)} answered with status {response.status_code} instead of a file"
        )
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnexpectedContentError(
            f"{redact_url(response.url)} is sent with Content-Encoding {encoding}, which was not asked for"
        )
    source.told(response.headers, response.url)
    validators = Validators(response.headers.get("ETag"), response.headers.get("Last-Modified"))
    length = _length(response)
    if response.status_code == 200:
        whole = Validators(validators.etag, validators.last_modified, length)
        return Answer(response, 0, length, whole, is_whole=True)
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", "").strip())
    if match is None:
        raise NotThatFile
    first, last = int(match.group(1)), int(match.group(2))
    total = None if match.group(3) == "*" else int(match.group(3))
    if first != start or last < first or (total is not None and last >= total):
        raise NotThatFile
    if length is not None and length != last + 1 - first:
        raise NotThatFile
    validators = Validators(validators.etag, validators.last_modified, total)
    expected = Validators(size=known.size) if trust_range else known
    if start and not expected.same_file(validators):
        raise FileChangedError(None if total == known.size else total)
    if total is None:
        validators = Validators(validators.etag, validators.last_modified, known.size)
    return Answer(response, start, last + 1, validators, is_whole=False)


def _nothing_there(response: requests.Response, start: int, known: Validators) -> Answer:
    """What a 416 says: the file ends where the range begins, or it is another one."""
    whole = _WHOLE_RANGE.match(response.headers.get("Content-Range", "").strip())
    size = None if whole is None else int(whole.group(1))
    if size is not None and size == start:
        response.close()
        validators = Validators(response.headers.get("ETag"), response.headers.get("Last-Modified"), size)
        return Answer(None, start, start, validators, is_whole=start == 0)
    if start and known.size is not None and size is not None and size != known.size:
        raise FileChangedError(size)
    raise NotThatFile


def _length(response: requests.Response) -> int | None:
    """Content-Length, unless the body is sent in chunks or the header makes no sense."""
    text = response.headers.get("Content-Length", "").strip()
    if response.headers.get("Transfer-Encoding") or not text:
        return None
    values = {value.strip() for value in text.split(",")}
    if len(values) == 1 and (value := values.pop()).isdecimal() and len(value) <= 18:
        return int(value)
    raise UnexpectedContentError(
        f"{redact_url(response.url)} says that it sends {text!r:.60} bytes, which is not a number"
    )


def _error_of(response: requests.Response, source: Source) -> Exception:
    """What to raise for a status that is an error, with the server's own words where it has some."""
    where = redact_url(response.url)
    said = ""
    try:
        document = error_documents.read(response.raw.read(_MESSAGE_BYTES, decode_content=True))
        said = f': it says "{document.message}"' if document is not None and document.message else ""
    except Exception:  # whatever is wrong with the body of an error
        said = ""
    text = f"{where} answered {response.status_code} {response.reason or ''}".rstrip() + said
    error = requests.HTTPError(text, response=response)
    if response.status_code in (401, 403, 410) and is_signed(source.url):
        expired = AddressExpiredError(f"{text}; the address holds a signature, which is valid only for a while")
        expired.__cause__ = error
        return expired
    return error


def is_signed(url: str) -> bool:
    """Whether the address has a signature among its parameters; a token there does not expire by itself."""
    names = (pair.partition("=")[0] for pair in urlsplit(url).query.split("&"))
    return any(is_signature_parameter(name) for name in names if name)
