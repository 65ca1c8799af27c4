"""`python -m tests.standin.environment FOLDER`: an environment as `venv` makes it, of links, for tests in a hurry."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.nodes import make_environment

_PIP = """#!/bin/sh
exec "$(dirname "$0")/python" -m pip "$@"
"""


def make(folder: Path) -> None:
    """With the commands `python` and `pip`."""
    pip = make_environment(folder).with_name("pip")
    pip.write_text(_PIP)
    pip.chmod(0o755)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
