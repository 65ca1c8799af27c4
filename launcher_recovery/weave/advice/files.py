"""The files of an import: each is had by an operation of its own, and the launcher's own code finds it there."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher_recovery.defaults.http import fetch
from launcher_recovery.errors import AddressExpiredError, RecoveryError, UnexpectedContentError
from launcher_recovery.fixes.places import QUARANTINE, QUARANTINED
from launcher_recovery.joinpoints import Call
from launcher_recovery.kinds import Arguments, Sources
from launcher_recovery.known_secrets import know
from launcher_recovery.operation import Operation
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.existing import is_there
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.sources.hubs import headers_for, takes_token
from launcher_recovery.transfer.sources.source import same_origin
from launcher_recovery.weave.advice.asked import ListedAddressError, normal
from launcher_recovery.weave.advice.setup import Verified, current_setup

logger = logging.getLogger("launcher_recovery")

PLACED = "placed"
"""Among the metadata of a download: where the file is instead of where it was to be, beside another one of the name."""

VERIFIED = "verified"
"""Among the metadata of a download: what the file looked like when its checksum was found right."""

_LISTS = "/comfyui-launcher/"
"""In an address of the launcher's own site: it gives a list of addresses, which are signed for a while."""

_CIVITAI = "https://civitai.com"
_TIMEOUT_S = (10.0, 30.0)
_BLOCK = 1 << 20


def download(operation: Operation, arguments: Arguments, sources: Sources) -> str:
    """One attempt to have a file in its place, whole and verified; returns the destination.

    A file of that name which is another one stays, and the new one gets the next free name, as the launcher has it; but
    one that is only the beginning of the new one is what a download without recovery has left, and is moved away.

    Raises:
        ListedAddressError: an address that the launcher's site gave is not valid any more; it gives another one.
        Exception: as `transfer.attempt.attempt`.
    """
    place = Path(os.path.realpath(arguments["destination"]))
    sha256 = arguments.get("sha256")
    at = _place_beside(operation, place, sha256)
    given = arguments if at == place else {**arguments, "destination": str(at)}
    url, *others = _addresses(str(arguments["url"]))
    given = {**given, "url": url}
    try:
        fetch(operation, given, lambda asked: [*others, *sources(asked)], authorization=_authorization)
    except AddressExpiredError as error:
        if url == arguments["url"]:
            raise
        raise ListedAddressError(str(error)) from error
    if at != place:
        at = _settled(operation, place, at)
    if sha256 is not None:
        known = Verified.of(at, sha256)
        operation.metadata[VERIFIED] = {"sha256": known.sha256, "stamp": list(known.stamp)}
    operation.metadata["size"] = at.stat().st_size
    operation.save_metadata()
    return str(arguments["destination"])


def place_of(destination: str, metadata: Mapping[str, Any]) -> Path:
    """Where the file of a download is, which has this metadata."""
    placed = metadata.get(PLACED)
    return Path(os.path.realpath(destination)) if placed is None else Path(placed)


def verified_in(metadata: Mapping[str, Any]) -> Verified | None:
    """What was found out of the file of a download, which has this metadata."""
    found = metadata.get(VERIFIED)
    return None if found is None else Verified(found["sha256"], tuple(found["stamp"]))


# -- the launcher's own code --------------------------------------------------------------------------


def set_up_files(call: Call) -> Any:
    """Advice around `setup_files_from_launcher_json`: the launcher goes over the files that are there, under the names
    that they have, and does not try again to have those that a person left out.

    Raises:
        RecoveryError: files are missing, which the launcher itself keeps to itself.
    """
    setup = current_setup.get()
    arguments = call.arguments
    launcher_json = arguments["launcher_json"]
    if setup is None or not launcher_json:
        return call.proceed()
    given = dict(launcher_json)
    given["files"] = []
    for entry in launcher_json["files"]:
        destinations = [setup.comfyui / normal(one["dest_relative_path"]) for one in entry]
        known = [index for index, place in enumerate(destinations) if place in setup.placed]
        if not known:
            if not any(place in setup.left_out for place in destinations):
                given["files"].append(entry)  # it was left to the launcher
            continue
        index = known[0]
        one, place = entry[index], destinations[index]
        actual = setup.placed[place]
        if actual.name != place.name:
            rename = call.original.__globals__["rename_file_in_launcher_json"]
            rename(given, place.name, actual.name)
        one = {**one, "dest_relative_path": actual.relative_to(setup.comfyui).as_posix()}
        if one["download_url"]:  # without one, the launcher takes it to be missing
            given["files"].append([one])
    missing = call.original(**{**arguments, "launcher_json": given})
    launcher_json["workflow_json"] = given["workflow_json"]
    if missing:
        raise RecoveryError(f"the launcher could not have {', '.join(sorted(missing))}; its log says why")
    return missing


# -- one file -----------------------------------------------------------------------------------------


def _addresses(url: str) -> list[str]:
    """The addresses of a file: this one, or those that the launcher's site gives for it.

    Raises:
        requests.RequestException: the site did not answer.
        UnexpectedContentError: it did not answer with addresses.
    """
    if _LISTS not in url:
        return [url]
    from launcher_recovery.transfer.http.session import way

    with way(None, None)() as session, session.get(url, timeout=_TIMEOUT_S) as answer:
        answer.raise_for_status()
        try:
            told = answer.json()
        except ValueError:
            told = None
    urls = told.get("urls") if isinstance(told, dict) else None
    if not isinstance(urls, list) or not urls or not all(isinstance(one, str) for one in urls):
        raise UnexpectedContentError(f"{redact_url(url)} was to give addresses of a file, and gave something else")
    return urls


def _authorization(url: str) -> Mapping[str, str]:
    """As for all downloads; Civitai gets the key of the launcher's own settings where there is no other."""
    found = headers_for(url)
    if found or not takes_token(url) or not same_origin(url, _CIVITAI):
        return found
    key = _civitai_key()
    if not key:
        return found
    know(key)
    return {"Authorization": f"Bearer {key}"}


def _civitai_key() -> str:
    try:
        config = sys.modules["utils"].get_config()
        key = config["credentials"]["civitai"]["apikey"]
    except Exception as error:  # it is the launcher's file and code
        logger.info("the launcher's settings have no key of Civitai: %s", type(error).__name__)
        return ""
    return key.strip() if isinstance(key, str) else ""


def _place_beside(operation: Operation, place: Path, sha256: str | None) -> Path:
    """The place, or the name beside it that the file gets at first, because another one is there."""
    kept = operation.metadata.get(PLACED)
    checksums = () if sha256 is None else (Checksum("sha256", sha256.lower()),)
    if kept is not None:
        beside = Path(kept)
        if beside.exists():
            if place.exists() or not is_there(beside, checksums, None, operation.check):
                return beside
            os.replace(beside, place)  # it was cut off in between
        elif place.exists() and not is_there(place, checksums, None, operation.check):
            return beside
        _note(operation, None)
        return place
    if not checksums or not place.is_file() or is_there(place, checksums, None, operation.check):
        return place
    names = (place.with_name(f"{place.stem} ({number}){place.suffix}") for number in itertools.count(1))
    beside = next(name for name in names if not name.exists() or is_there(name, checksums, None, operation.check))
    _note(operation, beside)
    return beside


def _settled(operation: Operation, place: Path, beside: Path) -> Path:
    """Where the file stays that is there beside another one."""
    if place.is_file() and not _is_beginning(place, beside, operation):
        logger.info("%s is there with another content, and stays; the new file is %s", place, beside.name)
        return beside
    if place.exists():
        folder = place.parent / QUARANTINE
        folder.mkdir(exist_ok=True)
        names = (folder / f"{place.name}{number or ''}{QUARANTINED}" for number in itertools.count())
        aside = next(name for name in names if not name.exists())
        os.replace(place, aside)
        logger.info("%s was only the beginning of the file, and is %s now", place, aside)
    os.replace(beside, place)
    _note(operation, None)
    return place


def _is_beginning(short: Path, whole: Path, operation: Operation) -> bool:
    if short.stat().st_size >= whole.stat().st_size:
        return False
    with short.open("rb") as left, whole.open("rb") as right:
        while block := left.read(_BLOCK):
            if right.read(len(block)) != block:
                return False
            operation.check()
    return True


def _note(operation: Operation, placed: Path | None) -> None:
    if placed is None:
        operation.metadata.pop(PLACED, None)
    else:
        operation.metadata[PLACED] = str(placed)
    operation.save_metadata()
