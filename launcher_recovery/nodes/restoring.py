"""Puts a Python environment back as it was before a node was installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import environment
from launcher_recovery.nodes.environment import Change
from launcher_recovery.nodes.interpreter import Interpreter

SILENT_LIMIT_S = 7200.0
# Without them nothing could be put back.
_NEVER_REMOVED = frozenset({"pip", "setuptools", "wheel"})


@dataclass(frozen=True)
class Restored:
    """What was, or would be, done to an environment.

    Args:
        python: its interpreter.
        reinstalled: packages that another version was of, or that were gone; `before` is how it was found, `after` as
            it is again.
        removed: packages that were not there before.
        left: packages that are not as before all the same, since where they came from needs a secret that is not kept.
    """

    python: str
    reinstalled: tuple[Change, ...]
    removed: tuple[Change, ...]
    left: tuple[Change, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the environment is as it was."""
        return not self.reinstalled and not self.removed

    def sentence(self) -> str:
        """What was done, for people."""
        if self.is_nothing:
            return "The Python environment is as it was before."
        parts = []
        if self.reinstalled:
            words = [
                f"{one.name} {one.after}" + (f" (was {one.before})" if one.before else "") for one in self.reinstalled
            ]
            parts.append(f"reinstalled {', '.join(words)}")
        if self.removed:
            parts.append(f"removed {', '.join(f'{one.name} {one.before}' for one in self.removed)}")
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "python": self.python,
            "reinstalled": environment.told(self.reinstalled),
            "removed": environment.told(self.removed),
            "left": environment.told(self.left),
        }


def plan(interpreter: Interpreter, before: Sequence[str], added: frozenset[str] | None) -> Restored:
    """What has to be done.

    Args:
        before: lines of the packages as they were.
        added: names of those that may be removed; None: all that were not there before.
    """
    found = environment.changes(environment.lines_of(interpreter.look()), before)
    removed = [one for one in found if one.after is None and one.name not in _NEVER_REMOVED]
    if added is not None:
        removed = [one for one in removed if one.name in added]
    again = {environment.name_of(line) for line in before if environment.can_be_had_again(line)}
    changed = [one for one in found if one.after is not None]
    return Restored(
        interpreter.python,
        tuple(one for one in changed if one.name in again),
        tuple(removed),
        tuple(one for one in changed if one.name not in again),
    )


def put_back(
    interpreter: Interpreter, before: Sequence[str], added: frozenset[str] | None, on_line: Callable[[str], object]
) -> Restored:
    """Have the environment as it was: what changed is reinstalled, what came is removed; see `plan`.

    Raises:
        CommandError: pip failed.
    """
    todo = plan(interpreter, before, added)
    if todo.reinstalled:
        names = {one.name for one in todo.reinstalled}
        lines = [line for line in before if environment.name_of(line) in names]
        _install(interpreter, lines, on_line)
    if todo.removed:
        words = ["-m", "pip", "uninstall", "--yes", "--disable-pip-version-check", *(one.name for one in todo.removed)]
        interpreter.run(words, on_line, limit=SILENT_LIMIT_S)
    remaining = plan(interpreter, before, added).reinstalled
    if remaining:
        names_left = ", ".join(one.name for one in remaining)
        raise CommandError([interpreter.python, "-m", "pip"], 1, f"these packages are not as before: {names_left}")
    return todo


def _install(interpreter: Interpreter, lines: list[str], on_line: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="launcher-recovery-") as folder:
        file = Path(folder, "requirements.txt")
        extra = "".join(f"--extra-index-url {url}\n" for url in environment.indexes(lines))
        file.write_text(extra + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        # Without what they depend on: that is among the lines when it changed, and is as it was otherwise.
        words = ["--no-deps", "-r", str(file)]
        interpreter.pip(words, on_line, interpreter.look().pip, limit=SILENT_LIMIT_S)
