"""Which commands have nothing left to do in a project that is whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from launcher_recovery.errors import RecoveryError
from launcher_recovery.nodes.repository import environment
from launcher_recovery.programs.running import Silence, run_command
from launcher_recovery.projects.environment import interpreter_of
from launcher_recovery.weave.advice.forms import CheckOut, Clone, Form, Install, MakeEnvironment, Script
from launcher_recovery.weave.advice.setup import Setup

_HASH = re.compile(r"[0-9a-fA-F]{7,64}")
_LOOK_LIMIT_S = 60.0


def is_done(form: Form, setup: Setup) -> bool:
    """Whether it is certain that the command would bring nothing that is not there."""
    if isinstance(form, Clone):
        return _is_repository(form.destination, setup) and (form.destination / ".git").exists()
    if isinstance(form, CheckOut):
        return _is_repository(form.folder, setup) and _is_at(form.folder, form.ref)
    if isinstance(form, MakeEnvironment):
        return _is_ours(interpreter_of(form.folder), setup)
    if not _is_ours(form.python, setup):
        return False
    if isinstance(form, Install):
        homes = (setup.comfyui, *setup.nodes)
        return _is_among(form.file, (*setup.requirements, *(folder / "requirements.txt" for folder in homes)))
    assert isinstance(form, Script)
    return _is_among(form.file, [folder / "install.py" for folder in setup.nodes])


def _is_repository(folder: Path, setup: Setup) -> bool:
    return _is_among(folder, (setup.comfyui, *setup.nodes))


def _is_ours(python: Path, setup: Setup) -> bool:
    """Whether it is the interpreter of the project; its folder is compared, since it is a link to that of all."""
    return _is_among(python.parent, [setup.python.parent]) and python.name == setup.python.name and python.exists()


def _is_among(path: Path, known: Iterable[Path]) -> bool:
    """Whether it is there, and one of those."""
    found = os.path.realpath(path)
    return os.path.exists(found) and any(os.path.realpath(one) == found for one in known)


def _is_at(folder: Path, ref: str) -> bool:
    """Whether the commit with that name, or the beginning of one, is what is checked out."""
    if not _HASH.fullmatch(ref):
        return False  # a branch may have moved on since
    lines: list[str] = []
    try:
        run_command(
            None,
            ["git", "rev-parse", "--verify", "HEAD^{commit}"],
            cwd=folder,
            env=environment(""),
            on_line=lines.append,
            silence=Silence(_LOOK_LIMIT_S),
        )
    except (RecoveryError, OSError):
        return False
    return lines[-1:] != [] and lines[-1].startswith(ref.lower())
