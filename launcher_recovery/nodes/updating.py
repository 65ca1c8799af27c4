"""Lets what is pinned to a commit be updated later, as a clone could be: with the server's default branch beside it.

What updates nodes looks for `refs/remotes/origin/HEAD`, checks that branch out, and pulls.
"""

from __future__ import annotations

import logging
import re

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.nodes.fetching import Fetched
from launcher_recovery.nodes.repository import DamagedError, Repository

logger = logging.getLogger("launcher_recovery")

# As git-check-ref-format(1) allows them, without those that a shell, or git, could take for something else.
_BRANCH = re.compile(r"ref: refs/heads/(?P<name>[\w+@][\w+@./-]*)")


def have_default_branch(repository: Repository, fetched: Fetched) -> None:
    """Have the server's default branch, its newest commit alone, beside the commit that was fetched.

    It is no reason to fail when that cannot be had, since nothing but an update needs it.

    Raises:
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
    """
    try:
        _have_default_branch(repository, fetched)
    except (CommandError, DamagedError) as error:
        logger.info("%s has no default branch to be updated by: %s", repository.folder.name, error)


def _have_default_branch(repository: Repository, fetched: Fetched) -> None:
    host = host_of(repository.url)
    listed = [
        line.split("\t") for line in repository.lines("ls-remote", "--symref", "--", "origin", "HEAD", waits_for=host)
    ]
    found = next((match for parts in listed if (match := _BRANCH.fullmatch(parts[0]))), None)
    tip = next((parts[0] for parts in listed if parts[1:] == ["HEAD"] and not parts[0].startswith("ref: ")), None)
    if found is None or tip is None:
        return  # the server is at no branch
    branch = found["name"]
    here = f"refs/remotes/origin/{branch}"
    if not repository.lines("for-each-ref", "--count=1", here):
        if tip == fetched.commit:
            repository.git("update-ref", here, tip)
        else:
            words = ("--progress", "--no-tags", "--depth=1", "--update-shallow", "origin")
            repository.git("fetch", *words, f"+refs/heads/{branch}:{here}", waits_for=host)
    repository.git("symbolic-ref", "refs/remotes/origin/HEAD", here)
    repository.git("branch", "--quiet", "--force", "--track", branch, here)
