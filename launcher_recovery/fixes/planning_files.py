"""Plans about files: damaged ones, locks and folders in the way are moved aside, never deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from launcher_recovery.fixes.action import Action
from launcher_recovery.fixes.file_actions import Move
from launcher_recovery.fixes.fix import Case, FixRefusedError, Plan, Say
from launcher_recovery.fixes.places import QUARANTINE, QUARANTINED, is_ours, ours
from launcher_recovery.fixes.trees import free_name, print_of

# git, lockfile.c: "Unable to create '%s.lock': %s."
_LOCK = re.compile(r"Unable to create '([^'\n]+\.lock)'")
# git, builtin/clone.c
_TAKEN = re.compile(r"destination path '([^'\n]+)' already exists and is not an empty directory")


def aside(path: Path, target: Path, why: str) -> Move:
    """The move of a path; refused when nothing is there."""
    if not os.path.lexists(path):
        raise FixRefusedError(Say("wrong.not_there", {"path": str(path)}))
    return Move(str(path), str(target), print_of(path), why)


def to_quarantine(path: Path) -> Move:
    """The move of a damaged file into the folder for those beside it."""
    return aside(path, free_name(path.parent / QUARANTINE / path.name, QUARANTINED), "damaged")


def default_model(case: Case) -> str | None:
    """The file that the operation downloads."""
    found = case.path("destination")
    return None if found is None or case.data.kind != "download" else str(found)


def quarantine_model(case: Case) -> Plan:
    """The file goes into quarantine, and is fetched again."""
    path = Path(case.given["path"])
    if path.is_dir():
        raise FixRefusedError(Say("wrong.no_file", {"path": str(path)}), "path")
    return Plan((to_quarantine(path),), (Say("then.fetch_again"),))


def redownload(case: Case) -> Plan:
    """What arrived so far, if anything is there, goes into quarantine, so that it is fetched from the start."""
    destination = case.path("destination")
    if destination is None:
        return Plan((), (Say("then.fetch_again"),))
    real = Path(os.path.realpath(destination))
    found = [real]
    kept = case.tools.lifecycle.store.transfer(str(real)) if hasattr(case.tools.lifecycle.store, "transfer") else None
    if kept is not None and kept.partial is not None:
        found.append(Path(kept.partial))
    actions: list[Action] = [to_quarantine(path) for path in found if path.is_file()]
    return Plan(tuple(actions), (Say("then.fetch_again"),))


def lock_of(case: Case) -> str | None:
    """The lock that git complained of."""
    found = _LOCK.search(case.error_text)
    if found is not None and os.path.isabs(found.group(1)):
        return found.group(1)
    # Of a long message only the last line is kept, which does not name it.
    folder = case.path("destination", "project_folder")
    locks = [] if folder is None else list((folder / ".git").glob("*.lock"))
    return str(locks[0]) if len(locks) == 1 else None


def check_lock(value: Any, case: Case) -> Say | None:
    """A lock of git, in a repository of the operation."""
    path = Path(value)
    if path.suffix != ".lock" or not any(part == ".git" or part.endswith(".git") for part in path.parts[:-1]):
        return Say("wrong.no_lock", {"path": value})
    return ours(value, case)


def remove_stale_lock(case: Case) -> Plan:
    """The lock of a git that ended without taking it away is moved aside."""
    path = Path(case.given["path"])
    return Plan((aside(path, free_name(path, ".stale"), "stale lock"),), (Say("look.no_git"),))


def folder_in_the_way(case: Case) -> str | None:
    """The folder that is there already."""
    found = _TAKEN.search(case.error_text)
    if found is not None and os.path.isabs(found.group(1)):
        return found.group(1)
    destination = case.path("destination")
    return None if destination is None else str(destination)


def remove_existing_folder(case: Case) -> Plan:
    """The folder in the way is moved aside, under a name that ComfyUI takes for no node."""
    path = Path(case.given["path"])
    if not path.is_dir() or not is_ours(path, case):
        raise FixRefusedError(Say("wrong.no_folder", {"path": str(path)}), "path")
    return Plan((aside(path, free_name(path, ".disabled"), "in the way"),))
