"""Built-in extension: installs custom nodes with git and pip; a node appears in its place whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.defaults.commands import run_command
from launcher_recovery.defaults.paths import confined, resolved
from launcher_recovery.errors import RefusedError
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.kinds import Arguments, OperationKind, Sources
from launcher_recovery.operation import Operation
from launcher_recovery.redaction import redact_url

_SCHEMES = ("https", "http", "ssh", "file")
_SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:[^:]")

# Never ask a person; give up on a line that has been almost silent for half a minute (bytes a second, seconds).
_GIT_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
}


@hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    """The kind "install_node"."""
    return [
        OperationKind(
            name="install_node",
            hook="launcher_install_node",
            key=lambda arguments: f"install_node:{resolved(arguments['destination'])}",
            title=lambda arguments: Path(arguments["destination"]).name,
            handler=_handle,
            scope=lambda arguments: urlsplit(arguments["url"]).hostname,
            # Not resolved: the interpreter of a virtual environment is a link to that of all.
            place=lambda arguments: os.path.abspath(arguments.get("python") or sys.executable),
            check=_check,
            still_there=lambda data: Path(data.kwargs["destination"]).is_dir(),
        )
    ]


def _check(arguments: Arguments, roots: tuple[str, ...]) -> None:
    url = str(arguments["url"])
    try:
        usable = urlsplit(url).scheme in _SCHEMES or _SCP_LIKE.match(url) is not None
    except ValueError:
        usable = False
    if not usable:
        raise RefusedError(
            f"{redact_url(url)} is not a repository address: it must begin with https://, ssh:// or file://"
        )
    ref = arguments.get("ref")
    if ref is not None and (not str(ref) or str(ref).startswith("-")):
        raise RefusedError(f"{ref!r} is not a branch, tag or commit")
    confined(str(arguments["destination"]), roots)


def _protocols(url: str) -> str:
    """What git may use; local files only for a repository that is one, or its submodules could read others."""
    return ":".join(_SCHEMES if urlsplit(url).scheme == "file" else [name for name in _SCHEMES if name != "file"])


def _handle(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    destination = Path(os.path.realpath(arguments["destination"]))
    staging = destination.with_name(f".{destination.name}.part")
    if destination.exists() and any(destination.iterdir()):
        # Installed before, by whomever: it is never replaced.
        shutil.rmtree(staging, ignore_errors=True)
        return arguments["destination"]
    # Kept steps may be of an earlier call for the same folder, with another repository.
    wanted = f"{redact_url(arguments['url'])} {arguments.get('ref') or ''}"

    def clone() -> str:
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(parents=True, exist_ok=True)
        environment = {**_GIT_ENVIRONMENT, "GIT_ALLOW_PROTOCOL": _protocols(arguments["url"])}
        run_command(operation, ["git", "clone", "--", arguments["url"], str(staging)], env=environment)
        if arguments.get("ref"):
            # Not --detach: that does not find a branch that is not checked out yet.
            run_command(operation, ["git", "checkout", arguments["ref"], "--"], cwd=staging, env=environment)
        # After the checkout: submodules belong to a commit.
        submodules = ["git", "submodule", "update", "--init", "--recursive"]
        run_command(operation, submodules, cwd=staging, env=environment)
        return wanted

    def requirements() -> str:
        if (staging / "requirements.txt").is_file():
            python = arguments.get("python") or sys.executable
            pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt"]
            run_command(operation, pip, cwd=staging)
        return wanted

    operation.step("clone", clone, still_valid=lambda made: made == wanted and (staging / ".git").is_dir())
    operation.step("requirements", requirements, still_valid=lambda made: made == wanted)
    if destination.exists():
        destination.rmdir()  # empty, or it fails
    os.replace(staging, destination)
    return arguments["destination"]
