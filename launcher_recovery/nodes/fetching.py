"""Brings a commit into the staging folder: one commit deep where the server can do that, and never twice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.nodes.portions import fetch_files
from launcher_recovery.nodes.repository import DamagedError, Repository, failed_with
from launcher_recovery.nodes.staging import Staging

_WHOLE_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HASH = re.compile(r"[0-9a-fA-F]{4,64}")

# What is said of servers that give no part of a history: old ones, and those that serve files only.
CANNOT_BE_SHALLOW = (
    "dumb http transport does not support shallow",
    "Server does not support shallow",
    "does not support --depth",
)
# Of those that give out only what a branch or tag is at (uploadpack.allowReachableSHA1InWant).
CANNOT_GIVE_COMMIT = (
    "does not allow request for unadvertised object",
    "not our ref",
    "couldn't find remote ref",
)


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the whole name of the commit, and the branch that it is on if one was asked for."""

    commit: str
    branch: str | None

    def kept(self, wanted: str) -> dict[str, Any]:
        """As the result of a step."""
        return {"wanted": wanted, "commit": self.commit, "branch": self.branch}


@dataclass(frozen=True)
class _Named:
    """Where the server has what is wanted: the full name of a ref, or the whole name of a commit."""

    name: str
    branch: str | None = None


def fetch(repository: Repository, staging: Staging, ref: str | None) -> Fetched:
    """Fetch the branch, tag or commit; None: what the server has as its default.

    Objects that an earlier attempt brought are used; a folder of something else is begun anew.

    Raises:
        CommandError: git failed.
        DamagedError: what is in the folder is not usable.
    """
    _begin(repository, staging)
    fetched = _fetch(repository, staging, ref)
    staging.ends_fetch()
    return fetched


def _begin(repository: Repository, staging: Staging) -> None:
    """Have an empty repository, or the one of an earlier attempt."""
    if staging.is_ours:
        staging.clear_leftovers()
        # A token in the address may be another one by now.
        repository.git("remote", "set-url", "--", "origin", repository.url)
        return
    staging.discard()
    staging.folder.mkdir(parents=True)
    repository.git("init", "--quiet", "--template=")  # without hooks
    repository.git("remote", "add", "--", "origin", repository.url)
    staging.mark()


def _fetch(repository: Repository, staging: Staging, ref: str | None) -> Fetched:
    host = host_of(repository.url)
    found = _find(repository, ref, host)
    if found is not None:
        try:
            commit = _fetch_one(repository, staging, found, host)
        except CommandError as error:
            is_hash = _WHOLE_HASH.fullmatch(found.name) is not None
            if not failed_with(error, (*CANNOT_BE_SHALLOW, *(CANNOT_GIVE_COMMIT if is_hash else ()))):
                raise
        else:
            return Fetched(commit, found.branch)
    repository.telling.say("fetching the whole history, since the server cannot give a part of it")
    _fetch_all(repository, host)
    return _resolved(repository, found, ref, host)


def _find(repository: Repository, ref: str | None, host: str | None) -> _Named | None:
    """Ask the server what `ref` is; None: it cannot be told, as of a commit of which only the beginning is given."""
    if ref is not None and _WHOLE_HASH.fullmatch(ref):
        return _Named(ref)
    patterns = ["HEAD"] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    is_short = ref is not None and _HASH.fullmatch(ref) is not None
    words = ["ls-remote", "--symref", "--", "origin"]
    listed = [line.split("\t") for line in _listed(repository, [*words, *([] if is_short else patterns)], host)]
    names = {parts[1]: parts[0] for parts in listed if len(parts) == 2}
    if ref is None:
        default = next((parts[0] for parts in listed if parts[0].startswith("ref: ")), None)
        head = default.removeprefix("ref: ") if default is not None else None
        branch = head.removeprefix("refs/heads/") if head is not None and head.startswith("refs/heads/") else None
        return _Named(f"refs/heads/{branch}", branch) if branch else _Named("HEAD")
    if f"refs/heads/{ref}" in names:
        return _Named(f"refs/heads/{ref}", ref)
    if f"refs/tags/{ref}" in names:
        return _Named(f"refs/tags/{ref}")
    if not is_short:
        return _Named(ref if ref.startswith("refs/") else f"refs/heads/{ref}")  # the server says that it is not there
    starting = {commit for commit in names.values() if commit.startswith(ref.lower())}
    return _Named(starting.pop()) if len(starting) == 1 else None


def _listed(repository: Repository, words: list[str], host: str | None) -> list[str]:
    repository.telling.say(f"asking {host}" if host is not None else "asking the repository")
    return repository.lines(*words, waits_for=host)


def _fetch_one(repository: Repository, staging: Staging, found: _Named, host: str | None) -> str:
    spec = found.name
    if found.branch is not None:
        spec = f"+refs/heads/{found.branch}:refs/remotes/origin/{found.branch}"
    elif found.name.startswith("refs/tags/"):
        spec = f"+{found.name}:{found.name}"
    words = ("--progress", "--no-tags", "--depth=1", "--update-shallow", "origin", spec)
    was_cut = staging.was_cut
    staging.begins_fetch()
    if not was_cut:
        repository.git("fetch", *words, waits_for=host)
        return _commit(repository, "FETCH_HEAD")
    repository.git("fetch", "--filter=blob:none", *words, waits_for=host)
    try:
        fetch_files(repository, host)
    except CommandError as error:
        if failed_with(error, CANNOT_GIVE_COMMIT):
            # Nor single files: what is there would stay without them, since the server believes that we have them.
            raise DamagedError(str(error)) from error
        raise
    return _commit(repository, "FETCH_HEAD")


def _fetch_all(repository: Repository, host: str | None) -> None:
    is_shallow = (repository.folder / ".git" / "shallow").is_file()
    words = ["fetch", "--progress", "--tags", *(["--unshallow"] if is_shallow else []), "origin"]
    repository.git(*words, waits_for=host)


def _resolved(repository: Repository, found: _Named | None, ref: str | None, host: str | None) -> Fetched:
    """What is wanted, in a repository that has everything."""
    if found is not None and found.branch is not None:
        return Fetched(_commit(repository, f"refs/remotes/origin/{found.branch}"), found.branch)
    if ref is None:
        repository.git("fetch", "--progress", "--no-tags", "origin", "HEAD", waits_for=host)
        return Fetched(_commit(repository, "FETCH_HEAD"), None)
    # Not rev-parse: what check-out says of a commit that is not there, people know.
    repository.git("checkout", "--quiet", "--force", "--detach", ref, "--")
    return Fetched(_commit(repository, "HEAD"), None)


def _commit(repository: Repository, name: str) -> str:
    """The whole name of a commit that is there."""
    return repository.lines("rev-parse", "--verify", f"{name}^{{commit}}")[-1]
