"""What is there already while the launcher's own task function runs over a project that is whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Verified:
    """A file whose SHA-256 is known.

    Args:
        sha256: as lower-case hexadecimal digits.
        stamp: size, time of the last change, and number and device of the file when that was found out.
    """

    sha256: str
    stamp: tuple[int, int, int, int]

    @classmethod
    def of(cls, path: str | os.PathLike[str], sha256: str) -> Verified:
        """A file of which it was just found out.

        Raises:
            OSError: the file cannot be looked at.
        """
        return cls(sha256.lower(), _stamp(path))

    def is_of(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file is still the one that it was found out of."""
        try:
            return _stamp(path) == self.stamp
        except OSError:
            return False


@dataclass(frozen=True)
class Setup:
    """A project in which everything is there that the launcher's own task function would fetch, make or install.

    Args:
        folder: of the project.
        comfyui: folder of ComfyUI, whose requirements are installed.
        python: interpreter of the project's environment.
        nodes: folders of nodes that are installed, with their `requirements.txt` and `install.py`.
        requirements: further requirement files whose packages are installed.
        verified: files whose SHA-256 was found out just now, by their paths.
        placed: files of the import that are there, by where they were to be; where another one was, under the next
            free name.
        left_out: where the files were to be that a person does without.
    """

    folder: Path
    comfyui: Path
    python: Path
    nodes: frozenset[Path] = frozenset()
    requirements: frozenset[Path] = frozenset()
    verified: Mapping[Path, Verified] = field(default_factory=dict)
    placed: Mapping[Path, Path] = field(default_factory=dict)
    left_out: frozenset[Path] = frozenset()


current_setup: ContextVar[Setup | None] = ContextVar("launcher_recovery_setup", default=None)
"""Set while the launcher's own task function runs over a project that is whole; None: nothing is known to be there."""


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int, int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
