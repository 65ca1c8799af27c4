"""The folder in which a node is made before it is put in its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# Inside of `.git`, where neither a check-out nor a clean-up touches it.
_MARK = "launcher-recovery"
_FETCHING = "launcher-recovery-fetching"


class Staging:
    """The staging folder of one node.

    Args:
        destination: where the node is to be, with links resolved.
        source: what is fetched, as a text without secrets; a folder that was begun for something else is not used.
    """

    def __init__(self, destination: Path, source: str) -> None:
        self.destination = destination
        self.folder = destination.with_name(f".{destination.name}.part.disabled")
        # Of one that is being deleted; of no use to anybody.
        self.doomed = destination.with_name(f".{destination.name}.gone.disabled")
        self._source = source

    @property
    def git_folder(self) -> Path:
        return self.folder / ".git"

    @property
    def is_ours(self) -> bool:
        """Whether it is there, and was begun for the same source."""
        try:
            return (self.git_folder / _MARK).read_text(encoding="utf-8") == self._source
        except (OSError, UnicodeDecodeError):
            return False

    def mark(self) -> None:
        """Write down what the folder is for, once its repository is there."""
        (self.git_folder / _MARK).write_text(self._source, encoding="utf-8")

    def unmark(self) -> None:
        """Undo `mark` in the place of the node; one that stays there harms nothing."""
        (self.destination / ".git" / _MARK).unlink(missing_ok=True)

    @property
    def was_cut(self) -> bool:
        """Whether a fetch was begun that did not come to its end."""
        return (self.git_folder / _FETCHING).is_file()

    def begins_fetch(self) -> None:
        """From now on a fetch is under way."""
        (self.git_folder / _FETCHING).touch()

    def ends_fetch(self) -> None:
        """It came to its end."""
        (self.git_folder / _FETCHING).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the folder, if it is there.

        Raises:
            OSError: something of it cannot be removed.
        """
        if self.folder.is_symlink() or self.folder.is_file():
            self.folder.unlink()
        elif self.folder.exists():
            shutil.rmtree(self.folder)

    def clear_leftovers(self) -> None:
        """Remove what a killed git left behind, which nobody needs: locks, and packs that did not arrive whole.

        Nobody else works in the folder: there is one operation for each place, and one process that runs it.
        """
        for folder in self._git_folders():
            for path in (*folder.rglob("*.lock"), *(folder / "objects" / "pack").glob("tmp_*")):
                if path.is_file() and not path.is_symlink():
                    os.chmod(path, 0o600)  # on Windows a file that is read-only cannot be removed
                    path.unlink()

    def _git_folders(self) -> Iterator[Path]:
        if not self.git_folder.is_dir():
            return
        yield self.git_folder
        for pack in self.git_folder.glob("modules/**/objects/pack"):
            yield pack.parent.parent


class InPlace(Staging):
    """The place itself, while it is brought to another commit; its mark says that this was begun."""

    def __init__(self, destination: Path, source: str) -> None:
        super().__init__(destination, source)
        self.folder = destination

    def discard(self) -> None:
        """Nothing: it holds more than what was fetched."""
