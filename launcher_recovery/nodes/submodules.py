"""Fetches submodules: each by itself, as a step, so that what is there is not fetched again because of another one."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.nodes.fetching import CANNOT_BE_SHALLOW, CANNOT_GIVE_COMMIT
from launcher_recovery.nodes.repository import DamagedError, Repository, failed_with
from launcher_recovery.nodes.working_tree import is_whole
from launcher_recovery.programs.running import CommandSilentError

# Submodules of submodules of …: a repository could have itself.
_DEEPEST = 8
# What git says when the server or the disk is to blame. Whatever else it says of one that an earlier attempt has begun
# is about what a kill left of that, which it says in many ways.
_NOT_HALF = (
    "unable to access",
    "RPC failed",
    "hung up",
    "early EOF",
    "Could not read from remote",
    "could not read Username",
    "Authentication failed",
    "not allowed",
    "No space left on device",
    "Disk quota exceeded",
    "Permission denied",
    "Read-only file system",
)


@dataclass(frozen=True)
class _Submodule:
    """What the commit says of a submodule.

    Args:
        asks: the address that is asked; of one that is given relative to that of its repository, the latter.
        pinned: the commit that it is pinned at.
    """

    name: str
    path: str
    asks: str
    pinned: str


# Why git could not clone one is not the last that it says of it.
_CAUSE = re.compile(r"^fatal: (?!clone of ).+$", re.MULTILINE)


def fetch_submodules(repository: Repository, commit: str, path: str = "", depth: int = 0) -> None:
    """Have the submodules of the commit that is checked out, and theirs.

    Args:
        commit: of the node; the submodules of another one are fetched anew.
        path: of the folder of `repository` in the node.

    Raises:
        CommandError, DamagedError: git failed.
    """
    if depth > _DEEPEST:
        return
    for submodule in _submodules(repository):
        whole = str(PurePosixPath(path, submodule.path))
        repository.telling.say(f"fetching the submodule {whole}")
        within = repository.within(repository.folder / submodule.path, submodule.asks)
        _have(repository, submodule, within, f"submodule {whole}", f"{commit} {submodule.pinned}")
        fetch_submodules(within, commit, whole, depth + 1)


def _have(repository: Repository, submodule: _Submodule, within: Repository, step: str, wanted: str) -> None:
    """Fetch it, unless an earlier attempt has."""

    def fetch() -> str:
        try:
            _fetch_one(repository, submodule)
        except CommandError as error:
            raise _with_cause_last(error) from None
        return wanted

    repository.telling.operation.step(
        step, fetch, still_valid=lambda made: made == wanted and is_whole(within, submodule.pinned)
    )


def _submodules(repository: Repository) -> list[_Submodule]:
    """The submodules that the commit has."""
    if not (repository.folder / ".gitmodules").is_file():
        return []
    try:
        lines = repository.lines("config", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$")
    except CommandError:
        return []  # it has none
    values = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    found = []
    for key, path in values.items():
        name = key.removeprefix("submodule.").removesuffix(".path")
        pinned = _pinned(repository, path) if key.endswith(".path") else ""
        if pinned:
            url = values.get(f"submodule.{name}.url", "")
            found.append(_Submodule(name, path, url if host_of(url) else repository.asks, pinned))
    return found


def _pinned(repository: Repository, path: str) -> str:
    """The commit that a submodule is pinned at; empty when there is none at the path."""
    found = repository.lines("ls-files", "--stage", "--", path)
    words = found[0].split() if len(found) == 1 else []
    return words[1] if words and words[0] == "160000" else ""


def _fetch_one(repository: Repository, submodule: _Submodule) -> None:
    was_begun = _git_folder(repository, submodule).exists()
    try:
        _update(repository, submodule)
    except (CommandError, DamagedError) as error:
        is_half = isinstance(error, DamagedError) or (was_begun and not failed_with(error, _NOT_HALF))
        if not is_half or isinstance(error, CommandSilentError) or not _forget(repository, submodule):
            raise (error.__cause__ or error) from None
        _update(repository, submodule)


def _update(repository: Repository, submodule: _Submodule) -> None:
    path, host = submodule.path, host_of(submodule.asks)
    asking = repository.within(repository.folder, submodule.asks)
    words = ["submodule", "update", "--init", "--force", "--progress"]
    try:
        asking.git(*words, "--depth=1", "--", path, waits_for=host)
    except CommandError as error:
        if not failed_with(error, (*CANNOT_BE_SHALLOW, *CANNOT_GIVE_COMMIT, "Direct fetching of that commit failed")):
            raise
    else:
        return
    within = asking.within(repository.folder / path)
    if (within.folder / ".git").exists() and within.lines("rev-parse", "--is-shallow-repository")[-1] == "true":
        within.git("fetch", "--progress", "--unshallow", "origin", waits_for=host)
    asking.git(*words, "--", path, waits_for=host)


def _with_cause_last(error: CommandError) -> CommandError:
    """The error with the line last that says why, since that one is shown."""
    cause = _CAUSE.search(error.output)
    if cause is None or isinstance(error, CommandSilentError):
        return error
    return CommandError(error.argv, error.returncode, f"{error.output.rstrip()}\n{cause[0]}\n")


def _forget(repository: Repository, submodule: _Submodule) -> bool:
    """Remove what is there of a submodule; False when its name is not one that git would take."""
    if any(part in ("", ".", "..") for part in submodule.name.replace("\\", "/").split("/")):
        return False
    for folder in (repository.folder / submodule.path, _git_folder(repository, submodule)):
        shutil.rmtree(folder, ignore_errors=True)
    (repository.folder / submodule.path).mkdir(parents=True, exist_ok=True)
    return True


def _git_folder(repository: Repository, submodule: _Submodule) -> Path:
    """Where git keeps what it fetched of a submodule."""
    return repository.folder / repository.lines("rev-parse", "--git-path", f"modules/{submodule.name}")[-1]
