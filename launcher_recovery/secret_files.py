"""Files that settings name because they hold a secret (`file:/its/path`)."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

logger = logging.getLogger("launcher_recovery")


def read_secret(path: Path, variable: str, what: str, error: type[Exception], encoding: str = "utf-8") -> str:
    """What a file holds, without the space around it.

    Args:
        variable: the setting that names the file.
        what: what it holds, for people.
        error: raised, with a sentence that shows nothing of the secret, when the file cannot be read.
    """
    try:
        content = path.read_text(encoding=encoding).strip()
        mode = path.stat().st_mode
    except (OSError, ValueError) as problem:
        # Not the error of a decoder, which quotes what it has read.
        why = problem.strerror if isinstance(problem, OSError) else "it is not plain text"
        raise error(
            f"{variable} names the file {path}, which cannot be read ({why}): make it readable for this user."
        ) from None
    # Not refused: files of secrets that a container gets are often made like this.
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("%s holds %s and can be read by others, who should not: chmod 600 %s", path, what, path)
    return content
