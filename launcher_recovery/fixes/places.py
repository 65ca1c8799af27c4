"""Which files and folders a fix may touch: those of its operation, within what is allowed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launcher_recovery.fixes.fix import Case, Say

QUARANTINE = ".recovery-quarantine"
"""The folder beside a file that was moved away because it is damaged."""

QUARANTINED = ".quarantined"
"""How the names of those end, so that nobody takes them for models."""


def folder_of(case: Case) -> Path | None:
    """The folder that the operation writes to."""
    destination = case.path("destination")
    return destination.parent if destination is not None else case.path("project_folder", "models_folder")


def is_ours(path: Path, case: Case) -> bool:
    """Whether a path lies in a folder of the operation, and in one that is allowed; links are followed."""
    # The last part itself may be a link, which is then what is meant.
    real = Path(os.path.realpath(path.parent)) / path.name
    destination = case.path("destination")
    is_destination = destination is not None and str(real) == os.path.realpath(destination)
    above = map(os.path.realpath, filter(None, (destination, *_folders(case))))
    if not is_destination and not any(str(real) != folder and real.is_relative_to(folder) for folder in above):
        return False
    roots = [os.path.realpath(root) for root in case.tools.roots()]
    return not roots or any(str(real) != root and real.is_relative_to(root) for root in roots)


def _folders(case: Case) -> tuple[Path | None, ...]:
    return folder_of(case), case.path("project_folder"), case.path("models_folder")


def ours(value: Any, case: Case) -> Say | None:
    """Check of a path that is there and is the operation's."""
    if not is_ours(Path(value), case):
        return Say("wrong.not_ours", {"path": value})
    return None if os.path.lexists(value) else Say("wrong.not_there", {"path": value})
