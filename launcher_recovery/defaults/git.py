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
from launcher_recovery.defaults.paths import confined
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
    "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES),
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
            key=lambda arguments: f"install_node:{os.path.realpath(arguments['destination'])}",
            title=lambda arguments: Path(arguments["destination"]).name,
            handler=_handle,
            scope=lambda arguments: urlsplit(arguments["url"]).hostname,
            check=_check,
            still_there=lambda data: Path(data.kwargs["destination"]).is_dir(),
        )
    ]


def _check(arguments: Arguments, roots: tuple[str, ...]) -> None:
    url = str(arguments["url"])
    if urlsplit(url).scheme not in _SCHEMES and not _SCP_LIKE.match(url):
        raise RefusedError(
            f"{redact_url(url)} is not a repository address: it must begin with https://, ssh:// or file://"
        )
    ref = arguments.get("ref")
    if ref is not None and (not str(ref) or str(ref).startswith("-")):
        raise RefusedError(f"{ref!r} is not a branch, tag or commit")
    confined(str(arguments["destination"]), roots)


def _handle(operation: Operation, arguments: Arguments, sources: Sources) -> Any:
    destination = Path(os.path.realpath(arguments["destination"]))
    staging = destination.with_name(f".{destination.name}.part")
    if destination.exists() and not staging.exists():
        return arguments["destination"]  # installed before, as the launcher's own handler sees it

    def clone() -> str:
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(parents=True, exist_ok=True)
        git = ["git", "clone", "--recursive", "--", arguments["url"], str(staging)]
        run_command(operation, git, env=_GIT_ENVIRONMENT)
        if arguments.get("ref"):
            run_command(operation, ["git", "checkout", "--detach", arguments["ref"]], cwd=staging)
        return str(staging)

    def requirements() -> bool:
        wanted = (staging / "requirements.txt").is_file()
        if wanted:
            python = arguments.get("python") or sys.executable
            pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt"]
            run_command(operation, pip, cwd=staging)
        return wanted

    operation.step("clone", clone, still_valid=lambda path: Path(path, ".git").is_dir())
    operation.step("requirements", requirements)
    shutil.rmtree(destination, ignore_errors=True)
    os.replace(staging, destination)
    return arguments["destination"]
