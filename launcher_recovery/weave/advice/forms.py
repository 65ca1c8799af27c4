"""The commands that launchers set projects up with, as they put them together for a shell; others are not known.

A launcher joins the words of a command by spaces and gives them to a shell. Here each word is what it was meant to be:
one argument. So an address or a name out of an import cannot become another command, and a path may have spaces.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from launcher_recovery.nodes.addresses import SCHEMES, SCP_LIKE
from launcher_recovery.projects.environment import interpreter_of

_CLONE_OPTION = re.compile(r"--recursive|--recurse-submodules|--single-branch|--depth=\d+")
_INSTALL = re.compile(r"(?:python -m )?pip install -r (?P<file>\S.*)")
_SCRIPT = re.compile(r"python (?P<file>[^-\s].*)")
# What a shell would take for more than a part of a word; a path with it is one only when there is such a file.
_SPECIAL = re.compile(r"[\s;&|<>()$`\"'*?\[\]{}~#!]" if os.name == "nt" else r"[\s;&|<>()$`\"'*?\[\]{}~#!\\]")
_LONGEST_HASH = 10


@dataclass(frozen=True)
class Clone:
    """`git clone` of an address into a folder, with options."""

    url: str
    destination: Path
    options: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"command:clone:{_resolved(self.destination)}"

    @property
    def title(self) -> str:
        return f"git clone {self.destination.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"url": self.url, "destination": str(self.destination), "options": list(self.options)}


@dataclass(frozen=True)
class CheckOut:
    """`git checkout` of a branch, tag or commit in the folder of a repository."""

    folder: Path
    ref: str

    @property
    def key(self) -> str:
        return f"command:checkout:{_resolved(self.folder)}:{self.ref}"

    @property
    def title(self) -> str:
        return f"git checkout {self.ref[:_LONGEST_HASH]} of {self.folder.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "ref": self.ref}


@dataclass(frozen=True)
class MakeEnvironment:
    """`python -m venv` of a folder."""

    folder: Path

    @property
    def key(self) -> str:
        return f"command:venv:{_resolved(self.folder)}"

    @property
    def title(self) -> str:
        return f"python -m venv {self.folder.name}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}


@dataclass(frozen=True)
class _InEnvironment:
    """A command that is run in a virtual environment, the file that it is about, and the folder in which it is run."""

    environment: Path
    file: Path
    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter of the environment, not resolved: it is a link to that of all."""
        return interpreter_of(self.environment)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"python": str(self.python), "file": str(self.file), "folder": str(self.folder)}


@dataclass(frozen=True)
class Install(_InEnvironment):
    """`pip install -r` of a file."""

    @property
    def key(self) -> str:
        return f"command:pip:{self.python}:{_resolved(self.file)}"

    @property
    def title(self) -> str:
        return f"pip install -r {self.file.name} of {self.file.parent.name}"


@dataclass(frozen=True)
class Script(_InEnvironment):
    """`python` with a script."""

    @property
    def key(self) -> str:
        return f"command:python:{self.python}:{_resolved(self.file)}"

    @property
    def title(self) -> str:
        return f"python {self.file.name} of {self.file.parent.name}"


Form = Union[Clone, CheckOut, MakeEnvironment, Install, Script]


def form_of(words: Sequence[str], cwd: str | os.PathLike[str] | None) -> Form | None:
    """What a command is, as it would be joined and run in `cwd`; None: it is not known, and best left to its shell."""
    words, folder = [_unquoted(word) for word in words], Path(os.getcwd() if cwd is None else os.path.abspath(cwd))
    if any("\0" in word for word in words):
        return None
    if words[:2] == ["git", "clone"]:
        return _clone(words[2:], folder)
    if words[:2] == ["git", "checkout"] and len(words) == 3 and words[2] and cwd is not None:
        return CheckOut(folder, words[2])
    if words[:3] == ["python", "-m", "venv"] and len(words) == 4 and _is_plain(words[3]):
        return MakeEnvironment(folder / words[3])
    if words[:1] in (["."], ["call"]):
        del words[0]
    environment = _environment(folder / words[0]) if words[1:2] == ["&&"] else None
    return None if environment is None else _in_environment(environment, " ".join(words[2:]), folder)


def _clone(words: Sequence[str], folder: Path) -> Clone | None:
    options = tuple(word for word in words if _CLONE_OPTION.fullmatch(word))
    rest = [word for word in words if word not in options]
    if len(rest) != 2 or not rest[0] or not _is_plain(rest[1]):
        return None
    url, destination = rest
    if url.startswith("-") and _is_address(destination):
        return None  # an option that is not known, and no folder
    return Clone(url, folder / destination, options)


def _is_plain(path: str) -> bool:
    """Whether a path begins with no variable, nor with somebody's home, which only a shell knows."""
    return bool(path) and path[0] not in "~$%"


def _is_address(word: str) -> bool:
    return word.partition("://")[0] in SCHEMES or SCP_LIKE.match(word) is not None


def _environment(script: Path) -> Path | None:
    """The folder of the virtual environment that a script activates."""
    is_one = script.name in ("activate", "activate.bat") and script.parent.name in ("bin", "Scripts")
    return script.parent.parent if is_one and script.is_file() else None


def _in_environment(environment: Path, command: str, folder: Path) -> Form | None:
    found = _INSTALL.fullmatch(command)
    if found is not None:
        file = _file(found["file"], folder)
        return None if file is None else Install(environment, file, folder)
    found = _SCRIPT.fullmatch(command)
    script = None if found is None else _file(found["file"], folder)
    return None if script is None else Script(environment, script, folder)


def _file(text: str, folder: Path) -> Path | None:
    """The file that the rest of a command names; None: it may be more than a file."""
    text = _unquoted(text)
    path = folder / text
    return path if path.is_file() or not _SPECIAL.search(text) else None


def _unquoted(word: str) -> str:
    """The word as a shell would have it, if it is in quotes as a whole."""
    if len(word) < 2 or word[0] not in "'\"" or word[-1] != word[0]:
        return word
    try:
        parts = shlex.split(word)
    except ValueError:
        return word
    return parts[0] if len(parts) == 1 else word


def _resolved(path: Path) -> str:
    return os.path.realpath(path)
