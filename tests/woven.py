"""Parts of the tests of weaving: a launcher's function, and an extension that knows the launcher."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher_recovery.joinpoints import Call

ROOT = Path(__file__).parents[1]

FETCH = '''
def fetch(url, *, retries=3):
    """Get it."""
    return "got " + url  # at once
'''

EXTENSION = """
import os

from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.joinpoints import Fingerprint, Host, JoinPoint

KNOWN = Fingerprint(("url", "*", "retries"), "{code}")


def woven(call):
    return "woven " + call.proceed()


@hookimpl
def recovery_join_points():
    points = (JoinPoint("wv_utils", "fetch", "download", advice=woven, fingerprints=(KNOWN,)),)
    return [Host("my launcher", points, ("wv_server.py", "{mark}"), roots=lambda: [os.getcwd()])]
"""


def load(name: str) -> ModuleType:
    """A module, imported by its name."""
    return importlib.import_module(name)


def advised(call: Call) -> Any:
    """Says that it was called."""
    return f"advised by {call.integrator}: {call.proceed()}"


def install(folder: Path, code: str, mark: str) -> None:
    """Put an extension that knows the launcher of these tests into a folder, as pip would.

    Args:
        code: of the fingerprint of its function.
        mark: a file beside its modules, by which it is told from the launchers of tests that run at the same time.
    """
    folder.mkdir(exist_ok=True)
    (folder / "wv_extension.py").write_text(EXTENSION.format(code=code, mark=mark))
    info = folder / "wv_extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wv_extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[launcher_recovery]\nwv = wv_extension\n")


def environment(folder: Path, *path: Path, **more: str) -> dict[str, str]:
    """For a process that has the package, and keeps its state in `folder`; without settings of the tests' own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECOVERY_", "COV_"))}
    before = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    places = [str(ROOT), *map(str, path), *before]
    state = {
        "RECOVERY_ALLOW_PRIVATE_ADDRESSES": "true",
        "RECOVERY_PERSISTENCE_PATH": str(folder / "recovery.db"),
        "PYTHONPATH": os.pathsep.join(places),
    }
    return {**kept, **state, "PYTHONDONTWRITEBYTECODE": "1", **more}


def python(
    arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with some arguments."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environ, cwd=cwd, input=given, capture_output=True, text=True, timeout=100)


def proc(folder: Path, pid: int, cwd: Path, *argv: str, parent: int = 1) -> None:
    """A process as /proc has it."""
    entry = folder / str(pid)
    entry.mkdir(parents=True)
    (entry / "cmdline").write_bytes(b"".join(os.fsencode(argument) + b"\0" for argument in argv))
    (entry / "stat").write_text(f"{pid} (py thon) S {parent} 1 1")
    (entry / "cwd").symlink_to(cwd)
