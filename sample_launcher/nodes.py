"""Installing a custom node, or ComfyUI itself, as launchers do: git clone, check out, pip install."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .commands import run


def install(url: str, destination: Path, ref: str | None, python: str | None) -> None:
    """Clone `url` into `destination`, check `ref` out, and install its requirements with `python`.

    A clone that is complete is kept and one that was cut off is made again. On failure the folder is removed,
    unless it was there before, and the error goes on. Raises CommandFailedError, OSError, ValueError.
    """
    if ref is not None and (not ref or ref.startswith("-")):
        raise ValueError(f"{ref!r} is no branch, tag or commit; give one that does not start with a dash.")
    git = destination / ".git"
    # git writes the index last.
    if git.exists() and not (git / "index").exists():
        shutil.rmtree(destination)
    complete = git.exists()
    ours = not destination.exists()
    try:
        if not complete:
            destination.parent.mkdir(parents=True, exist_ok=True)
            run(["git", "clone", "--", url, str(destination)])
        if ref is not None:
            run(["git", "checkout", ref], destination)
        requirements = destination / "requirements.txt"
        if requirements.is_file():
            run([python or sys.executable, "-m", "pip", "install", "-r", str(requirements)])
    except BaseException:
        if ours:
            shutil.rmtree(destination, ignore_errors=True)
        raise
