"""The projects on disk: one folder each, with a small state file that is replaced atomically."""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .text import SLUG

STATE_FILE = "launcher_state.json"
IMPORT_FILE = "launcher_import.json"
SETTING_UP, READY, FAILED = "setting_up", "ready", "failed"


def read_state(folder: Path) -> dict[str, Any] | None:
    """The state kept in a project's folder, or None when there is none that can be read."""
    try:
        value = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def keep_import(folder: Path, import_json: dict[str, Any] | None) -> None:
    """Keep what a project is made from, so that it can be tried again; only this user can read it. Raises OSError."""
    fresh = folder / f".{IMPORT_FILE}.new"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(import_json, file)
    fresh.replace(folder / IMPORT_FILE)


def kept_import(folder: Path) -> dict[str, Any] | None:
    """What a project is made from, None for an empty one. Raises LookupError when it was not kept."""
    try:
        value = json.loads((folder / IMPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise LookupError(folder.name) from problem
    if value is not None and not isinstance(value, dict):
        raise LookupError(folder.name)
    return value


def write_state(folder: Path, **changes: Any) -> dict[str, Any]:
    """Merge `changes` into the state kept in `folder`, and return all of it.

    A reader sees the old state or the new one, never half of one. Raises OSError.
    """
    now = datetime.now(timezone.utc).isoformat()
    state = {"created_at": now, **(read_state(folder) or {}), **changes, "updated_at": now}
    fresh = folder / f".{STATE_FILE}.{uuid.uuid4().hex}"
    try:
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / STATE_FILE)
    finally:
        fresh.unlink(missing_ok=True)
    return state


class ProjectBusyError(Exception):
    """The project is being set up."""


class ProjectStore:
    """The folders below one data folder: projects and models.

    Raises OSError when they cannot be made.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data / "projects"
        self.models = data / "models"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.models.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._followed: set[str] = set()

    def path(self, project_id: str) -> Path:
        """The folder of a project."""
        return self.folder / project_id

    def _describe(self, project_id: str) -> dict[str, Any] | None:
        state = read_state(self.path(project_id))
        if state is None:
            return None
        return {
            "name": project_id,
            "state": FAILED,
            "status_message": "",
            **state,
            "id": project_id,
            "busy": self._is_busy(project_id),
        }

    def _is_busy(self, project_id: str) -> bool:
        return self._busy[project_id] > 0 or project_id in self._followed

    def get(self, project_id: str) -> dict[str, Any] | None:
        """A project's state, and `busy`: whether this process is setting it up; None when unknown."""
        return self._describe(project_id) if SLUG.fullmatch(project_id) else None

    def all(self) -> list[dict[str, Any]]:
        """Every project, newest first."""
        names = [entry.name for entry in self.folder.iterdir() if SLUG.fullmatch(entry.name)]
        found = [state for state in map(self._describe, names) if state]
        return sorted(found, key=lambda state: str(state.get("created_at")), reverse=True)

    def reserve(self, project_id: str, name: str) -> Path:
        """Make a new project's folder and first state. Raises FileExistsError when the id is taken."""
        folder = self.path(project_id)
        folder.mkdir()
        write_state(folder, id=project_id, name=name, state=SETTING_UP, status_message="Waiting to start")
        return folder

    def claim(self, project_id: str) -> None:
        """Mark a project as being set up in this process; `release` ends it.

        Raises ProjectBusyError when it is marked already.
        """
        with self._lock:
            if self._is_busy(project_id):
                raise ProjectBusyError(project_id)
            self._busy[project_id] += 1

    def release(self, project_id: str) -> None:
        """Take one mark of `claim` away, and what a plugin told of the project: its call is over."""
        with self._lock:
            self._busy[project_id] -= 1
            self._followed.discard(project_id)

    @contextmanager
    def busy(self, project_id: str) -> Iterator[None]:
        """Mark a project as being set up in this process, whether it is marked already or not."""
        with self._lock:
            self._busy[project_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[project_id] -= 1

    def follow(self, project_id: str, setting_up: bool) -> None:
        """Note whether a plugin of this process is setting a project up, as it says itself."""
        with self._lock:
            if setting_up:
                self._followed.add(project_id)
            else:
                self._followed.discard(project_id)

    def delete(self, project_id: str) -> None:
        """Remove a project's folder.

        Raises KeyError when there is no such project, and ProjectBusyError while this process sets it up.
        """
        if self.get(project_id) is None:
            raise KeyError(project_id)
        away = self.folder / f".deleted-{uuid.uuid4().hex}"
        with self._lock:
            if self._is_busy(project_id):
                raise ProjectBusyError(project_id)
            # Out of sight at once; removing thousands of files takes a while.
            self.path(project_id).rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def list_models(self) -> list[dict[str, Any]]:
        """The models there are, by path; unfinished and hidden files are none."""
        found = []
        for folder, folders, files in os.walk(self.models):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                file = Path(folder, name)
                if name.startswith(".") or ".part" in file.suffixes:
                    continue
                try:
                    size = file.stat().st_size
                except OSError:
                    continue
                found.append({"path": file.relative_to(self.models).as_posix(), "size": size})
        return sorted(found, key=lambda model: str(model["path"]))
