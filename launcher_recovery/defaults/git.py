"""Built-in extension: installs custom nodes with git and pip; a node appears in its place whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.defaults.paths import confined, resolved
from launcher_recovery.errors import RefusedError
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, OperationKind, Sources
from launcher_recovery.nodes.addresses import SCHEMES, SCP_LIKE, host_of
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData
from launcher_recovery.redaction import redact_url


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kind "install_node"."""
    return [
        OperationKind(
            name="install_node",
            hook="launcher_install_node",
            key=key_of,
            title=lambda arguments: Path(arguments["destination"]).name,
            handler=_handle,
            scope=lambda arguments: host_of(arguments["url"]),
            # Not resolved: the interpreter of a virtual environment is a link to that of all.
            place=lambda arguments: os.path.abspath(arguments.get("python") or sys.executable),
            check=_check,
            gave_up=_gave_up,
            still_there=lambda data: Path(data.kwargs["destination"]).is_dir(),
        )
    ]


def key_of(arguments: Arguments) -> str:
    """What makes a call the same as another one: the place of the node."""
    return f"install_node:{resolved(arguments['destination'])}"


def check_repository(url: str, ref: Any = None) -> None:
    """Return when git may be asked for this.

    Args:
        ref: a branch, tag or commit; None: none is asked for.

    Raises:
        RefusedError: it is not the address of a repository, or no name that a branch, tag or commit can have.
    """
    try:
        usable = urlsplit(url).scheme in SCHEMES or SCP_LIKE.match(url) is not None
    except ValueError:
        usable = False
    if not usable:
        raise RefusedError(
            f"{redact_url(url)} is not a repository address: it must begin with https://, ssh:// or file://"
        )
    if ref is not None:
        check_ref(ref)


def check_ref(ref: Any) -> None:
    """Return when git may be asked for a branch, tag or commit of that name.

    Raises:
        RefusedError: none can have it.
    """
    if not str(ref) or str(ref).startswith("-"):
        raise RefusedError(f"{ref!r} is not a branch, tag or commit")


def _check(arguments: Arguments, roots: tuple[str, ...]) -> None:
    check_repository(str(arguments["url"]), arguments.get("ref"))
    confined(str(arguments["destination"]), roots)


def _gave_up(data: RecoveryData, lifecycle: Any) -> None:
    from launcher_recovery.nodes.giving_up import undo_changes

    undo_changes(data, lifecycle)


def _handle(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    from launcher_recovery.nodes.installing import install  # loaded only by those who install

    return install(operation, arguments)
