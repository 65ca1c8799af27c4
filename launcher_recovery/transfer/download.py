"""One attempt of a download: go on where the partial ends, verify, publish."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import requests
import urllib3

from launcher_recovery.errors import IntegrityError
from launcher_recovery.operation import Operation
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.partial import Partial, digest_of, kept_bytes, path_for
from launcher_recovery.transfer.request import Answer, NotThatFile, Validators, ask

_KEPT = "transfer"
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


def download(
    operation: Operation,
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    sources: Sequence[str] = (),
    session: requests.Session | None = None,
) -> Path:
    """Download `url` to `destination`, going on from what earlier attempts left.

    Nothing appears at `destination` but the whole file, verified as far as `sha256` and `size` allow.

    Args:
        operation: keeps what identifies the file's version, and is told the progress.
        sha256: expected SHA-256 in hexadecimal.
        size: expected size in bytes.
        sources: further addresses of the same file, tried in order within the attempt when one before refuses;
            used only when `sha256` is known, since nothing else proves that they are the same.
        session: for connections; default: a new one.

    Raises:
        IntegrityError: what arrived is not what was asked for; it was deleted.
        requests.RequestException, OSError: the transfer broke; what arrived is kept.
    """
    if _is_there(operation, destination, sha256, size):
        return destination
    urls = [url, *sources] if sha256 else [url]
    with session or requests.Session() as connections:
        first_error: Exception | None = None
        for candidate in urls:
            before = kept_bytes(destination)
            try:
                _fetch(operation, connections, candidate, destination, sha256, size)
                return destination
            except (*_BROKEN, IntegrityError) as error:
                # New bytes came: the source works, the next attempt goes on there.
                if kept_bytes(destination) > before:
                    raise
                first_error = first_error or error
    assert first_error is not None
    raise first_error


def _is_there(operation: Operation, destination: Path, sha256: str | None, size: int | None) -> bool:
    if not destination.is_file():
        return False
    if size is not None and destination.stat().st_size != size:
        return False
    if sha256 is None:
        return True
    length = destination.stat().st_size
    return bool(digest_of(destination, length, operation.check).hexdigest() == sha256.lower())


def _fetch(
    operation: Operation,
    session: requests.Session,
    url: str,
    destination: Path,
    sha256: str | None,
    size: int | None,
) -> None:
    known = _known(operation)
    start = kept_bytes(destination)
    if start and known.condition is None and sha256 is None:
        start = 0  # nothing would tell whether the rest belongs to it
    if known.size is not None and start > known.size:
        start = 0
    # Hashed before the server is asked: it would not wait for minutes with the connection open.
    digest = None if sha256 is None else digest_of(path_for(destination), start, operation.check)
    answer = _ask(session, url, start, known, trust_range=sha256 is not None)
    with nullcontext() if answer is None else answer.response:
        total: int | None = start
        if answer is not None:
            total = answer.validators.size
            if size is not None and total is not None and total != size:
                raise IntegrityError(f"{redact_url(url)} has {total} bytes, but {size} bytes were expected")
            if answer.start != start:
                start = answer.start
                digest = None if sha256 is None else hashlib.sha256()
            operation.metadata[_KEPT] = asdict(answer.validators)
            operation.save_metadata()
        with Partial(destination, start, digest) as partial:
            operation.resume_at(start, total, "bytes")
            for chunk in () if answer is None else answer.chunks():
                partial.write(chunk)
                operation.progress(partial.size, total, "bytes")
            _verify(operation, partial, url, sha256, size)
            partial.publish()


def _ask(session: requests.Session, url: str, start: int, known: Validators, *, trust_range: bool) -> Answer | None:
    """The answer for the rest, else for the whole."""
    try:
        return ask(session, url, start, known, trust_range=trust_range)
    except NotThatFile:
        pass
    try:
        return ask(session, url, 0, Validators(), trust_range=False)
    except NotThatFile:
        raise IntegrityError(f"{redact_url(url)} sent a part of the file that was not asked for") from None


def _verify(operation: Operation, partial: Partial, url: str, sha256: str | None, size: int | None) -> None:
    wrong = None
    if size is not None and partial.size != size:
        wrong = f"{partial.size} bytes arrived, but {size} bytes were expected"
    elif sha256 is not None and partial.sha256 != sha256.lower():
        wrong = f"the SHA-256 is {partial.sha256}, but {sha256.lower()} was expected"
    if wrong is not None:
        partial.discard()
        # What this attempt won is lost again.
        operation.moved = False
        operation.resume_at(0, size, "bytes")
        raise IntegrityError(f"{redact_url(url)}: {wrong}; the damaged file was deleted")


def _known(operation: Operation) -> Validators:
    kept = operation.metadata.get(_KEPT)
    return Validators(**kept) if isinstance(kept, dict) else Validators()
