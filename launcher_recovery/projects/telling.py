"""Tells people, and the launcher, how far a project is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher_recovery.classification.verdict import ErrorCategory
from launcher_recovery.errors import ProjectIncompleteError, StoredError
from launcher_recovery.kinds import Arguments, Launcher
from launcher_recovery.operation import Operation
from launcher_recovery.projects.part import MISSING, Part, Stage
from launcher_recovery.records import RecoveryData, RecoveryState

# Among the metadata of an operation, for the pages.
PARTS = "parts"
HOOK = "launcher_project_changed"
SETTING_UP, READY, FAILED = "setting_up", "ready", "failed"
_MOST_NAMED = 3


class Telling:
    """Tells of one attempt.

    Args:
        operation: whose progress it is: percent of the time that the parts take.
        arguments: of the launcher's hook.
        launcher: is told through its hook `launcher_project_changed`, if it has that.
        parts: of the project.
    """

    def __init__(self, operation: Operation, arguments: Arguments, launcher: Launcher, parts: Sequence[Part]) -> None:
        self._operation = operation
        self._arguments = arguments
        self._launcher = launcher
        self._parts = parts
        before = operation.data.progress
        # It does not go back when a restart or a retry looks again at what is done.
        self._percent = 0 if before is None or before.unit != "percent" else min(99, int(before.done))
        self._last: object = None
        self._told: list[dict[str, Any]] = []

    def now(self) -> None:
        """Tell what is being done, if that has changed.

        Raises:
            OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
        """
        self._operation.check()
        self._look()
        running = [part.doing for part in self._parts if part.stage is Stage.RUNNING]
        message = _sentence(running) if running else None
        if self._last != (running, self._percent):
            self._last = (running, self._percent)
            self._tell(SETTING_UP, message or "Setting up")
        self._operation.progress(self._percent, 100, "percent", message)

    def is_ready(self, message: str) -> None:
        """All of it is there."""
        self._look()
        self._percent = 100
        self._tell(READY, message)
        self._operation.progress(100, 100, "percent", None)

    def is_incomplete(self, message: str) -> None:
        """Something is missing for good."""
        self._look()
        self._tell(FAILED, message)
        self._operation.progress(self._percent, 100, "percent", None)

    def _look(self) -> None:
        for part in self._parts:
            part.look()
        # What is known of sizes changes; what has been told stays.
        done, total = (sum(numbers) for numbers in zip(*(part.share() for part in self._parts), strict=True))
        self._percent = max(self._percent, min(99, int(100 * done / total)))
        told = [part.told() for part in self._parts]
        if told != self._told:
            self._told = told
            self._operation.metadata[PARTS] = told
            self._operation.save_metadata()

    def _tell(self, state: str, message: str) -> None:
        tell(self._launcher, self._arguments, state, message, self._percent, self._told)


def tell(
    launcher: Launcher, arguments: Arguments, state: str, message: str, percent: float, parts: Sequence[dict[str, Any]]
) -> None:
    """Tell the launcher how a project is.

    Args:
        state: "setting_up", "ready" or "failed".
        parts: as `Part.told`.
    """
    missing = [part for part in parts if part["state"] in MISSING]
    launcher.tell(
        HOOK,
        {
            "project_id": arguments["project_id"],
            "project_folder": arguments["project_folder"],
            "state": state,
            "status_message": message,
            "details": {"progress": percent, "parts": list(parts), "missing": missing},
        },
    )


def tell_stopped(data: RecoveryData, launcher: Launcher) -> None:
    """Tell the launcher that the creation of a project was paused, or ended otherwise than well, whoever did that."""
    percent = 0.0 if data.progress is None else data.progress.done
    state, message = (SETTING_UP, "Paused") if data.state is RecoveryState.PAUSED else (FAILED, _ended(data))
    tell(launcher, data.kwargs, state, message, percent, data.metadata.get(PARTS) or [])


def _ended(data: RecoveryData) -> str:
    if isinstance(data.error, StoredError) and data.error.type_name == ProjectIncompleteError.__name__:
        return data.error.message
    if data.state is RecoveryState.CANCELLED:
        return "Cancelled"
    is_known = data.explanation is not None and data.category != ErrorCategory.UNKNOWN.value
    return f"Failed: {data.explanation if is_known else data.error}"


def _sentence(running: Sequence[str]) -> str:
    named = running[:_MOST_NAMED]
    more = len(running) - len(named)
    text = ", ".join(named) + (f" and {more} more" if more else "")
    return text[:1].upper() + text[1:]
