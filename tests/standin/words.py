"""Words that the host's shell looks for. An environment of a project comes before these when it is active."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.standin.plugin import ROOT

_PYTHON = """#!/bin/sh
exec {python} "$@"
"""
_NO_PIP = """#!/bin/sh
echo "no environment is active: this would go into the one of the tests" >&2
exit 1
"""
# The same for tests that are not about how environments are made: links to the pip of this one, in no time.
_QUICK_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    cd {root} && exec {tests} -m tests.standin.environment "$3"
fi
exec {python} "$@"
"""


def write(folder: Path, python: Path, is_quick: bool) -> None:
    """Make `python`, which is another interpreter, and `pip`, which fails; see `StandIn` for what is quick."""
    folder.mkdir(exist_ok=True)
    for name, text in {"python": _QUICK_PYTHON if is_quick else _PYTHON, "pip": _NO_PIP}.items():
        (folder / name).write_text(text.format(root=ROOT, tests=sys.executable, python=python))
        (folder / name).chmod(0o755)
