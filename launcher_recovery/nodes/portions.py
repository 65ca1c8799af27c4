"""Fetches one commit in portions, each of which is kept: git keeps nothing of a pack that was cut off.

First come the commit and its folders without any file (a partial clone, `--filter=blob:none`), then the files, some at
a time. It costs a request for each portion, so that it is for commits whose pack was cut off once. A server that knows
no filters sends everything at once, as without them.
"""

from __future__ import annotations

from launcher_recovery.nodes.repository import Repository

_FIRST, _LARGEST = 32, 512
# A server that is told of the commit sends nothing of it.
_WITHOUT_HAVES = ("-c", "fetch.negotiationAlgorithm=noop")
_SETTINGS = ("promisor", "partialclonefilter")


def fetch_files(repository: Repository, host: str | None) -> None:
    """Fetch the files of the commit that was fetched last without them.

    Raises:
        CommandError, DamagedError: git failed; the portions that had come are there for the next call.
    """
    missing = _missing(repository)
    total, size = len(missing), _FIRST
    while missing:
        repository.telling.say(f"receiving files: {total - len(missing)} of {total}")
        portion, missing = missing[:size], missing[size:]
        options = ("--progress", "--no-tags", "--no-write-fetch-head", "--filter=blob:none")
        repository.git(*_WITHOUT_HAVES, "fetch", *options, "origin", *portion, waits_for=host)
        repository.telling.operation.has_moved()  # whatever happens next, this need not be fetched again
        size = min(2 * size, _LARGEST)
    _make_whole(repository)


def _missing(repository: Repository) -> list[str]:
    """Names of the files' objects that are not there."""
    lines = repository.lines("rev-list", "--objects", "--no-object-names", "--missing=print", "FETCH_HEAD")
    return [line[1:] for line in lines if line.startswith("?")]


def _make_whole(repository: Repository) -> None:
    """Have git know that it is a clone like others by now, which fetches nothing by itself later."""
    for name in _SETTINGS:
        repository.git("config", "--unset-all", f"remote.origin.{name}")
    for path in (repository.folder / ".git" / "objects" / "pack").glob("*.promisor"):
        path.chmod(0o600)
        path.unlink()
