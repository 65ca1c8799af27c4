"""Fetches submodules: each by itself, as a step, so that what is there is not fetched again because of another one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.fetching import CANNOT_BE_SHALLOW, CANNOT_GIVE_COMMIT
from launcher_recovery.nodes.repository import DamagedError, Repository, failed_with, host_of
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
    """What the commit says of a submodule: its name, its path, the host that has it, and the commit it is pinned at."""

    name: str
    path: str
    host: str | None
    pinned: str


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
        within = repository.within(repository.folder / submodule.path)
        _have(repository, submodule, within, f"submodule {whole}", f"{commit} {submodule.pinned}")
        fetch_submodules(within, commit, whole, depth + 1)


def _have(repository: Repository, submodule: _Submodule, within: Repository, step: str, wanted: str) -> None:
    """Fetch it, unless an earlier attempt has."""

    def fetch() -> str:
        _fetch_one(repository, submodule)
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
            found.append(_Submodule(name, path, host_of(url) or host_of(repository.url), pinned))
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
    path, host = submodule.path, submodule.host
    words = ["submodule", "update", "--init", "--force", "--progress"]
    try:
        repository.git(*words, "--depth=1", "--", path, waits_for=host)
    except CommandError as error:
        if not failed_with(error, (*CANNOT_BE_SHALLOW, *CANNOT_GIVE_COMMIT, "Direct fetching of that commit failed")):
            raise
    else:
        return
    within = repository.within(repository.folder / path)
    if (within.folder / ".git").exists() and within.lines("rev-parse", "--is-shallow-repository")[-1] == "true":
        within.git("fetch", "--progress", "--unshallow", "origin", waits_for=host)
    repository.git(*words, "--", path, waits_for=host)


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
