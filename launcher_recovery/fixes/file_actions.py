"""Actions on files: moved out of the way, or deleted; neither if they are not what was seen when it was planned."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from launcher_recovery.fixes.action import Action, Hands
from launcher_recovery.fixes.fix import FixConflictError, FixRefusedError, Say
from launcher_recovery.fixes.trees import Print, delete_tree, print_of
from launcher_recovery.records import UNFINISHED
from launcher_recovery.room import amount


@dataclass(frozen=True)
class Move(Action):
    """Moves a file or folder out of the way, within its file system, with a note beside it."""

    source: str
    target: str
    seen: Print
    why: str

    def do(self, hands: Hands) -> None:
        if os.path.lexists(self.target) or print_of(Path(self.source)) != self.seen:
            raise FixConflictError(Say("cannot.changed", {"path": self.source}))
        target = Path(self.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        note = {"moved_from": self.source, "why": self.why, "operation": hands.operation_id, "fix": hands.by}
        self._note.write_text(json.dumps(note, indent=1), encoding="utf-8")
        os.rename(self.source, target)

    def undo(self, hands: Hands) -> None:
        if os.path.lexists(self.target):
            if os.path.lexists(self.source):
                raise FixConflictError(Say("cannot.taken", {"path": self.source, "kept": self.target}))
            os.rename(self.target, self.source)
        with suppress(OSError):
            self._note.unlink()
        with suppress(OSError):
            self._note.parent.rmdir()  # only if nothing else is in it

    def say(self) -> Say:
        return Say("do.move", {"path": self.source, "target": self.target, "size": amount(self.seen.size)})

    @property
    def _note(self) -> Path:
        return Path(f"{self.target}.note.json")


@dataclass(frozen=True)
class Link(Action):
    """Has a file at a second place as well, without another copy of its content.

    Args:
        made: folders that are made for it, from the outside in.
    """

    source: str
    target: str
    seen: Print
    made: Sequence[str] = ()

    def do(self, hands: Hands) -> None:
        if os.path.lexists(self.target) or print_of(Path(self.source)) != self.seen:
            raise FixConflictError(Say("cannot.changed", {"path": self.source}))
        Path(self.target).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.source, self.target)
        except OSError:  # on another disk, or one that has no such links
            try:
                os.symlink(self.source, self.target)
            except OSError as error:  # Windows allows these to some users only
                why = error.strerror or str(error)
                raise FixRefusedError(Say("cannot.link", {"path": self.target, "why": why})) from None

    def undo(self, hands: Hands) -> None:
        if os.path.lexists(self.target):
            if not _is_same(self.source, self.target):
                raise FixConflictError(Say("cannot.changed", {"path": self.target}))
            os.unlink(self.target)
        for folder in reversed(self.made):
            with suppress(OSError):
                os.rmdir(folder)  # only if nothing else is in it

    def say(self) -> Say:
        return Say("do.link", {"path": self.source, "target": self.target})


def _is_same(source: str, target: str) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False


@dataclass(frozen=True)
class Remove(Action):
    """Deletes a file or folder, if it is still what was seen when this was planned."""

    can_undo: ClassVar[bool] = False

    path: str
    seen: Print
    transfer: str | None = None
    """The destination of the download whose partial it is: it is deleted only while that one is over."""

    def do(self, hands: Hands) -> None:
        looked_at, doomed = self._names(hands)
        try:
            os.rename(self.path, looked_at)  # from here on nobody changes it
        except FileNotFoundError:
            raise FixConflictError(Say("cannot.changed", {"path": self.path})) from None
        if print_of(looked_at) != self.seen or self._is_wanted(hands):
            self.undo(hands)
            raise FixConflictError(Say("cannot.changed", {"path": self.path}))
        os.rename(looked_at, doomed)
        delete_tree(doomed)
        if self.transfer is not None:
            hands.tools.lifecycle.store.forget_transfer(self.transfer)

    def undo(self, hands: Hands) -> None:
        looked_at, doomed = self._names(hands)
        is_whole = os.path.lexists(doomed) and print_of(doomed) == self.seen
        if os.path.lexists(doomed) and not is_whole:
            delete_tree(doomed)  # a deletion that was cut off: what is left of it is of no use
        for left in (looked_at, doomed):
            if os.path.lexists(left):
                if os.path.lexists(self.path):
                    raise FixConflictError(Say("cannot.taken", {"path": self.path, "kept": str(left)}))
                os.rename(left, self.path)

    def say(self) -> Say:
        return Say("do.remove", {"path": self.path, "size": amount(self.seen.size)})

    def _names(self, hands: Hands) -> tuple[Path, Path]:
        """Where it lies while it is looked at, and, once it is known to be what was shown, while it is deleted."""
        path = Path(self.path)
        begin = f".{path.name}.{hands.by[-12:]}"
        return path.with_name(f"{begin}.looked-at"), path.with_name(f"{begin}.deleting")

    def _is_wanted(self, hands: Hands) -> bool:
        if self.transfer is None:
            return False
        lifecycle = hands.tools.lifecycle
        latest = lifecycle.store.latest_with_key(lifecycle.kept_key(f"download:{self.transfer}"))
        return latest is not None and latest.state in UNFINISHED
