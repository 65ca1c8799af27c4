"""What fixes work with: the operations, the folder of the launcher's own data, and what a host gives besides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes.vault import Vault
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.records import RecoveryData

_PIP_S = 20.0


class Environments(Protocol):
    """Knows how a Python environment was before an operation changed it."""

    def changes(self, data: RecoveryData) -> Mapping[str, str | None] | None:
        """What `restore` would do, by package: the version that is put back, such as {"torch": "2.6.0"}, or None for
        one that is removed. No mapping: nothing was recorded."""

    def restore(self, data: RecoveryData) -> None:
        """Make the environment of the operation as it was recorded; may take minutes."""


class Restoring:
    """`Environments` by one function that restores or, with `dry_run`, only says what it would do.

    Args:
        restore: takes the id of an operation and `dry_run`; gives what was or would be `reinstalled` and `removed`,
            each with `name` and the version `after`; raises RecoveryStateError where nothing was recorded.
    """

    def __init__(self, restore: Callable[..., Any]) -> None:
        self._restore = restore

    def changes(self, data: RecoveryData) -> Mapping[str, str | None] | None:
        try:
            found = self._restore(data.operation_id, dry_run=True)
        except RecoveryStateError:
            return None
        return {one.name: one.after for one in (*found.reinstalled, *found.removed)}

    def restore(self, data: RecoveryData) -> None:
        self._restore(data.operation_id, dry_run=False)


def pip_cache_of(data: RecoveryData) -> Path | None:
    """The folder in which the pip of an operation keeps what it fetched; None: there is none."""
    python = data.kwargs.get("python")
    command = [python if isinstance(python, str) else sys.executable, "-m", "pip", "cache", "dir"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    folder = done.stdout.strip()
    return Path(folder) if done.returncode == 0 and os.path.isabs(folder) else None


@dataclass(frozen=True)
class Tools:
    """What fixes work with.

    Args:
        lifecycle: where operations change.
        folder: of the launcher's own data.
        kinds: gives the kinds of operations by name, which check new arguments.
        roots: gives the folders below which files may be changed; none: any.
        sources: from an address and its operation to further addresses of the same.
        environments: restores Python environments; None: nobody can.
        pip_cache: from an operation to the folder of pip's cache.
        environ: variables for git; default: those of this process.
    """

    lifecycle: Lifecycle
    folder: Path
    kinds: Callable[[], Mapping[str, OperationKind]] = dict
    roots: Callable[[], tuple[str, ...]] = tuple
    sources: Callable[[str, RecoveryData], Sequence[str]] = lambda url, data: ()
    environments: Environments | None = None
    pip_cache: Callable[[RecoveryData], Path | None] = pip_cache_of
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def vault(self) -> Vault:
        """Where secrets are kept that people give."""
        return Vault(self.folder)

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a short command of git that asks nobody.

        Raises:
            OSError: there is no git.
        """
        environ = {**(os.environ if self.environ is None else self.environ), "GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(
            ["git", *words],
            env=environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PIP_S,
        )
