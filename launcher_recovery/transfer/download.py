"""One attempt of a download: go on where the partial ends, verify, publish."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import requests
import urllib3

from launcher_recovery.errors import IntegrityError
from launcher_recovery.operation import Operation
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.partial import Partial, kept_bytes, sha256_of
from launcher_recovery.transfer.request import NotThatFile, Validators, ask

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
            except _BROKEN as error:
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
    return sha256 is None or sha256_of(destination, operation.check) == sha256.lower()


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
    try:
        answer = ask(session, url, start, known, trust_range=sha256 is not None)
    except NotThatFile:
        start = 0
        answer = ask(session, url, 0, Validators(), trust_range=False)
    if answer is not None:
        start = answer.start
        known = answer.validators
        if size is not None and known.size is not None and known.size != size:
            answer.response.close()
            raise IntegrityError(f"{redact_url(url)} has {known.size} bytes, but {size} bytes were expected")
        operation.metadata[_KEPT] = asdict(known)
        operation.save_metadata()
    with Partial(destination, start, operation.check, hashed=sha256 is not None) as partial:
        operation.resume_at(start, known.size, "bytes")
        if answer is not None:
            with answer.response:
                for chunk in answer.chunks():
                    partial.write(chunk)
                    operation.progress(partial.size, known.size, "bytes")
        _verify(partial, url, sha256, size)
        partial.publish()


def _verify(partial: Partial, url: str, sha256: str | None, size: int | None) -> None:
    wrong = None
    if size is not None and partial.size != size:
        wrong = f"{partial.size} bytes arrived, but {size} bytes were expected"
    elif sha256 is not None and partial.sha256 != sha256.lower():
        wrong = f"the SHA-256 is {partial.sha256}, but {sha256.lower()} was expected"
    if wrong is not None:
        partial.discard()
        raise IntegrityError(f"{redact_url(url)}: {wrong}; the damaged file was deleted")


def _known(operation: Operation) -> Validators:
    kept = operation.metadata.get(_KEPT)
    return Validators(**kept) if isinstance(kept, dict) else Validators()
