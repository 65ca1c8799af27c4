"""A node that needs everything, and the process that installs it, for those who kill it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher_recovery.persistence import SQLitePersistence
from tests.nodes import Far, Source, make_environment, noise, wheel

ROOT = Path(__file__).parents[1]

# Waits until it is let go the first time that it runs.
SCRIPT = """
import os, time
print("running", flush=True)
open("half", "x").close()
if not os.path.exists({flag!r}):
    open({flag!r}, "w").close()
    time.sleep(600)
open("conf.ini", "w").write(os.getcwd())
"""


class Stage:
    """A node that needs everything, where it is to be, and the process that installs it."""

    def __init__(self, folder: Path, far: Far) -> None:
        self.far = far
        self.folder = folder
        self.destination = folder / "custom_nodes" / "node"
        self.flag, self.held = folder / "flag", folder / "held"
        inner, source = Source(folder / "inner"), Source(folder / "source")
        inner.commit({"inside": noise(50_000)})
        far.offer(wheel("plain", "1.0", size=50_000))
        content = {"one": noise(50_000, "one"), "requirements.txt": far.requirements("plain")}
        source.commit({**content, "install.py": SCRIPT.format(flag=str(self.flag))})
        self.flag.touch()
        source.add_submodule(far.serve(inner, "inner.git"), "inner")
        self.url = far.serve(source)
        self.python = make_environment(folder / "environment", wheel("numpy", "2.0"))
        self.store = folder / "recovery.db"

    @contextmanager
    def process(self, hold: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """The process that installs; with `hold` it stops there the first time, once it has made the file `held`."""
        order: dict[str, Any] = {
            "hold": None if hold is None else [hold, str(self.held)],
            "folder": str(self.destination.parent),
            "store": str(self.store),
            "url": self.url,
            "python": str(self.python),
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment = {**own, "PIP_CONFIG_FILE": os.devnull, "PIP_CACHE_DIR": str(self.folder / "cache")}
        environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # nobody listens there
        argv = [sys.executable, "-m", "tests.node_process", json.dumps(order)]
        process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def finish(self) -> None:
        """Install in a new process, to the end."""
        with self.process() as process:
            output, _ = process.communicate(timeout=100)
        assert process.returncode == 0, output

    def steps(self) -> list[str]:
        """The steps that are done."""
        store = SQLitePersistence(self.store)
        try:
            (found,) = store.find(kind="install_node")
            return [step.name for step in store.steps(found.operation_id)]
        finally:
            store.close()


def children(folder: Path) -> list[int]:
    """Processes that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                where = os.readlink(entry / "cwd")
            except OSError:
                continue
            if where.startswith(str(folder)):
                found.append(int(entry.name))
    return found
