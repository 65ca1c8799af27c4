"""Notices files that are Git LFS pointers, and gets what they stand for where git-lfs is installed.

A node with pointers in place of weights, tables or code does not work, so that it is not put in its place: the install
fails, and says what to install. Pictures and films of an example are another thing: without them the node works, and
the person is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.nodes.repository import Repository
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.transfer.content import pointers

# Pointers are shorter; see `pointers.read`.
_LONGEST = 1024
_SHOWN = 5
# Of files that people look at; a node that needs one of them to work is not known.
_FOR_PEOPLE = frozenset(
    {
        *(".bmp", ".gif", ".jpeg", ".jpg", ".pdf", ".png", ".psd", ".svg", ".tif", ".tiff", ".webp"),
        *(".avi", ".flac", ".mkv", ".mov", ".mp3", ".mp4", ".ogg", ".wav", ".webm"),
    }
)


def get_files(repository: Repository) -> None:
    """Replace the pointers of the node, those of its submodules as well, by their files.

    Raises:
        CommandError: the node needs them, and git-lfs is not installed or could not get them.
    """
    found = sorted(_pointers(repository.folder))
    if not found:
        return
    is_installed = _is_installed(repository)
    failed = _pull(repository, found) if is_installed else None
    names = [path.relative_to(repository.folder).as_posix() for path in sorted(_pointers(repository.folder))]
    needed = [name for name in names if Path(name).suffix.lower() not in _FOR_PEOPLE]
    if needed:
        raise failed or CommandError(["git", "lfs", "pull"], 1, _what_is_missing(needed))
    if names:
        _tell(repository.telling, names, is_installed)


def _pull(repository: Repository, found: list[Path]) -> CommandError | None:
    """Get what they stand for; the last error, if any."""
    failed = None
    for folder in sorted({_repository_of(path, repository.folder) for path in found}):
        within = repository.within(folder)
        try:
            # A submodule may be of another host, which is asked for its files.
            within = within.within(folder, within.lines("config", "--get", "remote.origin.url")[-1])
            # Without hooks, which are for those who push.
            within.git("lfs", "install", "--local", "--skip-repo")
            within.git("lfs", "pull", waits_for=host_of(within.asks))
        except CommandError as error:
            failed = error
    return failed


def _tell(telling: Telling, names: list[str], is_installed: bool) -> None:
    """Say that these files of the node are missing, and that it works without them."""
    how = "from the Git LFS server" if is_installed else "without Git LFS"
    telling.warn(
        "lfs_pointers",
        f"{_listed(names)} of {telling.name} could not be fetched {how}; the node works without.",
        files=names[:_SHOWN],
        fix="choose_mirror" if is_installed else "install_git_lfs",
    )


def _what_is_missing(names: list[str]) -> str:
    # The first line is what git says; the rules of classification know it.
    return (
        "git: 'lfs' is not a git command. See 'git --help'.\n"
        f"git-lfs: not found: it is needed for {_listed(names)}, of which the repository has only Git LFS pointers\n"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _is_installed(repository: Repository) -> bool:
    try:
        repository.git("lfs", "version")
    except CommandError:
        return False
    return True


def _pointers(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if ".git" in path.relative_to(folder).parts or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size < _LONGEST and pointers.read(path.read_bytes()) is not None:
            yield path


def _repository_of(path: Path, root: Path) -> Path:
    """The folder of the submodule that a file is of, else of the node."""
    return next(folder for folder in path.parents if folder == root or (folder / ".git").exists())
