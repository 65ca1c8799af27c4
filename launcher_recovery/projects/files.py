"""A file of a project as a part: at whichever of its addresses it can be had, or another file that does as well."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from launcher_recovery.errors import OperationCancelled, RefusedError, text_of
from launcher_recovery.kinds import Launcher
from launcher_recovery.plans import MODELS, Model
from launcher_recovery.projects.part import Part, seconds_of
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState

logger = logging.getLogger("launcher_recovery")

_DOWNLOAD = "download"
_SECONDS = 60.0


class Files:
    """Makes the parts that are downloaded.

    Args:
        launcher: has them done.
        project_id: of the project.
        models: the folder of models.
        home: ComfyUI's folder.
    """

    def __init__(self, launcher: Launcher, project_id: str, models: Path, home: Path) -> None:
        self._launcher = launcher
        self._project_id = project_id
        self._models = models
        self._home = home

    def model(self, model: Model) -> Part:
        """A file for the folder of models."""
        return self._part("model", model, lambda path: self._models / path)

    def file(self, file: Model, programs: Sequence[Part], folders: Sequence[tuple[Path, Part]]) -> Part:
        """A file for ComfyUI's folder.

        Args:
            programs: the parts without which it cannot be done, such as ComfyUI: a folder that holds anything is never
                cloned into.
            folders: the folders of the nodes, each of which it needs as well if it goes into that.
        """

        def place(path: str) -> Path:
            first, _, rest = PurePosixPath(path).as_posix().partition("/")
            return self._models / rest if first == MODELS and rest else self._home / path

        places = [place(choice.path) for choice in file.choices]
        around = [part for folder, part in folders if any(one.is_relative_to(folder) for one in places)]
        found = self._part("file", file, place, check=self._refuse_outside)
        found.needs = (*programs, *around)
        found.inside = next(iter(around), None)
        return found

    def _refuse_outside(self, place: Path) -> None:
        """A repository may have brought a link that leads somewhere else."""
        real = Path(os.path.realpath(place))
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in (self._home, self._models)):
            raise RefusedError(f"{place} leads out of the project, to {real}: remove the link that is on the way")

    def _part(
        self,
        what: str,
        model: Model,
        place: Callable[[str], Path],
        check: Callable[[Path], None] = lambda place: None,
    ) -> Part:
        wanted = _Wanted(self._launcher, self._project_id, model, place, check)
        return Part(
            what,
            PurePosixPath(model.path).name,
            _SECONDS if model.size is None else seconds_of(model.size),
            wanted.get,
            wanted.record,
            is_there=wanted.is_there,
        )


class _Wanted:
    """One of several files that do as well; `_choice` is the one that was taken, or was tried last."""

    def __init__(
        self,
        launcher: Launcher,
        project_id: str,
        model: Model,
        place: Callable[[str], Path],
        check: Callable[[Path], None],
    ) -> None:
        self._launcher = launcher
        self._project_id = project_id
        self._choices = model.choices
        self._choice = model
        self._place = place
        self._check = check

    def get(self) -> None:
        """Have one of them.

        Raises:
            OperationCancelled: a person does not want it.
            Exception: none can be had; what the last one failed with.
        """
        *others, last = sorted(self._choices, key=self._rank)
        for choice in others:
            try:
                self._get(choice)
                return
            except OperationCancelled:
                raise
            except Exception as error:
                logger.info("in place of %s the next file that does as well is taken: %s", choice.path, text_of(error))
        self._get(last)

    def is_there(self) -> bool:
        """Whether the one that was taken is still there."""
        return self._place(self._choice.path).is_file()

    def record(self) -> RecoveryData | None:
        """The download of the one that was taken, or was tried last."""
        return self._record(self._choice)

    def _record(self, choice: Model) -> RecoveryData | None:
        return self._launcher.record(_DOWNLOAD, self._arguments(choice, choice.url))

    def _rank(self, choice: Model) -> int:
        """What an earlier attempt had, or was at, comes before the others, which are in the order of the import."""
        record = self._record(choice)
        if record is not None and record.state is RecoveryState.SUCCESS and self._place(choice.path).is_file():
            return 0
        return 1 if record is not None and record.state in UNFINISHED else 2

    def _get(self, choice: Model) -> Any:
        self._choice = choice
        self._check(self._place(choice.path))
        *others, last = (choice.url, *choice.mirrors)
        for url in others:
            try:
                return self._launcher.run(_DOWNLOAD, self._arguments(choice, url))
            except OperationCancelled:
                raise
            except Exception as error:
                logger.info("%s is looked for at its next address: %s", choice.path, text_of(error))
        return self._launcher.run(_DOWNLOAD, self._arguments(choice, last))

    def _arguments(self, choice: Model, url: str) -> dict[str, Any]:
        return {
            "url": url, "destination": str(self._place(choice.path)), "sha256": choice.sha256, "size": choice.size,
            "project_id": self._project_id,
        }  # fmt: skip
