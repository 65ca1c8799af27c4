"""Keeps and shows how far a project is that a plugin sets up itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .hookspecs import hookimpl
from .projects import FAILED, READY, SETTING_UP, ProjectStore, write_state


class Following:
    """Listens to `launcher_project_changed`.

    `store` has the projects; `changed` is told the id of a project whose state changed.
    """

    def __init__(self, store: ProjectStore, changed: Callable[[str], None]) -> None:
        self._store = store
        self._changed = changed

    @hookimpl
    def launcher_project_changed(
        self, project_id: str, project_folder: str, state: str, status_message: str, details: dict[str, Any]
    ) -> None:
        """Write it into the project's state; a project that was deleted meanwhile does not come back."""
        if state not in (SETTING_UP, READY, FAILED):
            raise ValueError(f"{state!r} is no state of a project; give {SETTING_UP!r}, {READY!r} or {FAILED!r}.")
        folder = Path(project_folder)
        is_there = folder.is_dir()
        if is_there:
            write_state(folder, id=project_id, state=state, status_message=status_message, details=details)
        # Last, so that who sees a project that is not busy sees how it ended, too.
        self._store.follow(project_id, is_there and state == SETTING_UP)
        self._changed(project_id)
