"""Writes the files of the commit that was fetched, and tells later whether they are still as they were written."""

from __future__ import annotations

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.fetching import Fetched
from launcher_recovery.nodes.repository import DamagedError, Repository


def check_out(repository: Repository, fetched: Fetched) -> None:
    """Have exactly the files of the commit; on its branch, where one was asked for, so that it can be updated later.

    Raises:
        CommandError, DamagedError: git failed.
    """
    branch = fetched.branch
    where = ["--detach", fetched.commit]
    if branch is not None:
        where = ["--track", "-B", branch, f"refs/remotes/origin/{branch}"]
    repository.git("checkout", "--force", "--progress", *where, "--")
    clean(repository)


def clean(repository: Repository) -> None:
    """Remove what is not of the commit, such as what a script of an earlier attempt left half done."""
    repository.git("clean", "--quiet", "-ffdx")


def is_whole(repository: Repository, commit: str) -> bool:
    """Whether the files of the commit are there as they were written, as they may not be after a power cut."""
    try:
        head = repository.lines("rev-parse", "--verify", "HEAD^{commit}")[-1]
        changed = repository.lines("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    except (CommandError, DamagedError, OSError):
        return False
    return head == commit and not changed
