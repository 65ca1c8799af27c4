"""Installs ComfyUI itself, at the commit that a person has chosen for the import if one was (`pin_comfyui`).

It is chosen when the newest one turns out not to work, and then ComfyUI is there already, with nodes and models in its
folder. So what is there is brought to that commit in its place; what is not of ComfyUI stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes.effects import comfyui_commit
from launcher_recovery.kinds import Arguments
from launcher_recovery.nodes.fetching import Fetched
from launcher_recovery.nodes.installing import COMMIT, Install, install
from launcher_recovery.nodes.repository import DamagedError, Repository
from launcher_recovery.nodes.requirements import Requirements
from launcher_recovery.nodes.staging import InPlace
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData


def install_comfyui(operation: Operation, arguments: Arguments) -> Any:
    """Have ComfyUI in its place, as `install` has a node.

    Args:
        arguments: of which `ref` counts where no fix has chosen a commit.

    Raises:
        Exception: as `install`.
    """
    commit = comfyui_commit(operation.data)
    if commit is None:
        return install(operation, arguments)
    given = {**arguments, "ref": commit}
    move = _Move(operation, given)
    if not move.is_needed(commit):
        return install(operation, given)
    move.run()
    return arguments["destination"]


def is_as_wanted(data: RecoveryData) -> bool:
    """Whether what an earlier install brought is still there, and the commit that a person has chosen since."""
    commit = comfyui_commit(data)
    is_there = Path(data.kwargs["destination"]).is_dir()
    return is_there and (commit is None or str(data.metadata.get(COMMIT, "")).startswith(commit))


class _Move(Install):
    """One attempt to bring what is there to another commit."""

    def __init__(self, operation: Operation, arguments: Arguments) -> None:
        super().__init__(operation, arguments)
        destination = Path(os.path.realpath(arguments["destination"]))
        self._staging = InPlace(destination, self._wanted)
        self._repository = Repository(self._telling, destination, self._url)

    def is_needed(self, commit: str) -> bool:
        """Whether a repository is there, and at another commit, or not yet all of it at this one."""
        if not self._staging.git_folder.exists():
            return False
        if self._staging.is_ours:
            return True
        try:
            head = self._repository.lines("rev-parse", "--verify", "HEAD^{commit}")[-1]
        except (CommandError, DamagedError):
            return False
        return not head.startswith(commit)

    def run(self) -> None:
        self._staging.mark()
        try:
            fetched = self._fetch()
            self._check_out(fetched)
        except DamagedError as error:
            raise (error.__cause__ or error) from None
        requirements = Requirements(self._telling, self._interpreter, self._staging.destination, self._staging.folder)
        if requirements.is_needed:
            self._have_requirements(requirements, fetched.commit)
        self._staging.unmark()
        self._operation.metadata[COMMIT] = fetched.commit
        self._operation.save_metadata()
        self._telling.is_over()

    def _check_out(self, fetched: Fetched) -> None:
        """Write the files of the commit over those that are there, and leave all others."""
        self._telling.begins("checkout", "writing its files")
        self._staging.clear_leftovers()
        self._repository.git("checkout", "--force", "--progress", "--detach", fetched.commit, "--")
