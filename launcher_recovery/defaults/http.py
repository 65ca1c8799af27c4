"""Built-in extension: downloads over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.defaults.paths import confined, resolved
from launcher_recovery.errors import AddressUnknownError, RecoveryConfigError, RefusedError
from launcher_recovery.fixes.effects import ca_bundle_of, proxy_of
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, OperationKind, Sources
from launcher_recovery.known_secrets import without_known
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.sources.hubs import asked_at, headers_for


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kind "download"."""
    return [
        OperationKind(
            name="download",
            hook="launcher_download",
            key=lambda arguments: f"download:{resolved(arguments['destination'])}",
            title=lambda arguments: Path(arguments["destination"]).name,
            handler=_handle,
            scope=_scope,
            check=_check,
            settings=_settings,
            still_there=_still_there,
        )
    ]


@hookimpl
def recovery_redactions() -> Sequence[Callable[[str], str]]:
    """Secrets that servers and programs were given, should one repeat them."""
    return [without_known]


def _scope(arguments: Arguments) -> str | None:
    """The host that is asked."""
    return urlsplit(asked_at(arguments["url"])).hostname


def _settings(config: RecoveryConfig) -> Arguments:
    return {
        "connections": config.connections_per_download,
        "staging": config.staging_folder,
        "reuse": config.reuse,
    }


def _handle(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    destination = fetch(operation, arguments, sources)
    operation.metadata["size"] = destination.stat().st_size
    operation.save_metadata()
    return arguments["destination"]


def fetch(
    operation: Operation,
    arguments: Arguments,
    sources: Sources,
    authorization: Callable[[str], Mapping[str, str]] | None = None,
) -> Path:
    """One attempt to have a file, going on from what earlier ones left; the file.

    Args:
        arguments: of `launcher_download`, and those that settings say. Without an address ("") the file has to be in
            its place already, or an extension has to know a mirror.
        sources: asks for mirrors of the address.
        authorization: from an address to the headers by which its server knows who asks; None: as for all downloads.

    Raises:
        AddressUnknownError: nobody knows where it is to be had.
        Exception: as `launcher_recovery.transfer.attempt.attempt`.
    """
    from launcher_recovery.transfer.arguments import wanted_of
    from launcher_recovery.transfer.attempt import attempt  # requests is loaded only by those who download
    from launcher_recovery.transfer.existing import is_there
    from launcher_recovery.transfer.http.session import way

    new_session = way(proxy_of(operation.data), ca_bundle_of(operation.data))
    mirrors = list(sources(arguments["url"]))
    if not arguments["url"]:
        there = wanted_of(arguments)
        if is_there(there.destination, there.checksums, there.size, operation.check):
            return there.destination
        if not mirrors:
            raise AddressUnknownError(there.destination.name)
        arguments = {**arguments, "url": mirrors.pop(0)}
    wanted = wanted_of(
        arguments,
        mirrors=mirrors,
        new_session=new_session,
        authorization=headers_for if authorization is None else authorization,
    )
    return attempt(operation, wanted)


def _check(arguments: Arguments, roots: tuple[str, ...]) -> None:
    url = arguments["url"]
    try:
        parts = urlsplit(url)
        usable = url == "" or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except (ValueError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise RefusedError(f"{redact_url(str(url))} is not a web address: it must begin with http:// or https://")
    try:
        asked_at(url)
    except RecoveryConfigError as error:
        raise RefusedError(str(error)) from None
    sha256 = arguments.get("sha256")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(sha256)):
        raise RefusedError(f"{sha256!r} is not a SHA-256: it must have 64 hexadecimal digits")
    confined(str(arguments["destination"]), roots)


def _still_there(data: RecoveryData) -> bool:
    destination = Path(data.kwargs["destination"])
    size = data.metadata.get("size")  # which a handler of somebody else does not tell
    return destination.is_file() and size in (None, destination.stat().st_size)
