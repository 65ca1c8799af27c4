"""Installs a node, in steps that are checkpoints: a later attempt goes on with the first open one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from launcher_recovery.errors import CommandError
from launcher_recovery.kinds import Arguments
from launcher_recovery.nodes import lfs, publishing, upkeep, working_tree
from launcher_recovery.nodes.fetching import Fetched, fetch
from launcher_recovery.nodes.install_script import BEGUN, has_script, run_script
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.recording import Recording
from launcher_recovery.nodes.repository import DamagedError, Repository
from launcher_recovery.nodes.requirements import Requirements
from launcher_recovery.nodes.staging import Staging
from launcher_recovery.nodes.submodules import fetch_submodules
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.nodes.updating import have_default_branch
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import Store
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.redaction import redact_url

# Among the metadata of an operation: what is there.
COMMIT = "commit"

INSTALLS = ("install_node", "install_comfyui", "install_requirements")
"""The kinds of operations that install by this."""


def installing_into(store: Store, python: str) -> RecoveryData | None:
    """An operation that installs into the environment of an interpreter (an absolute path) now; None: there is none."""
    for other in store.find(states={RecoveryState.IN_PROGRESS}, limit=-1):
        is_install = other.kind in INSTALLS or "python" in other.kwargs
        if is_install and os.path.abspath(other.kwargs.get("python") or sys.executable) == python:
            return other
    return None


def install(operation: Operation, arguments: Arguments) -> Any:
    """Have the node in its place, whole; what is in the place already is left alone.

    Raises:
        CommandError: git, pip or the script of the node failed; nothing is in the place.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
        OSError: the disk failed, or the place was taken meanwhile.
    """
    Install(operation, arguments).run()
    return arguments["destination"]


class Install:
    """One attempt of an install."""

    def __init__(self, operation: Operation, arguments: Arguments) -> None:
        self._operation = operation
        self._url, self._ref = str(arguments["url"]), arguments.get("ref")
        self._destination = Path(os.path.realpath(arguments["destination"]))
        self._staging = Staging(self._destination, redact_url(self._url))
        # Kept steps may be of an earlier call for the same folder, with another repository.
        self._wanted = f"{redact_url(self._url)} {self._ref or ''}"
        self._telling = Telling(operation, self._destination.name)
        self._repository = Repository(self._telling, self._staging.folder, self._url)
        self._interpreter = Interpreter(operation, arguments.get("python"), self._telling.say)
        # Once a step had to be done again, those after it have as well.
        self._is_fresh = False

    def run(self) -> None:
        """Do what is left to be done."""
        if self._destination.exists() and any(self._destination.iterdir()):
            # Installed before, by whomever: it is never replaced.
            self._staging.discard()
            upkeep.is_over(self._operation, self._staging)
            return
        upkeep.is_begun(self._operation, self._staging)
        fetched = self._have_sources()
        requirements = Requirements(self._telling, self._interpreter, self._destination, self._staging.folder)
        has_to_run = requirements.is_needed or has_script(self._staging.folder)
        if has_to_run:
            self._have_requirements(requirements, fetched.commit)
        found = requirements.known() if has_to_run else None
        self._telling.begins("publish", "putting it in its place")
        publishing.set_paths_right(self._telling, self._staging, found)
        publishing.publish(self._staging, self._operation.check)
        upkeep.is_over(self._operation, self._staging)
        self._operation.metadata.pop(BEGUN, None)
        self._operation.metadata[COMMIT] = fetched.commit
        self._operation.save_metadata()
        self._telling.is_over()

    # -- the sources --------------------------------------------------------------------------------

    def _have_sources(self) -> Fetched:
        for is_last in (False, True):
            try:
                fetched = self._fetch()
                self._check_out(fetched)
                self._submodules(fetched.commit)
            except DamagedError as error:
                self._staging.discard()
                if is_last:
                    raise (error.__cause__ or error) from None
            else:
                return fetched
        raise AssertionError

    def _fetch(self) -> Fetched:
        self._telling.begins("clone", "fetching the node")

        def clone() -> dict[str, Any]:
            self._is_fresh = True
            fetched = fetch(self._repository, self._staging, self._ref)
            if fetched.branch is None:
                have_default_branch(self._repository, fetched)
            return fetched.kept(self._wanted)

        made = self._operation.step(
            "clone", clone, still_valid=lambda made: made["wanted"] == self._wanted and self._staging.is_ours
        )
        return Fetched(made["commit"], made["branch"])

    def _check_out(self, fetched: Fetched) -> None:
        self._telling.begins("checkout", "writing its files")

        def check_out() -> str:
            self._is_fresh = True
            self._staging.clear_leftovers()
            working_tree.check_out(self._repository, fetched)
            return fetched.commit

        # A script may have changed files on purpose.
        has_begun = self._operation.metadata.get(BEGUN) == fetched.commit
        self._operation.step(
            "checkout",
            check_out,
            still_valid=lambda made: (
                not self._is_fresh
                and made == fetched.commit
                and (has_begun or working_tree.is_whole(self._repository, fetched.commit))
            ),
        )

    def _submodules(self, commit: str) -> None:
        self._telling.begins("submodules", "looking for submodules")

        def submodules() -> str:
            self._staging.clear_leftovers()
            fetch_submodules(self._repository, commit)
            lfs.get_files(self._repository)
            return commit

        self._operation.step("submodules", submodules, still_valid=lambda made: not self._is_fresh and made == commit)

    # -- what it needs ------------------------------------------------------------------------------

    def _have_requirements(self, requirements: Requirements, commit: str) -> None:
        recording = Recording(self._operation, self._telling, self._interpreter, self._wanted)
        before = recording.before(requirements)
        key = {"commit": commit, "python": self._interpreter.python}
        if requirements.is_needed:
            recording.install(requirements, before, key, "installing what it requires")
        if has_script(self._staging.folder):
            self._telling.begins("install_script", "running its install.py")

            def script() -> dict[str, str]:
                self._run_script(requirements, recording, before, commit)
                return key

            self._operation.step(
                "install_script",
                script,
                still_valid=lambda made: recording.was_touched and not self._is_fresh and made == key,
            )

    def _run_script(
        self, requirements: Requirements, recording: Recording, before: dict[str, Any], commit: str
    ) -> None:
        metadata = self._operation.metadata
        if metadata.get(BEGUN) == commit:
            # It was cut off, or failed; what it left half done in the folder is undone, so that it begins as before.
            self._telling.say("running its install.py again, from a clean copy")
            self._repository.git("checkout", "--force", "--", ".")
            working_tree.clean(self._repository)
        metadata[BEGUN] = commit
        recording.touch()
        earlier = requirements.known()
        try:
            run_script(self._telling, self._interpreter, self._staging.folder, self._destination)
        except CommandError:
            requirements.tell_changes(before, earlier)
            raise
        requirements.tell_changes(before, earlier)
